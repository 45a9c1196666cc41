"""How near to this host a mirror may lead: no redirect ends nearer than the place that it began at.

A mirror on the Internet that redirects to 169.254.169.254, to a daemon on this host's loopback or to the PXE
VLAN would have this host ask there in its name. What the operator wrote may be anywhere, and a mirror of his
own site may lead to another machine of the site. Names are judged by the addresses that are then connected
to: a name that means something else at the second look (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from aiohttp import DefaultResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from appliance.system.network import is_ours

_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address


class Nearness(IntEnum):
    """Where an address is, seen from this host. The words are for sentences: "an address of …"."""

    WORLD = 0
    SITE = 1
    HOST = 2

    @property
    def words(self) -> str:
        """As in "leads to an address of …"."""
        return ("the Internet", "a private network", "this host or its link")[self]


class TooNear(Exception):
    """A name has no address that is far enough away. `nearness`: of the farthest that it has."""

    def __init__(self, nearness: Nearness) -> None:
        super().__init__(nearness.words)
        self.nearness = nearness


def nearness(address: str, own: Collection[IPv4Network] = ()) -> Nearness:
    """What an address as text is; whatever is neither global nor of a site counts as this host's.

    `own`: networks that are of this site, whatever their numbers look like.

    Raises:
        ValueError: it is no address.
    """
    place = ip_address(address.partition("%")[0])
    if isinstance(place, IPv6Address):
        inner = place.ipv4_mapped or place.sixtofour
        if inner is None and place in _NAT64:
            inner = IPv4Address(int(place) & 0xFFFFFFFF)
        if inner is not None:
            return nearness(str(inner), own)
    if place.is_loopback or place.is_link_local or place.is_unspecified or place.is_multicast:
        return Nearness.HOST
    if any(place in network for network in own):
        return Nearness.SITE
    if place.is_global:
        return Nearness.WORLD
    return Nearness.HOST if place.is_reserved else Nearness.SITE


def host_of(url: str) -> str:
    """The host part of a URL in lower case; empty when there is none.

    Raises:
        ValueError: it is no URL.
    """
    return urlsplit(url).hostname or ""


def literal(host: str) -> str | None:
    """The address that a host part is by itself, also in the old forms (127.1, 2130706433, 0x7f.1)."""
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, ValueError):  # a name, or with bytes that no name has
        return None


_bound: ContextVar[Nearness] = ContextVar("_bound", default=Nearness.HOST)


def _hosts(urls: Iterable[str]) -> Iterator[str]:
    for url in urls:
        with suppress(ValueError):  # whoever asks through it is told
            yield host_of(url)


class Reach(AbstractResolver):
    """A resolver that remembers how near hosts are, and gives nothing nearer than it is bound to."""

    def __init__(self, own: Collection[IPv4Network]) -> None:
        """To be made where a loop runs. `own`: networks of this site, whatever their numbers look like."""
        self._resolver = DefaultResolver()
        self._own = own
        self._seen: dict[str, Nearness] = {}
        # Who asks through a proxy connects to the proxy, which the operator named.
        self._proxies = frozenset(_hosts(getproxies_environment().values()))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name that are allowed now.

        Raises:
            OSError: the name has none.
            TooNear: none of them is allowed.
        """
        found = await self._resolver.resolve(host, port, family)
        near = [self._nearness(row["host"]) for row in found]
        self._seen[host] = min(near, default=Nearness.WORLD)
        if host in self._proxies:
            return found
        bound = _bound.get()
        allowed = [row for row, here in zip(found, near, strict=True) if here <= bound]
        if found and not allowed:
            raise TooNear(min(near))
        return allowed

    async def close(self) -> None:
        """Let go of the resolver behind it."""
        await self._resolver.close()

    def of(self, url: str) -> Nearness:
        """How near the host of a URL is; the Internet, where only a proxy knows.

        Raises:
            ValueError: it is no URL.
        """
        host = host_of(url)
        address = literal(host)
        return self._nearness(address) if address else self._seen.get(host, Nearness.WORLD)

    @contextmanager
    def bound(self, url: str, limit: Nearness) -> Iterator[None]:
        """Let nothing nearer than `limit` be connected to while `url` is asked for.

        Raises:
            TooNear: its host is such an address.
            ValueError: it is no URL.
        """
        address = literal(host_of(url))
        if address and (near := self._nearness(address)) > limit:
            raise TooNear(near)
        token = _bound.set(limit)
        try:
            yield
        finally:
            _bound.reset(token)

    def _nearness(self, address: str) -> Nearness:
        near = nearness(address, self._own)
        return Nearness.HOST if near is not Nearness.HOST and is_ours(address) else near
