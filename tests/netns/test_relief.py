"""One process takes over from another while clients speak: no exchange is lost, nothing is told twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.netns.appliance import Appliance, gone
from tests.netns.conftest import ClientMaker, Link, Segment
from tests.netns.machines import NAMES, Machine, dhcp_processes, put_on
from tests.netns.test_appliance import discover
from tests.netns.test_resilience import fill, small_disks
from tests.netns.wire import DECLINE, Client, Packet, request_of, wait_until

__all__ = ["small_disks"]  # a fixture of the neighbours
pytestmark = pytest.mark.netns

ANSWERED = 2.0  # seconds that an exchange's answer may take on a busy machine; without one it is lost
BREATH = 0.004  # between two exchanges: 4,000 a second are more than the daemon reads of, and nobody has them


@dataclass
class Talk:
    """A known client that does one exchange after another, two hundred a second, without a second try."""

    client: Client
    mac: str
    xids: list[int] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def once(self) -> None:
        packet = discover(self.mac)
        offer = self.client.ask(packet, seconds=ANSWERED)
        if offer is None:
            self.lost.append(f"offer {len(self.xids)}")
            return
        ack = self.client.ask(request_of(packet, offer), seconds=ANSWERED)
        if ack is None or ack.yiaddr != offer.yiaddr:
            self.lost.append(f"ack {len(self.xids)}")
            return
        self.xids.append(int.from_bytes(packet[4:8], "big"))


@contextmanager
def talking(client: Client, mac: str) -> Iterator[Talk]:
    """Talk for as long as the block runs."""
    talk, over = Talk(client, mac), threading.Event()

    def on() -> None:
        while not over.wait(BREATH):
            talk.once()

    thread = threading.Thread(target=on)
    thread.start()
    try:
        yield talk
    finally:
        over.set()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def once(appliance: Appliance) -> Appliance:
    """An appliance that serves a rack that is installed once."""
    appliance.edit('boot = "always"', 'boot = "install-once"')
    appliance.serve()
    return appliance


@pytest.fixture
def link(once: Appliance, segment: Segment) -> Link:
    return segment.links[0]


@pytest.fixture
def node2(link: Link, client_on: ClientMaker) -> Machine:
    return put_on(link, "node2", client_on)


def install(machine: Machine) -> None:
    """As its script does it: again, where the appliance is so busy that it has not seen the boot yet."""
    wait_until(lambda: "kernel" in machine.boot().text, "the installer", 30)
    wait_until(lambda: machine.report("installed").status == 200, "the report to be taken", 30)


def pid(appliance: Appliance) -> int:
    return int(appliance.dnsmasq()["pid"])


def next_process(appliance: Appliance, link: Link, before: int) -> int:
    """The process that took over from another, once it is alone."""

    def alone() -> int | None:
        (found, *more) = dhcp_processes(link) or {before}
        return found if not more and found != before else None

    found = wait_until(alone, "another process to take over", 15)
    assert found is not None
    wait_until(lambda: pid(appliance) == found, "the status to say so")
    return found


def told_of(appliance: Appliance, talk: Talk) -> Counter[tuple[str, str]]:
    """How often each step of each exchange was told; the daemon is stopped for it."""

    def caught_up() -> bool:
        acks = [e for e in appliance.events("ack") if e["machine"] == "node1"]
        return bool(acks) and acks[-1]["detail"]["xid"] == str(talk.xids[-1])

    wait_until(caught_up, "the last exchange to be told")
    appliance.stop()
    with closing(sqlite3.connect(appliance.root / "var/lib/pxe-appliance/history.db")) as db:
        events = [
            json.loads(body) for (body,) in db.execute("SELECT body FROM event WHERE machine = 'node1'")
        ]
    return Counter((e["detail"]["xid"], e["event"]) for e in events if "xid" in e["detail"])


def test_twenty_reliefs_cost_no_exchange_and_tell_nothing_twice(
    once: Appliance, link: Link, node2: Machine, client_on: ClientMaker
) -> None:
    pids = [pid(once)]
    with talking(client_on(link), NAMES["node1"][0]) as talk:
        for _ in range(10):
            install(node2)
            pids.append(next_process(once, link, pids[-1]))
            once.run("machine", "reinstall", "node2")
            pids.append(next_process(once, link, pids[-1]))
    assert len(talk.xids) > 1000, "it did talk"
    assert talk.lost == []
    assert len(set(pids)) == 21
    assert once.dnsmasq()["restarts"] == 0
    assert not [e for e in once.events("dnsmasq") if "ended by itself" in e["detail"].get("message", "")]
    told = told_of(once, talk)
    assert [key for key, times in told.items() if times > 1] == []
    steps = ("discover", "offer", "request", "ack")
    assert [(xid, step) for xid in talk.xids for step in steps if not told[str(xid), step]] == []


SLOW = """#!/bin/sh
# Starts the next dnsmasq for a network late, when that is wanted, and says who it is.
case "$*" in
    *network/pxe/dnsmasq.conf*)
        if [ -e "{0}/slow" ] && rm "{0}/slow"; then
            echo $$ >"{0}/pid.new" && mv "{0}/pid.new" "{0}/pid"
            sleep 3
        fi
        ;;
