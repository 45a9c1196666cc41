"""What the kernel says of our network interfaces.

Flags and MTU come by ioctl(2) (netdevice(7)): in our service /proc holds processes only, and /proc/net/dev,
which libraries read for them, is not there.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_interface
from typing import Final

import psutil

_SIOCGIFFLAGS: Final = 0x8913
_SIOCGIFMTU: Final = 0x8921
_IFREQ: Final = struct.Struct("16sI20x")  # struct ifreq: the name, then a union
_SIOCGARP: Final = 0x8954
_ARPREQ: Final = struct.Struct("HH4s8s16si16s16s")  # struct arpreq: two addresses, flags, a mask, the device
_ATF_COM: Final = 0x02
_UP_AND_RUNNING: Final = 0x1 | 0x40


@dataclass(frozen=True, slots=True)
class InterfaceState:
    """One interface as it is now. `addresses` are its IPv4 addresses with prefix, in text."""

    name: str
    present: bool
    up: bool = False
    mac: str = ""
    mtu: int = 0
    addresses: tuple[str, ...] = ()

    def holds(self, address: IPv4Address) -> bool:
        """Whether `address` is one of its own."""
        return any(ip_interface(a).ip == address for a in self.addresses)


def interface_state(name: str) -> InterfaceState:
    """The state of interface `name`; `present=False` when there is none.

    Raises:
        OSError: the kernel could not be asked (no file descriptor left): nothing is known.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            flags = _ask(channel, _SIOCGIFFLAGS, name) & 0xFFFF
            mtu = _ask(channel, _SIOCGIFMTU, name)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return InterfaceState(name, present=False)
            raise
    mac = ""
    addresses: list[str] = []
    for entry in psutil.net_if_addrs().get(name, []):
        if entry.family == psutil.AF_LINK:
            mac = entry.address
        elif entry.family == socket.AF_INET:
            addresses.append(f"{entry.address}/{entry.netmask}" if entry.netmask else entry.address)
    up = flags & _UP_AND_RUNNING == _UP_AND_RUNNING
    return InterfaceState(name, True, up, mac, mtu, tuple(addresses))


def is_ours(address: str) -> bool:
    """Whether an IP address is one of this host's; no packet is sent.

    The kernel takes a local destination for its own source. Asked this way, it tells whom it tells nothing of
    interfaces (a service without AF_NETLINK).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect((address, 9))
            found: str = channel.getsockname()[0]
    except OSError:  # no way there, or not this family
        return False
    return found == address


def neighbour(address: IPv4Address, interface: str) -> str | None:
    """The MAC that the kernel reaches `address` by on `interface`, as text; None when it knows none.

    By ioctl(2) (arp(7)): one question, however many neighbours there are.
    """
    packed = _ARPREQ.pack(socket.AF_INET, 0, address.packed, b"", b"", 0, b"", interface.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            answer = fcntl.ioctl(channel, _SIOCGARP, packed)
        except OSError:
            return None
    _, _, _, _, hardware, flags, _, _ = _ARPREQ.unpack(answer)
    return hardware[2:8].hex(":") if flags & _ATF_COM else None


def _ask(channel: socket.socket, request: int, name: str) -> int:
    answer = fcntl.ioctl(channel, request, _IFREQ.pack(name.encode(), 0))
    value: int = _IFREQ.unpack(answer)[1]
    return value
