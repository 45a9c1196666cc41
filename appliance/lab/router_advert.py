"""The lab's answer to IPv6 router solicitations: "here is a router, and it routes nothing" (RFC 4861).

The iPXE of Debian 12 waits 13 to 16 seconds for an IPv6 router at every stage when nobody answers. A lab
wants those seconds back; a real PXE VLAN gets no router advertisements from this project.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from typing import Final

from appliance.lab import dhcp6_nothing
from appliance.lab.frames import checksum

_ETHERNET: Final = struct.Struct("!6s6sH")
_IPV6: Final = struct.Struct("!IHBB16s16s")
_TYPE_IPV6: Final = 0x86DD
_ICMPV6: Final = 58
_SOLICITATION: Final = 133
_ADVERTISEMENT: Final = 134
_ALL_NODES: Final = bytes.fromhex("ff02" + "00" * 13 + "01")
_ALL_NODES_MAC: Final = bytes.fromhex("333300000001")
_POLL: Final = 0.25  # seconds between two looks at `stop`


def answer(frame: bytes, own_mac: bytes) -> bytes | None:
    """The advertisement, of router lifetime 0, that answers `frame`; None when that is no solicitation."""
    if len(frame) < _ETHERNET.size + _IPV6.size + 8:
        return None
    _, asker_mac, kind = _ETHERNET.unpack_from(frame)
    if kind != _TYPE_IPV6:
        return None
    _, _, following, hops, asker, _ = _IPV6.unpack_from(frame, _ETHERNET.size)
    # Hop limit 255 proves that the asker is on this link (RFC 4861 section 6.1.1).
    if following != _ICMPV6 or hops != 255 or frame[_ETHERNET.size + _IPV6.size] != _SOLICITATION:
        return None
    unnamed = asker == bytes(16)
    to_mac, to = (_ALL_NODES_MAC, _ALL_NODES) if unnamed else (asker_mac, asker)
    own = bytes.fromhex("fe80") + bytes(6) + _eui64(own_mac)
    # Type, code, checksum, hop limit, no flags, then three lifetimes of zero.
    body = struct.pack("!BBHBBHII", _ADVERTISEMENT, 0, 0, 64, 0, 0, 0, 0)
    pseudo = own + to + struct.pack("!II", len(body), _ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = _IPV6.pack(6 << 28, len(body), _ICMPV6, 255, own, to)
    return _ETHERNET.pack(to_mac, own_mac, _TYPE_IPV6) + header + body


def advertise(leg: socket.socket, stop: threading.Event) -> None:
    """Answer every solicitation, of a router or of a DHCPv6 server, that arrives on the packet socket `leg`.

    Until `stop` is set.
    """
    own_mac: bytes = leg.getsockname()[4]
    while not stop.is_set():
        if not select.select([leg], [], [], _POLL)[0]:
            continue
        frame, address = leg.recvfrom(2048)
        reply = answer(frame, own_mac) or dhcp6_nothing.answer(frame, own_mac)
        if reply is not None and address[2] != socket.PACKET_OUTGOING:
            leg.send(reply)


def _eui64(mac: bytes) -> bytes:
    return bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
