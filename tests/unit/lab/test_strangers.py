"""A raw client believes only answers that are its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from types import MappingProxyType

import pytest

from appliance.addresses import Mac
from appliance.boot.dhcp_packet import DhcpPacket, MessageType, Opcode, Option, discover, encode, parse
from appliance.lab.frames import UdpFrame, read_udp
from appliance.lab.strangers import PXE_ROM, Patience, ask, knock

FAST = Patience(gaps=(0.0, 0.01, 0.01), listen=0.01)
MAC = Mac.parse("52:54:00:1a:bf:01")
SERVER_MAC = bytes.fromhex("52540000ff01")
SERVER = IPv4Address("172.0.1.1")
OFFER = DhcpPacket(
    Opcode.REPLY,
    7,
    MAC,
    MappingProxyType({int(Option.MESSAGE_TYPE): bytes([MessageType.OFFER])}),
    yiaddr=IPv4Address("172.0.1.20"),
)


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far.settimeout(10)
    with near, far:
        yield near, far


def answer(packet: DhcpPacket, *, sport: int = 67, dport: int = 68) -> bytes:
    return UdpFrame(SERVER_MAC, MAC.octets, SERVER, packet.yiaddr, sport, dport, encode(packet)).encode()


def test_an_answer_is_heard_with_the_servers_mac(wire: tuple[socket.socket, socket.socket]) -> None:
    near, far = wire
    far.send(answer(OFFER))
    heard = ask(near, discover(MAC, 7, options=PXE_ROM), wait=10, enough=1)
    assert [(h.packet.yiaddr, h.server_mac) for h in heard] == [(OFFER.yiaddr, "52:54:00:00:ff:01")]
    question = read_udp(far.recv(2048))
    assert question is not None
    assert (question.sport, question.dport, str(question.dst)) == (68, 67, "255.255.255.255")
    assert parse(question.payload).options[Option.VENDOR_CLASS].startswith(b"PXEClient")


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(answer(replace(OFFER, xid=8)), id="another transaction"),
        pytest.param(answer(replace(OFFER, mac=Mac.parse("52:54:00:00:00:09"))), id="another client"),
        pytest.param(answer(replace(OFFER, op=Opcode.REQUEST)), id="a question"),
        pytest.param(answer(OFFER, dport=67), id="for a relay"),
        pytest.param(answer(OFFER)[:200], id="cut"),
        pytest.param(b"\0" * 60, id="no IP"),
        pytest.param(UdpFrame(SERVER_MAC, MAC.octets, SERVER, SERVER, 67, 68, b"x").encode(), id="no DHCP"),
    ],
)
def test_what_is_not_for_it_is_not_heard(wire: tuple[socket.socket, socket.socket], frame: bytes) -> None:
    near, far = wire
    far.send(frame)
    far.send(answer(OFFER))
    heard = ask(near, discover(MAC, 7), wait=10, enough=1)
    assert [h.packet for h in heard] == [parse(encode(OFFER))]


def test_silence_is_heard_as_nothing(wire: tuple[socket.socket, socket.socket]) -> None:
    assert ask(wire[0], discover(MAC, 7), wait=0.01) == []


def test_a_stranger_asks_as_firmware_does_and_then_wants_somebody_elses_address(
    wire: tuple[socket.socket, socket.socket],
) -> None:
    near, far = wire
    asked: list[tuple[MessageType | None, bytes | None]] = []

    def listen() -> None:
        for _ in range(4):
            udp = read_udp(far.recv(2048))
            assert udp is not None
            packet = parse(udp.payload)
            asked.append((packet.message_type, packet.options.get(Option.REQUESTED_ADDRESS)))

    thread = threading.Thread(target=listen)
    thread.start()
    assert knock(near, MAC, covet=OFFER.yiaddr, xid=7, patience=FAST) == []
    thread.join(10)
    assert asked == [
        *[(MessageType.DISCOVER, None)] * 3,
        (MessageType.REQUEST, OFFER.yiaddr.packed),
    ]
