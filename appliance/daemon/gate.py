"""Who may open a connection: peers of the PXE networks, and not too many at once.

Linux answers for an address on whatever interface a packet comes in (the weak host model), so a socket bound
to our PXE address alone would also serve the other networks of this host (measured). And every connection
costs a file descriptor that the children's logs and the control socket need too. Whoever gives himself many
addresses of the VLAN must not crowd out its machines: all strangers together have a part of the room.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from aiohttp import web

from appliance.daemon.served import Served
from appliance.daemon.status import problem
from appliance.matchbox.methods import Connection
from appliance.settings import NetworkMode
from appliance.system.clock import monotonic

MOST = 1024
MOST_PER_PEER = 64  # firmware and iPXE use one or two; a kernel's download tool some more
MOST_OF_STRANGERS = 256
MOST_PER_STRANGER = 16
_TOLD_FOR = 60.0  # seconds


@dataclass(slots=True)
class Crowd:
    """When a connection was refused last for want of room, and who held most."""

    at: float = float("-inf")
    peer: str = ""
    held: int = 0
    strangers: bool = False

    def note(self, open_now: Counter[str], *, strangers: bool) -> None:
        """A connection is being refused: these are open."""
        (self.peer, self.held), self.at, self.strangers = open_now.most_common(1)[0], monotonic(), strangers

    def problems(self) -> list[dict[str, str]]:
        """What an operator has to know, for as long as it goes on."""
        if monotonic() - self.at > _TOLD_FOR:
            return []
        who = (
            "strangers hold all the HTTP connections that they may have"
            if self.strangers
            else ("all HTTP connections are taken, and machines are refused")
        )
        message = f"{who}; most are {self.peer}'s ({self.held})"
        severity = "warning" if self.strangers else "error"
        return [problem("http-crowded", severity, message, f"ip neigh show {self.peer}")]


class Gate(asyncio.Protocol):
    """Takes each new connection first, and hands it to the server or ends it."""

    def __init__(self, server: web.Server, served: Callable[[], Served], crowd: Crowd) -> None:
        self._server = server
        self._served = served
        self._crowd = crowd

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Decide about one connection."""
        assert isinstance(transport, asyncio.Transport)
        peers = Counter(peer_of(c.transport) for c in self._server.connections if c.transport is not None)
        peer, served = peer_of(transport), self._served()
        if not admitted(peer, peers, served):
            if peers and peer and served.settings.network_of(IPv4Address(peer)) is not None:
                self._crowd.note(peers, strangers=not is_expected(peer, served))
            transport.abort()
            return
        handler = Connection(self._server)
        transport.set_protocol(handler)
        handler.connection_made(transport)


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The peer's address in text."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if name else ""


def is_expected(peer: str, served: Served) -> bool:
    """Whether a peer is a machine's address, or this host's.

    Where another server gives the addresses, they tell nothing: there, everybody is.
    """
    address = IPv4Address(peer)
    network = served.settings.network_of(address)
    if network is None:
        return False
    return address in served.by_ip or address == network.address or network.mode is NetworkMode.PROXY


def admitted(peer: str, open_now: Counter[str], served: Served) -> bool:
    """Whether `peer` may have one more connection."""
    try:
        address = IPv4Address(peer)
    except AddressValueError:
        return False
    if served.settings.network_of(address) is None:
        return False
    if is_expected(peer, served):
        return open_now.total() < MOST and open_now[peer] < MOST_PER_PEER
    strangers = sum(held for who, held in open_now.items() if who and not is_expected(who, served))
    return strangers < MOST_OF_STRANGERS and open_now[peer] < MOST_PER_STRANGER
