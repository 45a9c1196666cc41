"""Packets in others' names, and packets that no client sends: nobody is out, no stranger is answered."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.figures import Figures
from tests.netns.appliance import Appliance
from tests.netns.conftest import Link, Segment
from tests.netns.test_appliance import NODE1, NODE2, NODE3, OTHER_NIC, STRANGER, discover
from tests.netns.wire import (
    ACK,
    DECLINE,
    INFORM,
    OFFER,
    RELEASE,
    REQUEST,
    Packet,
    datagram,
    mac_bytes,
    pxe_options,
    request_of,
    tftp_get,
    udp_socket,
    wait_until,
)
from tests.wire.frames import BROADCAST, Asker, Census, Wiretap, frame, mac_at
from tests.wire.rack import percentile
from tests.wire.watched import Watched

pytestmark = pytest.mark.netns

SERVER, IP1 = socket.inet_aton("172.0.1.1"), socket.inet_aton("172.0.1.21")
THIEF = mac_bytes("02:de:ad:be:ef:01")


@pytest.fixture
def link(appliance: Appliance, segment: Segment) -> Link:
    appliance.serve()
    return segment.links[0]


@pytest.fixture
def asker(link: Link) -> Iterator[Asker]:
    with Asker(link) as made:
        yield made


def declined(mac: str = NODE1, ip: bytes = IP1) -> bytes:
    """A DECLINE as its machine would send it, from somebody else's NIC."""
    return frame(Packet(mac, kind=DECLINE, options={54: SERVER, 50: ip}).payload(), from_mac=THIEF)


def released() -> bytes:
    packet = Packet(NODE1, kind=RELEASE, options={54: SERVER}, ciaddr="172.0.1.21").payload()
    return frame(packet, source="172.0.1.21", from_mac=THIEF)


def acquire(asker: Asker, mac: str = NODE1) -> bool:
    """One exchange as the machine would try it; whether it has its address."""
    question = discover(mac)
    offer = asker.ask(question, seconds=0.2)
    if offer is None or offer.kind != OFFER:
        return False
    ack = asker.ask(request_of(question, offer), seconds=0.2)
    return ack is not None and ack.kind == ACK


def served_again(asker: Asker) -> float:
    """Seconds until it has its address."""
    began = time.monotonic()
    wait_until(lambda: acquire(asker), "node1 to be served again", 15)
    return time.monotonic() - began


@pytest.mark.timeout(3600)  # a night's size
@pytest.mark.parametrize("forged", ["decline", "release"])
def test_a_forged_word_takes_a_machine_out_for_three_seconds_at_most(
    appliance: Appliance,
    asker: Asker,
    figures: Figures,
    sized: Callable[[int, int], int],
    forged: str,
) -> None:
    assert acquire(asker)
    watched, waits = Watched(appliance), []
    for _ in range(sized(6, 40)):  # one after the other: the second comes before the first has been forgotten
        asker.send(declined() if forged == "decline" else released())
        waits.append(served_again(asker))
    assert appliance.await_event(forged, machine="node1")
    assert max(waits) <= 3
    watched.is_unhurt()
    figures.tell(
        "wire", f"forged {forged}: its machine is served again, worst", f"{max(waits):.2f} s", "<= 3 s"
    )


def test_a_machine_that_is_declined_ten_times_a_second_still_boots(
    appliance: Appliance, asker: Asker, figures: Figures
) -> None:
    assert acquire(asker)
    waits = []
    for _ in range(5):
        began = time.monotonic()
        deadline = began + 30

        def once() -> bool:
            asker.send(declined())
            asker.send(declined(NODE2, socket.inet_aton("172.0.1.22")))
            until = time.monotonic() + 0.1
            while time.monotonic() < until:
                if acquire(asker):
                    return True
            return False

        wait_until(once, "an address in the midst of it", deadline - began)
        waits.append(time.monotonic() - began)
    figures.tell(
        "wire", "declined 10 times a second: an address after", f"{percentile(waits, 1):.1f} s, worst"
    )
    wait_until(lambda: acquire(asker, NODE2), "the other one", 15)
    assert appliance.dnsmasq()["restarts"] == 0


