"""What is served is damaged on the disk meanwhile: whoever starts after that serves it, and says so."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path, PurePosixPath

import pytest

from appliance.errors import ApplianceError
from appliance.paths import Paths
from appliance.sync import generations
from tests.netns.appliance import Appliance
from tests.netns.conftest import ClientMaker, Link, Segment
from tests.netns.machines import put_on
from tests.netns.test_appliance import NODE1, NODE2, discover
from tests.netns.test_relief import install, next_process, pid
from tests.netns.test_unwritable import fill, free, state
from tests.netns.wire import Client, wait_until

__all__ = ["state"]  # a fixture of the neighbours
pytestmark = pytest.mark.netns


@pytest.fixture
def link(appliance: Appliance, segment: Segment) -> Link:
    return segment.links[0]


@pytest.fixture
def client(appliance: Appliance, state: Path, link: Link, client_on: ClientMaker) -> Client:
    """A raw client on the appliance's wire, where generation 2 is served: node2 has moved."""
    appliance.edit('boot = "always"', 'boot = "install-once"')
    appliance.serve()
    appliance.edit('ip = "172.0.1.22"', 'ip = "172.0.1.62"')
    appliance.run("sync", "--yes")
    return client_on(link)


def both_served(client: Client) -> bool:
    """Whether both nodes get what generation 2 has for them."""
    offers = [client.ask(discover(mac), seconds=0.5) for mac in (NODE1, NODE2)]
    return [offer and offer.yiaddr for offer in offers] == ["172.0.1.21", "172.0.1.62"]


def told(appliance: Appliance) -> str:
    return "\n".join(f"{p['id']}: {p['message']}" for p in appliance.status()["problems"])


def crash(appliance: Appliance) -> None:
    os.kill(pid(appliance), signal.SIGKILL)


def whole(appliance: Appliance) -> bool:
    """Whether the current generation is the one that was served, every file of it as sync wrote it."""
    paths = Paths(PurePosixPath(appliance.root))
    assert generations.current_id(paths) == 2
    with contextlib.suppress(ApplianceError):
        return bool(generations.load_generation(paths, 2).tree)
    return False


@pytest.mark.parametrize("how", ["emptied", "removed", "garbage", "flipped", "no folder", "no link"])
def test_a_child_that_comes_back_serves_what_was_served(
    appliance: Appliance, client: Client, state: Path, how: str
) -> None:
    folder = state / "generations/2/network/pxe"
    match how:
        case "emptied":
            (folder / "hosts").write_bytes(b"")
        case "removed":
            (folder / "hosts").unlink()
        case "garbage":
            (folder / "dnsmasq.conf").write_bytes(os.urandom(3000))
        case "flipped":
            hosts = (folder / "hosts").read_bytes()
            (folder / "hosts").write_bytes(hosts.replace(b"172.0.1.62", b"172.0.1.72"))
        case "no folder":
            shutil.rmtree(folder)
        case _:
            (state / "current").unlink()
    crash(appliance)
    wait_until(lambda: both_served(client), "both to be served", 15)
    wait_until(lambda: "generation 2 had been damaged, and was written anew" in told(appliance), "a word", 30)
    assert whole(appliance)
    wait_until(lambda: both_served(client), "both to be served from it", 15)
    appliance.run("sync", "--yes")
    assert "damaged" not in told(appliance)
    assert appliance.status()["generation"]["id"] == 2


def test_nothing_is_left_of_it_and_the_disk_takes_nothing(
    appliance: Appliance, client: Client, state: Path
) -> None:
    """As long as we live, there is a copy: of what was served, and not of what was before that."""
    shutil.rmtree(state / "generations/2")
    taken = fill(state)
    for _ in range(2):
        crash(appliance)
        wait_until(lambda: both_served(client), "both to be served", 15)
    words = "generation: generation 2 is served from a copy in memory: network/pxe/"
    wait_until(lambda: words in told(appliance), "a word of it")
    assert appliance.run("sync", "--yes", rc=None).rc != 0
    assert both_served(client)
    free(taken)
    appliance.run("sync", "--yes")
    wait_until(lambda: both_served(client), "both to be served", 15)
    assert "in memory" not in told(appliance)
    crash(appliance)
    wait_until(lambda: both_served(client), "both to be served", 15)


def test_who_takes_over_for_an_installed_machine(
    appliance: Appliance, client: Client, state: Path, link: Link, client_on: ClientMaker
) -> None:
    (state / "generations/2/network/pxe/hosts").write_bytes(b"")
    before = pid(appliance)
    install(put_on(link, "node1", client_on))
    next_process(appliance, link, before)
    wait_until(lambda: both_served(client), "both to be served", 15)
    wait_until(lambda: whole(appliance), "it to be written anew", 30)
