"""Reads `nft -j list ruleset` (libnftables-json(5)) into chains that a packet can be walked through. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Final

from appliance.doctor import packet_walk as w
from appliance.doctor.packet_walk import Chain, Condition, Rule

_FINAL: Final = {"accept": "accept", "drop": "drop", "reject": "drop", "return": "return"}
# What a rule may do besides deciding: it says nothing about the packet.
_SILENT: Final = frozenset(
    {
        "counter",
        "log",
        "mangle",
        "notrack",
        "ct helper",
        "ct timeout",
        "set",
        "meter",
        "comment",
        "last",
        "quota",
    }
)
_OPERATORS: Final = frozenset({"==", "in", "!="})

Sets = Mapping[tuple[str, str, str], Sequence[object]]


def parse_ruleset(text: str) -> list[Chain]:
    """The chains of a ruleset; empty for text that is not one."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    items = document.get("nftables") if isinstance(document, dict) else None
    entries = [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []
    sets: dict[tuple[str, str, str], Sequence[object]] = {}
    rules: dict[tuple[str, str, str], list[Rule]] = {}
    for kind in ("set", "map"):
        for one in _of(entries, kind):
            elements = one.get("elem")
            sets[_place(one, "name")] = elements if isinstance(elements, list) else []
    for one in _of(entries, "rule"):
        expressions = one.get("expr")
        if isinstance(expressions, list):
            place = _place(one, "chain")
            rules.setdefault(place, []).extend(_rules(expressions, place[:2], sets, one.get("handle")))
    return [_chain(one, tuple(rules.get(_place(one, "name"), ()))) for one in _of(entries, "chain")]


def _of(entries: Sequence[Mapping[str, object]], kind: str) -> Iterator[Mapping[str, object]]:
    for entry in entries:
        value = entry.get(kind)
        if isinstance(value, dict):
            yield value


def _place(one: Mapping[str, object], key: str) -> tuple[str, str, str]:
    return str(one.get("family")), str(one.get("table")), str(one.get(key))


def _chain(one: Mapping[str, object], rules: tuple[Rule, ...]) -> Chain:
    family, table, name = _place(one, "name")
    priority = one.get("prio")
    return Chain(
        family,
        table,
        name,
        rules,
        hook=str(one.get("hook") or ""),
        priority=priority if isinstance(priority, int) else 0,
        policy=str(one.get("policy") or "accept"),
        device=str(one.get("dev") or ""),
        kind=str(one.get("type") or "filter"),
    )


def _rules(
    expressions: Sequence[object], place: tuple[str, str], sets: Sets, handle: object
) -> Iterator[Rule]:
    """A rule of nft as rules of ours: a verdict map is one for each of its keys."""
    conditions: list[Condition] = []
    number = f" (handle {handle})" if isinstance(handle, int) else ""
    text = " ".join(_words(e) for e in expressions) + number
    for expression in expressions:
        if not isinstance(expression, dict) or not expression:
            conditions.append(w.unknown)
            continue
        ((key, value),) = list(expression.items())[:1]
        if key in _FINAL:
            yield Rule(tuple(conditions), _FINAL[key], text=text)
            return
        if key in ("jump", "goto") and isinstance(value, dict):
            yield Rule(tuple(conditions), key, str(value.get("target")), text)
            return
        if key == "vmap" and isinstance(value, dict):
            yield from _verdict_map(value, tuple(conditions), place, sets, text)
            return
        conditions += _conditions(key, value, place, sets)


def _verdict_map(
    value: Mapping[str, object], before: tuple[Condition, ...], place: tuple[str, str], sets: Sets, text: str
) -> Iterator[Rule]:
    for pair in _elements(value.get("data"), place, sets):
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict) and pair[1]):
            continue
        match = {"op": "==", "left": value.get("key"), "right": pair[0]}
        held = (*before, *_match(match, place, sets))
        ((verdict, target),) = list(pair[1].items())[:1]
        if verdict in _FINAL:
            yield Rule(held, _FINAL[verdict], text=text)
        elif isinstance(target, dict):
            yield Rule(held, verdict, str(target.get("target")), text)


def _conditions(key: str, value: object, place: tuple[str, str], sets: Sets) -> list[Condition]:
    if key == "match" and isinstance(value, dict):
        return _match(value, place, sets)
    if key == "limit":
        # A first packet is below every rate: "over" does not hold for it, the plain form does.
        return [w.always(not (isinstance(value, dict) and value.get("inv")))]
    return [] if key in _SILENT else [w.unknown]


