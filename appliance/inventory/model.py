"""What a machine is. Frozen values; nothing in here is half-checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from types import MappingProxyType
from typing import Final

from appliance.addresses import Hostname, Mac
from appliance.boot.policy import BootPolicy as BootPolicy
from appliance.image_ref import ImageRef
from appliance.settings import Origin

_EMPTY: Mapping[str, str] = MappingProxyType({})


class Netconf(StrEnum):
    """What configures the networks of the installed system."""

    NETWORKD = "networkd"
    NETWORKMANAGER = "networkmanager"
    NONE = "none"  # nothing of ours: its own image or Ignition does


class Tuning(StrEnum):
    """What the installed system is tuned for."""

    PERFORMANCE = "performance"  # the CPU frequency governor and the energy policy of that name


USUAL_MTU: Final = 1500  # bytes of IP in an Ethernet frame, where nobody has agreed on more


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
    netconf: Netconf | None = None  # None: as its image tells
    tuning: Tuning | None = None
    call_home: bool = True
    origin: Origin = field(default=Origin(""), compare=False)


@dataclass(frozen=True, slots=True)
class Route:
    """A way to the network `to` through a router on the link's own subnet. A lower metric wins."""

    to: IPv4Network
    via: IPv4Address
    metric: int | None = None


@dataclass(frozen=True, slots=True)
class Layer3:
    """What a link carries itself, untagged: an address, the default route, others, DNS. False: nothing."""

    address: IPv4Interface | None = None
    gateway: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    search: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()

    def __bool__(self) -> bool:
        return self.address is not None


@dataclass(frozen=True, slots=True)
class Vlan:
    """An 802.1Q VLAN on a bond or a NIC: `id` 1 to 4094, and what the machine has on it. MTUs are of IP."""

    name: str
    id: int
    layer3: Layer3 = Layer3()
    mtu: int | None = None


@dataclass(frozen=True, slots=True)
class Nic:
    """A NIC that is known and never gets an address on the PXE VLAN; found by its MAC, whatever its name.

    Unless it is a member of a bond, it may carry something itself. `port` is free text, where it is plugged
    in, the switch first; it is printed and never rendered.
    """

    name: str
    mac: Mac
    origin: Origin = field(default=Origin(""), compare=False)
    layer3: Layer3 = Layer3()
    mtu: int | None = None
    vlans: tuple[Vlan, ...] = ()
    port: str = ""


@dataclass(frozen=True, slots=True)
class Bond:
    """A bond that the installed machine shall have, over some of its other NICs.

    `mode` is Linux's name for it. Only 802.3ad has an `lacp_rate` and `min_links`; only modes that hash have
    a `hash_policy`; only active-backup and its kin have a `primary`. `mac` is fixed where switch or DHCP
    server key on it.
    """

    name: str
    members: tuple[str, ...]
    mode: str = "802.3ad"
    vlans: tuple[Vlan, ...] = ()
    origin: Origin = field(default=Origin(""), compare=False)
    layer3: Layer3 = Layer3()
    mtu: int | None = None
    lacp_rate: str | None = None
    hash_policy: str | None = None
    min_links: int | None = None
    primary: str | None = None
    mac: Mac | None = None


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
    port: str = ""  # where its PXE NIC is plugged in
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
