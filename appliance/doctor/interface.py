"""Judges the interface that faces a PXE VLAN: is it the right one, is it fit, does it lead there? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_interface
from typing import Final

from appliance.doctor.finding import Finding, doubtful, fine, wrong
from appliance.settings import DefaultRoute, NetworkSettings

_ETHERNET_MTU: Final = 1500


@dataclass(frozen=True, slots=True)
class Beneath:
    """What an interface stands on: a VLAN's parent, a bridge's port, a bond's NIC."""

    name: str
    up: bool
    carrier: bool
    mtu: int = _ETHERNET_MTU


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as the kernel has it. `addresses` are IPv4 with prefix; `kind` is its DEVTYPE or empty."""

    name: str
    present: bool = True
    up: bool = True
    carrier: bool = True
    mac: str = ""
    mtu: int = _ETHERNET_MTU
    addresses: tuple[str, ...] = ()
    kind: str = ""
    master: str = ""
    master_kind: str = ""
    beneath: tuple[Beneath, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table."""

    to: IPv4Network
    interface: str
    gateway: IPv4Address | None = None

    def __str__(self) -> str:
        via = f" via {self.gateway}" if self.gateway else ""
        return f"{'default' if self.to.prefixlen == 0 else self.to}{via} dev {self.interface}"


def judge_interface(
    network: NetworkSettings, links: Sequence[Link], routes: Sequence[Route], *, ipv6_default: bool = False
) -> Iterator[Finding]:
    """Everything about one network's interface; what cannot be told of an absent one is left out.

    `ipv6_default`: IPv6's default route leaves by it.
    """
    mine = next((link for link in links if link.name == network.interface and link.present), None)
    if mine is None:
        there = ", ".join(sorted(link.name for link in links if link.present)) or "none"
        yield wrong(
            "interface-present",
            f"network {network.name}: there is no interface {network.interface}",
            "ip -br link; then write the right one in appliance.toml, or create it",
            f"interfaces: {there}",
        )
        return
    yield fine(
        "interface-present", f"{mine.name} is there", f"{mine.name}: {mine.kind or 'a NIC'} {mine.mac}"
    )
    yield from _judge_state(mine)
    yield from _judge_addresses(network, mine, links, routes)
    yield _judge_mtu(network, mine)
    yield _judge_mac(network, mine, links)
    yield _judge_default_route(network, mine, routes, ipv6_default)
    yield _judge_beneath(mine)
    yield _judge_master(network, mine)


def _judge_state(mine: Link) -> Iterator[Finding]:
    if not mine.up:
        yield wrong("interface-up", f"{mine.name} is down", f"ip link set {mine.name} up", "no flag UP")
        return  # an interface that is down has no carrier to speak of
    yield fine("interface-up", f"{mine.name} is up", "flag UP")
    if mine.carrier:
        yield fine("interface-carrier", f"{mine.name} has a link", f"{mine.name}: LOWER_UP")
    else:
        fix = f"look at the cable and the switch port; ethtool {mine.name}"
        yield wrong("interface-carrier", f"{mine.name} has no link", fix, f"{mine.name}: NO-CARRIER")


def _judge_addresses(
    network: NetworkSettings, mine: Link, links: Sequence[Link], routes: Sequence[Route]
) -> Iterator[Finding]:
    wanted = f"{network.address}/{network.subnet.prefixlen}"
    held = [ip_interface(a) for a in mine.addresses]
    ours = [a for a in held if a.ip == network.address]
    seen = f"{mine.name}: {', '.join(mine.addresses) or 'no IPv4 address'}"
    if not ours:
        others = [
            f"{network.address} is on {o.name}" for o in links if o is not mine and _holds(o, network.address)
        ]
        yield wrong(
            "interface-address",
            f"{mine.name} does not hold {network.address}",
            f"ip addr add {wanted} dev {mine.name}",
            seen,
            *others,
        )
    else:
        yield fine("interface-address", f"{mine.name} holds {network.address}", seen)
        lengths = [a.network.prefixlen for a in ours]
        if network.subnet.prefixlen in lengths:
            yield fine("interface-prefix", f"{wanted} on {mine.name}", seen)
        else:
            yield wrong(
                "interface-prefix",
                f"{network.address} on {mine.name} has the prefix /{lengths[0]}, not {network.subnet}'s",
                f"ip addr add {wanted} dev {mine.name} && ip addr del {ours[0]} dev {mine.name}",
                seen,
            )
    rivals = [
        r
        for r in routes
        if r.interface != mine.name
        and r.to.prefixlen >= network.subnet.prefixlen
        and r.to.overlaps(network.subnet)
    ]
    if rivals:
        yield wrong(
            "interface-subnet",
            f"part of {network.subnet} is reached by {rivals[0].interface}: machines there get no answer",
            f"ip route get {network.subnet[1]}; if your own session does not come that way: "
            f"ip route del {rivals[0]}",
            *map(str, rivals),
        )
    else:
        yield fine("interface-subnet", f"{network.subnet} is reached by {mine.name} alone")


def _holds(link: Link, address: IPv4Address) -> bool:
    return any(ip_interface(a).ip == address for a in link.addresses)


