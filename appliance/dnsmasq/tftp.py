"""A TFTP client, for asking our own child for what it serves (RFC 1350, 2347, 2348). Blocking."""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import IPv4Address
from typing import Final

_PORT: Final = 69
_READ, _DATA, _ACK, _ERROR, _OPTIONS = 1, 3, 4, 5, 6
_BLOCK: Final = 1400  # fits a frame of 1500 with room for a VLAN tag
_LARGEST: Final = 32 << 20
_TRIES: Final = 4
_FULL: Final = struct.pack("!HH", _ERROR, 3) + b"enough\0"


class TftpRefused(Exception):
    """The server's ERROR, or an answer that is none of TFTP's; the message says which."""


def tftp_get(address: IPv4Address, name: str, *, timeout: float = 1.0, within: float = 60.0) -> bytes:
    """Fetch `name` from the server at `address`, which is one of this host.

    Args:
        address: where to ask, and from where.
        name: of the file.
        timeout: seconds for one block, tried four times.
        within: seconds for all of it.

    Raises:
        TftpRefused: the server says no, or talks nonsense.
        TimeoutError: it does not answer, or not in time.
        OSError: the address is not ours.
    """
    until = time.monotonic() + within
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.bind((str(address), 0))
        channel.settimeout(timeout)
        question = struct.pack("!H", _READ) + name.encode() + b"\0octet\0blksize\0%d\0" % _BLOCK
        peer = (str(address), _PORT)
        size, content, block = 512, bytearray(), 0
        while True:
            packet, peer = _answer(channel, question, peer, until)
            kind, number = struct.unpack_from("!HH", packet)
            if kind == _OPTIONS and block == 0:
                size = _block_size(packet)
                question = struct.pack("!HH", _ACK, 0)
                continue
            if kind == _ERROR:
                raise TftpRefused(packet[4:].rstrip(b"\0").decode("utf-8", "replace")[:200] or "refused")
            if kind != _DATA:
                raise TftpRefused(f"opcode {kind} in place of data")
            if number != (block + 1) % 0x10000:
                question = struct.pack("!HH", _ACK, block)
                continue
            block = number
            content += packet[4:]
            question = struct.pack("!HH", _ACK, block)
            if len(packet) - 4 < size:
                channel.sendto(question, peer)
                return bytes(content)
            if len(content) > _LARGEST:
                channel.sendto(_FULL, peer)
                raise TftpRefused(f"more than {_LARGEST >> 20} MiB")


def _answer(
    channel: socket.socket, question: bytes, peer: tuple[str, int], until: float
) -> tuple[bytes, tuple[str, int]]:
    """Ask until something comes; a transfer goes on with the port that answered first (RFC 1350, 4)."""
    for _ in range(_TRIES):
        channel.sendto(question, peer)
        if time.monotonic() > until:
            break
        try:
            packet, source = channel.recvfrom(65535)
        except TimeoutError:
            continue
        if len(packet) >= 4 and source[0] == peer[0] and peer[1] in {_PORT, source[1]}:
            return packet, source
    raise TimeoutError("no answer")


def _block_size(packet: bytes) -> int:
    """The agreed block size of an OACK."""
    words = packet[2:].rstrip(b"\0").split(b"\0")
    said = dict(zip(words[::2], words[1::2], strict=False))
    value = next((raw for key, raw in said.items() if key.lower() == b"blksize"), b"512")
    if not value.isdigit() or not 8 <= int(value) <= _BLOCK:
        raise TftpRefused(f"a block size of {value[:20]!r}")
    return int(value)
