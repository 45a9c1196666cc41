"""Ears and a mouth on one network: what clients and other servers broadcast, and a question to all servers.

Two UDP sockets are bound to 255.255.255.255, ports 67 and 68, on the interface. The kernel gives a broadcast
to every socket that matches, so they hear what dnsmasq hears; a unicast (a renewal) matches none that is
bound to the broadcast address, so dnsmasq loses nothing to them (udp(7), Linux's __udp4_lib_mcast_deliver;
measured). Raw sockets, which see more, would need AF_PACKET, which our service does not have.

With rp_filter on the interface the kernel drops what comes from an address that it has no route to: a server
of another subnet is then heard through the clients that choose it alone (measured, with 1 and, on a host
without a default route, with 2).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Final

from appliance.addresses import Mac
from appliance.boot.dhcp_packet import CLIENT_PORT, SERVER_PORT, DhcpPacket, encode, parse
from appliance.daemon.overheard import Overheard
from appliance.system.network import neighbour

AT_ONCE: Final = (
    128  # packets of a reading; the rest waits, and the kernel drops what its buffer does not hold
)
_LONGEST: Final = 2048
_EVERYBODY: Final = "255.255.255.255"
_DISCARD_PORT: Final = 9
_LOOK: Final = 0.05
_ANSWER_SECONDS: Final = 1.0


class Ear:
    """Both sockets of one interface. Whoever reads decides how often: nothing wakes anybody."""

    def __init__(self, interface: str) -> None:
        """Open them.

        Raises:
            OSError: there is no such interface, or another program has a port for itself alone.
        """
        self._interface = interface
        self._index = socket.if_nametoindex(interface)
        self._clients = _bound(interface, SERVER_PORT)
        try:
            self._servers = _bound(interface, CLIENT_PORT)
        except OSError:
            self._clients.close()
            raise

    @property
    def attached(self) -> bool:
        """Whether the interface is still the one that the sockets are on: a new one of its name is not."""
        with suppress(OSError):
            return socket.if_nametoindex(self._interface) == self._index
        return False

    def from_clients(self) -> list[Overheard]:
        """What was said to servers since the last reading, our own questions among it; bounded."""
        return _read(self._clients)

    def from_servers(self) -> list[Overheard]:
        """What was said to clients since the last reading, our own answers among it; bounded."""
        return _read(self._servers)

    def ask(self, packet: DhcpPacket) -> None:
        """Broadcast a question from the client's port, as a client would.

        Raises:
            OSError: the interface cannot carry it now.
        """
        self._servers.sendto(encode(packet), (_EVERYBODY, SERVER_PORT))

    def close(self) -> None:
        """Let both ports go."""
        self._clients.close()
        self._servers.close()


async def mac_behind(addresses: Iterable[IPv4Address], interface: str) -> Mac | None:
    """The MAC that answers for the first of `addresses` that anybody answers for; None after a second.

    A datagram makes the kernel ask (ARP), whatever subnet the address is of: MSG_DONTROUTE means on this
    wire. It goes to the discard port; nobody has to listen there.
    """
    wanted = list(dict.fromkeys(addresses))
    for address in wanted:
        with suppress(OSError):
            _stir(address, interface)
    for _ in range(round(_ANSWER_SECONDS / _LOOK)):
        for address in wanted:
            with suppress(OSError, ValueError):  # a tunnel has neighbours without a MAC
                if found := neighbour(address, interface):
                    return Mac.parse(found)
        await asyncio.sleep(_LOOK)
    return None


def _stir(address: IPv4Address, interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        channel.sendto(b"", socket.MSG_DONTROUTE | socket.MSG_DONTWAIT, (str(address), _DISCARD_PORT))


def _bound(interface: str, port: int) -> socket.socket:
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # dnsmasq and DHCP clients set it too
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        channel.bind((_EVERYBODY, port))
    except OSError:
        channel.close()
        raise
    return channel


def _read(channel: socket.socket) -> list[Overheard]:
    found = []
    for _ in range(AT_ONCE):
        try:
            raw, (source, _) = channel.recvfrom(_LONGEST)
        except BlockingIOError:
            break
        except OSError:  # the interface went down: what waits is still read, now or at the next reading
            continue
        with suppress(ValueError):  # everything is hostile: what is no DHCP is no news
            found.append(Overheard(parse(raw), IPv4Address(source)))
    return found
