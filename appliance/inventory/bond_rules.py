"""Whether the bonds that machines shall have can be made of the NICs that they have.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from appliance.inventory.bond_modes import Bundle, mode_of
from appliance.inventory.model import Bond, Nic
from appliance.inventory.parse import MachineDraft
from appliance.reading import Path

_LEAVE_OUT: Final = "leave it out, or choose a mode that has it"


def check_bonds(drafts: Iterable[MachineDraft]) -> None:
    """Note every bond that names a NIC it cannot have, an option its mode lacks, or another NIC's MAC."""
    machines = list(drafts)
    macs = {nic.mac: (draft, nic.name) for draft in machines for nic in draft.nics}
    macs |= {mac: (draft, "pxe") for draft in machines for mac in draft.macs}
    for draft in machines:
        members: dict[str, str] = {}
        for bond in draft.bonds:
            _check_members(draft, bond, members)
            _check_options(draft, bond)
            if bond.mac is None:
                continue
            owner, nic = macs.setdefault(bond.mac, (draft, bond.name))
            if owner is not draft or nic not in (bond.name, *bond.members):
                whose = owner.name.text if owner.name else "a machine"
                message = f"{bond.mac} is that of {nic} of {whose}"
                hint = "a bond may have the MAC of one of its members, or one that nobody has"
                draft.row.add(("bond", bond.name, "mac"), message, hint)
        for nic_of in draft.nics:
            if nic_of.name in members:
                _check_bare(draft, nic_of, members[nic_of.name])


def _check_members(draft: MachineDraft, bond: Bond, members: dict[str, str]) -> None:
    nics = [nic.name for nic in draft.nics]
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


def _check_options(draft: MachineDraft, bond: Bond) -> None:
    at: Path = ("bond", bond.name)
    mode = mode_of(bond)
    lacp = mode.bundle is Bundle.LACP
    for key, value, has, why in (
        ("lacp_rate", bond.lacp_rate, lacp, "only 802.3ad speaks LACP"),
        ("min_links", bond.min_links, lacp, "only 802.3ad counts its links"),
        ("hash_policy", bond.hash_policy, mode.hashes, "it does not choose members by a hash"),
        ("primary", bond.primary, mode.prefers, "it prefers no member"),
    ):
        if value is not None and not has:
            draft.row.add((*at, key), f"means nothing in mode {bond.mode}: {why}", _LEAVE_OUT)
    if not bond.members:
        return
    if bond.primary is not None and mode.prefers and bond.primary not in bond.members:
        hint = f"its members are {', '.join(bond.members)}"
        draft.row.add((*at, "primary"), f"{bond.primary} is not a member of {bond.name}", hint)
    if bond.min_links is not None and lacp and bond.min_links > len(bond.members):
        message = f"{bond.min_links} links of {len(bond.members)}: it would never come up"
        draft.row.add((*at, "min_links"), message, f"write {len(bond.members)} or less")


def _check_bare(draft: MachineDraft, nic: Nic, bond: str) -> None:
    """A member carries what its bond carries."""
    layer3 = nic.layer3
    carried = {
        "address": layer3.address,
        "gateway": layer3.gateway,
        "dns": layer3.dns,
        "search": layer3.search,
        "routes": layer3.routes,
        "mtu": nic.mtu,
        "vlans": nic.vlans,
    }
    for key, value in carried.items():
        if value:
            hint = f"write it at the bond {bond}, or take {nic.name} out of its members"
            message = f"{nic.name} is a member of {bond}, and carries nothing by itself"
            draft.row.add(("nic", nic.name, key), message, hint)
