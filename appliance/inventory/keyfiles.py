"""A machine's networks as NetworkManager's keyfiles (nm-settings-keyfile(5), nm-settings(5)). Pure.

NetworkManager reads keyfiles only when nobody but root may (mode 0600). NICs are matched by their permanent
MAC; what it would make up for a NIC without a keyfile is turned off. On Fedora CoreOS, any file in the folder
keeps what the initramfs had configured from being carried over.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from appliance.addresses import Mac
from appliance.inventory.bond_modes import options_of
from appliance.inventory.links import (
    PXE_METRIC,
    Link,
    Member,
    link_mtu,
    links,
    members,
    pxe_names,
    unused,
)
from appliance.inventory.model import Bond, Layer3, Machine, Route
from appliance.inventory.sections import Lines, file_name, sections_text
from appliance.provisioned import ProvisionedFile

_FOLDER: Final = "/etc/NetworkManager/system-connections"
_SETTINGS: Final = "/etc/NetworkManager/conf.d/90-pxe-appliance.conf"
_MODE: Final = 0o600
_ORDER: Final = ("connection", "bond", "bond-port", "vlan", "ethernet", "ipv4", "ipv6", "hostname")
_REORDER_HEADERS: Final = 1  # a VLAN's flags as NetworkManager sets them by default
_PREFERRED: Final = 1  # of bond ports, whose priority is 0 otherwise
# The UUIDs of connections are made of names, so that a machine that is installed again has the same.
_NAMES: Final = uuid.UUID("5e1d2c1e-8a55-4b0e-9d35-6b1c0a3f9b11")


def keyfiles(machine: Machine, *, home: Route | None = None) -> tuple[ProvisionedFile, ...]:
    """The files below /etc/NetworkManager/ that make the machine's networks.

    `home` is the only route of the PXE NIC, to the appliance, where a machine stands behind a DHCP relay.
    """
    return tuple(_files(machine, home))


def _files(machine: Machine, home: Route | None) -> Iterator[ProvisionedFile]:
    yield ProvisionedFile(_SETTINGS, _settings(nic.mac for nic in unused(machine)))
    for name, mac in zip(pxe_names(machine.macs), machine.macs, strict=True):
        yield _file(machine, name, "ethernet", _pxe(mac, home))
    for member in members(machine):
        yield _file(machine, member.nic.name, "ethernet", _member(member))
    for link in links(machine):
        if link.vlan is not None:
            yield _file(machine, link.name, "vlan", _vlan(machine, link))
        elif isinstance(link.below, Bond):
            yield _file(machine, link.name, "bond", _bond(link, link.below))
        else:
            ethernet: Lines = [("mac-address", link.below.mac), ("mtu", link.mtu)]
            yield _file(machine, link.name, "ethernet", {"ethernet": ethernet, **_ip(link)})


def _settings(unmanaged: Iterable[Mac]) -> str:
    """Without this NetworkManager would ask for DHCP on every NIC that it finds; `unmanaged` stay down."""
    left_alone: Lines = [("unmanaged-devices", ";".join(f"mac:{mac}" for mac in unmanaged))]
    keyfile = left_alone if left_alone[0][1] else []
    return sections_text([("main", [("no-auto-default", "*")]), ("keyfile", keyfile)])


def _pxe(mac: Mac, home: Route | None) -> Mapping[str, Lines]:
    """The NIC that it was booted from: an address to call home from, and no way to anywhere else."""
    ipv4: Lines = [
        ("method", "auto"),
        ("dhcp-client-id", "mac"),
        ("never-default", "true"),
        ("ignore-auto-routes", "true"),
        ("ignore-auto-dns", "true"),
        ("route-metric", PXE_METRIC),
        *_routes([home] if home else []),
    ]
    # The reservation names the machine; by default a name counts only where the default route is.
    hostname: Lines = [("only-from-default", 0)]
    return {"ethernet": [("mac-address", mac)], "ipv4": ipv4, "ipv6": _disabled(), "hostname": hostname}


def _member(member: Member) -> Mapping[str, Lines]:
    sections: dict[str, Lines] = {
        "connection": [("master", member.bond.name), ("slave-type", "bond")],
        "ethernet": [("mac-address", member.nic.mac), ("mtu", link_mtu(member.bond))],
    }
    if member.bond.primary == member.nic.name:
        sections["bond-port"] = [("prio", _PREFERRED)]
    return sections


def _bond(link: Link, bond: Bond) -> Mapping[str, Lines]:
    options = options_of(bond)
    how: Lines = [("mode", bond.mode), ("miimon", 100), ("updelay", 200), ("downdelay", 200)]
    how += [("lacp_rate", options.lacp_rate)] if options.lacp_rate else []
    how += [("xmit_hash_policy", options.hash_policy)] if options.hash_policy else []
    how += [("min_links", options.min_links)] if options.min_links else []
    # This goes by the interface's name, which may not be the inventory's; the port's priority goes by MAC.
    how += [("primary", bond.primary)] if bond.primary else []
    ethernet: Lines = [("cloned-mac-address", bond.mac)] if bond.mac else []
    return {
        "connection": [("interface-name", link.name), ("autoconnect-slaves", 1)],
        "bond": how,
        "ethernet": [*ethernet, ("mtu", link.mtu)],
        **_ip(link),
    }


def _vlan(machine: Machine, link: Link) -> Mapping[str, Lines]:
    below = link.below
    # The NIC's interface may have another name than here: its connection is named instead.
    parent = below.name if isinstance(below, Bond) else _uuid(machine, below.name)
    return {
        "connection": [("interface-name", link.name)],
        "vlan": [("flags", _REORDER_HEADERS), ("id", link.vlan), ("parent", parent)],
        "ethernet": [("mtu", link.mtu)],
        **_ip(link),
    }


def _ip(link: Link) -> Mapping[str, Lines]:
    return {"ipv4": _ipv4(link.layer3, link.metric), "ipv6": _disabled()}


def _disabled() -> Lines:
    return [("method", "disabled")]


def _ipv4(layer3: Layer3, metric: int | None) -> Lines:
    if layer3.address is None:
        return _disabled()
    lines: Lines = [("method", "manual"), ("address1", layer3.address)]
    if layer3.gateway is not None:
        lines += [("gateway", layer3.gateway), ("route-metric", metric)]
    else:
        lines.append(("never-default", "true"))
    lines += [("dns", _listed(layer3.dns))] if layer3.dns else []
    lines += [("dns-search", _listed(layer3.search))] if layer3.search else []
    return lines + _routes(layer3.routes)


def _routes(routes: Sequence[Route]) -> Lines:
    lines: Lines = []
    for number, route in enumerate(routes, start=1):
        metric = "" if route.metric is None else f",{route.metric}"
        lines.append((f"route{number}", f"{route.to},{route.via}{metric}"))
    return lines


def _listed(values: Iterable[object]) -> str:
    return "".join(f"{value};" for value in values)


def _file(machine: Machine, name: str, kind: str, sections: Mapping[str, Lines]) -> ProvisionedFile:
    head: Lines = [("id", name), ("uuid", _uuid(machine, name)), ("type", kind), ("autoconnect", "true")]
    whole = {**sections, "connection": [*head, *sections.get("connection", [])]}
    text = sections_text((title, whole.get(title, [])) for title in _ORDER)
    return ProvisionedFile(f"{_FOLDER}/{file_name(name, 'nmconnection')}", text, _MODE)


def _uuid(machine: Machine, name: str) -> str:
    return str(uuid.uuid5(_NAMES, f"{machine.name}/{name}"))
