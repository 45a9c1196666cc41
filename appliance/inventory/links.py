"""What a machine's networks consist of, link by link, before anybody's configuration format. Pure.

A machine has something to become when the inventory gives one of its links an address, a bond or a VLAN. One
with nothing of it keeps what its image does by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from appliance.addresses import Mac
from appliance.inventory.model import USUAL_MTU, Bond, Layer3, Machine, Nic, Vlan

# Of default routes: the first one written wins. Below what NetworkManager (100 and more) and networkd (1024)
# give to anything else.
_FIRST_METRIC: Final = 50
_METRIC_STEP: Final = 10
# Of what the PXE VLAN's DHCP might bring: behind everything.
PXE_METRIC: Final = 2048


@dataclass(frozen=True, slots=True)
class Member:
    """A NIC that belongs to a bond and carries nothing itself."""

    nic: Nic
    bond: Bond


@dataclass(frozen=True, slots=True)
class Link:
    """A link with a configuration of its own: a bond, a NIC, or a VLAN device on one of them.

    `name` is the device's, for a NIC the inventory's name, which its system may not share. `metric` is that
    of its default route, None without one. `vlans` are the devices on top of it.
    """

    name: str
    layer3: Layer3
    mtu: int
    below: Bond | Nic
    vlan: int | None = None
    vlans: tuple[str, ...] = ()
    metric: int | None = None


def becomes_something(machine: Machine) -> bool:
    """Whether the inventory says anything of the networks that the machine shall have."""
    return bool(machine.bonds) or any(_carries(nic) for nic in machine.nics)


def pxe_names(macs: Sequence[Mac]) -> tuple[str, ...]:
    """What the NICs on the PXE VLAN are called: the inventory gives them no names."""
    return tuple("pxe" if number == 1 else f"pxe-{number}" for number, _ in enumerate(macs, start=1))


def vlan_device(below: Bond | Nic, vlan: Vlan) -> str:
    """What the device of a VLAN is called."""
    return f"{below.name}.{vlan.id}"


def members(machine: Machine) -> Iterator[Member]:
    """Its bonds' members, bond by bond, in the order in which they were written."""
    nics = {nic.name: nic for nic in machine.nics}
    for bond in machine.bonds:
        for name in bond.members:
            yield Member(nics[name], bond)


def links(machine: Machine) -> Iterator[Link]:
    """Its bonds and the NICs that carry something, each with its VLANs, in the order of the file."""
    metric = _FIRST_METRIC
    for below in _bearing(machine):
        devices = tuple(vlan_device(below, vlan) for vlan in below.vlans)
        layers: list[tuple[str, Layer3, int, int | None]] = [
            (below.name, below.layer3, link_mtu(below), None),
            *((vlan_device(below, v), v.layer3, vlan_mtu(below, v), v.id) for v in below.vlans),
        ]
        for name, layer3, mtu, vlan in layers:
            own = metric if layer3.gateway else None
            metric += _METRIC_STEP if own else 0
            yield Link(name, layer3, mtu, below, vlan, () if vlan else devices, own)


def unused(machine: Machine) -> Iterator[Nic]:
    """Its NICs that carry nothing: known, and to be left alone."""
    taken = {member.nic.name for member in members(machine)}
    return (nic for nic in machine.nics if nic.name not in taken and not _carries(nic))


def link_mtu(below: Bond | Nic) -> int:
    """The MTU of a bond or NIC: what was written, else what the largest on it needs."""
    if below.mtu is not None:
        return below.mtu
    own = [USUAL_MTU] if below.layer3 or not below.vlans else []
    return max([vlan.mtu or USUAL_MTU for vlan in below.vlans] + own)


def vlan_mtu(below: Bond | Nic, vlan: Vlan) -> int:
    """The MTU of a VLAN: 1500 unless it was written, however large the link: its router may take no more."""
    return vlan.mtu or min(USUAL_MTU, link_mtu(below))


def _carries(nic: Nic) -> bool:
    return bool(nic.layer3 or nic.vlans)


def _bearing(machine: Machine) -> list[Bond | Nic]:
    both: list[Bond | Nic] = [*machine.bonds, *(nic for nic in machine.nics if _carries(nic))]
    return sorted(both, key=lambda link: link.origin.line)
