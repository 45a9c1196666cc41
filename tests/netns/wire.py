"""DHCP and TFTP spoken by hand: packets as bytes, sockets inside a namespace, waits with a deadline.

Deliberately not the product's code: it is the other end of the wire.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

PACKETS: Final = Path(__file__).parent.parent / "corpus" / "pxe-packets"
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)

_CLONE_NEWNET: Final = 0x40000000
_MAGIC: Final = b"\x63\x82\x53\x63"
_BROADCAST: Final = b"\xff" * 6
_T = TypeVar("_T")


def inside(namespace: str, work: Callable[[], _T]) -> _T:
    """Run `work` on a thread that has entered the namespace; sockets that it makes stay there."""
    results: list[_T] = []
    failures: list[BaseException] = []

    def enter() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
            try:
                if libc.setns(fd, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
            finally:
                os.close(fd)
            results.append(work())
        except BaseException as error:  # noqa: BLE001  carried to the caller's thread
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def wait_until(condition: Callable[[], _T], what: str, seconds: float = 10.0) -> _T:
    """Poll until `condition` gives something true; fail by name at the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds:g} s in vain for {what}")


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    kind: int
    yiaddr: str
    siaddr: str
    file: str
    options: Mapping[int, bytes]
    source_port: int = 67

    @classmethod
    def parse(cls, payload: bytes, source_port: int = 67) -> Reply:
        options = dict(_options(payload[240:]))
        return cls(
            kind=options.get(53, b"\0")[0],
            yiaddr=socket.inet_ntoa(payload[16:20]),
            siaddr=socket.inet_ntoa(payload[20:24]),
            file=payload[108:236].split(b"\0")[0].decode("ascii"),
            options=options,
            source_port=source_port,
        )

    def address(self, option: int) -> str | None:
        value = self.options.get(option)
        return socket.inet_ntoa(value[:4]) if value else None


