"""Whether the bonds and VLANs that machines shall have can be made.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Final

from appliance.addresses import usable_by_host
from appliance.inventory.model import Bond, Vlan
from appliance.inventory.parse import MachineDraft
from appliance.reading import Path

_RENAME: Final = "give the bond another name, such as bond0"
_ROUTER: Final = "write the router's address on that VLAN"


def check_bonds(drafts: Iterable[MachineDraft]) -> None:
    """Note every bond that names a NIC it cannot have, and every VLAN address that clashes."""
    taken: dict[tuple[int, IPv4Address], tuple[MachineDraft, Path]] = {}
    for draft in drafts:
        members: dict[str, str] = {}
        for bond in draft.bonds:
            _check_members(draft, bond, members)
            _check_vlans(draft, bond, taken)


def _check_members(draft: MachineDraft, bond: Bond, members: dict[str, str]) -> None:
    nics = [nic.name for nic in draft.nics]
    if bond.name in nics:
        draft.row.add(("bond", bond.name), f"a NIC of this machine is called {bond.name}, too", _RENAME)
    for index, member in enumerate(bond.members):
        path: Path = ("bond", bond.name, "members", index)
        if member not in nics:
            known = (
                f"its NICs are {', '.join(nics)}" if nics else "write a table [machine.NAME.nic.NIC] for it"
            )
            hint = draft.row.reading.suggest(member, nics) or known
            draft.row.add(path, f"this machine has no NIC {member!r}", hint)
        elif member in members:
            draft.row.add(path, f"{member} is already a member of {members[member]}", "name it in one")
        else:
            members[member] = bond.name


def _check_vlans(
    draft: MachineDraft, bond: Bond, taken: dict[tuple[int, IPv4Address], tuple[MachineDraft, Path]]
) -> None:
    names: dict[int, str] = {}
    for vlan in bond.vlans:
        path: Path = ("bond", bond.name, "vlans", vlan.name)
        if vlan.id in names:
            message = f"{vlan.id} is already the id of the VLAN {names[vlan.id]!r}"
            draft.row.add((*path, "id"), message, "give one of the two another id")
        names.setdefault(vlan.id, vlan.name)
        if vlan.gateway is not None:
            _check_gateway(draft, vlan, vlan.gateway, path)
        if vlan.address is None:
            continue
        if reason := usable_by_host(vlan.address.ip, vlan.address.network):
            hint = f"write a host's address of {vlan.address.network}, with its prefix"
            draft.row.add((*path, "address"), reason, hint)
        place = (vlan.id, vlan.address.ip)
        if place in taken:
            first, where = taken[place]
            also = f"{vlan.address.ip} is also an address on VLAN {vlan.id}"
            message = f"{also} at {first.row.place((*where, 'address'))}"
            draft.row.add((*path, "address"), message, "give one of the two another address")
        else:
            taken[place] = draft, path


def _check_gateway(draft: MachineDraft, vlan: Vlan, gateway: IPv4Address, path: Path) -> None:
    if vlan.address is None:
        hint = "give the VLAN an address too, or leave the gateway out"
        draft.row.add((*path, "gateway"), "stands without an address", hint)
    elif gateway == vlan.address.ip:
        draft.row.add((*path, "gateway"), f"{gateway} is the machine's own address", _ROUTER)
    elif reason := usable_by_host(gateway, vlan.address.network):
        draft.row.add((*path, "gateway"), f"cannot be reached from {vlan.address}: {reason}", _ROUTER)
