"""What no single value can tell: whether the inventory fits together, and fits the networks.

Every rule notes all that breaks it. Of two values that clash, the problem stands at the one read later and
names the place of the other.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final

from appliance.addresses import usable_by_host
from appliance.inventory.bond_rules import check_bonds
from appliance.inventory.fields import MACS
from appliance.inventory.link_rules import check_beside_pxe, check_links
from appliance.inventory.model import Inventory, Machine, Profile
from appliance.inventory.parse import Drafts, MachineDraft
from appliance.reading import Path
from appliance.settings import NetworkSettings, Settings

_RENAME: Final = "give one of the two another name, or remove it"
_NAMED: Final = 8  # names that a hint lists


def judge(drafts: Drafts, settings: Settings, ignition_files: Collection[str]) -> Inventory | None:
    """The inventory that the drafts make; None when anything is wrong, which `drafts.problems` then tells.

    `ignition_files` are the names of the files in ignition.d/.
    """
    profiles = _profiles(drafts, ignition_files)
    _check_unique(drafts)
    _check_ports(drafts)
    check_bonds(drafts.machines)
    check_links(drafts.machines)
    taken = dict(_taken_addresses(settings))
    machines: list[Machine] = []
    for draft in drafts.machines:
        network = _network_of(draft, settings)
        if network is not None and draft.ip is not None:
            _check_address(draft, draft.ip, network, taken)
            if (subnet := network.subnet_of(draft.ip)) is not None:
                check_beside_pxe(draft, subnet)
        if drafts.complete and draft.profile is not None and draft.profile not in profiles:
            hint = draft.row.reading.suggest(draft.profile, profiles) or _known("profiles", profiles)
            draft.row.add("profile", f"no profile is called {draft.profile!r}", hint)
        machine = _machine(draft, network)
        if machine is not None:
            machines.append(machine)
    if drafts.problems:
        return None
    machines.sort(key=lambda machine: machine.name.text)
    return Inventory(tuple(machines), MappingProxyType(dict(sorted(profiles.items()))))


def _profiles(drafts: Drafts, ignition_files: Collection[str]) -> dict[str, Profile]:
    profiles: dict[str, Profile] = {}
    for row, profile in drafts.profiles:
        first = profiles.get(profile.name)
        if first is not None:
            row.add("", f"the profile {profile.name!r} is also at {first.origin}", _RENAME)
            continue
        profiles[profile.name] = profile
        if profile.ignition is not None and profile.ignition not in ignition_files:
            hint = row.reading.suggest(profile.ignition, ignition_files) or "put the file there"
            row.add("ignition", f"there is no {profile.ignition} in ignition.d/", hint)
    return profiles


def _check_unique(drafts: Drafts) -> None:
    names: dict[str, MachineDraft] = {}
    hostnames: dict[str, MachineDraft] = {}
    addresses: dict[IPv4Address, MachineDraft] = {}
    macs: dict[str, tuple[MachineDraft, Path]] = {}
    for draft in drafts.machines:
        if draft.name is not None and (first := names.setdefault(draft.name.text, draft)) is not draft:
            draft.row.add("", f"the name {draft.name} is also at {first.origin}", _RENAME)
        elif draft.hostname and (first := hostnames.setdefault(draft.hostname.text, draft)) is not draft:
            whose = f"{_called(first)} at {first.origin}"
            draft.row.add("hostname", f"the host name {draft.hostname} is also that of {whose}", _RENAME)
        if draft.ip is not None and (first := addresses.setdefault(draft.ip, draft)) is not draft:
            message = f"{draft.ip} is also the address of {_called(first)} at {first.row.place('ip')}"
            draft.row.add("ip", message, "give one of the two another address")
        for mac, path in nic_macs(draft):
            if mac not in macs:
                macs[mac] = draft, path
                continue
            owner, where = macs[mac]
            message = f"{mac} is also a NIC of {_called(owner)} at {owner.row.place(where)}"
            draft.row.add(path, message, "a MAC belongs to one NIC: look at the label of each")


def _check_ports(drafts: Drafts) -> None:
    """A switch port takes one cable."""
    seen: dict[str, tuple[MachineDraft, Path]] = {}
    for draft in drafts.machines:
        nics = ((("nic", nic.name, "port"), nic.port) for nic in draft.nics)
        for path, port in ((("port",), draft.port), *nics):
            if not port:
                continue
            first = seen.setdefault(" ".join(port.lower().split()), (draft, path))
            if first != (draft, path):
                owner, where = first
                message = f"{port} is also the port of {_called(owner)} at {owner.row.place(where)}"
                draft.row.add(path, message, "a port takes one cable: look where each one ends")


def nic_macs(draft: MachineDraft) -> Iterator[tuple[str, Path]]:
    """Every MAC of a machine with its path below the machine."""
    several = draft.row.has(MACS)
    for index, mac in enumerate(draft.macs):
        yield mac.text, ("macs", index) if several else ("mac",)
    for nic in draft.nics:
        yield nic.mac.text, ("nic", nic.name, "mac")


def _called(draft: MachineDraft) -> str:
    return draft.name.text if draft.name else "a machine"


def _taken_addresses(settings: Settings) -> Iterator[tuple[IPv4Address, str]]:
    for network in settings.networks.values():
        yield network.address, f"our own on the network {network.name!r}"
        for relayed in network.relayed:
            yield relayed.router, f"that of the DHCP relay on {relayed.subnet}"


def _network_of(draft: MachineDraft, settings: Settings) -> NetworkSettings | None:
    networks = settings.networks
    if draft.network is not None:
        if draft.network not in networks:
            hint = draft.row.reading.suggest(draft.network, networks) or _known("networks", networks)
            draft.row.add("network", f"no network is called {draft.network!r}", hint)
        return networks.get(draft.network)
    if draft.ip is None:
        return None
    found = settings.network_of(draft.ip)
    if found is None and len(networks) == 1:
        return next(iter(networks.values()))
    if found is None:
        draft.row.add("ip", f"{draft.ip} is in no network", _known("networks", networks))
    return found


def _check_address(
    draft: MachineDraft, ip: IPv4Address, network: NetworkSettings, taken: Mapping[IPv4Address, str]
) -> None:
    subnet = network.subnet_of(ip)
    if subnet is None:
        subnets = ", ".join(str(s) for s in (network.subnet, *(r.subnet for r in network.relayed)))
        message = f"{ip} is outside the network {network.name!r}: {subnets}"
        draft.row.add("ip", message, "give it an address inside, or name its network")
    elif reason := usable_by_host(ip, subnet):
        draft.row.add("ip", reason, f"give it a host's address of {subnet}")
    elif ip in taken:
        draft.row.add("ip", f"{ip} is {taken[ip]}", "give the machine another address")


def _known(what: str, names: Collection[str]) -> str:
    if not names:
        return f"there are no {what}: write one first"
    more = ", …" if len(names) > _NAMED else ""
    return f"the {what} are {', '.join(sorted(names)[:_NAMED])}{more}"


def _machine(draft: MachineDraft, network: NetworkSettings | None) -> Machine | None:
    if draft.name is None or draft.hostname is None or draft.ip is None or network is None or not draft.macs:
        return None
    return Machine(
        name=draft.name,
        hostname=draft.hostname,
        macs=draft.macs,
        ip=draft.ip,
        network=network.name,
        profile=draft.profile,
        labels=draft.labels,
        serial=draft.serial,
        uuid=draft.uuid,
        arch=draft.arch,
        nics=draft.nics,
        bonds=draft.bonds,
        port=draft.port,
        origin=draft.origin,
    )
