"""A new program takes the daemon's place under a rack that boots: nobody notices, nothing is forgotten."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.figures import Figures
from tests.netns import appliance as operator
from tests.netns.appliance import Appliance, gone
from tests.netns.conftest import ClientMaker, Link, Segment
from tests.netns.machines import IPXE, NAMES, SERVER, Machine, put_on
from tests.netns.test_appliance import discover
from tests.netns.wire import Client, inside, request_of, tftp_get, wait_until

pytestmark = pytest.mark.netns

PATIENCE = 30.0  # seconds that a client of a test waits; what it really waited is told at the end
KERNEL = os.urandom(1 << 20) * 32  # larger than what both ends of a connection hold back


class _Control(http.client.HTTPConnection):
    """The control socket, without the time that a command takes to start."""

    def __init__(self, appliance: Appliance) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._place = str(appliance.root / "run/pxe-appliance/control.sock")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._place)


def asked(appliance: Appliance, path: str) -> Any:
    """What the daemon says on its control socket."""
    with closing(_Control(appliance)) as connection:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


def children(appliance: Appliance) -> dict[str, int]:
    """The pids of the daemon's dnsmasq processes, by what they read."""
    found = {}
    for place in Path(f"/proc/{appliance.daemon_pid()}/task/{appliance.daemon_pid()}").glob("children"):
        for pid in place.read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"dnsmasq"):
                found[next(w.decode() for w in words if w.startswith(b"--conf-file=/"))] = int(pid)
    return found


