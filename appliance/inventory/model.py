"""What a machine is. Frozen values; nothing in here is half-checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface
from types import MappingProxyType

from appliance.addresses import Hostname, Mac
from appliance.image_ref import ImageRef
from appliance.settings import Origin

_EMPTY: Mapping[str, str] = MappingProxyType({})


class BootPolicy(StrEnum):
    """What a machine that PXE-boots is given."""

    INSTALL_ONCE = "install-once"  # the installer until it has called home as installed, then its disk
    ALWAYS = "always"  # the profile's image at every boot
    DISK = "disk"  # its disk


@dataclass(frozen=True, slots=True)
class KernelRef:
    """A kernel and its initrds named by the operator: URLs, or paths below /assets/."""

    kernel: str
    initrd: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """What a group of machines boots. `ignition` is a file name in ignition.d/."""

    name: str
    source: ImageRef | KernelRef | None
    args: tuple[str, ...] = ()
    ignition: str | None = None
    boot: BootPolicy = BootPolicy.INSTALL_ONCE
    origin: Origin = field(default=Origin(""), compare=False)


@dataclass(frozen=True, slots=True)
class Nic:
    """A NIC that is known and never gets an address on the PXE VLAN."""

    name: str
    mac: Mac
    origin: Origin = field(default=Origin(""), compare=False)


@dataclass(frozen=True, slots=True)
class Vlan:
    """An 802.1Q VLAN on a bond: `id` 1 to 4094, the machine's address on it, optional gateway, MTU, DNS."""

    name: str
    id: int
    address: IPv4Interface | None = None
    gateway: IPv4Address | None = None
    mtu: int | None = None
    dns: tuple[IPv4Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Bond:
    """A bond that the installed machine shall have, over some of its other NICs."""

    name: str
    members: tuple[str, ...]
    mode: str = "802.3ad"
    vlans: tuple[Vlan, ...] = ()
    origin: Origin = field(default=Origin(""), compare=False)


@dataclass(frozen=True, slots=True)
class Machine:
    """A server. `macs` are its NICs on the PXE VLAN, of which any may boot, one at a time."""

    name: Hostname
    hostname: Hostname
    macs: tuple[Mac, ...]
    ip: IPv4Address
    network: str
    profile: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    serial: str | None = None
    uuid: str | None = None
    arch: str | None = None
    nics: tuple[Nic, ...] = ()
    bonds: tuple[Bond, ...] = ()
    origin: Origin = field(default=Origin(""), compare=False)

    @property
    def mac(self) -> Mac:
        """The first of its PXE NICs."""
        return self.macs[0]


@dataclass(frozen=True, slots=True)
class Inventory:
    """All machines, sorted by name, and all profiles by name."""

    machines: tuple[Machine, ...] = ()
    profiles: Mapping[str, Profile] = field(default_factory=lambda: MappingProxyType({}))

    def by_mac(self) -> dict[Mac, Machine]:
        """Each PXE NIC's machine."""
        return {mac: machine for machine in self.machines for mac in machine.macs}

    def other_nics(self) -> dict[Mac, tuple[Machine, Nic]]:
        """Each NIC that must stay silent on the PXE VLAN, with its owner."""
        return {nic.mac: (machine, nic) for machine in self.machines for nic in machine.nics}