def _match(match: Mapping[str, object], place: tuple[str, str], sets: Sets) -> list[Condition]:
    left, operator = match.get("left"), match.get("op", "==")
    values = list(_elements(match.get("right"), place, sets))
    if operator not in _OPERATORS or not isinstance(left, dict):
        return [w.unknown]
    needs, condition = _condition(left, values)
    return [*needs, w.negated(condition) if operator == "!=" else condition]


def _condition(left: Mapping[str, object], values: Sequence[object]) -> tuple[list[Condition], Condition]:
    """What a left side asks, with what it takes for granted (`udp dport` holds for UDP alone)."""
    words = [str(v) for v in values]
    match left:
        case {"meta": {"key": "iifname" | "iif"}}:
            return [], w.interface_is(words)
        case {"meta": {"key": "oifname" | "oif"}}:
            return [], w.interface_is(words, leaving=True)
        case {"meta": {"key": "l4proto"}} | {"payload": {"protocol": "ip", "field": "protocol"}}:
            return [], w.protocol_is(words)
        case {"meta": {"key": "nfproto" | "protocol"}}:
            return [], w.always(bool({"ipv4", "2", "ip", "2048"} & set(words)))
        case {"meta": {"key": "pkttype"}}:
            return [], w.cast_is(words)
        case {"fib": {"result": "type", "flags": "daddr" | ["daddr"]}}:
            return [], w.cast_is(words)
        case {"ct": {"key": "state"}}:
            return [], w.state_in(words)
        case {"payload": {"protocol": ("udp" | "tcp" | "th" | "sctp") as protocol, "field": field}}:
            ranges = _ranges(values)
            needs = [] if protocol == "th" else [w.protocol_is([str(protocol)])]
            if ranges is None or field not in ("sport", "dport"):
                return needs, w.unknown
            return needs, w.port_in(ranges, source=field == "sport")
        case {"payload": {"protocol": "ip", "field": ("saddr" | "daddr") as field}}:
            networks = _networks(values)
            return [], w.unknown if networks is None else w.address_in(networks, source=field == "saddr")
        case {"payload": {"protocol": "ip6" | "icmp" | "icmpv6" | "arp"}}:
            return [], w.always(False)
    return [], w.unknown


def _elements(right: object, place: tuple[str, str], sets: Sets) -> Iterator[object]:
    if isinstance(right, str) and right.startswith("@"):
        for element in sets.get((*place, right[1:]), ()):
            yield from _elements(element, place, sets)
    elif isinstance(right, dict) and isinstance(right.get("set"), list):
        for element in right["set"]:
            yield from _elements(element, place, sets)
    elif isinstance(right, dict) and "elem" in right:
        inner = right["elem"]
        yield inner.get("val") if isinstance(inner, dict) else inner
    elif isinstance(right, list) and not any(isinstance(part, dict) for part in right):
        yield from right
    else:
        yield right


def _ranges(values: Sequence[object]) -> list[tuple[int, int]] | None:
    found = []
    for value in values:
        match value:
            case bool():
                return None
            case int():
                found.append((value, value))
            case {"range": [int() as low, int() as high]}:
                found.append((low, high))
            case _:
                return None
    return found


def _networks(values: Sequence[object]) -> list[IPv4Network] | None:
    found = []
    for value in values:
        match value:
            case str():
                text = value
            case {"prefix": {"addr": str() as address, "len": int() as length}}:
                text = f"{address}/{length}"
            case _:
                return None
        try:
            found.append(IPv4Network(text, strict=False))
        except ValueError:
            return None
    return found


def _words(expression: object) -> str:
    """An expression nearly as nft writes it: evidence for people, not for nft."""
    match expression:
        case {"match": {"op": operator, "left": left, "right": right}}:
            sign = "" if operator in ("==", "in") else f"{operator} "
            return f"{_left(left)} {sign}{_right(right)}"
        case {"jump": {"target": target}}:
            return f"jump {target}"
        case {"goto": {"target": target}}:
            return f"goto {target}"
        case {"vmap": {"key": key, "data": data}}:
            return f"{_left(key)} vmap {_right(data)}"
        case dict() if expression:
            return str(next(iter(expression)))
    return str(expression)


def _left(left: object) -> str:
    match left:
        case {"payload": {"protocol": protocol, "field": field}}:
            return f"{protocol} {field}"
        case {"meta": {"key": key}}:
            return str(key)
        case {"ct": {"key": key}}:
            return f"ct {key}"
    return json.dumps(left)


def _right(right: object) -> str:
    match right:
        case {"set": list() as members}:
            return "{ " + ", ".join(_right(m) for m in members) + " }"
        case {"range": [low, high]}:
            return f"{low}-{high}"
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case list():
            return " : ".join(_right(part) for part in right)
        case dict():
            return " ".join(f"{k}" if v is None else f"{k} {_right(v)}" for k, v in right.items())
    return str(right)
