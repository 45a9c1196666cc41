"""What the kernel says of our network interfaces."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_interface

import psutil


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
    """The state of interface `name`; `present=False` when there is none."""
    stats = psutil.net_if_stats().get(name)
    if stats is None:
        return InterfaceState(name, present=False)
    mac = ""
    addresses: list[str] = []
    for entry in psutil.net_if_addrs().get(name, []):
        if entry.family == psutil.AF_LINK:
            mac = entry.address
        elif entry.family == socket.AF_INET:
            addresses.append(f"{entry.address}/{entry.netmask}" if entry.netmask else entry.address)
    return InterfaceState(name, True, stats.isup, mac, stats.mtu, tuple(addresses))
