"""What the kernel routes by an interface: by netlink (rtnetlink(7)), for our service does not see /proc/net.

Only the tables "main" and "default" are asked for: there a host's own way out stands. Tables of policy
routing are an operator's deliberate work. Routes by next hop objects (ip-nexthop(8)) are seen where the
kernel shows their interface as well, which is its default.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_NETLINK_ROUTE: Final = 0
_SOL_NETLINK: Final = 270
_GET_STRICT_CHK: Final = 12  # linux/netlink.h: the kernel filters, where it is 4.20 or later
_GET_ROUTE: Final = 26
_REQUEST_DUMP: Final = 0x1 | 0x300
_ERROR, _DONE = 2, 3
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, prefix length, …, flags
_ATTRIBUTE: Final = struct.Struct("=HH")
_NEXT_HOP: Final = struct.Struct("=HBBi")  # length, flags, hops, interface
# A rule of every kernel asks both, one after the other (ip-rule(8)).
_MAIN, _DEFAULT = 254, 253
_HALF: Final = (
    1  # bits: two halves make a way out as well, and stand before the whole (as tunnels write them)
)
_UNICAST: Final = 1
_OIF, _MULTIPATH, _TABLE = 4, 9, 15
_SECONDS: Final = 2.0
_BUFFER: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Defaults:
    """Whether a default route of the main table leaves by an interface, for IPv4 and for IPv6."""

    ipv4: bool = False
    ipv6: bool = False


def default_routes(interface: str, *, ipv6: bool = True) -> Defaults:
    """The default routes that leave by `interface`, several ways and all metrics; none when it is not there.

    Without `ipv6`, the kernel is asked for IPv4 alone.

    Raises:
        OSError: the kernel could not be asked: nothing is known.
    """
    try:
        index = socket.if_nametoindex(interface)
    except OSError:
        return Defaults()
    return Defaults(_has_default(socket.AF_INET, index), ipv6 and _has_default(socket.AF_INET6, index))


def _has_default(family: int, index: int) -> bool:
    return any(_has_default_in(table, family, index) for table in (_MAIN, _DEFAULT))


def _has_default_in(table: int, family: int, index: int) -> bool:
    wanted = _ATTRIBUTE.pack(8, _OIF) + struct.pack("=i", index)
    body = _ROUTE.pack(family, 0, 0, 0, table, 0, 0, 0, 0) + wanted
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE) as channel:
        channel.settimeout(_SECONDS)
        with suppress(OSError):  # an older kernel sends every route, and we look
            channel.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        channel.send(_HEADER.pack(_HEADER.size + len(body), _GET_ROUTE, _REQUEST_DUMP, 1, 0) + body)
        return any(_is_default(route, index) for route in _answers(channel))


def _answers(channel: socket.socket) -> Iterator[bytes]:
    while True:
        data = channel.recv(_BUFFER)
        while len(data) >= _HEADER.size:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            body = data[_HEADER.size : length]
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -struct.unpack_from("=i", body)[0]
                if code in {errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP}:
                    return  # a family or a table that is not there has no routes
                raise OSError(code, "cannot read the routes")
            yield body
            data = data[(length + 3) & ~3 :]


def _is_default(body: bytes, index: int) -> bool:
    _, to, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
    if to > _HALF or kind != _UNICAST:
        return False
    leaves = False
    at = _ROUTE.size
    while at + _ATTRIBUTE.size <= len(body):
        length, what = _ATTRIBUTE.unpack_from(body, at)
        value = body[at + _ATTRIBUTE.size : at + length]
        if what == _TABLE:
            (table,) = struct.unpack("=I", value)
        elif what == _OIF:
            leaves |= struct.unpack("=i", value)[0] == index
        elif what == _MULTIPATH:
            leaves |= index in _hops(value)
        at += max((length + 3) & ~3, _ATTRIBUTE.size)
    return leaves and table in (_MAIN, _DEFAULT)


def _hops(value: bytes) -> Iterator[int]:
    at = 0
    while at + _NEXT_HOP.size <= len(value):
        length, _, _, index = _NEXT_HOP.unpack_from(value, at)
        yield index
        at += max((length + 3) & ~3, _NEXT_HOP.size)
