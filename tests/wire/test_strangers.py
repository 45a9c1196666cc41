"""Ten thousand strangers at once: none of them gets a word, and every machine gets its address."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from tests.figures import Figures
from tests.netns.appliance import Appliance
from tests.netns.conftest import Link
from tests.netns.wire import ACK, OFFER, REQUEST, Packet, mac_bytes, pxe_options, wait_until
from tests.wire.frames import Census, Wiretap, frame, sender
from tests.wire.rack import Swarm, ip_of, mac_of, percentile, strange_mac

pytestmark = pytest.mark.netns

MACHINES = 250
ROUNDS = 3
MOST = 20_000_000  # frames: an end, whatever happens


def frames_of_strangers(count: int) -> list[bytes]:
    """A DISCOVER and a REQUEST of each, the three kinds of REQUEST in turn (RFC 2131, 4.3.2)."""
    server, wanted = socket.inet_aton("172.0.1.1"), socket.inet_aton(ip_of(7))
    kinds: list[dict[int, bytes]] = [{54: server, 50: wanted}, {50: wanted}, {}]
    packets = [
        Packet("02:00:00:00:00:00", options=pxe_options(0)).payload(),
        *(Packet("02:00:00:00:00:00", kind=REQUEST, options=o | pxe_options(7)).payload() for o in kinds),
    ]
    found = []
    for i in range(count):
        for packet in (packets[0], packets[1 + i % 3]):
            own = bytearray(packet)
            own[4:8] = struct.pack("!I", 0x5A000000 + i)
            own[28:34] = strange_mac(i)
            if packet is packets[3]:  # renewing: it claims the address that it asks for
                own[12:16] = wanted
            found.append(frame(bytes(own), source=ip_of(7) if packet is packets[3] else "0.0.0.0"))
    return found


@contextmanager
def shouting(link: Link, frames: list[bytes], rounds: int) -> Iterator[list[int]]:
    """Send them from a thread as fast as it goes, so many times and on until the end; how many were sent."""
    sent = [0]
    over = threading.Event()

    def send() -> None:
        with closing(sender(link)) as out:
            while sent[0] < MOST and not (over.is_set() and sent[0] >= rounds * len(frames)):
                for each in frames:
                    out.send(each)
                sent[0] += len(frames)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()


@pytest.mark.timeout(3600)  # a night's size
def test_ten_thousand_strangers_get_nothing_and_250_machines_their_addresses(
    rack: Appliance, rack_link: Link, figures: Figures, sized: Callable[[int, int], int]
) -> None:
    rack.serve()
    before = {c["name"]: c["pid"] for c in rack.dnsmasq()["children"]}
    frames = frames_of_strangers(10_000)
    rounds = ROUNDS * sized(1, 10)
    with closing(sender(rack_link)) as out, Wiretap(rack_link) as tap, Wiretap(rack_link) as ear:
        with Census(tap) as census:
            with shouting(rack_link, frames, rounds) as sent:
                wait_until(lambda: sent[0], "the flood to be under way")
                swarm = Swarm(ear, out, MACHINES)
                began = time.monotonic()
                swarm.boot(within=60)
                took = time.monotonic() - began
            wait_until(lambda: rack.events("ack"), "the daemon to have read what was said")
        lost = tap.lost + ear.lost
    assert sent[0] >= len(frames) * rounds
    known = {mac_bytes(mac_of(i)) for i in range(MACHINES)}
    assert lost == 0, "the count is of everything"
    assert len(swarm.took) == MACHINES, f"{MACHINES - len(swarm.took)} were not served within a minute"
    assert swarm.wrong == []
    assert census.to_others_than(known) == 0
    assert sum(n for (_, kind), n in census.heard.items() if kind == ACK) >= MACHINES
    assert sum(n for (_, kind), n in census.heard.items() if kind == OFFER) >= MACHINES
    times = list(swarm.took.values())
    figures.tell("wire", f"offers to {sent[0]:,} packets of 10,000 strangers", "0", "0")
    figures.tell("wire", "250 machines served while it goes on: all", f"{took:.1f} s", "<= 30 s")
    figures.tell("wire", "... p50 / p99", f"{percentile(times, 0.5):.2f} / {percentile(times, 0.99):.2f} s")
    assert took <= 30
    assert {c["name"]: c["pid"] for c in rack.dnsmasq()["children"]} == before
