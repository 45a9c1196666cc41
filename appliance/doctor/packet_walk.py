"""Walks a packet through a packet filter's rules, in three values: yes, no, and what cannot be told. Pure.

What cannot be told is judged in the host's favour: a rule that may accept accepts, one that may drop does
not. So nothing is called an error on suspicion; what is called one is dropped for certain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network
from typing import Final

_DEEPEST: Final = 16  # netfilter's own limit of nested jumps


class Truth(Enum):
    """Whether a condition holds for a packet."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of a PXE exchange, as netfilter sees it. `words` say which, for people."""

    words: str
    protocol: str  # udp, tcp
    source: IPv4Address
    target: IPv4Address
    source_port: int
    target_port: int
    entering: str = ""  # the interface it comes in by
    leaving: str = ""
    state: str = "new"
    cast: str = "host"  # host, broadcast


Condition = Callable[[Packet], Truth]


@dataclass(frozen=True, slots=True)
class Rule:
    """Conditions that must all hold, then a verdict: accept, drop, return, jump, goto, or empty (none)."""

    conditions: tuple[Condition, ...]
    verdict: str
    target: str = ""
    text: str = ""

    def holds(self, packet: Packet) -> Truth:
        """NO as soon as one condition fails; MAYBE when one cannot be told."""
        values = [condition(packet) for condition in self.conditions]
        if Truth.NO in values:
            return Truth.NO
        return Truth.MAYBE if Truth.MAYBE in values else Truth.YES


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; `hook` is empty for one that is only jumped to. `owner` is who writes it: nft, iptables."""

    family: str
    table: str
    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    device: str = ""
    kind: str = "filter"
    owner: str = "nft"

    @property
    def words(self) -> str:
        """As nft names it."""
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True, slots=True)
class Dropped:
    """Where a packet ends: the base chain, and the rule or policy that says so."""

    packet: Packet
    chain: Chain
    why: str

    def __str__(self) -> str:
        return f"{self.packet.words} is dropped in {self.chain.words}: {self.why}"


def walk(packet: Packet, hook: str, chains: Sequence[Chain]) -> Dropped | None:
    """What drops `packet` on its way through a hook; None when it passes."""
    by_place = {(c.family, c.table, c.name): c for c in chains}
    bases = [c for c in chains if c.hook == hook and c.kind != "nat" and c.family in ("ip", "inet", "netdev")]
    for base in sorted(bases, key=lambda c: c.priority):
        if base.device and base.device != packet.entering:
            continue
        verdict, why = _through(base, packet, by_place, 0)
        if verdict == "drop" or (verdict != "accept" and base.policy == "drop"):
            return Dropped(packet, base, why or f"policy {base.policy}")
    return None


def _through(
    chain: Chain, packet: Packet, by_place: Mapping[tuple[str, str, str], Chain], depth: int
) -> tuple[str, str]:
    """The verdict of a chain (empty: none) and the rule that gave it."""
    for rule in chain.rules:
        holds = rule.holds(packet)
        if holds is Truth.NO or not rule.verdict:
            continue
        if rule.verdict == "accept":
            return "accept", rule.text
        if rule.verdict == "drop" and holds is Truth.YES:
            return "drop", rule.text
        if rule.verdict == "return" and holds is Truth.YES:
            return "", ""
        target = by_place.get((chain.family, chain.table, rule.target))
        if rule.verdict in ("jump", "goto") and target is not None and depth < _DEEPEST:
            verdict, why = _through(target, packet, by_place, depth + 1)
            if verdict == "accept" or (verdict == "drop" and holds is Truth.YES):
                return verdict, why
            if rule.verdict == "goto" and holds is Truth.YES:
                return "", ""
    return "", ""


# ---- conditions ----


def unknown(_: Packet) -> Truth:
    """A condition that we do not understand."""
    return Truth.MAYBE


def always(holds: bool) -> Condition:
    """A condition that holds for every packet, or for none."""
    return lambda _: Truth.YES if holds else Truth.NO


def negated(condition: Condition) -> Condition:
    """The opposite; what cannot be told stays so."""
    opposite = {Truth.YES: Truth.NO, Truth.NO: Truth.YES, Truth.MAYBE: Truth.MAYBE}
    return lambda packet: opposite[condition(packet)]


def _told(holds: bool) -> Truth:
    return Truth.YES if holds else Truth.NO


def interface_is(names: Sequence[str], *, leaving: bool = False) -> Condition:
    """The interface's name is one of `names`; a star or a plus at the end stands for any ending."""
    patterns = [n[:-1] + "*" if n.endswith("+") else n for n in names]
    return lambda p: _told(any(fnmatchcase(p.leaving if leaving else p.entering, name) for name in patterns))


def protocol_is(names: Sequence[str]) -> Condition:
    """The transport protocol is one of `names`, or of their numbers."""
    known = {"17": "udp", "6": "tcp"}
    wanted = {known.get(name, name) for name in names}
    return lambda p: _told(p.protocol in wanted)


def port_in(ranges: Sequence[tuple[int, int]], *, source: bool = False) -> Condition:
    """The port lies in one of `ranges`, both ends included."""
    return lambda p: _told(
        any(low <= (p.source_port if source else p.target_port) <= high for low, high in ranges)
    )


def address_in(networks: Sequence[IPv4Network], *, source: bool = False) -> Condition:
    """The address lies in one of `networks`."""
    return lambda p: _told(any((p.source if source else p.target) in net for net in networks))


def state_in(states: Sequence[str]) -> Condition:
    """Connection tracking calls it one of `states`."""
    wanted = {s.lower() for s in states}
    return lambda p: _told(p.state in wanted)


def cast_is(casts: Sequence[str]) -> Condition:
    """It is for the host, or for everybody."""
    wanted = {{"unicast": "host", "local": "host"}.get(c.lower(), c.lower()) for c in casts}
    return lambda p: _told(p.cast in wanted)
