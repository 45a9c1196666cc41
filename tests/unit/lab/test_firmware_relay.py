"""The relay turns what the iPXE ROM says into what a plain ROM says, and touches nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from appliance.boot.dhcp_packet import Option, parse
from appliance.lab.firmware_relay import as_plain_rom, asks_for_boot_file, relay
from appliance.lab.frames import BROADCAST_MAC, UdpFrame, read_udp

PACKETS = Path(__file__).parents[2] / "corpus" / "pxe-packets"
NAMES = sorted(p.stem for p in PACKETS.glob("*.bin"))
DISCOVER = "bios-ipxe-rom-virtio-01-discover"


def frame_of(name: str) -> bytes:
    payload = (PACKETS / f"{name}.bin").read_bytes()
    return UdpFrame(
        payload[28:34],
        BROADCAST_MAC,
        IPv4Address("0.0.0.0"),
        IPv4Address("255.255.255.255"),
        68,
        67,
        payload,
    ).encode()


def tftp_question() -> bytes:
    words = b"\0\1undionly.kpxe\0octet\0"
    asker, server = IPv4Address("172.0.1.11"), IPv4Address("172.0.1.1")
    return UdpFrame(b"\x52" * 6, b"\x54" * 6, asker, server, 2070, 69, words).encode()


@pytest.mark.parametrize("name", NAMES)
def test_the_telltale_options_are_gone_and_all_others_stay(name: str) -> None:
    before = read_udp(frame_of(name))
    after = read_udp(as_plain_rom(frame_of(name)))
    assert before is not None
    assert after is not None
    said, left = parse(before.payload).options, parse(after.payload).options
    assert Option.USER_CLASS not in left
    assert Option.IPXE not in left
    assert {c: v for c, v in said.items() if c not in (Option.USER_CLASS, Option.IPXE)} == dict(left)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(tftp_question(), id="TFTP"),
        pytest.param(b"\xff" * 60, id="no IP"),
        pytest.param(frame_of(DISCOVER)[:200], id="cut"),
    ],
)
def test_everything_else_passes_unchanged(frame: bytes) -> None:
    assert as_plain_rom(frame) == frame


def test_port_67_without_dhcp_in_it_passes_unchanged() -> None:
    whole = read_udp(frame_of(DISCOVER))
    assert whole is not None
    broken = replace(whole, payload=whole.payload[:100]).encode()
    assert as_plain_rom(broken) == broken


def test_only_tftp_is_the_question_for_the_boot_file() -> None:
    assert asks_for_boot_file(tftp_question())
    assert not asks_for_boot_file(frame_of(DISCOVER))


@pytest.fixture
def lines() -> Iterator[tuple[tuple[socket.socket, socket.socket], ...]]:
    """Three wires, each with a near and a far end, that carry frames as packet sockets do."""
    pairs = tuple(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3))
    for near, far in pairs:
        near.settimeout(10)
        far.settimeout(10)
    yield pairs
    for near, far in pairs:
        near.close()
        far.close()


class Addressed:
    """A socket whose `recvfrom` names a packet's type, as AF_PACKET does and a socketpair cannot."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self.send = wire.send

    def fileno(self) -> int:
        return self._wire.fileno()

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int, int, int, bytes]]:
        return self._wire.recv(size), ("tap1", 3, socket.PACKET_HOST, 1, bytes(6))


def test_the_relay_ends_with_the_question_and_sends_it_by_the_bridge(
    lines: tuple[tuple[socket.socket, socket.socket], ...],
) -> None:
    (tap, machine), (leg, wire), (bridge, ports) = lines
    joined = threading.Event()
    thread = threading.Thread(
        target=relay,
        args=(Addressed(tap), Addressed(leg), bridge, joined.set, threading.Event()),
    )
    thread.start()
    machine.send(frame_of(DISCOVER))
    assert wire.recv(2048) == as_plain_rom(frame_of(DISCOVER))
    wire.send(b"an offer")
    assert machine.recv(2048) == b"an offer"
    machine.send(tftp_question())
    assert ports.recv(2048) == tftp_question()
    thread.join(10)
    assert joined.is_set()
    assert not thread.is_alive()


def test_the_relay_stops_when_told(lines: tuple[tuple[socket.socket, socket.socket], ...]) -> None:
    (tap, _), (leg, _), (bridge, _) = lines
    stop = threading.Event()
    thread = threading.Thread(target=relay, args=(Addressed(tap), Addressed(leg), bridge, lambda: None, stop))
    thread.start()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