def bodies(appliance: Appliance) -> list[int]:
    """Every dnsmasq of this root, whoever minds it."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = place.read_bytes()
            if b"dnsmasq" in words.split(b"\0")[0] and f"{appliance.root}/".encode() in words:
                found.append(int(place.parent.name))
    return sorted(found)


def lose_hosts(appliance: Appliance) -> None:
    """The disk has lost what dnsmasq has long since read."""
    (appliance.root / "var/lib/pxe-appliance/current/network/pxe/hosts").write_text("")


def hang_up(appliance: Appliance) -> None:
    os.kill(appliance.daemon_pid(), signal.SIGHUP)


def took_over(appliance: Appliance) -> int:
    """How often a new program did."""
    return appliance.log().count("took over")


def replaced(appliance: Appliance, seconds: float = 30.0) -> None:
    """Have a new program take over, and wait until it serves."""
    before = took_over(appliance)
    hang_up(appliance)
    wait_until(lambda: took_over(appliance) > before, "a new program", seconds)


@dataclass
class Deeds:
    """What a client did again and again: how long each took, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def do(self, work: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            work()
        except (OSError, AssertionError, http.client.HTTPException) as error:
            self.failures.append(f"{len(self.seconds)}: {error!r}")
        self.seconds.append(time.monotonic() - began)


@contextmanager
def doing(work: Callable[[], object], breath: float = 0.01) -> Iterator[Deeds]:
    """Do it over and over, for as long as the block runs."""
    deeds, over = Deeds(), threading.Event()

    def on() -> None:
        while not over.wait(breath):
            deeds.do(work)

    thread = threading.Thread(target=on)
    thread.start()
    try:
        yield deeds
    finally:
        over.set()
        thread.join(PATIENCE + 5)
        assert not thread.is_alive()


def connect(link: Link, source: str) -> socket.socket:
    """A TCP connection to the appliance, from an address of the clients' namespace."""

    def opened() -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # who does not read is not sent more
        sock.settimeout(PATIENCE)
        sock.bind((source, 0))
        sock.connect((SERVER, 8080))
        return sock

    return inside(link.clients, opened)


def got(connection: http.client.HTTPConnection, path: str = "/healthz") -> bytes:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    return body


def over(sock: socket.socket) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(SERVER, 8080)
    connection.sock = sock
    return connection


def get_anew(link: Link) -> None:
    with closing(over(connect(link, link.client_address))) as connection:
        assert got(connection) == b"ok\n"


@dataclass
class Exchanges:
    """A known client that does one exchange after another, each once."""

    client: Client
    mac: str
    xids: list[int] = field(default_factory=list)

    def once(self) -> None:
        packet = discover(self.mac)
        offer = self.client.ask(packet, seconds=2)
        assert offer is not None, "no offer"
        ack = self.client.ask(request_of(packet, offer), seconds=2)
        assert ack is not None, "no ack"
        self.xids.append(int.from_bytes(packet[4:8], "big"))


@pytest.fixture
def link(appliance: Appliance, segment: Segment) -> Link:
    """The wire of an appliance that serves."""
    kernel = appliance.root / "etc/pxe-appliance/matchbox/assets/lab/vmlinuz"
    kernel.write_bytes(KERNEL)
    appliance.serve()
    return segment.links[0]


@dataclass
class Download:
    """A machine that loads its kernel, no faster than it is told to."""

    machine: Machine
    digest: Any = field(default_factory=hashlib.sha256)
    size: int = 0
    answer: http.client.HTTPResponse | None = None

    def begin(self) -> None:
        connection = over(connect(self.machine.link, self.machine.ip))
        connection.request("GET", "/assets/lab/vmlinuz", headers={"User-Agent": IPXE})
        self.answer = connection.getresponse()
        assert self.answer.status == 200

    def load(self, size: int | None = None) -> None:
        assert self.answer is not None
        piece = self.answer.read(size) if size is not None else self.answer.read()
        self.digest.update(piece)
        self.size += len(piece)


def told(appliance: Appliance, machine: str) -> list[dict[str, Any]]:
    """All events of a machine; the daemon is stopped for it."""
    with closing(sqlite3.connect(appliance.root / "var/lib/pxe-appliance/history.db")) as db:
        rows = db.execute("SELECT body FROM event WHERE machine = ?", (machine,))
        return [json.loads(body) for (body,) in rows]


@pytest.mark.timeout(3600)  # a night's size
def test_take_overs_under_a_busy_rack_cost_nobody_anything(
    appliance: Appliance,
    link: Link,
    client_on: ClientMaker,
    figures: Figures,
    sized: Callable[[int, int], int],
) -> None:
    node3 = put_on(link, "node3", client_on)
    node3.boot()
    download = Download(node3)
    download.begin()
    node1 = put_on(link, "node1", client_on)
    # On the wire itself it would hear the download, too, and have no room left for its answers.
    exchanges = Exchanges(client_on(replace(link, client_device=node1.device)), node1.mac)
    kept = over(connect(link, link.client_address))
    pids, before = children(appliance), appliance.status()
    rounds = sized(8, 60)
    with ExitStack() as clients:
        dora = clients.enter_context(doing(exchanges.once, 0.03))  # no machine may ask more often
        fetch = partial(tftp_get, link.clients, link.client_address, link.address, "undionly.kpxe")
        tftp = clients.enter_context(doing(fetch, 0.1))
        anew = clients.enter_context(doing(partial(get_anew, link)))
        same = clients.enter_context(doing(partial(got, kept)))
        for _ in range(rounds):
            replaced(appliance)
            download.load(len(KERNEL) // (2 * rounds))
            assert asked(appliance, "/v1/machines/node3")["rung"] == "script"
        last = len(exchanges.xids)
        wait_until(lambda: len(exchanges.xids) > last, "one more exchange")
    download.load()
    for deeds in (dora, tftp, anew, same):
        assert deeds.failures == []
    assert (download.size, download.digest.digest()) == (len(KERNEL), hashlib.sha256(KERNEL).digest())
    assert children(appliance) == pids
    after = appliance.status()
    assert after["daemon"]["pid"] == before["daemon"]["pid"]
    assert after["dnsmasq"] == before["dnsmasq"]
    assert after["generation"] == before["generation"]
    wait_until(lambda: asked(appliance, "/v1/machines/node3")["rung"] == "kernel", "the kernel to be told")

    def caught_up() -> bool:
        (ack,) = appliance.run("events", "-o", "json", "--machine", "node1", "-n", "1").stdout.splitlines()
        return str(json.loads(ack)["detail"].get("xid")) == str(exchanges.xids[-1])

    wait_until(caught_up, "the last exchange to be told")
    appliance.stop()
    steps = Counter(
        (e["detail"]["xid"], e["event"]) for e in told(appliance, "node1") if "xid" in e["detail"]
    )
    assert [key for key, times in steps.items() if times > 1] == []
    wanted = [(str(xid), kind) for xid in exchanges.xids for kind in ("discover", "offer", "request", "ack")]
    assert [step for step in wanted if step not in steps] == []
    assert [e["event"] for e in told(appliance, "node3")].count("kernel") == 1
    figures.tell("upgrade", "take-overs under DHCP, TFTP, HTTP and a download", str(rounds))
    done = sum(len(d.seconds) for d in (dora, tftp, anew, same))
    figures.tell("upgrade", "exchanges done / dropped", f"{done:,} / 0", "0 dropped")
    figures.tell("upgrade", "longest wait of an HTTP GET", f"{max(anew.seconds + same.seconds):.2f} s")
    figures.tell("upgrade", "longest DHCP exchange", f"{max(dora.seconds):.3f} s", "< 1 s")
    assert max(dora.seconds) < 1, "dnsmasq serves on by itself"


def test_children_are_minded_after_a_take_over(
    appliance: Appliance, link: Link, client_on: ClientMaker
) -> None:
    replaced(appliance)
    client = client_on(link)
    for name, number, limit in (("dhcp", signal.SIGKILL, 1.0), ("dhcp", signal.SIGSTOP, 5.0)):
        pids = children(appliance)
        (conf,) = [place for place in pids if "network/pxe" in place]
        os.kill(pids[conf], number)
        began = time.monotonic()
        wait_until(lambda: client.ask(discover(NAMES["node1"][0]), seconds=0.1), f"{name} to serve again", 10)
        assert time.monotonic() - began < limit * 1.5, "on a machine that does other things besides"
        assert gone(pids[conf])
    assert asked(appliance, "/v1/status")["dnsmasq"]["restarts"] == 2
    replaced(appliance)
    assert asked(appliance, "/v1/status")["dnsmasq"]["restarts"] == 2, "and not forgotten"


def test_a_child_that_died_meanwhile_is_started_as_usual(
    appliance: Appliance, link: Link, client_on: ClientMaker
) -> None:
    victim = children(appliance)
    (conf,) = [place for place in victim if "network/pxe" in place]
    before = took_over(appliance)
    hang_up(appliance)
    wait_until(lambda: "a new program takes over" in appliance.log(), "the moment of it", 30)
    os.kill(victim[conf], signal.SIGKILL)
    wait_until(lambda: took_over(appliance) > before, "a new program", 30)
    client = client_on(link)
    wait_until(lambda: client.ask(discover(NAMES["node1"][0]), seconds=0.1), "an offer", 5)


def test_children_that_are_started_later_hear_a_reload(
    appliance: Appliance, link: Link, client_on: ClientMaker
) -> None:
    """A blocked or ignored SIGHUP is inherited: such a dnsmasq would never read its hosts again."""
    replaced(appliance)
    for pid in children(appliance).values():
        os.kill(pid, signal.SIGKILL)
    client = client_on(link)
    wait_until(lambda: client.ask(discover(NAMES["node1"][0]), seconds=0.1), "an offer", 10)
    for pid in children(appliance).values():
        status = dict(
            line.split(":\t")
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert [int(status[word], 16) & 1 for word in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 1]
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.24"')
    assert "active and verified" in appliance.run("sync", "--yes").stdout


def test_two_in_a_row_are_two(appliance: Appliance, link: Link) -> None:
    before, environ = took_over(appliance), Path(f"/proc/{appliance.daemon_pid()}/environ")
    hang_up(appliance)
    wait_until(lambda: b"PXE_APPLIANCE_TAKEOVER=" in environ.read_bytes(), "the first to begin", 30)
    hang_up(appliance)  # nobody is there to hear it yet
    wait_until(lambda: took_over(appliance) >= before + 2, "both", 60)
    assert len(children(appliance)) == 2


def test_a_take_over_brings_no_edit_that_nobody_has_applied_and_the_lock_is_still_held(
    appliance: Appliance, link: Link
) -> None:
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.24"')
    pids = children(appliance)
    replaced(appliance)

    def told() -> list[str]:
        return [p["message"] for p in asked(appliance, "/v1/status")["problems"] if p["id"] == "sync"]

    assert wait_until(told, "it to be told", 10) == [
        "not in sync: this is asked for and was not applied yet: ~machine node3"
    ]
    assert {m["name"]: m["ip"] for m in asked(appliance, "/v1/machines")}["node3"] == "172.0.1.23"
    assert children(appliance) == pids
    appliance.run("sync", "--yes")
    assert {m["name"]: m["ip"] for m in asked(appliance, "/v1/machines")}["node3"] == "172.0.1.24"
    assert not told()
    assert children(appliance) == pids, "a reservation needs no restart"
    replaced(appliance)
    assert "already running" in appliance.run("serve", rc=4).stderr


def test_a_follower_of_the_events_is_let_go(appliance: Appliance, link: Link) -> None:
    with closing(_Control(appliance)) as connection:
        connection.request("GET", "/v1/events?follow=1&limit=0")
        answer = connection.getresponse()
        began = time.monotonic()
        replaced(appliance)
        assert answer.read() == b""
        assert time.monotonic() - began < PATIENCE


def test_a_new_program_that_cannot_start_leaves_the_old_one_serving(
    appliance: Appliance, link: Link, client_on: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    appliance.stop()
    program = appliance.root / "pxe-appliance"
    program.write_text(Path(operator.COMMAND).read_text())
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with monkeypatch.context() as patched:
        patched.setattr(operator, "COMMAND", str(program))
        appliance.serve()
    pids = children(appliance)
    good = program.read_text()
    program.write_text("#!/bin/sh\necho 'SyntaxError: half unpacked' >&2\nexit 1\n")
    hang_up(appliance)

    def problems() -> list[Any]:
        return [p for p in asked(appliance, "/v1/status")["problems"] if p["id"] == "upgrade-failed"]

    (told_problem,) = wait_until(problems, "it to be told", 30)
    assert "half unpacked" in told_problem["message"]
    assert told_problem["fix"]
    get_anew(link)
    client_on(link).acquire(discover(NAMES["node1"][0]))
    assert children(appliance) == pids
    program.write_text(good)
    replaced(appliance)
    assert problems() == []
    assert children(appliance) == pids


def test_a_generation_that_is_damaged_on_disk_is_no_reason_to_leave_it(
    appliance: Appliance, link: Link, client_on: ClientMaker
) -> None:
    pids = children(appliance)
    lose_hosts(appliance)
    appliance.edit("[machine.node2]", "[machine.node2")
    hang_up(appliance)

    def problems() -> list[Any]:
        return [p for p in asked(appliance, "/v1/status")["problems"] if p["id"] == "upgrade-failed"]

    (told_problem,) = wait_until(problems, "it to be told", 30)
    assert "generation 1" in told_problem["message"]
    assert "pxe-appliance sync" in told_problem["message"]
    assert children(appliance) == pids
    client_on(link).acquire(discover(NAMES["node1"][0]))
    appliance.edit("[machine.node2", "[machine.node2]")
    assert "active and verified" in appliance.run("sync", "--yes").stdout
    replaced(appliance)
    assert asked(appliance, "/v1/status")["generation"]["id"] == 2
    assert bodies(appliance) == sorted(children(appliance).values())


def test_who_took_over_and_finds_no_generation_ends_the_children_that_it_was_handed(
    appliance: Appliance, link: Link, client_on: ClientMaker
) -> None:
    """The program before had looked: it was damaged between that and the take-over."""
    pids = children(appliance)
    hang_up(appliance)
    wait_until(lambda: "a new program takes over" in appliance.log(), "the moment of it", 30)
    lose_hosts(appliance)
    wait_until(lambda: took_over(appliance) == 1, "a new program", 30)
    assert not set(pids.values()) & set(bodies(appliance))
    assert bodies(appliance) == sorted(children(appliance).values())
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.24"')
    assert "active and verified" in appliance.run("sync", "--yes").stdout
    offer, _ = client_on(link).acquire(discover(NAMES["node3"][0]))
    assert offer.yiaddr == "172.0.1.24"


def test_a_terminal_that_is_closed_ends_the_daemon(appliance: Appliance, link: Link) -> None:
    """It sends the same signal; nobody wants a daemon that goes on where no one sees it."""
    appliance.stop()
    here, there = os.openpty()
    with closing(os.fdopen(here, "rb", 0)) as terminal, (appliance.root / "serve.log").open("ab") as log:
        argv = ["setsid", "--ctty", *appliance.argv("serve")]
        daemon = appliance.process = subprocess.Popen(argv, stdin=there, stdout=log, stderr=log)
        os.close(there)
        appliance.await_serving()
        terminal.close()
        assert daemon.wait(20) == 0
    assert took_over(appliance) == 0
    appliance.process = None


def test_a_hand_over_that_makes_no_sense_is_a_usual_start(appliance: Appliance, link: Link) -> None:
    appliance.stop()
    appliance.environment = {"PXE_APPLIANCE_TAKEOVER": "7"}
    appliance.serve()
    assert "everything is started anew" in appliance.log()
    get_anew(link)