def _options(raw: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(raw) and raw[at] != 255:
        if raw[at] == 0:
            at += 1
            continue
        yield raw[at], raw[at + 2 : at + 2 + raw[at + 1]]
        at += 2 + raw[at + 1]


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def captured(name: str, mac: str) -> bytes:
    """A recorded packet of a real client (its UDP payload), as if sent by `mac` with a fresh xid."""
    raw = bytearray((PACKETS / f"{name}.bin").read_bytes())
    old = bytes(raw[28:34])
    raw[4:8] = struct.pack("!I", random.getrandbits(32))
    return bytes(raw).replace(old, mac_bytes(mac))


def recorded_names() -> list[str]:
    return [entry["name"] for entry in json.loads((PACKETS / "index.json").read_text())]


@dataclass
class Packet:
    """A DHCP packet made by hand, for what no recorded client says."""

    mac: str
    kind: int | None = DISCOVER
    options: dict[int, bytes] = field(default_factory=dict)
    giaddr: str = "0.0.0.0"
    ciaddr: str = "0.0.0.0"
    broadcast: bool = True
    xid: int = field(default_factory=lambda: random.getrandbits(32))

    def payload(self) -> bytes:
        head = struct.pack("!BBBBIHH", 1, 1, 6, 0, self.xid, 0, 0x8000 if self.broadcast else 0)
        head += socket.inet_aton(self.ciaddr) + bytes(8) + socket.inet_aton(self.giaddr)
        head += mac_bytes(self.mac).ljust(16, b"\0") + bytes(192) + _MAGIC
        options = {53: bytes([self.kind])} if self.kind is not None else {}
        options |= self.options
        body = b"".join(bytes([code, len(value)]) + value for code, value in options.items())
        return (head + body + b"\xff").ljust(300, b"\0")


def pxe_options(arch: int | None, vendor: str = "PXEClient") -> dict[int, bytes]:
    """What a firmware of an architecture sends; None leaves option 93 out."""
    words = f"{vendor}:Arch:{arch:05}:UNDI:003000" if arch is not None else vendor
    options = {60: words.encode(), 55: bytes([1, 3, 26, 42, 43, 60, 66, 67])}
    if arch is not None:
        options[93] = struct.pack("!H", arch)
    return options


def with_options(payload: bytes, changes: Mapping[int, bytes]) -> bytes:
    """The packet with options set or, when empty, taken away."""
    options = dict(_options(payload[240:])) | dict(changes)
    body = b"".join(bytes([c, len(v)]) + v for c, v in options.items() if v)
    return (payload[:240] + body + b"\xff").ljust(300, b"\0")


def request_of(discover: bytes, offer: Reply) -> bytes:
    """The REQUEST that a client sends after an OFFER."""
    server = offer.options[54]
    changes = {53: bytes([REQUEST]), 54: server, 50: socket.inet_aton(offer.yiaddr)}
    return with_options(discover, changes)


class Client:
    """A raw DHCP client on a device: sends as any MAC, hears whatever comes back."""

    def __init__(self, namespace: str, device: str) -> None:
        def bind() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
            sock.bind((device, 0))
            return sock

        self._socket = inside(namespace, bind)

    def close(self) -> None:
        self._socket.close()

    def drain(self) -> None:
        """Forget what was heard so far: a full buffer hears nothing more."""
        self._socket.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(2048)

    def send(self, payload: bytes, *, port: int = 67, source: str = "0.0.0.0", to: str | None = None) -> None:
        frame = _BROADCAST + payload[28:34] + b"\x08\x00"
        self._socket.send(frame + datagram(payload, source, to or "255.255.255.255", 68, port))

    def listen(self, xid: bytes, seconds: float) -> Reply | None:
        """The first server packet of the exchange, or None when nothing came in time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame = self._socket.recv(2048)
            except TimeoutError:
                return None
            if reply := _server_packet(frame, xid):
                return reply
        return None

    def ask(
        self, payload: bytes, *, seconds: float = 3.0, port: int = 67, source: str = "0.0.0.0"
    ) -> Reply | None:
        self.send(payload, port=port, source=source)
        return self.listen(payload[4:8], seconds)

    def expect(self, payload: bytes, *, port: int = 67, source: str = "0.0.0.0") -> Reply:
        reply = self.ask(payload, port=port, source=source)
        assert reply is not None, "no answer"
        return reply

    def silence(self, payload: bytes, known: bytes) -> None:
        """Nothing answers `payload`, shown by the answer to a later packet (`known`), not by waiting."""
        self.send(payload)
        self.send(known)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            self._socket.settimeout(5)
            frame = self._socket.recv(2048)
            assert _server_packet(frame, payload[4:8]) is None, "an answer where there should be none"
            if _server_packet(frame, known[4:8]):
                return
        raise AssertionError("the known client got no answer")

    def acquire(self, discover: bytes) -> tuple[Reply, Reply]:
        offer = self.expect(discover)
        return offer, self.expect(request_of(discover, offer))


def _server_packet(frame: bytes, xid: bytes) -> Reply | None:
    header = 14 + (frame[14] & 15) * 4
    if frame[23] != socket.IPPROTO_UDP or len(frame) < header + 8 + 240:
        return None
    source_port: int = struct.unpack("!H", frame[header : header + 2])[0]
    payload = frame[header + 8 :]
    if source_port not in {67, 4011} or payload[0] != 2 or payload[4:8] != xid:
        return None
    return Reply.parse(payload, source_port)


def datagram(payload: bytes, source: str, to: str, sport: int, dport: int) -> bytes:
    """An IPv4 packet with one UDP datagram in it, from its header on."""
    # A zero checksum means "none" in UDP over IPv4 (RFC 768).
    udp = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    return ipv4(udp, source, to, socket.IPPROTO_UDP)


def ipv4(payload: bytes, source: str, to: str, protocol: int) -> bytes:
    """An IPv4 packet."""
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
    header += socket.inet_aton(source) + socket.inet_aton(to)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:] + payload


@contextmanager
def udp_socket(namespace: str, address: str, port: int = 0) -> Iterator[socket.socket]:
    """A UDP socket bound inside a namespace."""

    def bind() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind((address, port))
        sock.settimeout(5)
        return sock

    sock = inside(namespace, bind)
    try:
        yield sock
    finally:
        sock.close()


def tftp_get(namespace: str, address: str, server: str, name: str) -> bytes:
    """Fetch one file, 512 bytes a block (RFC 1350); a server's ERROR is an OSError."""
    with udp_socket(namespace, address) as sock:
        sock.sendto(b"\0\1" + name.encode() + b"\0octet\0", (server, 69))
        content = b""
        while True:
            packet, peer = sock.recvfrom(2048)
            code, block = struct.unpack("!HH", packet[:4])
            if code == 5:
                raise OSError(block, packet[4:].rstrip(b"\0").decode(errors="replace"))
            content += packet[4:]
            sock.sendto(b"\0\4" + packet[2:4], peer)
            if len(packet) < 516:
                return content
