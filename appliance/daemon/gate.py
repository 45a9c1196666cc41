"""Who may open a connection: peers of the PXE networks, and not too many at once.

Linux answers for an address on whatever interface a packet comes in (the weak host model), so a socket bound
to our PXE address alone would also serve the other networks of this host (measured). And every connection
costs a file descriptor that the children's logs and the control socket need too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address

from aiohttp import web

from appliance.matchbox.methods import Connection
from appliance.settings import Settings

MOST = 1024
MOST_PER_PEER = 64  # firmware and iPXE use one or two; a kernel's download tool some more


class Gate(asyncio.Protocol):
    """Takes each new connection first, and hands it to the server or ends it."""

    def __init__(self, server: web.Server, settings: Callable[[], Settings]) -> None:
        self._server = server
        self._settings = settings

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Decide about one connection."""
        assert isinstance(transport, asyncio.Transport)
        peers = Counter(peer_of(c.transport) for c in self._server.connections if c.transport is not None)
        if not admitted(peer_of(transport), peers, self._settings()):
            transport.abort()
            return
        handler = Connection(self._server)
        transport.set_protocol(handler)
        handler.connection_made(transport)


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The peer's address in text."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if name else ""


def admitted(peer: str, open_now: Counter[str], settings: Settings) -> bool:
    """Whether `peer` may have one more connection."""
    try:
        address = IPv4Address(peer)
    except AddressValueError:
        return False
    if settings.network_of(address) is None:
        return False
    return open_now.total() < MOST and open_now[peer] < MOST_PER_PEER
