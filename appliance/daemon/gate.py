"""Who may open a connection: peers of the PXE networks, and not too many at once.

Linux answers for an address on whatever interface a packet comes in (the weak host model), so a socket bound
to our PXE address alone would also serve the other networks of this host (measured). And every connection
costs a file descriptor that the children's logs and the control socket need too. Whoever gives himself many
addresses of the VLAN must not crowd out its machines: all strangers together have a part of the room, one
NIC has no more than one machine, and an address is a machine's only if its NIC answers for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from typing import NamedTuple
from weakref import WeakKeyDictionary

from aiohttp import web

from appliance.addresses import Mac
from appliance.daemon.served import Served
from appliance.daemon.status import problem
from appliance.inventory.model import Machine
from appliance.matchbox.methods import Connection
from appliance.settings import Access, NetworkMode
from appliance.system.clock import monotonic
from appliance.system.network import neighbour

MOST = 1024
MOST_PER_PEER = 64  # firmware and iPXE use one or two; a kernel's download tool some more
MOST_OF_STRANGERS = 256
MOST_PER_STRANGER = 16
TOLD_FOR = 60.0  # seconds
_NOTED_EVERY = 1.0  # seconds: whoever is refused comes again at once


class Peer(NamedTuple):
    """The other end of a connection, judged when it came.

    `holder` is the MAC of the NIC that answers for the address, or the address where no NIC can be told.
    `inside`: of a PXE network. `expected`: a machine at its address, or this host.
    """

    address: str
    holder: str
    inside: bool = False
    expected: bool = False


@dataclass(slots=True)
class Open:
    """How many connections there are, by what decides about the next one: counted as they come and go."""

    total: int = 0
    of_strangers: int = 0
    by_holder: Counter[str] = field(default_factory=Counter)
    by_address: Counter[str] = field(default_factory=Counter)  # strangers' addresses alone

    def came(self, peer: Peer, count: int = 1) -> None:
        """One more of this peer; or so many."""
        self.total += count
        _add(self.by_holder, peer.holder, count)
        if not peer.expected:
            self.of_strangers += count
            _add(self.by_address, peer.address, count)

    def left(self, peer: Peer) -> None:
        """One less."""
        self.came(peer, -1)


def _add(counter: Counter[str], key: str, count: int) -> None:
    counter[key] += count
    if counter[key] <= 0:
        del counter[key]


@dataclass(slots=True)
class Crowd:
    """Who is connected; when a connection was refused last for want of room, and who held most."""

    at: float = float("-inf")
    holder: str = ""
    address: str = ""
    held: int = 0
    strangers: bool = False
    open: Open = field(default_factory=Open)
    seen: WeakKeyDictionary[asyncio.BaseTransport, Peer] = field(default_factory=WeakKeyDictionary)

    def peer_of(self, transport: asyncio.BaseTransport, served: Served) -> Peer:
        """Who is at the other end; the kernel is asked once for each connection."""
        found = self.seen.get(transport)
        if found is None:
            found = self.seen[transport] = peer_at(address_of(transport), served)
        return found

    def note(self, *, strangers: bool) -> None:
        """A connection is being refused."""
        if strangers == self.strangers and monotonic() - self.at < _NOTED_EVERY:
            return
        ((self.holder, self.held),) = self.open.by_holder.most_common(1)
        of_holder = (peer.address for peer in list(self.seen.values()) if peer.holder == self.holder)
        self.address = next(of_holder, self.holder)
        self.at, self.strangers = monotonic(), strangers

    def problems(self) -> list[dict[str, str]]:
        """What an operator has to know, for as long as it goes on."""
        if monotonic() - self.at > TOLD_FOR:
            return []
        who = (
            "strangers hold all the HTTP connections that they may have"
            if self.strangers
            else ("all HTTP connections are taken, and machines are refused")
        )
        message = f"{who}; most are {self.holder}'s ({self.held})"
        severity = "warning" if self.strangers else "error"
        return [problem("http-crowded", severity, message, f"ip neigh show {self.address}")]


class Gate(asyncio.Protocol):
    """Takes each new connection first, and hands it to the server or ends it."""

    def __init__(self, server: web.Server, served: Callable[[], Served], crowd: Crowd) -> None:
        self._server = server
        self._served = served
        self._crowd = crowd

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Decide about one connection."""
        assert isinstance(transport, asyncio.Transport)
        crowd = self._crowd
        peer = crowd.peer_of(transport, self._served())
        if not admitted(peer, crowd.open):
            if peer.inside and (not peer.expected or crowd.open.total >= MOST):
                crowd.note(strangers=not peer.expected)
            transport.abort()
            return
        handler = Admitted(self._server, self._served, crowd)
        transport.set_protocol(handler)
        handler.connection_made(transport)


class Admitted(Connection):
    """A connection that is counted as long as it is there."""

    __slots__ = ("_crowd", "_peer", "_served")

    def __init__(self, server: web.Server, served: Callable[[], Served], crowd: Crowd) -> None:
        super().__init__(server)
        self._served = served
        self._crowd = crowd
        self._peer: Peer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        self._peer = self._crowd.peer_of(transport, self._served())
        self._crowd.open.came(self._peer)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        if self._peer is not None:
            self._crowd.open.left(self._peer)
            self._peer = None
        super().connection_lost(exc)


def address_of(transport: asyncio.BaseTransport) -> str:
    """The peer's address in text."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if name else ""


def peer_at(address: str, served: Served, look: Callable[[IPv4Address, str], str | None] = neighbour) -> Peer:
    """Who is at an address: by it, and by the kernel's neighbour where no router stands between."""
    try:
        ip = IPv4Address(address)
    except AddressValueError:
        return Peer(address, address)
    network = served.settings.network_of(ip)
    if network is None:
        return Peer(address, address)
    if ip == network.address:
        return Peer(address, address, inside=True, expected=True)
    mac = None
    if ip in network.subnet:
        with suppress(OSError, ValueError):  # a tunnel has neighbours without a MAC
            mac = Mac.parse(look(ip, network.interface) or "")
    owner = _owner(mac, served) if mac else None
    if owner is None and served.settings.matchbox.ignition is Access.LEASE:
        mac = None  # a switch may answer for every host, with a MAC of its own
    # Where another server gives the addresses they tell nothing: there, the NIC alone does.
    proxied = network.mode is NetworkMode.PROXY
    machine = owner if proxied else served.by_ip.get(ip)
    if mac is None:
        expected = proxied or machine is not None
    else:
        expected = owner is not None and machine is not None and owner.name == machine.name
    return Peer(address, mac.text if mac else address, inside=True, expected=expected)


def _owner(mac: Mac, served: Served) -> Machine | None:
    """Whose NIC it is; a bond can speak with the MAC of any of its members."""
    other = served.other_nics.get(mac)
    return served.by_mac.get(mac) or (other[0] if other else None)


def admitted(peer: Peer, open_now: Open) -> bool:
    """Whether `peer` may have one more connection."""
    if not peer.inside or open_now.total >= MOST or open_now.by_holder[peer.holder] >= MOST_PER_PEER:
        return False
    if peer.expected:
        return True
    at_address = open_now.by_address[peer.address]
    return open_now.of_strangers < MOST_OF_STRANGERS and at_address < MOST_PER_STRANGER
