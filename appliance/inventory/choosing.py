"""What an operator leaves open when a machine is added or changed: file, network, address, MAC.

Pure.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from appliance.addresses import Hostname, Mac, usable_by_host
from appliance.errors import OperatorError, Problem
from appliance.inventory.edit import Addition, MacChange
from appliance.inventory.model import Bond, Layer3, Nic
from appliance.inventory.parse import Drafts, MachineDraft
from appliance.inventory.rules import nic_macs
from appliance.reading import Document
from appliance.settings import NetworkMode, NetworkSettings, Settings

NEW_FILE: Final = "machines.toml"
AUTO: Final = "auto"
_THERE: Final = "the command line"
_COMPARED: Final = 10_000  # names that are looked through for the nearest one


def machine_called(drafts: Drafts, raw: str) -> MachineDraft:
    """The machine of that name.

    Raises:
        OperatorError: there is none; names the nearest. Or there are two.
    """
    wanted = raw.lower()
    found = [draft for draft in drafts.machines if draft.name is not None and draft.name.text == wanted]
    if not found:
        names = [draft.name.text for draft in drafts.machines[:_COMPARED] if draft.name]
        near = difflib.get_close_matches(wanted[:63], names, n=1)
        hint = f"did you mean {near[0]}?" if near else "pxe-appliance machines lists them"
        raise OperatorError(f"no machine is called {raw!r}", hint=hint)
    if len(found) > 1:
        places = " and ".join(str(draft.origin) for draft in found)
        raise OperatorError(f"two machines are called {raw!r}: {places}", hint="remove one by hand")
    return found[0]


def written_name(draft: MachineDraft) -> str:
    """A machine's name as its file spells it."""
    return str(draft.row.path[-1])


