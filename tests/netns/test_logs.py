"""dnsmasq's logs lie in memory: held to a size, whoever floods, pauses, or takes them away."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.daemon.follow import ROTATE_AT
from tests.netns.appliance import Appliance
from tests.netns.conftest import ClientMaker, Segment
from tests.netns.test_appliance import NODE1, NODE2, discover
from tests.netns.test_resilience import same_children
from tests.netns.wire import Client, wait_until

pytestmark = pytest.mark.netns


@pytest.fixture
def client(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Client:
    appliance.serve()
    return client_on(segment.links[0])


def logs(appliance: Appliance) -> Path:
    return appliance.root / "run/pxe-appliance/log"


def nameless(appliance: Appliance) -> list[str]:
    """Files that a child holds open and that have no name any more."""
    held = [fd for pid in same_children(appliance).values() for fd in Path(f"/proc/{pid}/fd").iterdir()]
    targets = [str(fd.readlink()) for fd in held if fd.is_symlink()]
    return [target for target in targets if "/log/" in target and target.endswith(" (deleted)")]


def is_seen(appliance: Appliance, client: Client, mac: str) -> bool:
    """Whether what a machine asks now is told by `events`."""
    before = len([e for e in appliance.events("offer") if e["mac"] == mac])
    client.ask(discover(mac), seconds=0.2)
    return len([e for e in appliance.events("offer") if e["mac"] == mac]) > before


@pytest.mark.parametrize("what", ["files", "directory"])
def test_logs_that_are_taken_away_are_begun_anew(appliance: Appliance, client: Client, what: str) -> None:
    """As is done by hand where /run is full: what is written to a file without a name grows unseen."""
    assert client.ask(discover(NODE1), seconds=1)
    before, names = same_children(appliance), {f.name for f in logs(appliance).glob("*.log")}
    if what == "directory":
        shutil.rmtree(logs(appliance))
    for file in logs(appliance).glob("*"):
        file.unlink()
    wait_until(lambda: {f.name for f in logs(appliance).glob("*.log")} == names, "logs that have names", 20)
    wait_until(lambda: not nameless(appliance), "nothing that has none", 20)
    wait_until(lambda: is_seen(appliance, client, NODE2), "what a machine asks to be seen", 20)
    assert same_children(appliance) == before
    assert "was taken away: it begins a new one" in appliance.log()


def test_a_flood_while_the_daemon_does_not_run_is_cut_and_told(appliance: Appliance, client: Client) -> None:
    before, log = same_children(appliance), logs(appliance) / "dhcp-pxe.log"
    with ExitStack() as stack:
        os.kill(appliance.daemon_pid(), signal.SIGSTOP)
        stack.callback(os.kill, appliance.daemon_pid(), signal.SIGCONT)
        packet = discover(NODE1)
        while log.stat().st_size < 3 * ROTATE_AT:
            for _ in range(100):
                client.send(packet)
            wait_until(lambda: client.ask(discover(NODE1), seconds=0.2), "what was sent to be read")
    wait_until(lambda: sum(f.stat().st_size for f in logs(appliance).glob("dhcp-*")) < 2 * ROTATE_AT, "a cut")
    wait_until(lambda: "too many to read" in str(appliance.status()["problems"]), "it to be told")
    wait_until(lambda: is_seen(appliance, client, NODE2), "what a machine asks to be seen", 30)
    assert same_children(appliance) == before
