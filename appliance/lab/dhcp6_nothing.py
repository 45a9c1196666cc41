"""The lab's answer to DHCPv6: "here is a server, and it has nothing to boot" (RFC 8415). Pure.

UEFI firmware that cannot boot over IPv4 tries HTTP boot over IPv6 before its disk, and waits a minute for a
DHCPv6 server. An advertisement without a boot file URL ends that at once. A real PXE VLAN gets no DHCPv6
from this project.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from appliance.lab.frames import checksum

_ETHERNET: Final = struct.Struct("!6s6sH")
_IPV6: Final = struct.Struct("!IHBB16s16s")
_UDP: Final = struct.Struct("!HHHH")
_OPTION: Final = struct.Struct("!HH")
_TYPE_IPV6: Final = 0x86DD
_PROTOCOL_UDP: Final = 17
_CLIENT_PORT, _SERVER_PORT = 546, 547
_SOLICIT, _ADVERTISE = 1, 2
_CLIENT_ID, _SERVER_ID, _IA_NA, _IA_ADDRESS, _PREFERENCE = 1, 2, 3, 5, 7
_PREFIX: Final = bytes.fromhex("fd0070786500") + bytes(2)  # of addresses that nobody ever takes
_LIFETIME: Final = 60  # seconds


def answer(frame: bytes, own_mac: bytes) -> bytes | None:
    """The advertisement that answers `frame`; None when that is no solicitation."""
    start = _ETHERNET.size + _IPV6.size
    if len(frame) < start + _UDP.size + 4:
        return None
    _, asker_mac, kind = _ETHERNET.unpack_from(frame)
    _, _, following, _, asker, _ = _IPV6.unpack_from(frame, _ETHERNET.size)
    ports = _UDP.unpack_from(frame, start)[:2]
    message = frame[start + _UDP.size :]
    if kind != _TYPE_IPV6 or following != _PROTOCOL_UDP or ports != (_CLIENT_PORT, _SERVER_PORT):
        return None
    if message[0] != _SOLICIT:
        return None
    said = dict(_options(message[4:]))
    # It has to carry an address, or a client takes it for no offer at all.
    address = _PREFIX + own_mac[:2] + asker_mac
    lease = _option(_IA_ADDRESS, address + struct.pack("!II", _LIFETIME, _LIFETIME))
    reply = (
        bytes([_ADVERTISE])
        + message[1:4]
        + _option(_CLIENT_ID, said.get(_CLIENT_ID, b""))
        + _option(_SERVER_ID, struct.pack("!HH", 3, 1) + own_mac)
        + _option(_PREFERENCE, b"\xff")  # no need to wait for a better one
        + _option(_IA_NA, said.get(_IA_NA, bytes(12))[:12] + lease)
    )
    own = (
        bytes.fromhex("fe80") + bytes(6) + bytes([own_mac[0] ^ 2]) + own_mac[1:3] + b"\xff\xfe" + own_mac[3:]
    )
    length = _UDP.size + len(reply)
    pseudo = own + asker + struct.pack("!II", length, _PROTOCOL_UDP)
    total = checksum(pseudo + _UDP.pack(_SERVER_PORT, _CLIENT_PORT, length, 0) + reply) or 0xFFFF
    udp = _UDP.pack(_SERVER_PORT, _CLIENT_PORT, length, total) + reply
    header = _IPV6.pack(6 << 28, length, _PROTOCOL_UDP, 255, own, asker)
    return _ETHERNET.pack(asker_mac, own_mac, _TYPE_IPV6) + header + udp


def _options(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while len(raw) >= _OPTION.size:
        code, length = _OPTION.unpack_from(raw)
        yield code, raw[_OPTION.size : _OPTION.size + length]
        raw = raw[_OPTION.size + length :]


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + value