def chosen_network(settings: Settings, asked: str | None) -> NetworkSettings:
    """The network that is asked for, or the only one.

    Raises:
        OperatorError: there is none of that name, or several and nobody said which.
    """
    networks = settings.networks
    if asked is not None:
        if asked not in networks:
            near = difflib.get_close_matches(asked[:63], networks, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the networks are {', '.join(sorted(networks))}"
            raise OperatorError(f"no network is called {asked!r}", hint=hint)
        return networks[asked]
    if len(networks) != 1:
        named = ", ".join(sorted(networks))
        raise OperatorError("cannot tell which network it is on", hint=f"say --network, one of {named}")
    return next(iter(networks.values()))


def file_for_new(new: Addition, drafts: Drafts, settings: Settings) -> str:
    """The file that holds most machines of a new one's network; empty when no file holds one."""
    network = _network_in(new, settings)
    counts = Counter(draft.origin.file for draft in drafts.machines if _network(draft, settings) == network)
    return min(counts, key=lambda file: (-counts[file], file), default="")


def like_neighbours(new: Addition, file: str, drafts: Drafts, settings: Settings, *, named: bool) -> Addition:
    """With its network written where those in its file have it written, or where the ip does not tell it.

    `named`: an operator named it; that is kept in a file of its own.
    """
    network = _network_in(new, settings)
    if network is None:
        return new
    written = [draft.network is not None for draft in drafts.machines if draft.origin.file == file]
    told = _network_in(replace(new, data={**new.data, "network": None}), settings) == network
    if not told or any(written) or (named and not written):
        mac = {key: new.data[key] for key in ("mac", "macs") if key in new.data}
        data = {**mac, "ip": new.data["ip"], "network": network}
        return replace(new, data={**data, **{k: v for k, v in new.data.items() if k not in data}})
    return replace(new, data={k: v for k, v in new.data.items() if k != "network"})


def _network_in(new: Addition, settings: Settings) -> str | None:
    """The network that a new machine names, or that its address tells."""
    named = new.data.get("network")
    if isinstance(named, str):
        return named
    found = settings.network_of(IPv4Address(str(new.data["ip"])))
    return found.name if found else None


def next_address(
    network: NetworkSettings, drafts: Drafts, settings: Settings, held: Collection[IPv4Address]
) -> IPv4Address:
    """The lowest free address above those of the network's machines; the lowest free one when none is left.

    Free is what no machine, router, relay, time or name server has that settings and inventory know, what is
    not ours, and what is not among `held`, the addresses that somebody has been seen to hold.

    Raises:
        OperatorError: there is none, or it cannot be told which subnet it should be of.
    """
    if network.mode is NetworkMode.PROXY:
        message = f"another server gives the addresses of the network {network.name!r}"
        raise OperatorError(f"cannot choose an address: {message}", hint="write the one that it gives: --ip")
    taken = {*_known_addresses(drafts, settings), *held}
    subnets = (network.subnet, *(relayed.subnet for relayed in network.relayed))
    free = {subnet: _lowest(subnet, drafts, taken) for subnet in subnets}
    if len(subnets) > 1:
        choices = " or ".join(f"--ip {ip}" for ip in free.values() if ip)
        message = f"cannot choose an address: the network {network.name!r} has {len(subnets)} subnets"
        raise OperatorError(message, hint=f"say {choices}")
    found = free[network.subnet]
    if found is None:
        message = f"cannot choose an address: none of {network.subnet} is free"
        raise OperatorError(message, hint="remove machines that are gone, or widen the subnet")
    return found


def new_machine(raw_name: str, raw: Mapping[str, object], drafts: Drafts) -> Addition:
    """A machine from the texts of a command line, each in the one spelling of its type.

    Raises:
        OperatorError: something of it is wrong, or is another machine's; names where.
    """
    typed = Drafts()
    typed.take(Document(_THERE, {"machine": {raw_name: dict(raw)}}, lambda _: 0))
    if typed.problems:
        problems = [Problem(p.file, 0, p.path, p.message, p.hint) for p in typed.problems]
        raise OperatorError("cannot add the machine", problems=problems)
    (draft,) = typed.machines
    assert draft.name is not None, "a draft without a name has a problem"
    clashes = list(_clashes(draft, drafts))
    if clashes:
        raise OperatorError(f"cannot add {draft.name}", problems=clashes)
    macs = [mac.text for mac in draft.macs]
    data: dict[str, object] = {"mac": macs[0]} if len(macs) == 1 else {"macs": macs}
    facts = {"ip": draft.ip, "network": draft.network, "profile": draft.profile}
    data |= {key: str(value) for key, value in facts.items() if value is not None}
    return Addition(draft.name, data | ({"labels": dict(draft.labels)} if draft.labels else {}))


def mac_change(draft: MachineDraft, raw_new: str, raw_old: str | None, drafts: Drafts) -> MacChange:
    """Which MAC of a machine goes, and which comes.

    Raises:
        OperatorError: it cannot be told which is to go, or the new one is a NIC's already; names where.
    """
    new = _mac(raw_new)
    for other in drafts.machines:
        for text, path in nic_macs(other):
            if text == new.text:
                place = other.row.place(path)
                raise OperatorError(f"{new} is a NIC of {_called(other)} already, at {place}")
    name = _called(draft)
    nics = {mac.text: "" for mac in draft.macs} | {nic.mac.text: nic.name for nic in draft.nics}
    listed = ", ".join(f"{mac} ({nic})" if nic else mac for mac, nic in nics.items())
    if raw_old is None:
        if len(draft.macs) != 1:
            raise OperatorError(f"{name} has several MACs", hint=f"say which one goes: --old, of {listed}")
        return MacChange(written_name(draft), draft.macs[0], new)
    old = _mac(raw_old)
    if old.text not in nics:
        raise OperatorError(f"{old} is not a NIC of {name}", hint=f"its MACs are {listed}")
    return MacChange(written_name(draft), old, new)


def _mac(raw: str) -> Mac:
    try:
        return Mac.parse(raw)
    except ValueError as error:
        hint = "copy it from the NIC's label or from pxe-appliance strays"
        raise OperatorError(str(error), hint=hint) from error


def _clashes(new: MachineDraft, drafts: Drafts) -> Iterator[Problem]:
    """What of a new machine is somebody's already, each with its place in the files."""
    wanted = {mac.text for mac in new.macs}
    for draft in drafts.machines:
        if draft.name is not None and draft.name == new.name:
            yield _problem(
                draft, (), f"a machine is called {new.name} already", "give the new one another name"
            )
        elif draft.hostname is not None and draft.hostname == new.hostname:
            hint = "give the new one another name"
            yield _problem(draft, ("hostname",), f"{new.hostname} is its host name already", hint)
        if new.ip is not None and draft.ip == new.ip:
            hint = "leave --ip out, and the next free address is taken"
            yield _problem(draft, ("ip",), f"{new.ip} is the address of {_called(draft)} already", hint)
        for text, path in nic_macs(draft):
            if text in wanted:
                hint = "a MAC belongs to one NIC: look at the label of each"
                yield _problem(draft, path, f"{text} is a NIC of {_called(draft)} already", hint)


def _problem(draft: MachineDraft, path: tuple[str | int, ...], message: str, hint: str) -> Problem:
    return draft.row.reading.document.problem((*draft.row.path, *path), message, hint)


def _called(draft: MachineDraft) -> str:
    name: Hostname | None = draft.name
    return name.text if name else "a machine"


def _network(draft: MachineDraft, settings: Settings) -> str | None:
    if draft.network is not None or draft.ip is None:
        return draft.network
    found = settings.network_of(draft.ip)
    return found.name if found else None


def _known_addresses(drafts: Drafts, settings: Settings) -> Iterator[IPv4Address]:
    for network in settings.networks.values():
        yield network.address
        yield from network.ntp
        yield from (relayed.router for relayed in network.relayed)
    for draft in drafts.machines:
        if draft.ip is not None:
            yield draft.ip
        links: list[Nic | Bond] = [*draft.nics, *draft.bonds]
        for link in links:
            yield from _of_link(link.layer3)
            for vlan in link.vlans:
                yield from _of_link(vlan.layer3)


def _of_link(layer3: Layer3) -> Iterator[IPv4Address]:
    if layer3.address is not None:
        yield layer3.address.ip
    if layer3.gateway is not None:
        yield layer3.gateway
    yield from layer3.dns
    yield from (route.via for route in layer3.routes)


def _lowest(subnet: IPv4Network, drafts: Drafts, taken: Collection[IPv4Address]) -> IPv4Address | None:
    first, last = int(subnet.network_address), int(subnet.broadcast_address)
    own = (int(draft.ip) for draft in drafts.machines if draft.ip is not None and draft.ip in subnet)
    above = max(own, default=first) + 1
    for number in _numbers(above, first, last):
        ip = IPv4Address(number)
        if ip not in taken and not usable_by_host(ip, subnet):
            return ip
    return None


def _numbers(above: int, first: int, last: int) -> Iterable[int]:
    yield from range(above, last)
    yield from range(first + 1, min(above, last))
