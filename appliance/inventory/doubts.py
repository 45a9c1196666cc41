"""What can be made as it is written, and may not be meant: warnings, which stop nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final

from appliance.errors import Problem
from appliance.inventory.links import Link, becomes_something, link_mtu, links
from appliance.inventory.model import USUAL_MTU, Bond, Inventory, Machine, Nic
from appliance.reading import dotted
from appliance.settings import NetworkSettings

_NO_WAY_OUT: Final = "write a gateway at one of its links: the PXE NIC is never the way out"


def network_doubts(inventory: Inventory, networks: Mapping[str, NetworkSettings]) -> list[Problem]:
    """Every doubt about the networks that machines shall have; `networks` are the PXE networks by name."""
    untagged: dict[IPv4Address, Machine] = {}
    vlans: dict[int, tuple[Machine, Link]] = {}
    found: list[Problem] = []
    for machine in inventory.machines:
        if not becomes_something(machine):
            continue
        everything = list(links(machine))
        found += _ways_out(machine, everything)
        for link in everything:
            found += _doubts_of(machine, link, networks.get(machine.network))
            if link.vlan is not None and link.layer3.address is not None:
                found += _unlike(machine, link, *vlans.setdefault(link.vlan, (machine, link)))
            if link.vlan is not None or link.layer3.address is None:
                continue
            first = untagged.setdefault(link.layer3.address.ip, machine)
            if first is not machine:
                message = f"{link.layer3.address.ip} is also an untagged address of {first.name}"
                hint = "leave it if the two are on different wires, else give one another address"
                found.append(_at(machine, link.below, message, hint))
    return found


def _unlike(machine: Machine, link: Link, first: Machine, other: Link) -> Iterator[Problem]:
    """One VLAN is one network: a wrong id, prefix or router is quickly typed."""
    mine, theirs = link.layer3, other.layer3
    if mine.address is None or theirs.address is None:
        return
    hint = f"compare it with {first.name}: its id, its prefix, its gateway"
    if mine.address.network != theirs.address.network:
        here, there = mine.address.network, theirs.address.network
        message = f"VLAN {link.vlan} is {here} here and {there} at {first.name}"
        yield _at(machine, link.below, message, hint)
    elif mine.gateway and theirs.gateway and mine.gateway != theirs.gateway:
        message = f"VLAN {link.vlan} has the gateway {mine.gateway} here and {theirs.gateway} at {first.name}"
        yield _at(machine, link.below, message, hint)


def _ways_out(machine: Machine, everything: list[Link]) -> Iterator[Problem]:
    ways = [link for link in everything if link.layer3.gateway is not None]
    if not ways and not any(link.layer3.routes for link in everything):
        path = dotted(("machine", machine.name.text))
        origin = machine.origin
        yield Problem(origin.file, origin.line, path, "has no default route, and no other", _NO_WAY_OUT)
    if len(ways) > 1:
        order = ", then ".join(f"{link.layer3.gateway} on {link.name}" for link in ways)
        message = f"has {len(ways)} gateways: {order} when that link is gone"
        hint = "this is the order of the file; routes instead of a gateway leave one way out"
        yield _at(machine, ways[1].below, message, hint)


def _doubts_of(machine: Machine, link: Link, network: NetworkSettings | None) -> Iterator[Problem]:
    below = link.below
    if link.vlan is not None:
        if network is not None and link.vlan == network.vlan:
            message = f"carries VLAN {link.vlan}, which is the PXE network {network.name!r}"
            hint = "a PXE VLAN belongs on host ports only: take it off the trunk"
            yield _at(machine, below, message, hint)
        return
    if not link.layer3 and not link.vlans:
        yield _at(machine, below, "carries nothing: no address, no VLANs", "write what it is for")
    if link.layer3 and below.mtu is None and link_mtu(below) > USUAL_MTU:
        message = f"gets an MTU of {link.mtu} for its VLANs, and so does its untagged network"
        hint = f"write mtu = {link.mtu} at {below.name} if that is meant, else move the address to a VLAN"
        yield _at(machine, below, message, hint)


def _at(machine: Machine, below: Bond | Nic, message: str, hint: str) -> Problem:
    kind = "bond" if isinstance(below, Bond) else "nic"
    path = dotted(("machine", machine.name.text, kind, below.name))
    return Problem(below.origin.file, below.origin.line, path, message, hint)
