"""Reads `iptables-save` into chains that a packet can be walked through. Pure.

Needed where rules are iptables': nft lists the legacy ones not at all, and of the others not the matches that
it has no words for.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Final

from appliance.doctor import packet_walk as w
from appliance.doctor.packet_walk import Chain, Condition, Rule

_HOOKS: Final = {"INPUT": "input", "FORWARD": "forward", "OUTPUT": "output", "PREROUTING": "prerouting"}
_PRIORITIES: Final = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_VERDICTS: Final = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
# Targets that go on with the next rule, and matches that hold for a first packet.
_SILENT: Final = frozenset(
    {"LOG", "NFLOG", "MARK", "CONNMARK", "CT", "TCPMSS", "CHECKSUM", "DSCP", "TRACE", "AUDIT", "ULOG"}
)
_FLAGS: Final = frozenset({"--syn"})


def is_legacy(text: str) -> bool:
    """Whether the rules live where nft does not look."""
    return "(nf_tables)" not in text


def parse_iptables(text: str) -> list[Chain]:
    """The chains of an `iptables-save`, nat left out: it decides about no packet."""
    table = ""
    policies: dict[tuple[str, str], str] = {}
    rules: dict[tuple[str, str], list[Rule]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif table not in _PRIORITIES or len(line.split()) < 2:
            continue
        elif line.startswith(":") and len(words := line[1:].split()) > 1:
            policies[table, words[0]] = words[1]
        elif line.startswith("-A "):
            name, rule = _rule(line)
            rules.setdefault((table, name), []).append(rule)
    return [
        Chain(
            "ip",
            table,
            name,
            tuple(rules.get((table, name), ())),
            hook=_HOOKS.get(name, ""),
            priority=_PRIORITIES[table],
            policy="drop" if policy == "DROP" else "accept",
            owner="iptables",
        )
        for (table, name), policy in policies.items()
    ]


def _rule(line: str) -> tuple[str, Rule]:
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    chain, rest = words[1], words[2:]
    conditions: list[Condition] = []
    verdict = target = ""
    at, invert = 0, False
    while at < len(rest):
        word, value = rest[at], rest[at + 1] if at + 1 < len(rest) else ""
        at += 2
        if word == "!":
            invert, at = True, at - 1
            continue
        if word in ("-j", "-g"):
            verdict, target = _verdict(word, value)
            break  # what follows belongs to the target
        if word == "-m" or word in _FLAGS:
            at -= word in _FLAGS
            conditions += [] if value in _UNDERSTOOD or word in _FLAGS else [w.unknown]
        else:
            condition = _condition(word, value)
            conditions.append(w.negated(condition) if invert else condition)
        invert = False
    return chain, Rule(tuple(conditions), verdict, target, line)


_UNDERSTOOD: Final = frozenset(
    {"udp", "tcp", "conntrack", "state", "multiport", "comment", "limit", "addrtype", "pkttype"}
)


def _verdict(word: str, value: str) -> tuple[str, str]:
    if value in _VERDICTS:
        return _VERDICTS[value], ""
    if value in _SILENT:
        return "", ""
    return ("goto" if word == "-g" else "jump"), value


def _condition(word: str, value: str) -> Condition:
    match word:
        case "-i" | "--in-interface":
            return w.interface_is([value])
        case "-o" | "--out-interface":
            return w.interface_is([value], leaving=True)
        case "-p" | "--protocol":
            return w.always(True) if value == "all" else w.protocol_is([value])
        case "--dport" | "--dports" | "--destination-port":
            return _ports(value.split(","))
        case "--sport" | "--sports" | "--source-port":
            return _ports(value.split(","), source=True)
        case "-s" | "--source":
            return _addresses(value, source=True)
        case "-d" | "--destination":
            return _addresses(value)
        case "--ctstate" | "--state":
            return w.state_in(value.split(","))
        case "--dst-type" | "--pkt-type":
            return w.cast_is(value.split(","))
        case "--comment" | "--limit" | "--limit-burst":
            return w.always(True)
    return w.unknown


def _ports(words: Sequence[str], *, source: bool = False) -> Condition:
    ranges = []
    for word in words:
        low, _, high = word.partition(":")
        if not low.isdecimal() or not (high or low).isdecimal():
            return w.unknown
        ranges.append((int(low), int(high or low)))
    return w.port_in(ranges, source=source)


def _addresses(value: str, *, source: bool = False) -> Condition:
    try:
        return w.address_in([IPv4Network(value, strict=False)], source=source)
    except ValueError:
        return w.unknown
