"""Judges the host's packet filter: would it drop what machines send, or what we answer? Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Final

from appliance.doctor.finding import Finding, doubtful, fine, wrong
from appliance.doctor.packet_walk import Chain, Dropped, Packet, walk
from appliance.settings import NetworkMode, NetworkSettings, Settings
from appliance.system.netfilter import FAMILY, TABLE

_NOBODY, _EVERYBODY = IPv4Address("0.0.0.0"), IPv4Address("255.255.255.255")
_EPHEMERAL: Final = 40000
_UFW_RULE: Final = re.compile(
    r"(?P<to>.+?)(?: on (?P<device>\S+))?\s+(?P<verb>ALLOW|LIMIT|DENY|REJECT)(?: IN)?\s+(?P<source>.+)"
)


@dataclass(frozen=True, slots=True)
class Zone:
    """What `firewall-cmd --list-all` says of the zone that an interface is in."""

    name: str
    target: str = "default"
    services: frozenset[str] = frozenset()
    ports: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Firewall:
    """What was seen: chains of nft and iptables, ufw's status (empty: not active), zones by interface.

    `notes` say what could not be looked at; `hidden` that the rules could not be read at all.
    """

    chains: tuple[Chain, ...] = ()
    ufw: str = ""
    zones: dict[str, Zone] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    hidden: bool = False


def judge_firewall(settings: Settings, seen: Firewall) -> Iterator[Finding]:
    """The packets of a boot, one by one, through input and output; then ufw and firewalld as they say it."""
    if not seen.hidden:
        # The daemon's guard closes what is withheld, for a reason that `status` and other checks tell.
        theirs = tuple(c for c in seen.chains if (c.family, c.table) != (FAMILY, TABLE))
        seen = replace(seen, chains=theirs)
        for network in settings.networks.values():
            yield _judged("firewall-dhcp", _dhcp(network), "input", network, seen)
            yield _judged("firewall-tftp", _tftp(network), "input", network, seen)
            yield _judged("firewall-http", _http(network, settings.http.port), "input", network, seen)
            yield _judged("firewall-replies", _replies(network, settings.http.port), "output", network, seen)
    yield _judge_ufw(settings, seen.ufw)
    yield _judge_firewalld(settings, seen.zones)


def _client(network: NetworkSettings) -> IPv4Address:
    """An address of the subnet that is not ours."""
    first = network.subnet.network_address + 1
    return first + 1 if first == network.address else first


def _dhcp(network: NetworkSettings) -> list[Packet]:
    on, client = network.interface, _client(network)
    packets = [
        Packet("DISCOVER", "udp", _NOBODY, _EVERYBODY, 68, 67, on, cast="broadcast"),
        Packet("a renewal", "udp", client, network.address, 68, 67, on),
    ]
    if network.mode is NetworkMode.PROXY:
        packets.append(Packet("a proxy DHCP REQUEST", "udp", client, network.address, 68, 4011, on))
    for relayed in network.relayed:
        words = f"DISCOVER by the relay {relayed.router}"
        packets.append(Packet(words, "udp", relayed.router, network.address, 67, 67, on))
    return packets


def _tftp(network: NetworkSettings) -> list[Packet]:
    on, client, ours = network.interface, _client(network), network.address
    return [
        Packet("a TFTP request", "udp", client, ours, 2070, 69, on),
        # The server answers from a port of its own; what comes back to it belongs to a known connection.
        Packet("a TFTP acknowledgement", "udp", client, ours, 2070, _EPHEMERAL, on, state="established"),
    ]


def _http(network: NetworkSettings, port: int) -> list[Packet]:
    on, client, ours = network.interface, _client(network), network.address
    return [
        Packet("an HTTP connection", "tcp", client, ours, _EPHEMERAL, port, on),
        Packet("an HTTP request", "tcp", client, ours, _EPHEMERAL, port, on, state="established"),
    ]


def _replies(network: NetworkSettings, http: int) -> list[Packet]:
    by, client, ours = network.interface, _client(network), network.address
    return [
        Packet("an OFFER", "udp", ours, _EVERYBODY, 67, 68, leaving=by, cast="broadcast"),
        Packet("TFTP data", "udp", ours, client, _EPHEMERAL, 2070, leaving=by),
        Packet("an HTTP answer", "tcp", ours, client, http, _EPHEMERAL, leaving=by, state="established"),
    ]


def _judged(
    identity: str, packets: Sequence[Packet], hook: str, network: NetworkSettings, seen: Firewall
) -> Finding:
    hooks = ("ingress", "prerouting", "input") if hook == "input" else ("output", "postrouting")
    dropped = [
        found
        for packet in packets
        if (found := next(filter(None, (walk(packet, h, seen.chains) for h in hooks)), None))
    ]
    if not dropped:
        names = ", ".join(sorted({p.words for p in packets}))
        count = len([c for c in seen.chains if c.hook])
        looked = f"{count} base chains looked at" if count else "no rules"
        return fine(identity, f"{network.interface}: passes", f"{names}: {looked}", *seen.notes)
    fixes = dict.fromkeys(_fix(found, network, seen) for found in dropped)
    words = f"{dropped[0].packet.words} on {network.interface} is dropped by {dropped[0].chain.words}"
    return wrong(identity, words, " && ".join(fixes), *map(str, dropped))


def _fix(found: Dropped, network: NetworkSettings, seen: Firewall) -> str:
    """The exact line for whoever writes the rules: ufw, firewalld, iptables or nft."""
    packet, chain = found.packet, found.chain
    sending = bool(packet.leaving)
    if seen.ufw and chain.family == "ip" and not sending and packet.state == "new":
        return _ufw_line(network.interface, packet.target_port, packet.protocol)
    if chain.table == "firewalld" and packet.state == "new" and not sending:
        zone = seen.zones.get(network.interface, Zone("internal"))
        return _firewalld_line(zone.name, [f"--add-port={packet.target_port}/{packet.protocol}"])
    if chain.owner == "iptables":
        device = f"-o {network.interface}" if sending else f"-i {network.interface}"
        table = "" if chain.table == "filter" else f"-t {chain.table} "
        return f"iptables {table}-I {chain.name} {device} {_iptables_match(packet)} -j ACCEPT"
    device = f'{"oifname" if sending else "iifname"} "{network.interface}" '
    device = "" if chain.family == "netdev" else device
    return f"nft insert rule {chain.words} {device}{_nft_match(packet)} accept"


def _nft_match(packet: Packet) -> str:
    if packet.state == "established":
        return "ct state established,related"
    if packet.leaving and packet.source_port == 67:
        return f"udp sport {packet.source_port}"
    return f"{packet.protocol} {'sport' if packet.leaving else 'dport'} " + str(
        "1024-65535" if packet.leaving else packet.target_port
    )


def _iptables_match(packet: Packet) -> str:
    if packet.state == "established":
        return "-m conntrack --ctstate ESTABLISHED,RELATED"
    if packet.leaving:
        ports = str(packet.source_port) if packet.source_port == 67 else "1024:65535"
        return f"-p {packet.protocol} --sport {ports}"
    return f"-p {packet.protocol} --dport {packet.target_port}"


def _needed(network: NetworkSettings, http: int) -> list[tuple[int, str]]:
    proxy = [(4011, "udp")] if network.mode is NetworkMode.PROXY else []
    return [(67, "udp"), (69, "udp"), *proxy, (http, "tcp")]


# ---- ufw ----


def _judge_ufw(settings: Settings, status: str) -> Finding:
    """`ufw status verbose`: the default of incoming traffic, and what it allows besides."""
    if "Status: active" not in status:
        return fine("firewall-ufw", "ufw is not active")
    default = re.search(r"^Default: (\w+) \(incoming\)", status, re.MULTILINE)
    if default and default[1] == "allow":
        return fine("firewall-ufw", "ufw lets everything in", default[0])
    lines = [line.strip() for line in status.partition("\n--")[2].splitlines()[1:] if line.strip()]
    closed = [
        (network.interface, port, protocol)
        for network in settings.networks.values()
        for port, protocol in _needed(network, settings.http.port)
        if not _ufw_allows(lines, network.interface, port, protocol)
    ]
    seen = (default[0] if default else "Status: active", *lines[:10])
    if not closed:
        return fine("firewall-ufw", "ufw lets machines in", *seen)
    words = ", ".join(f"{protocol}/{port} on {device}" for device, port, protocol in closed)
    return wrong(
        "firewall-ufw", f"ufw does not let in {words}", " && ".join(_ufw_line(*c) for c in closed), *seen
    )


def _ufw_allows(lines: Sequence[str], device: str, port: int, protocol: str) -> bool:
    """The first rule that is about the port says it."""
    for line in lines:
        found = _UFW_RULE.fullmatch(line)
        if not found or "(v6)" in found["to"] or found["device"] not in (None, device):
            continue
        ports, _, of = found["to"].strip().split(" ")[-1].partition("/")
        if ports != "Anywhere" and (of not in ("", protocol) or not _covers(ports, port)):
            continue
        if not found["source"].startswith("Anywhere"):
            continue
        return found["verb"] in ("ALLOW", "LIMIT")
    return False


def _covers(words: str, port: int) -> bool:
    for word in words.split(","):
        low, _, high = word.partition(":")
        if low.isdecimal() and (high or low).isdecimal() and int(low) <= port <= int(high or low):
            return True
    return False


def _ufw_line(device: str, port: int, protocol: str) -> str:
    return f"ufw allow in on {device} to any port {port} proto {protocol}"


# ---- firewalld ----


def _judge_firewalld(settings: Settings, zones: dict[str, Zone]) -> Finding:
    http = settings.http.port
    bad: list[tuple[Zone, list[str]]] = []
    for network in settings.networks.values():
        zone = zones.get(network.interface)
        if zone is None or zone.target == "ACCEPT":
            continue
        closed = [
            service
            for service, port in (("dhcp", "67/udp"), ("tftp", "69/udp"))
            if service not in zone.services and port not in zone.ports
        ]
        lines = [f"--add-service={service}" for service in closed]
        lines += [] if f"{http}/tcp" in zone.ports else [f"--add-port={http}/tcp"]
        if network.mode is NetworkMode.PROXY and not {"4011/udp"} & zone.ports:
            lines.append("--add-port=4011/udp")
        if lines:
            bad.append((zone, lines))
    if not zones:
        return fine("firewall-firewalld", "firewalld does not run")
    seen = [f"zone {z.name} of {d}: {' '.join(sorted(z.services | z.ports))}" for d, z in zones.items()]
    if not bad:
        return fine("firewall-firewalld", "firewalld lets machines in", *seen)
    zone, lines = bad[0]
    words = f"firewalld's zone {zone.name} does not let in {', '.join(x.partition('=')[2] for x in lines)}"
    fix = " && ".join(_firewalld_line(z.name, wanted) for z, wanted in bad)
    return wrong("firewall-firewalld", words, fix, *seen)


def _firewalld_line(zone: str, options: Sequence[str]) -> str:
    return f"firewall-cmd --permanent --zone={zone} {' '.join(options)} && firewall-cmd --reload"


def hidden_note(what: str) -> Finding:
    """The finding for rules that only root can read."""
    return doubtful("rights", f"{what} could not be seen", "sudo pxe-appliance doctor")
