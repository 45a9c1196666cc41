"""Judges what the kernel does with packets between networks: forwarding, reverse path, bridges. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from appliance.doctor.finding import Finding, doubtful, fine, wrong
from appliance.doctor.interface import Link, Route
from appliance.doctor.packet_walk import Chain, Packet, walk
from appliance.settings import Forwarding, NetworkSettings, Settings

_LOOSE, _STRICT = 2, 1


@dataclass(frozen=True, slots=True)
class Kernel:
    """Settings of the kernel: `forwarding` and `rp_filter` by interface (`all` among the latter).

    `bridge_calls` says whether frames between ports of a bridge pass the IP rules, too.
    """

    ip_forward: bool = False
    forwarding: Mapping[str, bool] = field(default_factory=dict)
    rp_filter: Mapping[str, int] = field(default_factory=dict)
    bridge_calls: bool = False


def judge_forwarding(
    settings: Settings,
    kernel: Kernel,
    links: Sequence[Link],
    routes: Sequence[Route],
    chains: Sequence[Chain],
) -> Iterator[Finding]:
    """The three ways in which a kernel takes or loses packets that are not its own."""
    for network in settings.networks.values():
        yield _judge_ways(network, kernel, links, chains)
        yield _judge_reverse_path(network, kernel, routes)
        yield _judge_bridge(network, kernel, links, chains)


def _judge_ways(
    network: NetworkSettings, kernel: Kernel, links: Sequence[Link], chains: Sequence[Chain]
) -> Finding:
    ours = network.interface
    others = [x.name for x in links if x.present and x.up and x.addresses and x.name not in (ours, "lo")]
    open_ways = [(ours, other) for other in others if kernel.forwarding.get(ours, kernel.ip_forward)]
    open_ways += [(other, ours) for other in others if kernel.forwarding.get(other, kernel.ip_forward)]
    open_ways = [way for way in open_ways if _passes(network, way, chains)]
    seen = f"net.ipv4.ip_forward = {int(kernel.ip_forward)}"
    if open_ways and network.forwarding is Forwarding.ALLOW:
        return fine("forwarding", f'this host routes for {ours}, as forwarding = "allow" says', seen)
    if not open_ways:
        return fine("forwarding", f"nothing is forwarded from or to {ours}", seen)
    guard = (
        "nft add table inet pxe_guard && "
        "nft add chain inet pxe_guard forward '{ type filter hook forward priority -10; }' && "
        f'nft add rule inet pxe_guard forward iifname "{ours}" drop && '
        f'nft add rule inet pxe_guard forward oifname "{ours}" drop'
    )
    ways = [f"{entering} -> {leaving}" for entering, leaving in open_ways]
    return doubtful(
        "forwarding",
        f"packets are forwarded between {ours} and other networks: {ways[0]}",
        "let the daemon run, whose guard drops them (pxe-appliance status); or sysctl -w "
        f"net.ipv4.ip_forward=0; or, where this host must forward for others: {guard}",
        seen,
        *ways,
    )


def _passes(network: NetworkSettings, way: tuple[str, str], chains: Sequence[Chain]) -> bool:
    entering, leaving = way
    inside, outside = network.subnet.network_address + 2, IPv4Address("198.51.100.1")
    source, target = (inside, outside) if entering == network.interface else (outside, inside)
    packet = Packet("a forwarded packet", "tcp", source, target, 40000, 443, entering, leaving)
    return walk(packet, "forward", chains) is None


def _judge_reverse_path(network: NetworkSettings, kernel: Kernel, routes: Sequence[Route]) -> Finding:
    """Strict filtering (1) wants the way back to leave by the same interface (ip-sysctl)."""
    ours = network.interface
    mode = max(kernel.rp_filter.get("all", 0), kernel.rp_filter.get(ours, 0))
    deaf = mode == _STRICT or (mode == _LOOSE and not any(r.to.prefixlen == 0 for r in routes))
    seen = f"rp_filter of {ours} = {mode}"
    # Measured: offers from a subnet that leads elsewhere do not reach a socket.
    seen += "; other DHCP servers of foreign subnets are not heard" if deaf else ""
    ways = [(r, _way_to(r.subnet.network_address + 1, routes)) for r in network.relayed]
    lost = [(relayed, way) for relayed, way in ways if way is None or way.interface != ours]
    if not lost:
        return fine("reverse-path", f"nothing that arrives on {ours} is dropped for where it came from", seen)
    relayed, way = lost[0]
    drops = mode == _STRICT or (mode == _LOOSE and way is None)
    there = way or "unknown"
    words = (
        f"the kernel drops what relays send from {relayed.subnet} to {ours}: the way back is {there}"
        if drops
        else f"files for {relayed.subnet} do not leave by {ours}, and the guard lets them out nowhere else: "
        f"the way there is {there}"
    )
    add = f"ip route add {relayed.subnet} via NEXT-HOP dev {ours}"
    return wrong(
        "reverse-path",
        words,
        add,
        seen,
        f"relay {relayed.router} in {relayed.subnet}; route: {way or 'none'}",
    )


def _way_to(address: IPv4Address, routes: Sequence[Route]) -> Route | None:
    fitting = [r for r in routes if address in r.to]
    return max(fitting, key=lambda r: r.to.prefixlen, default=None)


def _judge_bridge(
    network: NetworkSettings, kernel: Kernel, links: Sequence[Link], chains: Sequence[Chain]
) -> Finding:
    mine = next((x for x in links if x.name == network.interface), None)
    if mine is None or mine.kind != "bridge":
        return fine("bridge-netfilter", f"{network.interface} is no bridge")
    if not kernel.bridge_calls:
        return fine("bridge-netfilter", f"frames between ports of {mine.name} pass no rules")
    everybody = IPv4Address("255.255.255.255")
    packet = Packet(
        "DISCOVER", "udp", IPv4Address(0), everybody, 68, 67, mine.name, mine.name, cast="broadcast"
    )
    dropped = walk(packet, "forward", chains)
    if dropped is None:
        return fine("bridge-netfilter", f"the rules let frames between ports of {mine.name} pass")
    return wrong(
        "bridge-netfilter",
        f"frames between ports of {mine.name} are dropped by rules that are meant for routed packets",
        "sysctl -w net.bridge.bridge-nf-call-iptables=0",
        "net.bridge.bridge-nf-call-iptables = 1",
        str(dropped),
    )