esac
exec {1} "$@"
"""


@dataclass
class Slow:
    """Keeps the next process that shall take over from coming up at once."""

    place: Path

    def next(self) -> None:
        (self.place / "slow").touch()

    def pid(self) -> int:
        """Its process id, once it was started."""
        file = self.place / "pid"
        wait_until(file.exists, "a second process", 15)
        return int(file.read_text())


@pytest.fixture
def slow(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Comes before the appliance is started: it is another dnsmasq on its PATH."""
    place = open_tmp / "slow"
    place.mkdir()
    real = shutil.which("dnsmasq")
    assert real
    (place / "dnsmasq").write_text(SLOW.format(place, real))
    (place / "dnsmasq").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return Slow(place)


@pytest.mark.parametrize("victim", ["the first", "the second"])
def test_one_that_is_killed_in_the_middle_of_a_relief(
    slow: Slow, once: Appliance, link: Link, node2: Machine, client_on: ClientMaker, victim: str
) -> None:
    first, client = pid(once), client_on(link)
    slow.next()
    install(node2)
    second = slow.pid()
    assert node2.acquire().file, "the first one serves"
    os.kill(first if victim == "the first" else second, signal.SIGKILL)
    began = time.monotonic()
    wait_until(lambda: client.ask(discover(NAMES["node1"][0]), seconds=0.1), "an offer", 5)
    assert time.monotonic() - began < 1.5  # one second, and what an unanswered question waits
    node2.await_file(False)
    assert once.dnsmasq()["restarts"] == (1 if victim == "the first" else 0)
    assert gone(first)
    assert gone(second)
    assert "kernel" in put_on(link, "node1", client_on).boot().text


def test_a_daemon_that_is_killed_in_the_middle_of_a_relief_leaves_nobody_behind(
    slow: Slow, once: Appliance, link: Link, node2: Machine
) -> None:
    first = pid(once)
    slow.next()
    install(node2)
    second = slow.pid()
    once.stop(signal.SIGKILL)
    wait_until(lambda: gone(first) and gone(second), "both to be gone")
    once.serve()
    assert node2.acquire().file == ""
    assert len(dhcp_processes(link)) == 1


def test_a_daemon_that_is_stopped_in_the_middle_of_a_relief_ends(
    slow: Slow, once: Appliance, link: Link, node2: Machine
) -> None:
    first = pid(once)
    slow.next()
    install(node2)
    second = slow.pid()
    assert once.stop() == 0
    assert gone(first)
    assert gone(second)


def test_a_decline_in_the_middle_of_a_relief_takes_nobody_out(
    slow: Slow, once: Appliance, link: Link, node2: Machine, client_on: ClientMaker
) -> None:
    """Anybody can forge one. Both processes hear it; the one that stays must not keep it for ten minutes."""
    client, (mac, ip) = client_on(link), NAMES["node1"]
    before = pid(once)
    slow.next()
    install(node2)
    second = slow.pid()
    os.kill(once.daemon_pid(), signal.SIGSTOP)  # holds the take-over up until both have heard it
    wait_until(lambda: _log_says(once, second, "read "), "the second process to be ready", 10)
    options = {54: socket.inet_aton("172.0.1.1"), 50: socket.inet_aton(ip)}
    client.send(Packet(mac, kind=DECLINE, options=options).payload())
    for process in (before, second):
        wait_until(partial(_log_says, once, process, "DHCPDECLINE"), "both to hear it")
    os.kill(once.daemon_pid(), signal.SIGCONT)
    next_process(once, link, before)
    wait_until(lambda: client.ask(discover(mac), seconds=0.3), "node1 to be served again", 12)
    assert once.dnsmasq()["restarts"] == 0
    assert len(once.events("decline")) == 1


def _log_says(appliance: Appliance, process: int, words: str) -> bool:
    """Whether a process has written such a line."""
    log = appliance.root / "run/pxe-appliance/log/dhcp-pxe.log"
    return any(f"[{process}]: " in line and words in line for line in log.read_text().splitlines())


def test_a_change_that_is_synced_while_lives_turn_is_proven(
    once: Appliance, link: Link, node2: Machine, client_on: ClientMaker
) -> None:
    with talking(client_on(link), NAMES["node1"][0]) as talk:
        for number in range(4):
            install(node2)
            once.edit(f'ip = "172.0.1.{23 + number}"', f'ip = "172.0.1.{24 + number}"')
            assert "active and verified" in once.run("sync", "--yes").stdout
            once.run("machine", "reinstall", "node2")
    assert talk.lost == []
    assert once.dnsmasq()["restarts"] == 0
    assert once.status()["generation"]["proven"] is True


def test_without_room_for_the_marks_a_dead_child_still_comes_back(
    small_disks: Path, once: Appliance, link: Link, node2: Machine, client_on: ClientMaker
) -> None:
    """Who boots from the disk is told to it at its start: without a file, there may be no room for one."""
    install(node2)
    node2.await_file(False)
    fill(small_disks / "run/pxe-appliance")
    os.kill(pid(once), signal.SIGKILL)
    client = client_on(link)
    wait_until(lambda: client.ask(discover(NAMES["node1"][0]), seconds=0.2), "an offer", 10)
    assert "sanboot" in node2.script().text, "whatever DHCP names, its disk is what it gets"