def odd_packets(link: Link) -> dict[str, bytes]:
    """What no client of ours sends, by name; all from a NIC that is nobody's."""
    own = "172.0.1.1"
    our_mac = ":".join(f"{b:02x}" for b in mac_at(link.server, link.device))
    pxe = pxe_options(7)

    def of(
        mac: str,
        kind: int | None = 1,
        options: dict[int, bytes] | None = None,
        giaddr: str = "0.0.0.0",
        ciaddr: str = "0.0.0.0",
    ) -> bytes:
        return Packet(mac, kind, pxe | (options or {}), giaddr, ciaddr).payload()

    def patched(payload: bytes, at: int, new: bytes) -> bytes:
        return payload[:at] + new + payload[at + len(new) :]

    agent = b"\x01\x04eth0\x02\x06\x02\xde\xad\xbe\xef\x01"
    override = b"\x0b\x04\xac\x00\x01\x16\x05\x04\xac\x00\x01\x00"  # RFC 5107, RFC 3527
    stranger = of(STRANGER)
    packets = {
        "inform": of(STRANGER, INFORM, ciaddr="172.0.1.21"),
        "inform of nobody": of(STRANGER, INFORM),
        "inform from outside": of(STRANGER, INFORM, ciaddr="10.9.9.2"),
        **{f"type {n}": of(STRANGER, n) for n in (0, 2, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 255)},
        "lease query by address": of(STRANGER, 10, ciaddr="172.0.1.21"),
        "bootp": of(STRANGER, None),
        "bootp of a machine": of(NODE3, None),
        "bootp, token ring": patched(of(STRANGER, None), 1, b"\x06"),
        "htype 6": patched(stranger, 1, b"\x06"),
        "htype 255, hlen 16": patched(stranger, 1, b"\xff\x10"),
        "hlen 0": patched(stranger, 2, b"\0"),
        "hlen 255": patched(stranger, 2, b"\xff"),
        "hops 255": patched(stranger, 3, b"\xff"),
        "a reply to a server": patched(stranger, 0, b"\x02"),
        "op 9": patched(stranger, 0, b"\x09"),
        "our own mac": of(our_mac),
        "zero": of("00:00:00:00:00:00"),
        "broadcast": of("ff:ff:ff:ff:ff:ff"),
        "multicast": of("01:00:5e:00:00:01"),
        "client id of a machine": of(STRANGER, options={61: b"\x01" + mac_bytes(NODE1)}),
        "client id, request": of(STRANGER, REQUEST, {61: b"\x01" + mac_bytes(NODE1), 50: IP1, 54: SERVER}),
        "uuid of a machine": of(STRANGER, options={97: b"\0" + bytes(16)}),
        "another NIC": of(OTHER_NIC),
        "relay: us": of(STRANGER, giaddr=own),
        "relay: a machine": of(STRANGER, giaddr="172.0.1.21"),
        "relay: outside": of(STRANGER, giaddr="10.9.9.2"),
        "relay: broadcast": of(STRANGER, giaddr="255.255.255.255"),
        "relay: loopback": of(STRANGER, giaddr="127.0.0.1"),
        "relay: multicast": of(STRANGER, giaddr="224.0.0.1"),
        "agent": of(STRANGER, options={82: agent}),
        "agent with override": of(STRANGER, options={82: agent + override}, giaddr="172.0.1.22"),
        "subnet selector": of(STRANGER, options={118: socket.inet_aton("172.0.1.0")}),
        "rapid commit": of(STRANGER, options={80: b""}),
        "requested: ours": of(STRANGER, REQUEST, {50: SERVER, 54: SERVER}),
        "renewing": of(STRANGER, REQUEST, ciaddr="172.0.1.21"),
        "no options": patched(stranger[:240], 236, b"\0\0\0\0"),
        "overload": of(STRANGER, options={52: b"\x03"}),
        "maximum size 0": of(STRANGER, options={57: b"\0\0"}),
        "65 kB": stranger + bytes(1100),
        "user class iPXE": of(STRANGER, options={77: b"iPXE", 175: b"\xb1\x04\x80\x86\x10\x0e"}),
        "release of a machine": of(STRANGER, RELEASE, {54: SERVER}, ciaddr="172.0.1.22"),
        "decline of a machine": of(STRANGER, DECLINE, {54: SERVER, 50: IP1}),
    }
    found = {name: frame(packet, from_mac=THIEF) for name, packet in packets.items()}
    found["port 4011"] = frame(stranger, ports=(68, 4011), from_mac=THIEF)
    found["from our address"] = frame(stranger, source=own, from_mac=THIEF)
    found["from the broadcast address"] = frame(stranger, source="255.255.255.255", from_mac=THIEF)
    found["from port 67"] = frame(stranger, ports=(67, 67), from_mac=THIEF)
    return found | _fragments(stranger) | _arp(our_mac)


