"""Strangers that ask as fast as they are answered, or connect as fast as they can: machines go first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.figures import Figures
from tests.netns.appliance import Appliance
from tests.netns.conftest import Link, run
from tests.netns.wire import wait_until
from tests.wire.frames import Wiretap, sender
from tests.wire.rack import Swarm, ip_of, percentile
from tests.wire.test_slow_peers import Asking, connected, link
from tests.wire.watched import Watched

__all__ = ["link"]

pytestmark = pytest.mark.netns

ASKED: Final = 150  # a machine's scripts meanwhile
_MOST_FAILED: Final = 3  # that is enough to know
NICS: Final = 4  # of strangers: with four addresses each, all the connections that they may have
SOURCES: Final = [(f"172.0.3.{170 + 4 * nic + n}", f"x{nic}") for nic in range(NICS) for n in range(4)]
# What costs the event loop most; what a machine asks for, too; and what makes an event each time.
PATHS: Final = ("/v1/events?limit=1000", "/v1/machines", "/boot.ipxe", "/ignition?mac=52-54-00-ac-00-01")
GET: Final = "GET {} HTTP/1.1\r\nHost: 172.0.1.1:8080\r\n\r\n"
_PROGRAM: Final = Path(__file__).with_name("fast.py")


@pytest.fixture
def busy(rack: Appliance, link: Link) -> Link:
    """A wire with strangers' NICs, whose machines have booted: there are events to list."""
    far, device = link.clients, link.client_device
    for nic in range(NICS):
        run("ip", "-n", far, "link", "add", "link", device, "name", f"x{nic}", "address",
            f"02:de:ad:be:ef:0{nic}", "type", "macvlan", "mode", "private")  # fmt: skip
        for address, name in SOURCES:
            if name == f"x{nic}":
                run("ip", "-n", far, "addr", "add", f"{address}/22", "dev", name, "noprefixroute")
        run("ip", "-n", far, "link", "set", f"x{nic}", "up")
    with closing(sender(link)) as out, Wiretap(link) as ear:
        Swarm(ear, out, 250).boot(within=60)
    return link


@contextmanager
def strangers(link: Link, path: str, *, resets: bool = False) -> Iterator[int]:
    """Sixteen addresses that ask and ask, from when each connection had an answer; how many are open then."""
    given = json.dumps({"sources": SOURCES, "request": GET.format(path), "resets": resets})
    argv = ["ip", "netns", "exec", link.clients, sys.executable, str(_PROGRAM), given]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().split()[0])
        finally:
            process.kill()


def asked(link: Link) -> Asking:
    """A machine's scripts, one after the other."""
    machine = Asking(link, ip_of(0))
    for _ in range(ASKED):
        machine.once()
        if len(machine.failed) == _MOST_FAILED:
            break
    return machine


@pytest.mark.parametrize("path", PATHS)
def test_whoever_asks_as_fast_as_he_is_answered_makes_no_machine_wait(
    rack: Appliance, busy: Link, figures: Figures, path: str
) -> None:
    """Machines once waited for 12 s at the first of them, and the watchdog was near."""
    watched = Watched(rack)
    with connected(busy, "172.0.3.100", seconds=20) as scraper, strangers(busy, path) as others:
        assert others == 255, "and the scraper's"
        machine = asked(busy)
        began = time.monotonic()
        scraper.sendall(GET.format("/metrics").encode())
        scrape = scraper.recv(64)
        scraped = time.monotonic() - began
        page = run("ip", "netns", "exec", busy.server, "curl", "-s", "-m", "10", "http://172.0.1.1:8080/ui/")
    assert machine.failed == []
    p99 = percentile(machine.waits, 0.99)
    figures.tell("wire", f"255 connections ask and ask for {path}: a script, p99",
                 f"{p99 * 1000:.0f} ms", "< 1 s")  # fmt: skip
    figures.tell("wire", "... /metrics, asked by another who is no machine", f"{scraped:.2f} s", "< 4 s")
    assert p99 < 1
    assert scrape.startswith(b"HTTP/1.1 200"), "one NIC after the other has its turn"
    assert "<title>" in page, "and whoever comes through a tunnel needs none"
    watched.is_unhurt()
    assert "Traceback" not in rack.log()
    watched.is_idle_again()


def test_whoever_opens_and_resets_connections_makes_no_machine_wait(
    rack: Appliance, busy: Link, figures: Figures
) -> None:
    watched = Watched(rack)
    with strangers(busy, "/healthz", resets=True):
        machine = asked(busy)

        def told() -> bool:
            words = [p["message"] for p in rack.status()["problems"] if p["id"] == "http-crowded"]
            return any("new HTTP connections" in message for message in words)

        wait_until(told, "status to say so", 60)
    assert machine.failed == []
    p99 = percentile(machine.waits, 0.99)
    figures.tell("wire", "connections opened and reset without end: a script, p99",
                 f"{p99 * 1000:.0f} ms", "< 1 s")  # fmt: skip
    assert p99 < 1
    watched.is_unhurt()
    watched.is_idle_again()


def test_a_new_program_takes_over_while_strangers_wait_for_their_turn(
    rack: Appliance, busy: Link, figures: Figures
) -> None:
    """Nobody's turn is waited for: an upgrade once took HTTP away from every machine for 23 s."""
    machine = Asking(busy, ip_of(0))
    with strangers(busy, PATHS[0]):
        os.kill(rack.daemon_pid(), signal.SIGHUP)
        deadline = time.monotonic() + 60
        while "took over from version" not in rack.log() and time.monotonic() < deadline:
            machine.once()
        machine.once()
    assert "took over from version" in rack.log()
    assert machine.failed == []
    worst = max(machine.waits)
    figures.tell("wire", "... while a new program takes over: a script, at most", f"{worst:.1f} s", "< 5 s")
    assert worst < 10, "five, and what a busy host takes"
