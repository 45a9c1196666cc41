"""Broken packets, made from real ones: the same seed gives the same bytes."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from tests.netns.wire import PACKETS, mac_bytes

_FIRST_STAGES: Final = (b"undionly.kpxe", b"ipxe.efi", b"nothing", b"../../etc/passwd", b"/", b"a" * 500)
_WORDS: Final = (
    b"\x1b]0;x\x07",
    b"%s%n%p",
    b"\0",
    b"\xff" * 64,
    b"<script>",
    b"${net0/mac}",
    b"\n",
    b"\r\nX: y",
    b"\x7f\x80\x9f",
    "\u202e".encode(),
)
_NUMBERS: Final = (0, 1, 4, 6, 7, 16, 127, 128, 254, 255)


def dhcp_seeds(macs: Sequence[str]) -> list[tuple[bytes, int]]:
    """Every recorded packet and its port: as it was sent, and as if by each of these MACs."""
    found = []
    for entry in json.loads((PACKETS / "index.json").read_text()):
        raw = (PACKETS / f"{entry['name']}.bin").read_bytes()
        port = int(entry["dport"])
        found.append((raw, port if port in {67, 4011} else 67))
        found += [(raw.replace(raw[28:34], mac_bytes(mac)), found[-1][1]) for mac in macs]
    return found


def tftp_seeds() -> list[bytes]:
    """One packet of each kind (RFC 1350, 2347, 2348, 2349, 7440), whole."""
    options = (
        b"",
        b"tsize\x000\0",
        b"blksize\x001432\0tsize\x000\0",
        b"blksize\x0065464\0windowsize\x0065535\0timeout\x00255\0",
        b"blksize\x000\0",
        b"blksize\x00-1\0",
        b"blksize\x0099999999999999999999\0",
        b"blksize\0\0",
        b"multicast\0\0",
    )
    reads = [b"\0\1" + name + b"\0octet\0" + more for name in _FIRST_STAGES for more in options]
    others = [
        b"\0\2undionly.kpxe\0octet\0",
        b"\0\3\0\1" + bytes(512),
        b"\0\4\0\1",
        b"\0\5\0\0enough\0",
        b"\0\6blksize\x001432\0",
        b"\0\1undionly.kpxe\0mail\0",
        b"\0\1undionly.kpxe\0netascii\0",
        b"\0\1undionly.kpxe",
        b"\0\1",
        b"",
    ]
    return reads + others


def mutated(rng: random.Random, seeds: Sequence[bytes]) -> Iterator[bytes]:
    """One broken packet after the other, for ever; about one in thirty is left whole."""
    while True:
        raw = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 5, 8, 20))):
            _break(rng, raw, seeds)
        yield bytes(raw[:1400])


def _break(rng: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    """One fault: bits, bytes, lengths, pieces of another packet, ends."""
    if not raw:
        raw += rng.randbytes(rng.randrange(1, 64))
    at = rng.randrange(len(raw))
    match rng.randrange(10):
        case 0:
            raw[at] ^= 1 << rng.randrange(8)
        case 1:
            raw[at] = rng.choice(_NUMBERS)
        case 2:
            del raw[at:]
        case 3:
            del raw[at : at + rng.randrange(1, 32)]
        case 4:
            raw[at:at] = rng.choice(_WORDS)
        case 5:
            other = rng.choice(seeds)
            begin = rng.randrange(len(other) + 1)
            raw[at:] = other[begin:]
        case 6:
            raw[at : at + 4] = struct.pack("!I", rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)))
        case 7:
            raw += rng.randbytes(rng.randrange(1, 300))
        case 8 if len(raw) > 300:
            _break_option(rng, raw)
        case _:
            raw[at : at + 2] = rng.randbytes(2)


def _break_option(rng: random.Random, raw: bytearray) -> None:
    """A DHCP option with another number, length or value, or once more."""
    places = []
    at = 240
    while at + 1 < len(raw) and raw[at] != 255:
        places.append(at)
        at += 2 + raw[at + 1] if raw[at] else 1
    if not places:
        return
    at = rng.choice(places)
    length = raw[at + 1]
    match rng.randrange(4):
        case 0:
            raw[at] = rng.randrange(256)
        case 1:
            raw[at + 1] = rng.choice((0, 1, 254, 255, length + 1 & 255, length - 1 & 255))
        case 2:
            raw[at + 2 : at + 2 + length] = rng.randbytes(length)
        case _:
            number = rng.choice((12, 43, 50, 53, 54, 55, 60, 61, 77, 82, 93, 97, 118, 175))
            value = rng.choice(_WORDS) if rng.random() < 0.5 else rng.randbytes(rng.choice((0, 1, 4, 255)))
            raw[at:at] = bytes([number, len(value)]) + value
