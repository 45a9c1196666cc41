"""A journald that reads its socket and takes entries apart; or that is there and does not read.

Not the product's code: it knows journald's native protocol by itself.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Journal:
    """Entries as they came, each a field's value by its name."""

    entries: list[dict[str, str]] = field(default_factory=list)
    socket: socket.socket | None = None

    def with_fields(self, **wanted: str) -> list[dict[str, str]]:
        return [e for e in self.entries if all(e.get(k) == v for k, v in wanted.items())]


@contextlib.contextmanager
def journal(place: Path, *, reads: bool = True) -> Iterator[Journal]:
    """Be a journald at `place` for as long as the block runs."""
    place.parent.mkdir(parents=True, exist_ok=True)
    state = Journal()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(place))
        place.chmod(0o666)
        state.socket = listener
        if reads:
            listener.settimeout(0.05)
        over = threading.Event()
        thread = threading.Thread(target=_read, args=(listener, state, over))
        if reads:
            thread.start()
        try:
            yield state
        finally:
            over.set()
            if reads:
                thread.join()
            place.unlink()


def _read(listener: socket.socket, state: Journal, over: threading.Event) -> None:
    while not over.is_set():
        try:
            state.entries.append(entry(listener.recv(1 << 20)))
        except TimeoutError:
            continue


def entry(raw: bytes) -> dict[str, str]:
    """One datagram: `NAME=value` lines, or a name alone, a length of eight bytes, and a value of bytes."""
    found: dict[str, str] = {}
    while raw:
        line, _, rest = raw.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[8 + length + 1 :]
        assert name.isupper(), raw
        found[name.decode()] = value.decode()
        raw = rest
    return found
