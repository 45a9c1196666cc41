"""A TFTP server on loopback that answers with whatever octets it was given, for the two clients of ours."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Final

from appliance.dnsmasq.tftp import TftpRefused, tftp_get
from appliance.doctor.look_wire import fetch_tftp
from appliance.doctor.reach import Reach

ADDRESS: Final = "127.69.83.1"  # nobody else's: the port is fixed
_PORT: Final = 69
_SECONDS: Final = 0.3
_MOST: Final = 254 * 8
_FULL: Final = struct.pack("!HH", 5, 0) + b"enough\0"


def ask_prove(data: bytes) -> object:
    """What a proof's client makes of the answers; its refusal is a text."""
    with _liar(data):
        try:
            return tftp_get(IPv4Address(ADDRESS), "undionly.kpxe", timeout=0.1, within=_SECONDS)
        except TftpRefused as error:
            return str(error)


def ask_doctor(data: bytes) -> object:
    """What the doctor's client makes of them."""
    with _liar(data):
        found = fetch_tftp(Reach(seconds=_SECONDS), ADDRESS, "undionly.kpxe")
        return found.content if found.content is not None else found.failure


@contextmanager
def _liar(data: bytes) -> Iterator[None]:
    """Serve `data`: packets, each after its length in one octet (times eight); then an error.

    A length of 255 begins the last packet, which is said again for ever.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        channel.bind((ADDRESS, _PORT))
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(channel, list(_packets(data)), over.is_set))
        thread.start()
        try:
            yield
        finally:
            over.set()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"over", (ADDRESS, _PORT))
            thread.join()


def _packets(data: bytes) -> Iterator[bytes]:
    while data:
        length = data[0] * 8 if data[0] < 255 else len(data)
        packet, data = data[1 : 1 + length], data[1 + length :]
        yield packet if length <= _MOST else packet.ljust(_MOST + 1, b"\0")


def _serve(channel: socket.socket, packets: list[bytes], is_over: Callable[[], bool]) -> None:
    while not is_over():
        _, peer = channel.recvfrom(65536)
        packet = packets.pop(0) if packets else _FULL
        if len(packet) > _MOST:
            packets = [packet]
        channel.sendto(packet[:_MOST], peer)
