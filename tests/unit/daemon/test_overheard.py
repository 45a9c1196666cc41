"""What a broadcast tells: hostile until shown otherwise."""

from __future__ import annotations

from ipaddress import IPv4Address
from types import MappingProxyType

import pytest

from appliance.addresses import Mac
from appliance.boot.dhcp_packet import DhcpPacket, MessageType, Opcode, Option, discover, parse, request
from appliance.daemon.overheard import (
    Overheard,
    answering_server,
    chosen_server,
    client_uuid,
    offered_address,
    offered_file,
)
from tests.netns.wire import captured, recorded_names

MAC = Mac.parse("52:54:00:aa:00:01")
OURS = frozenset({IPv4Address("172.0.1.1")})
THIEF = IPv4Address("172.0.1.66")


def reply(kind: MessageType, server: str | None, **changed: object) -> DhcpPacket:
    options = {int(Option.MESSAGE_TYPE): bytes([kind])}
    if server is not None:
        options[Option.SERVER_ID] = IPv4Address(server).packed
    return DhcpPacket(Opcode.REPLY, 1, MAC, MappingProxyType(options), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "uuid"),
    [
        (b"\0" + bytes.fromhex("33221100554477668899aabbccddeeff"), "00112233-4455-6677-8899-aabbccddeeff"),
        (b"\1" + bytes.fromhex("33221100554477668899aabbccddeeff"), None),
        (b"\0" + bytes.fromhex("33221100554477668899aabbccddee"), None),
        (b"\0" + bytes.fromhex("33221100554477668899aabbccddeeff00"), None),
        (b"\0" + bytes(16), None),
        (b"\0" + b"\xff" * 16, None),
        (b"", None),
    ],
)
def test_a_uuid_is_of_type_zero_and_means_something(raw: bytes, uuid: str | None) -> None:
    assert client_uuid(discover(MAC, 1, options={Option.CLIENT_UUID: raw})) == uuid


def test_recorded_firmware_tells_its_uuid() -> None:
    said = {name: client_uuid(parse(captured(name, str(MAC)))) for name in recorded_names()}
    assert any(said.values())
    assert client_uuid(discover(MAC, 1)) is None


@pytest.mark.parametrize(
    ("server", "chosen"),
    [("172.0.1.66", "172.0.1.66"), ("10.9.9.9", "10.9.9.9"), ("172.0.1.1", None), ("0.0.0.0", None)]
    + [(each, None) for each in ("255.255.255.255", "224.0.0.1", "127.0.0.1", "240.0.0.1")],
)
def test_a_client_chooses_a_host_that_is_not_ours(server: str, chosen: str | None) -> None:
    packet = request(MAC, 1, address=IPv4Address("172.0.1.150"), server=IPv4Address(server))
    assert chosen_server(packet, OURS) == (IPv4Address(chosen) if chosen else None)


def test_other_messages_choose_nobody() -> None:
    named = {int(Option.SERVER_ID): THIEF.packed}
    assert chosen_server(discover(MAC, 1, options=named), OURS) is None
    assert chosen_server(request(MAC, 1, address=THIEF), OURS) is None
    assert chosen_server(request(MAC, 1, address=THIEF, options={Option.SERVER_ID: b"\1\2\3"}), OURS) is None
    assert chosen_server(reply(MessageType.ACK, str(THIEF)), OURS) is None


@pytest.mark.parametrize("kind", [MessageType.OFFER, MessageType.ACK, MessageType.NAK])
@pytest.mark.parametrize(
    ("server", "source", "found"),
    [
        ("172.0.1.66", "172.0.1.66", "172.0.1.66"),
        ("10.0.0.1", "172.0.1.254", "10.0.0.1"),  # behind a relay
        (None, "172.0.1.66", "172.0.1.66"),
        ("0.0.0.0", "172.0.1.66", "172.0.1.66"),
        ("172.0.1.1", "172.0.1.66", "172.0.1.66"),  # it says that it is us
        ("172.0.1.1", "172.0.1.1", None),
        ("172.0.1.66", "172.0.1.1", None),
        ("224.0.0.1", "0.0.0.0", None),
    ],
)
def test_a_server_is_told_by_where_it_speaks_from(
    kind: MessageType, server: str | None, source: str, found: str | None
) -> None:
    heard = Overheard(reply(kind, server), IPv4Address(source))
    assert answering_server(heard, OURS) == (IPv4Address(found) if found else None)


def test_a_client_is_no_server() -> None:
    packet = request(MAC, 1, address=THIEF, server=THIEF)
    assert answering_server(Overheard(packet, THIEF), OURS) is None
    assert answering_server(Overheard(reply(MessageType.DISCOVER, str(THIEF)), THIEF), OURS) is None


def test_an_offer_is_shown_safely() -> None:
    packet = reply(MessageType.OFFER, str(THIEF), yiaddr=THIEF, file=b"\x1b[31m" + b"x" * 100)
    assert offered_address(packet) == THIEF
    shown = offered_file(packet)
    assert "\x1b" not in shown
    assert len(shown) <= 64
    assert offered_address(reply(MessageType.OFFER, str(THIEF))) is None
    assert offered_file(reply(MessageType.OFFER, str(THIEF))) == ""
