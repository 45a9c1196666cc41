"""Whether the links that machines shall have fit together: their names, addresses, routes and MTUs.

A link is a bond, a NIC that carries something by itself, or a VLAN on one of the two.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from appliance.addresses import usable_by_host
from appliance.inventory.links import link_mtu, pxe_names, vlan_device
from appliance.inventory.model import Bond, Layer3, Nic
from appliance.inventory.parse import MachineDraft
from appliance.reading import Path

_RENAME: Final = "give the bond another name, such as bond0"
_ROUTER: Final = "write the router's address on that network"
_LONGEST: Final = 15  # characters of an interface's name: Linux's IFNAMSIZ, less the zero at its end
# Linux has settings and files of these names where an interface's would be; systemd refuses the same.
_NOT_NAMES: Final = frozenset({".", "..", "all", "default", "bonding_masters"})

_Place = tuple[MachineDraft, Path]


@dataclass(slots=True)
class _Wires:
    """Across machines: whose address is whose on each tagged VLAN, and who is a router there."""

    hosts: dict[tuple[int, IPv4Address], _Place] = field(default_factory=dict)
    routers: dict[tuple[int, IPv4Address], _Place] = field(default_factory=dict)


@dataclass(slots=True)
class _Seen:
    """Of one machine: the subnets and the routes of its links, with their places."""

    subnets: list[tuple[IPv4Network, Path]] = field(default_factory=list)
    routes: dict[tuple[IPv4Network, int | None], Path] = field(default_factory=dict)


def check_links(drafts: Iterable[MachineDraft]) -> None:
    """Note every link that cannot be made, or that clashes with another."""
    wires = _Wires()
    for draft in drafts:
        _check_names(draft)
        seen = _Seen()
        for at, link in _bearing(draft):
            _check_layer3(draft, at, link.layer3, seen)
            _check_vlans(draft, at, link, seen, wires)
    for (number, ip), (draft, path) in wires.hosts.items():
        if (number, ip) in wires.routers:
            router, where = wires.routers[number, ip]
            message = f"{ip} is a router's on VLAN {number}, at {router.row.place(where)}"
            draft.row.add((*path, "address"), message, "give the machine another address")


def check_beside_pxe(draft: MachineDraft, pxe: IPv4Network) -> None:
    """Note every link that would take traffic for the PXE VLAN `pxe`, where the machine has a NIC already."""
    hint = "the PXE VLAN is reached by its own NIC: give this one another subnet"
    for at, link in _bearing(draft):
        for path, layer3 in _layers(at, link):
            if layer3.address is not None and layer3.address.network.overlaps(pxe):
                message = f"{layer3.address.network} overlaps {pxe}, the machine's PXE network"
                draft.row.add((*path, "address"), message, hint)
            for index, route in enumerate(layer3.routes):
                if route.to.subnet_of(pxe):
                    message = f"{route.to} lies in {pxe}, the machine's PXE network"
                    draft.row.add((*path, "routes", index, "to"), message, hint)


def _bearing(draft: MachineDraft) -> Iterator[tuple[Path, Bond | Nic]]:
    """Links with the paths that they are written at; members of bonds are another rule's."""
    members = {name for bond in draft.bonds for name in bond.members}
    for bond in draft.bonds:
        yield ("bond", bond.name), bond
    for nic in draft.nics:
        if nic.name not in members:
            yield ("nic", nic.name), nic


def _layers(at: Path, link: Bond | Nic) -> Iterator[tuple[Path, Layer3]]:
    yield at, link.layer3
    for vlan in link.vlans:
        yield (*at, "vlans", vlan.name), vlan.layer3