def _fragments(payload: bytes) -> dict[str, bytes]:
    """Halves without their other half, halves that overlap, an end before every beginning."""
    whole = datagram(payload, "172.0.1.222", "255.255.255.255", 68, 67)
    head, body = bytearray(whole[:20]), whole[20:]

    def part(offset: int, more: bool, data: bytes, number: int) -> bytes:
        header = bytearray(head)
        header[2:4] = struct.pack("!H", 20 + len(data))
        header[4:6] = struct.pack("!H", number)
        header[6:8] = struct.pack("!H", (0x2000 if more else 0) | offset // 8)
        header[10:12] = b"\0\0"
        total = sum(struct.unpack("!10H", header))
        total = (total & 0xFFFF) + (total >> 16)
        header[10:12] = struct.pack("!H", ~total & 0xFFFF)
        return BROADCAST + THIEF + b"\x08\x00" + bytes(header) + data

    return {
        "first half": part(0, True, body[:160], 1),
        "overlap 1": part(0, True, body[:160], 2),
        "overlap 2": part(80, False, body[80:], 2),
        "end alone": part(65528, False, bytes(16), 3),
        "tiny": part(0, True, body[:8], 4),
    }


def _arp(our_mac: str) -> dict[str, bytes]:
    """A thief says that our address, or a machine's, is his."""

    def claims(ip: str, op: int) -> bytes:
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, op) + THIEF + socket.inet_aton(ip)
        to = BROADCAST if op == 1 else mac_bytes(our_mac)
        return to + THIEF + b"\x08\x06" + body + to + socket.inet_aton(ip) + bytes(18)

    return {f"arp {op} for {ip}": claims(ip, op) for ip in ("172.0.1.1", "172.0.1.21") for op in (1, 2)}


def test_odd_packets_are_answered_with_nothing(
    appliance: Appliance, link: Link, asker: Asker, figures: Figures
) -> None:
    watched = Watched(appliance)
    packets = odd_packets(link)
    known = {mac_bytes(mac) for mac in (NODE1, NODE2, NODE3)}
    with Wiretap(link) as tap:
        with Census(tap) as census:
            for name, raw in packets.items():
                for _ in range(2):
                    asker.send(raw)
                wait_until(lambda: acquire(asker), f"node1 to be served after: {name}", 10)
        assert tap.lost == 0
    assert census.to_others_than(known) == 0, census.heard
    assert not {(mac_bytes(NODE3), kind) for kind in (0, OFFER, ACK)} & census.heard.keys(), "BOOTP"
    watched.is_unhurt()
    assert watched.unrecognised() == []
    assert not [e for e in appliance.events("offer", "ack") if e["machine"] is None]
    assert "Traceback" not in appliance.log()
    figures.tell("wire", f"answers to {len(packets)} kinds of odd packets of a stranger", "0", "0")


def test_tftp_takes_nothing_and_its_extremes_end(appliance: Appliance, link: Link) -> None:
    watched = Watched(appliance)
    root = appliance.root / "var/lib/pxe-appliance/tftp"
    before = listing(root)
    for name in (b"new", b"undionly.kpxe", b"../new", b"/etc/new"):
        assert told(link, b"\0\2" + name + b"\0octet\0")[:2] == b"\0\5"
    for packet in (
        b"\0\3\0\1" + bytes(512),
        b"\0\4\0\1",
        b"\0\6blksize\0008\0",
        b"\0\0",
        b"\0\x63",
        b"\0",
        b"",
    ):
        answer = told(link, packet, seconds=0.1)
        assert answer[:2] in {b"", b"\0\5"}
    for options in (
        b"blksize\0008\0",
        b"blksize\00065464\0",
        b"blksize\0000\0",
        b"blksize\0-1\0",
        b"windowsize\00065535\0",
        b"timeout\000255\0",
        b"tsize\000-1\0",
        b"tsize\00099999999999999999999\0",
        b"blksize\0",
        b"\0\0\0\0",
        b"x\0" * 200,
    ):
        answer = told(link, b"\0\1undionly.kpxe\0octet\0" + options)
        assert answer[1] in {3, 5, 6}, (options, answer[:60])
    assert len(tftp_get(link.clients, link.client_address, "172.0.1.1", "undionly.kpxe")) > 10_000
    assert listing(root) == before
    watched.is_unhurt()
    assert watched.unrecognised() == []


def listing(root: Path) -> list[tuple[str, int]]:
    return sorted((f.name, f.stat().st_mtime_ns) for f in root.iterdir())


def told(link: Link, packet: bytes, seconds: float = 3) -> bytes:
    """The first answer; whoever sent it hears that we want no more."""
    with udp_socket(link.clients, link.client_address) as sock:
        sock.settimeout(seconds)
        sock.sendto(packet, (link.address, 69))
        try:
            answer, peer = sock.recvfrom(70_000)
        except TimeoutError:
            return b""
        sock.sendto(b"\0\5\0\0enough\0", peer)
        return answer
