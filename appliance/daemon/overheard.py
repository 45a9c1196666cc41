"""What a DHCP broadcast that passes by tells: a client's UUID, a server that is not ours. Pure.

All of it is the word of whoever is on the wire.
"""

from __future__ import annotations

import uuid
from collections.abc import Container
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from appliance.boot.dhcp_packet import DhcpPacket, MessageType, Opcode, Option
from appliance.plain_text import safe_text

_SMBIOS: Final = 0  # the type octet of option 97 (RFC 4578 section 2.3)
_BLANK: Final = frozenset({bytes(16), b"\xff" * 16})  # of boards that were never given one
_LONGEST_NAME: Final = 64
_NOWHERE: Final = IPv4Address(0)
_ANSWERS: Final = frozenset({MessageType.OFFER, MessageType.ACK, MessageType.NAK})


@dataclass(frozen=True, slots=True)
class Overheard:
    """A packet and the address that it came from."""

    packet: DhcpPacket
    source: IPv4Address


def client_uuid(packet: DhcpPacket) -> str | None:
    """The SMBIOS UUID that a client says, as iPXE prints it; None when it says none.

    The first three fields are little-endian on the wire, as in SMBIOS 2.6: every firmware that was seen sends
    them so.
    """
    raw = packet.options.get(Option.CLIENT_UUID, b"")
    if len(raw) != 17 or raw[0] != _SMBIOS or raw[1:] in _BLANK:
        return None
    return str(uuid.UUID(bytes_le=raw[1:]))


def chosen_server(packet: DhcpPacket, ours: Container[IPv4Address]) -> IPv4Address | None:
    """The server that a client chose among those that offered, when it is none of ours."""
    if packet.op is not Opcode.REQUEST or packet.message_type is not MessageType.REQUEST:
        return None
    named = packet.server_id
    return named if named is not None and is_host(named) and named not in ours else None


def answering_server(heard: Overheard, ours: Container[IPv4Address]) -> IPv4Address | None:
    """The server that spoke, when it is none of ours.

    Ours are told by the address that they send from: anybody can write any server identifier.
    """
    packet = heard.packet
    if packet.op is not Opcode.REPLY or packet.message_type not in _ANSWERS or heard.source in ours:
        return None
    for address in (packet.server_id, heard.source):
        if address is not None and is_host(address) and address not in ours:
            return address
    return None


def is_host(address: IPv4Address) -> bool:
    """Whether a host can have it; 240.0.0.0/4, the limited broadcast address in it, is reserved."""
    return not (address.is_unspecified or address.is_multicast or address.is_loopback or address.is_reserved)


def offered_address(packet: DhcpPacket) -> IPv4Address | None:
    """The address in an answer; None in that of a proxy DHCP server, or in a refusal."""
    return packet.yiaddr if packet.yiaddr != _NOWHERE else None


def offered_file(packet: DhcpPacket) -> str:
    """The boot file in an answer, safe to show; empty when there is none."""
    return safe_text(packet.bootfile, limit=_LONGEST_NAME)
