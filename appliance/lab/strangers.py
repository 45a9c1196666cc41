"""Raw DHCP clients: they ask on the wire as any MAC, with any options, and collect whatever answers.

The lab uses one as the stranger that must hear nothing; tests use them as clients of every kind.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from appliance.addresses import Mac
from appliance.boot.dhcp_packet import (
    CLIENT_PORT,
    SERVER_PORT,
    DhcpPacket,
    Opcode,
    Option,
    discover,
    encode,
    parse,
    request,
)
from appliance.lab.frames import BROADCAST_MAC, UdpFrame, read_udp

_NOWHERE: Final = IPv4Address("0.0.0.0")
_EVERYWHERE: Final = IPv4Address("255.255.255.255")
_LONGEST_FRAME: Final = 65535
_MOST_ANSWERS: Final = 100
# What a BIOS PXE ROM says of itself: a server that talks to PXE clients only must have its chance to fail.
PXE_ROM: Final[Mapping[int, bytes]] = {
    Option.VENDOR_CLASS: b"PXEClient:Arch:00000:UNDI:002001",
    Option.CLIENT_ARCH: b"\0\0",
    Option.PARAMETERS: bytes([1, 3, 6, 12, 43, 60, 66, 67]),
}


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds before each DISCOVER (as iPXE's own first three), and after what nothing more is said."""

    gaps: tuple[float, ...] = (0.0, 1.0, 2.0)
    listen: float = 1.5


@dataclass(frozen=True, slots=True)
class Heard:
    """A server's message, and the MAC that it came from."""

    packet: DhcpPacket
    server_mac: str


def ask(wire: socket.socket, packet: DhcpPacket, *, wait: float, enough: int = _MOST_ANSWERS) -> list[Heard]:
    """Broadcast `packet` on the packet socket `wire`; what servers answered within `wait` seconds.

    It returns as soon as `enough` answers are in. Answers are told by the transaction id and the MAC.
    """
    say(wire, packet)
    return list(hear(wire, packet.xid, packet.mac, wait=wait, enough=enough))


def say(wire: socket.socket, packet: DhcpPacket) -> None:
    """Broadcast `packet` from the MAC that it speaks for, without waiting."""
    frame = UdpFrame(
        packet.mac.octets, BROADCAST_MAC, _NOWHERE, _EVERYWHERE, CLIENT_PORT, SERVER_PORT, encode(packet)
    )
    wire.send(frame.encode())


def hear(
    wire: socket.socket, xid: int, mac: Mac, *, wait: float, enough: int = _MOST_ANSWERS
) -> Iterator[Heard]:
    """Servers' messages to (`xid`, `mac`) within `wait` seconds, at most `enough`."""
    deadline = time.monotonic() + wait
    found = 0
    while found < enough and (left := deadline - time.monotonic()) > 0:
        if not select.select([wire], [], [], left)[0]:
            return
        frame = wire.recv(_LONGEST_FRAME)
        udp = read_udp(frame)
        if udp is None or (udp.sport, udp.dport) != (SERVER_PORT, CLIENT_PORT):
            continue
        try:
            packet = parse(udp.payload)
        except ValueError:
            continue
        if packet.op is Opcode.REPLY and packet.xid == xid and packet.mac == mac:
            found += 1
            yield Heard(packet, udp.src_mac.hex(":"))


def knock(
    wire: socket.socket, mac: Mac, *, covet: IPv4Address, xid: int, patience: Patience | None = None
) -> list[Heard]:
    """Everything a stranger tries: DISCOVER as firmware repeats it, then a REQUEST for somebody's address.

    Args:
        covet: an address that is reserved for somebody else.

    Returns:
        What servers answered; nothing, where they own their wire.
    """
    patience = patience or Patience()
    heard: list[Heard] = []
    seconds = 0.0
    for gap in patience.gaps:
        heard += hear(wire, xid, mac, wait=gap)
        seconds += gap
        say(wire, discover(mac, xid, options=PXE_ROM, secs=int(seconds)))
    heard += hear(wire, xid, mac, wait=patience.listen)
    heard += ask(wire, request(mac, xid + 1, address=covet, options=PXE_ROM), wait=patience.listen)
    return heard
