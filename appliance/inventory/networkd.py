"""A machine's networks as systemd-networkd's files (systemd.network(5), systemd.netdev(5)). Pure.

The first file whose [Match] fits a link is the link's only one. NICs are matched by their permanent MAC,
because members of a bond, the bond and the VLANs on it share one (measured); what is matched by its name
comes first all the same. Our names sort before those that Flatcar ships: zz-default.network takes DHCP on
whatever is left, and where the root is in memory, yy-pxe.network does so on containers' virtual NICs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from appliance.addresses import Mac
from appliance.inventory.bond_modes import options_of
from appliance.inventory.links import PXE_METRIC, Link, Member, link_mtu, links, members, unused
from appliance.inventory.model import Bond, Machine, Route
from appliance.inventory.sections import Lines, Section, file_name, sections_text
from appliance.provisioned import ProvisionedFile

_FOLDER: Final = "/etc/systemd/network"
_NOTHING: Final[Lines] = [("DHCP", "no"), ("LinkLocalAddressing", "no"), ("IPv6AcceptRA", "no")]
# The switch tells the machine, and the machine the switch, what is plugged in where.
_NEIGHBOURS: Final[Lines] = [("LLDP", "yes"), ("EmitLLDP", "nearest-bridge")]


def networkd_files(
    machine: Machine, *, home: Route | None = None, old_systemd: bool = False
) -> tuple[ProvisionedFile, ...]:
    """The files below /etc/systemd/network/ that make the machine's networks.

    Args:
        home: the only route of the PXE NIC, to the appliance, where a machine stands behind a DHCP relay.
        old_systemd: its systemd is older than 246, as Container Linux's is. That knows no permanent MAC: it
            would drop the line, and the file would match every NIC.
    """
    key = "MACAddress" if old_systemd else "PermanentMACAddress"
    # Of several PXE NICs one has the lease: the route belongs where the lease is.
    by_lease = _route(home) if home and old_systemd else _route_of_lease(home) if home else None
    return tuple(_files(machine, by_lease, key))


def _files(machine: Machine, home: Section | None, key: str) -> Iterator[ProvisionedFile]:
    yield _pxe(_nic(key, machine.macs), home)
    for nic in unused(machine):
        down: Lines = [("ActivationPolicy", "always-down"), ("RequiredForOnline", "no")]
        match = _nic(key, [nic.mac])
        yield _file(f"30-{nic.name}", "network", match, ("Link", down), ("Network", _NOTHING))
    for bond in machine.bonds:
        yield _bond(bond)
    for member in members(machine):
        yield _member(member, _nic(key, [member.nic.mac]))
    for link in links(machine):
        if link.vlan is not None:
            yield _vlan(link)
        yield _network(link, _match(link, key))
    # Whatever else there is belongs to its maker: a container's virtual NIC, a tunnel of the operator's own.
    others: Section = ("Match", [("Name", "!lo")])
    yield _file("yx-pxe-appliance-others", "network", others, ("Link", [("Unmanaged", "yes")]))


def _pxe(match: Section, home: Section | None) -> ProvisionedFile:
    """The NIC that it was booted from: an address to call home from, and no way to anywhere else."""
    network: Lines = [("DHCP", "ipv4"), ("LinkLocalAddressing", "no"), ("IPv6AcceptRA", "no")]
    refused: Lines = [(f"Use{what}", "no") for what in ("Gateway", "Routes", "DNS", "Domains", "NTP")]
    dhcp: Lines = [("ClientIdentifier", "mac"), *refused, ("RouteMetric", PXE_METRIC)]
    link: Lines = [("RequiredForOnline", "no")]
    sections: list[Section] = [match, ("Link", link), ("Network", network), ("DHCPv4", dhcp)]
    return _file("05-pxe", "network", *sections, *([home] if home else []))


def _bond(bond: Bond) -> ProvisionedFile:
    device: Lines = [("Name", bond.name), ("Kind", "bond"), ("MTUBytes", link_mtu(bond))]
    device += [("MACAddress", bond.mac)] if bond.mac else []
    options = options_of(bond)
    how: Lines = [("Mode", bond.mode)]
    how += [("LACPTransmitRate", options.lacp_rate)] if options.lacp_rate else []
    how += [("TransmitHashPolicy", options.hash_policy)] if options.hash_policy else []
    how += [("MIIMonitorSec", "100ms"), ("UpDelaySec", "200ms"), ("DownDelaySec", "200ms")]
    how += [("MinLinks", options.min_links)] if options.min_links else []
    return _file(f"10-{bond.name}", "netdev", ("NetDev", device), ("Bond", how))


def _member(member: Member, match: Section) -> ProvisionedFile:
    network: Lines = [("Bond", member.bond.name)]
    network += [("PrimarySlave", "yes")] if member.bond.primary == member.nic.name else []
    link: Lines = [("MTUBytes", link_mtu(member.bond)), ("RequiredForOnline", "no")]
    return _file(
        f"30-{member.nic.name}", "network", match, ("Link", link), ("Network", network + _NEIGHBOURS)
    )


def _vlan(link: Link) -> ProvisionedFile:
    device: Lines = [("Name", link.name), ("Kind", "vlan"), ("MTUBytes", link.mtu)]
    return _file(f"20-{link.name}", "netdev", ("NetDev", device), ("VLAN", [("Id", link.vlan)]))


def _network(link: Link, match: Section) -> ProvisionedFile:
    layer3 = link.layer3
    network: Lines = [("VLAN", name) for name in link.vlans]
    network += [("Address", layer3.address)] if layer3.address else []
    network += [("DNS", server) for server in layer3.dns]
    network += [("Domains", " ".join(layer3.search))] if layer3.search else []
    network += _NOTHING
    if isinstance(link.below, Bond) and link.vlan is None:
        # LACP takes its time to agree; the VLANs need not wait for it.
        network.append(("ConfigureWithoutCarrier", "yes"))
    elif link.vlan is None:
        network += _NEIGHBOURS
    sections: list[Section] = [
        match,
        ("Link", [("MTUBytes", link.mtu), ("RequiredForOnline", _online(link))]),
        ("Network", network),
    ]
    if layer3.gateway:
        sections.append(("Route", [("Gateway", layer3.gateway), ("Metric", link.metric)]))
    own = "10" if isinstance(link.below, Bond) else "30"
    step = own if link.vlan is None else "20"
    return _file(f"{step}-{link.name}", "network", *sections, *map(_route, layer3.routes))


def _route(route: Route) -> Section:
    way: Lines = [("Destination", route.to), ("Gateway", route.via)]
    return "Route", way + ([("Metric", route.metric)] if route.metric is not None else [])


def _route_of_lease(home: Route) -> Section:
    """The route by the router that DHCP names, which is there when the lease is."""
    return "Route", [("Destination", home.to), ("Gateway", "_dhcp4"), ("Metric", home.metric)]


def _match(link: Link, key: str) -> Section:
    """Devices that we make by the name that we give, NICs by their MAC."""
    if link.vlan is None and not isinstance(link.below, Bond):
        return _nic(key, [link.below.mac])
    return "Match", [("Name", link.name)]


def _online(link: Link) -> str:
    """How far a link has to come before the machine counts as online."""
    if link.layer3.gateway:
        return "routable"
    if link.layer3.address:
        return "degraded"
    return "carrier"


def _nic(key: str, macs: Iterable[Mac]) -> Section:
    # The type keeps a bond or a VLAN away that was given the MAC of one of them.
    return "Match", [(key, " ".join(str(mac) for mac in macs)), ("Type", "ether")]


def _file(stem: str, ending: str, *sections: Section) -> ProvisionedFile:
    return ProvisionedFile(f"{_FOLDER}/{file_name(stem, ending)}", sections_text(sections))
