"""Broken DHCP and TFTP packets by the hundred thousand: nothing dies, spins, grows or stops serving."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.daemon.follow import ROTATE_AT
from tests.figures import Figures
from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.conftest import Link, Segment
from tests.netns.test_appliance import NODE1, NODE2, NODE3, OTHER_NIC, STRANGER, discover
from tests.netns.wire import tftp_get, wait_until
from tests.seeds import seeded
from tests.wire.frames import Asker, frame, mac_at
from tests.wire.mutants import dhcp_seeds, mutated, tftp_seeds
from tests.wire.watched import Watched

pytestmark = pytest.mark.netns

BURST = 120  # so many fit into a socket's buffer beside each other: what is sent is read, not dropped
MOST_WAITING = 5000  # signals: what an alert rule takes for too late
LOG_CAP = 2 * ROTATE_AT + (4 << 20)  # a log and the one before it, and what comes between two looks


def send_in_bursts(asker: Asker, packets: dict[str, list[bytes]], known: bytes, count: int) -> list[float]:
    """Send `count` packets, and after each burst wait for a known machine's answer; how long each took."""
    waits = []
    kinds = list(packets.values())
    for begin in range(0, count // len(kinds), BURST):
        for frames in kinds:
            for each in frames[begin : begin + BURST]:
                asker.send(each)
            began = time.monotonic()
            wait_until(lambda: asker.ask(known), "the known machine's answer", 20)
            waits.append(time.monotonic() - began)
    return waits


def made(rng: random.Random, link: Link, count: int, *, proxy: bool) -> dict[str, list[bytes]]:
    """Frames by kind: DHCP from known and unknown MACs, and TFTP from an address of the VLAN."""
    server, own = mac_at(link.server, link.device), mac_at(link.clients, link.client_device)
    seeds = dhcp_seeds([NODE2, NODE3, OTHER_NIC, STRANGER])
    each = count // 2
    broken = mutated(rng, [raw for raw, _ in seeds])
    ports = (67, 4011) if proxy else (67,)
    sources = ("0.0.0.0", "172.0.1.22", "172.0.1.222", "10.1.2.3", "255.255.255.255")

    def dhcp() -> bytes:
        raw = next(broken).ljust(34, b"\0")
        return frame(raw, source=rng.choice(sources), ports=(68, rng.choice(ports)), from_mac=raw[28:34])

    broken_tftp = mutated(rng, tftp_seeds())

    def tftp() -> bytes:
        ports = (rng.randrange(1024, 65536), 69)
        to = ("172.0.1.1", "172.0.1.1", "172.0.1.1", "255.255.255.255")
        return frame(next(broken_tftp), source="172.0.1.200", to=rng.choice(to), ports=ports,
                     from_mac=own, to_mac=server)  # fmt: skip

    return {"dhcp": [dhcp() for _ in range(each)], "tftp": [tftp() for _ in range(each)]}


def without_limits(appliance: Appliance, folder: Path) -> None:
    """As on a host without nftables: all that is sent reaches dnsmasq."""
    programs = folder / "programs"
    programs.mkdir()
    for place in os.environ["PATH"].split(":"):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            if program.name != "nft" and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    appliance.environment = {"PATH": str(programs)}


@pytest.mark.timeout(3600)  # a night's size
@pytest.mark.parametrize("mode", ["dhcp", "proxy"])
def test_broken_packets_break_nothing(
    appliance: Appliance,
    segment: Segment,
    open_tmp: Path,
    figures: Figures,
    sized: Callable[[int, int], int],
    mode: str,
) -> None:
    link = segment.links[0]
    without_limits(appliance, open_tmp)
    proxy = mode == "proxy"
    appliance.write(settings=SETTINGS + f'mode = "{mode}"\n')
    appliance.serve()
    known = discover(NODE1)
    watched = Watched(appliance)
    share = sized(80_000, 800_000) if not proxy else sized(20_000, 200_000)
    waits, sent, logs, late, began = [], 0, 0, 0, time.monotonic()
    rng = seeded("mutants")
    with Asker(link) as asker:
        while sent < share:  # in pieces: a million frames would not fit into memory
            count = min(20_000, share - sent)
            waits += send_in_bursts(asker, made(rng, link, count, proxy=proxy), known, count)
            sent += count
            logs, late = max(logs, watched.logs()), max(late, watched.waiting())
        took = time.monotonic() - began
        wait_until(lambda: asker.ask(discover(NODE1)), "the known machine's answer")
    assert "guard-missing" in {p["id"] for p in appliance.status()["problems"]}
    watched.is_unhurt(mended={"tftp": 2})
    assert logs < LOG_CAP
    assert late < MOST_WAITING
    assert watched.unrecognised() == []
    if not proxy:  # the TFTP server is the same in both modes, and its slots are all held for half a minute
        wait_until(lambda: _fetched(link), "a file by TFTP", 40)
        appliance.edit('args = ["console=ttyS0"]', 'args = ["console=ttyS1"]')
        assert "active and verified" in appliance.run("sync", "--yes").stdout
    watched.is_idle_again()
    assert "Traceback" not in appliance.log()
    grown = watched.grown()
    assert grown < 96, "MiB"
    waits.sort()
    restarts = appliance.dnsmasq()["restarts"]
    figures.tell(
        "wire", f"broken packets to a {mode} server: crashes, restarts", f"0, {restarts}", "0, mended"
    )
    figures.tell("wire", "... how many, in", f"{sent:,} in {took:.0f} s")
    figures.tell(
        "wire", "... known machine's OFFER p99", f"{waits[int(len(waits) * 0.99)] * 1000:.0f} ms", "< 1 s"
    )
    figures.tell("wire", "... signals that waited", f"{late:,}", "< 5,000")
    figures.tell("wire", "... memory grown, logs", f"{grown:.0f} MiB, {logs >> 20} MiB", "<= 96, 20 MiB")
    assert waits[int(len(waits) * 0.99)] < 1


def _fetched(link: Link) -> bool:
    try:
        return len(tftp_get(link.clients, "172.0.1.200", "172.0.1.1", "undionly.kpxe")) > 10_000
    except OSError:
        return False