def _check_names(draft: MachineDraft) -> None:
    """Every device has a name of its own that Linux takes."""
    names = dict.fromkeys(pxe_names(draft.macs), "the NIC on the PXE VLAN")
    for nic in draft.nics:
        if nic.name in names:
            message = f"{nic.name} is what the NIC on the PXE VLAN is called"
            draft.row.add(("nic", nic.name), message, "give it another name: its MAC tells which NIC it is")
        names[nic.name] = "a NIC"
    for bond in draft.bonds:
        at: Path = ("bond", bond.name)
        if bond.name in names:
            draft.row.add(at, f"{names[bond.name]} of this machine is called {bond.name}, too", _RENAME)
        if bond.name in _NOT_NAMES or bond.name.isdigit():
            draft.row.add(at, f"{bond.name} cannot be an interface's name", _RENAME)
        names[bond.name] = "a bond"
    for at, link in _bearing(draft):
        for vlan in link.vlans:
            device, path = vlan_device(link, vlan), (*at, "vlans", vlan.name)
            if len(device) > _LONGEST:
                length = f"{len(device)} characters, and Linux has {_LONGEST}"
                message = f"its device would be called {device}: {length}"
                draft.row.add((*path, "id"), message, f"give {link.name} a shorter name")
            elif device in names:
                message = f"its device would be called {device}, as {names[device]} of this machine"
                draft.row.add((*path, "id"), message, "give one of the two another name")


def _check_vlans(draft: MachineDraft, at: Path, link: Bond | Nic, seen: _Seen, wires: _Wires) -> None:
    names: dict[int, str] = {}
    for vlan in link.vlans:
        path: Path = (*at, "vlans", vlan.name)
        if vlan.id in names:
            message = f"{vlan.id} is already the id of the VLAN {names[vlan.id]!r}"
            draft.row.add((*path, "id"), message, "give one of the two another id")
        names.setdefault(vlan.id, vlan.name)
        if vlan.mtu is not None and vlan.mtu > link_mtu(link):
            message = f"{vlan.mtu} is more than the {link.mtu} of {link.name} below it"
            draft.row.add((*path, "mtu"), message, f"raise the mtu of {link.name}, or leave it out there")
        _check_layer3(draft, path, vlan.layer3, seen)
        _check_neighbours(draft, path, vlan.id, vlan.layer3, wires)


def _check_neighbours(draft: MachineDraft, path: Path, number: int, layer3: Layer3, wires: _Wires) -> None:
    """No two machines have one address on one VLAN."""
    for router in (*([layer3.gateway] if layer3.gateway else []), *(r.via for r in layer3.routes)):
        wires.routers.setdefault((number, router), (draft, path))
    if layer3.address is None:
        return
    first, where = wires.hosts.setdefault((number, layer3.address.ip), (draft, path))
    if (first, where) != (draft, path):
        also = f"{layer3.address.ip} is also an address on VLAN {number}"
        message = f"{also} at {first.row.place((*where, 'address'))}"
        draft.row.add((*path, "address"), message, "give one of the two another address")


def _check_layer3(draft: MachineDraft, path: Path, layer3: Layer3, seen: _Seen) -> None:
    address = layer3.address
    if layer3.gateway is not None:
        _check_router(draft, layer3, layer3.gateway, (*path, "gateway"))
    for index, route in enumerate(layer3.routes):
        at: Path = (*path, "routes", index)
        _check_router(draft, layer3, route.via, (*at, "via"))
        first = seen.routes.setdefault((route.to, route.metric), at)
        if first != at:
            message = f"{route.to} is also a route at {draft.row.place(first)}, and neither comes first"
            draft.row.add((*at, "to"), message, "give them different metrics: the lower one wins")
    if address is None:
        for key, value in (("dns", layer3.dns), ("search", layer3.search)):
            if value:
                draft.row.add((*path, key), "stands without an address", "give it one, or leave this out")
        return
    if reason := usable_by_host(address.ip, address.network):
        hint = f"write a host's address of {address.network}, with its prefix"
        draft.row.add((*path, "address"), reason, hint)
    for subnet, where in seen.subnets:
        if subnet.overlaps(address.network):
            place = draft.row.place((*where, "address"))
            message = f"{address.network} overlaps {subnet} at {place}, another link of this machine"
            draft.row.add((*path, "address"), message, "a machine reaches a subnet by one link")
    seen.subnets.append((address.network, path))


def _check_router(draft: MachineDraft, layer3: Layer3, router: IPv4Address, path: Path) -> None:
    address = layer3.address
    if address is None:
        draft.row.add(path, "stands without an address", "give it an address too, or leave this out")
    elif router == address.ip:
        draft.row.add(path, f"{router} is the machine's own address", _ROUTER)
    elif reason := usable_by_host(router, address.network):
        draft.row.add(path, f"cannot be reached from {address}: {reason}", _ROUTER)