def _judge_mtu(network: NetworkSettings, mine: Link) -> Finding:
    wanted = network.mtu or _ETHERNET_MTU
    seen = f"{mine.name}: mtu {mine.mtu}; machines are told {wanted}"
    small = [b for b in mine.beneath if b.mtu < mine.mtu]
    if small:
        fix = f"ip link set {small[0].name} mtu {mine.mtu}"
        words = (
            f"{small[0].name}, below {mine.name}, carries {small[0].mtu} bytes, {mine.name} sends {mine.mtu}"
        )
        return wrong("interface-mtu", words, fix, seen)
    if mine.mtu == wanted:
        return fine("interface-mtu", f"the MTU of {mine.name} is {mine.mtu}", seen)
    fix = f"ip link set {mine.name} mtu {wanted}"
    if mine.mtu > wanted:
        words = (
            f"the MTU of {mine.name} is {mine.mtu}: firmware that takes {wanted} stalls in large downloads"
        )
        return doubtful("interface-mtu", words, f"{fix}, or mtu = {mine.mtu} for the network", seen)
    return doubtful("interface-mtu", f"the MTU of {mine.name} is {mine.mtu}, not {wanted}", fix, seen)


def _judge_mac(network: NetworkSettings, mine: Link, links: Sequence[Link]) -> Finding:
    if network.mac is None:
        pin = f'to pin it: mac = "{mine.mac}" below [network.{network.name}]'
        return fine("interface-mac", f"no MAC is pinned for {mine.name}", pin)
    if str(network.mac) == mine.mac:
        return fine("interface-mac", f"{mine.name} is the NIC {network.mac}")
    where = [link.name for link in links if link.mac == str(network.mac)]
    told = f"{network.mac} is {where[0]} now" if where else f"no interface has {network.mac}"
    fix = f'interface = "{where[0]}"' if where else f'mac = "{mine.mac}"'
    return wrong(
        "interface-mac",
        f"{mine.name} is not the NIC that is pinned: it is not served, for DHCP would go to another network",
        f"ip -br link; then write {fix} below [network.{network.name}]",
        f"pinned {network.mac}, {mine.name} has {mine.mac}",
        told,
    )


def _judge_default_route(
    network: NetworkSettings, mine: Link, routes: Sequence[Route], ipv6_default: bool
) -> Finding:
    leads = [r for r in routes if r.to.prefixlen == 0 and r.interface == mine.name]
    if not leads and ipv6_default:
        return doubtful(
            "interface-default-route",
            f"IPv6's default route leaves by {mine.name}: a router advertises itself on the PXE VLAN",
            f"sysctl -w net.ipv6.conf.{mine.name}.accept_ra=0; ip -6 route del default dev {mine.name}",
            f"default dev {mine.name}, IPv6",
        )
    if not leads:
        return fine("interface-default-route", f"the default route does not leave by {mine.name}")
    if network.default_route is DefaultRoute.ALLOW:
        words = f"the default route leaves by {mine.name}, as the settings allow: DHCP is served to a network"
        words += " that is more than a PXE VLAN"
        fix = f"a VLAN of its own for PXE; then without default_route under [network.{network.name}]"
        return doubtful("interface-default-route", words, fix, *map(str, leads))
    return wrong(
        "interface-default-route",
        f"the default route leaves by {mine.name}: is it the PXE VLAN at all? It is not served",
        _way_out_of_default(mine, leads, routes),
        *map(str, leads),
    )


def _judge_beneath(mine: Link) -> Finding:
    if not mine.beneath:
        if mine.kind == "bridge":
            fix = f"ip link set NIC master {mine.name}"
            return wrong(
                "interface-parent", f"the bridge {mine.name} has no port", fix, f"{mine.name}: no ports"
            )
        return fine("interface-parent", f"{mine.name} stands on no other interface")
    seen = tuple(
        f"{b.name}: {'up' if b.up else 'down'}, {'link' if b.carrier else 'no link'}" for b in mine.beneath
    )
    dead = [b for b in mine.beneath if not (b.up and b.carrier)]
    if not dead:
        return fine("interface-parent", f"all that {mine.name} stands on is up", *seen)
    fix = f"ip link set {dead[0].name} up; then look at its cable: ethtool {dead[0].name}"
    if len(dead) < len(mine.beneath):
        words = f"{', '.join(b.name for b in dead)}, below {mine.name}, carries nothing"
        return doubtful("interface-parent", words, fix, *seen)
    words = f"{', '.join(b.name for b in dead)}, on which {mine.name} stands, carries nothing"
    return wrong("interface-parent", words, fix, *seen)


def _way_out_of_default(mine: Link, leads: Sequence[Route], routes: Sequence[Route]) -> str:
    """Without another way out, deleting the route would cut off whoever types it."""
    name_it = "name the interface that faces the PXE VLAN as interface in appliance.toml (ip -br addr)"
    if any(r.to.prefixlen == 0 and r.interface != mine.name for r in routes):
        return f"{name_it}; if it is {mine.name}: ip route del {leads[0]}"
    return name_it


def _judge_master(network: NetworkSettings, mine: Link) -> Finding:
    if not mine.master:
        return fine("interface-member", f"{mine.name} is no member of a bridge or a bond")
    kind = mine.master_kind or "device"
    return wrong(
        "interface-member",
        f"{mine.name} is a member of the {kind} {mine.master}: what arrives there is {mine.master}'s",
        f'ip link set {mine.name} nomaster, or interface = "{mine.master}" below [network.{network.name}]',
        f"{mine.name}: master {mine.master}",
    )
