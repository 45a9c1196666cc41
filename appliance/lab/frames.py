"""Ethernet frames with IPv4 and UDP in them, as values. Pure: the relay and the strangers do the sending."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

BROADCAST_MAC: Final = b"\xff" * 6
_ETHERNET: Final = struct.Struct("!6s6sH")
_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
_UDP: Final = struct.Struct("!HHHH")
_TYPE_IPV4: Final = 0x0800
_PROTOCOL_UDP: Final = 17


@dataclass(frozen=True, slots=True)
class UdpFrame:
    """A UDP datagram together with the frame that carries it."""

    src_mac: bytes
    dst_mac: bytes
    src: IPv4Address
    dst: IPv4Address
    sport: int
    dport: int
    payload: bytes

    def encode(self) -> bytes:
        """The frame as on the wire, checksums filled in, without padding."""
        length = _UDP.size + len(self.payload)
        udp = self._udp(length, 0)
        pseudo = self.src.packed + self.dst.packed + struct.pack("!BBH", 0, _PROTOCOL_UDP, length)
        # A sum of zero is written as ones: zero means "not computed" (RFC 768).
        udp = self._udp(length, checksum(pseudo + udp + self.payload) or 0xFFFF)
        header = self._ipv4(length, 0)
        header = self._ipv4(length, checksum(header))
        return _ETHERNET.pack(self.dst_mac, self.src_mac, _TYPE_IPV4) + header + udp + self.payload

    def _udp(self, length: int, total: int) -> bytes:
        return _UDP.pack(self.sport, self.dport, length, total)

    def _ipv4(self, length: int, total: int) -> bytes:
        size = _IPV4.size + length
        return _IPV4.pack(0x45, 0, size, 0, 0, 64, _PROTOCOL_UDP, total, self.src.packed, self.dst.packed)


def read_udp(frame: bytes) -> UdpFrame | None:
    """The UDP datagram in `frame`; None when it holds none, a fragment, or lengths that do not fit."""
    if len(frame) < _ETHERNET.size + _IPV4.size:
        return None
    dst_mac, src_mac, kind = _ETHERNET.unpack_from(frame)
    packet = frame[_ETHERNET.size :]
    version, _, total, _, fragment, _, protocol, _, src, dst = _IPV4.unpack_from(packet)
    header = (version & 0x0F) * 4
    if kind != _TYPE_IPV4 or version >> 4 != 4 or protocol != _PROTOCOL_UDP or fragment & 0x3FFF:
        return None
    if header < _IPV4.size or not header + _UDP.size <= total <= len(packet):
        return None
    sport, dport, length, _ = _UDP.unpack_from(packet, header)
    if not _UDP.size <= length <= total - header:
        return None
    payload = packet[header + _UDP.size : header + length]
    return UdpFrame(src_mac, dst_mac, IPv4Address(src), IPv4Address(dst), sport, dport, payload)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of `data`."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
