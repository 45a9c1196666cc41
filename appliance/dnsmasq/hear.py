"""Hearing what our own DHCP children answer, without being on the wire and without raw sockets.

dnsmasq broadcasts its answers (`dhcp-broadcast`), and the kernel loops a limited broadcast back to every
socket that is bound to it on that interface, whoever else is (measured with 2.90): a proof and whoever looks
out for other servers hear the same packets. A proxy answers port 4011 by unicast, and what is sent to an
address of our own comes in on the loopback device: that socket must not be bound to the interface.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from types import TracebackType
from typing import Final, Self

from appliance.boot.dhcp_packet import CLIENT_PORT, PROXY_PORT, SERVER_PORT, DhcpPacket, Opcode, encode, parse
from appliance.settings import NetworkMode, NetworkSettings

_EVERYBODY: Final = "255.255.255.255"
_MOST: Final = 64  # packets in one reading: others get their turn
_LARGEST: Final = 4096
_BUFFER: Final = 4 << 20
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h; needs CAP_NET_ADMIN, which the daemon has
_IP_PKTINFO: Final = 8  # linux/in.h; Python has no name for it
_PKTINFO: Final = struct.Struct("=i4s4s")  # struct in_pktinfo: device, source address, (ignored) destination


@dataclass(slots=True)
class ClientPort:
    """The place of a client on a network of ours: says what clients say, hears what they are answered.

    `hears` is None where port 68 cannot be shared (a DHCP client of this host holds it): then only the
    child's log tells.
    """

    network: NetworkSettings
    _speaks: socket.socket = field(init=False)
    hears: socket.socket | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            OSError: the interface is not there, or does not hold our address.
        """
        proxied = self.network.mode is NetworkMode.PROXY
        self._speaks = _udp(self.network, str(self.network.address), 0, bound=not proxied)
        if proxied:
            self.hears = self._speaks
            return self
        try:
            self.hears = _udp(self.network, _EVERYBODY, CLIENT_PORT, bound=True)
            # What others are answered comes in here too: a rack that boots must not crowd out ours.
            with contextlib.suppress(PermissionError):
                self.hears.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                self._speaks.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._speaks.close()
        if self.hears is not None:
            self.hears.close()

    def say(self, packet: DhcpPacket) -> None:
        """Broadcast a client's message, as from our own address: machines and relays take no notice.

        Raises:
            OSError: the interface went away, or its queue is full.
        """
        raw = encode(packet)
        if self.network.mode is not NetworkMode.PROXY:
            self._speaks.sendto(raw, (_EVERYBODY, SERVER_PORT))
            return
        device = socket.if_nametoindex(self.network.interface)
        info = _PKTINFO.pack(device, self.network.address.packed, b"")
        self._speaks.sendmsg([raw], [(socket.IPPROTO_IP, _IP_PKTINFO, info)], 0, (_EVERYBODY, PROXY_PORT))

    def heard(self, xids: Container[int]) -> Iterator[tuple[DhcpPacket, IPv4Address]]:
        """The answers to `xids` that have come by now, each with the server's address."""
        if self.hears is None:
            return
        for _ in range(_MOST):
            try:
                raw, peer = self.hears.recvfrom(_LARGEST)
            except (BlockingIOError, InterruptedError):
                return
            # Most of what is broadcast here is not for us: only its id is looked at.
            if len(raw) < 8 or raw[0] != Opcode.REPLY or int.from_bytes(raw[4:8]) not in xids:
                continue
            with contextlib.suppress(ValueError):
                yield parse(raw), IPv4Address(peer[0])


def _udp(network: NetworkSettings, address: str, port: int, *, bound: bool) -> socket.socket:
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bound:
            device = network.interface.encode() + b"\0"
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        channel.bind((address, port))
    except OSError:
        channel.close()
        raise
    return channel
