"""Frames as bytes, made before they are sent, and an ear on the wire that loses none.

What is counted is what came down the wire, never what the appliance says of itself.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from tests.netns.conftest import Link
from tests.netns.wire import Reply, datagram, inside

BROADCAST: Final = b"\xff" * 6
_SOL_PACKET, _PACKET_STATISTICS, _SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 263, 6, 33, 26
_ROOM: Final = 64 << 20  # bytes
_REPLY: Final = 2  # op
_UDP_FROM: Final = 20  # offset of the source port behind an IPv4 header without options


def frame(
    payload: bytes,
    *,
    source: str = "0.0.0.0",
    to: str = "255.255.255.255",
    ports: tuple[int, int] = (68, 67),
    from_mac: bytes | None = None,
    to_mac: bytes = BROADCAST,
) -> bytes:
    """One Ethernet frame with one datagram; from the packet's own chaddr when no MAC is given."""
    mac = payload[28:34] if from_mac is None else from_mac
    return to_mac + mac.ljust(6, b"\0") + b"\x08\x00" + datagram(payload, source, to, *ports)


def sender(link: Link) -> socket.socket:
    """A raw socket on the clients' end that only sends."""

    def bind() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind((link.client_device, 0))
        return sock

    return inside(link.clients, bind)


def mac_at(namespace: str, device: str) -> bytes:
    """The MAC of a device."""

    def read() -> bytes:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((device, 0))
            found: bytes = sock.getsockname()[4]
            return found

    return inside(namespace, read)


class Wiretap:
    """Hears what comes from DHCP servers (ports 67 and 4011) at the clients' end of a wire."""

    def __init__(self, link: Link) -> None:
        def bind() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            _only_from_servers(sock)
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
            sock.bind((link.client_device, 0x0800))
            sock.setblocking(False)
            return sock

        self._socket = inside(link.clients, bind)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def replies(self, seconds: float) -> list[bytes]:
        """The payloads that have come; waits so long for the first."""
        if not select.select([self._socket], [], [], seconds)[0]:
            return []
        found = []
        with suppress(BlockingIOError):
            while True:
                raw = self._socket.recv(65535)
                found.append(raw[14 + (raw[14] & 15) * 4 + 8 :])
        return found

    @property
    def lost(self) -> int:
        """Frames that did not fit since the last look: a count is no count when this is not 0."""
        raw = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", raw)[1])


class Asker:
    """A machine's mouth and ear: it asks, and hears servers only, however much else is on the wire."""

    def __init__(self, link: Link) -> None:
        self._tap = Wiretap(link)
        self._out = sender(link)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tap.__exit__(kind, error, trace)
        self._out.close()

    def ask(self, payload: bytes, *, seconds: float = 1.0, port: int = 67) -> Reply | None:
        """The first answer of the exchange, or None when nothing came in time."""
        self._out.send(frame(payload, ports=(68, port)))
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for heard in self._tap.replies(left):
                if heard[4:8] == payload[4:8] and heard[0] == _REPLY:
                    return Reply.parse(heard)
        return None

    def send(self, raw: bytes) -> None:
        """A frame as it is."""
        self._out.send(raw)


@dataclass
class Census:
    """Counts in a thread what servers say, by the MAC that it is said to (chaddr) and the message type."""

    tap: Wiretap
    heard: dict[tuple[bytes, int], int] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._count)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    def to_others_than(self, known: Iterable[bytes]) -> int:
        """How many answers went to a MAC that is none of these."""
        wanted = set(known)
        return sum(count for (mac, _), count in self.heard.items() if mac not in wanted)

    def _count(self) -> None:
        while True:
            over = self._over.is_set()
            for payload in self.tap.replies(0.05):
                at = payload.find(b"\x35\x01", 240)
                key = (payload[28:34], payload[at + 2] if at >= 0 else 0)
                self.heard[key] = self.heard.get(key, 0) + 1
            if over:
                return


def _only_from_servers(sock: socket.socket) -> None:
    """A filter of the kernel's: IPv4, UDP, from port 67 or 4011; all else would only fill the buffer."""
    program = [
        (0x28, 0, 0, 12),  # ethertype
        (0x15, 0, 6, 0x0800),
        (0x30, 0, 0, 23),  # protocol
        (0x15, 0, 4, 17),
        (0x28, 0, 0, 14 + _UDP_FROM),
        (0x15, 1, 0, 67),
        (0x15, 0, 1, 4011),
        (0x06, 0, 0, 0x40000),
        (0x06, 0, 0, 0),
    ]
    raw = b"".join(struct.pack("=HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(raw)
    header = struct.pack("HL", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
