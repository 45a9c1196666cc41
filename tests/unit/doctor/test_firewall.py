"""The packet filter: rulesets of nft and iptables, walked through; ufw and firewalld by their own words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from appliance.doctor.firewall import Firewall, Zone, judge_firewall
from appliance.doctor.iptables_rules import is_legacy, parse_iptables
from appliance.doctor.nft_ruleset import parse_ruleset
from appliance.doctor.packet_walk import Chain
from tests.unit.doctor.rooms import PROXY, PXE, bad, settings

ALL: Final = {"firewall-dhcp": "error", "firewall-tftp": "error", "firewall-http": "error"}


def port(protocol: str, right: object, op: str = "==") -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": "dport"}}, right, op)


def match(left: object, right: object, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: object) -> dict[str, Any]:
    return match({"meta": {"key": key}}, right)


def chains(
    *rules: Sequence[object], policy: str = "accept", hook: str = "input", more: Any = ()
) -> list[Chain]:
    """A ruleset of one base chain, as nft would list it."""
    base = {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": hook, "prio": 0}
    items: list[object] = [{"metainfo": {}}, {"chain": {**base, "policy": policy}}, *more]
    items += [{"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 9, "expr": r}} for r in rules]
    return parse_ruleset(json.dumps({"nftables": items}))


def test_what_the_guard_withholds_is_not_taken_for_a_firewall() -> None:
    closed = chains([port("udp", {"set": [67, 69]}), DROP])
    assert bad(judge_firewall(settings(), Firewall(tuple(closed))))
    ours = tuple(replace(c, family="inet", table="pxe-appliance") for c in closed)
    assert not bad(judge_firewall(settings(), Firewall(ours)))


ACCEPT, DROP = {"accept": None}, {"drop": None}
LIMIT: Final = {"limit": {"rate": 10, "per": "second"}}
SOURCE: Final = {"payload": {"protocol": "ip", "field": "saddr"}}
BY_NAME: Final = {"set": [["lo", ACCEPT], ["pxe0", DROP]]}
OPEN: Final = (
    [match({"ct": {"key": "state"}}, ["established", "related"], "in"), ACCEPT],
    [meta("iifname", "pxe0"), port("udp", {"set": [67, 69]}), {"counter": {"packets": 1}}, ACCEPT],
    [meta("iifname", {"set": ["lo", "pxe*"]}), port("tcp", {"range": [8000, 9000]}), ACCEPT],
)


def judged(*found: Chain) -> dict[str, str]:
    return bad(judge_firewall(settings(), Firewall(chains=found)))


@pytest.mark.parametrize(
    ("rules", "policy", "expected"),
    [
        ([], "accept", {}),
        ([], "drop", ALL),
        (OPEN, "drop", {}),
        ([*OPEN[1:]], "drop", {"firewall-tftp": "error"}),
        ([[port("udp", 67), DROP]], "accept", {"firewall-dhcp": "error"}),
        ([[port("udp", 67, "!="), DROP]], "accept", {"firewall-tftp": "error"}),
        ([[meta("iifname", "eth0"), DROP]], "accept", {}),
        ([[meta("iifname", "eth0"), ACCEPT]], "drop", ALL),
        ([[meta("l4proto", "udp"), DROP]], "accept", {"firewall-dhcp": "error", "firewall-tftp": "error"}),
        ([[meta("pkttype", "broadcast"), DROP]], "accept", {"firewall-dhcp": "error"}),
        ([[match({"ct": {"key": "state"}}, "invalid"), DROP]], "accept", {}),
        ([[match({"ct": {"key": "state"}}, {"set": ["new", "untracked"]}), DROP]], "accept", ALL),
        ([[{"limit": {"rate": 10, "per": "second", "inv": True}}, DROP]], "accept", {}),
        ([[port("udp", 67), LIMIT, ACCEPT], [port("udp", 67), DROP]], "accept", {}),
        ([[{"xt": {"type": "match", "name": "recent"}}, DROP]], "accept", {}),
        ([[{"log": {}}, {"reject": {"type": "icmpx"}}]], "accept", ALL),
        ([[match(SOURCE, {"prefix": {"addr": "172.0.0.0", "len": 16}}), DROP]], "accept", ALL),
        ([[match(SOURCE, "172.0.1.99"), DROP]], "accept", {}),
        ([[match({"payload": {"protocol": "ip6", "field": "saddr"}}, "::1"), DROP]], "accept", {}),
        ([[match({"concat": [{"meta": {"key": "iifname"}}]}, {"set": []}), DROP]], "accept", {}),
        ([[{"return": None}], [DROP]], "accept", {}),
        ([[meta("nfproto", "ipv6"), ACCEPT], [meta("nfproto", "ipv4"), DROP]], "accept", ALL),
        ([[{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": BY_NAME}}]], "accept", ALL),
    ],
)  # fmt: skip
def test_rules_of_nft(rules: Sequence[Sequence[object]], policy: str, expected: dict[str, str]) -> None:
    assert judged(*chains(*rules, policy=policy)) == expected


def test_sets_jumps_and_verdict_maps_by_name() -> None:
    place = {"family": "inet", "table": "t"}
    more = (
        {
            "set": {
                **place,
                "name": "s",
                "type": "inet_service",
                "elem": [{"elem": {"val": 67}}, {"range": [68, 69]}],
            }
        },
        {"map": {**place, "name": "m", "elem": [[67, {"jump": {"target": "d"}}], [53, ACCEPT]]}},
        {"chain": {**place, "name": "d"}},
        {"rule": {**place, "chain": "d", "expr": [DROP]}},
    )
    jump = [port("udp", "@s"), {"jump": {"target": "d"}}]
    assert judged(*chains(jump, more=more)) == {"firewall-dhcp": "error", "firewall-tftp": "error"}
    by_map = [{"vmap": {"key": {"payload": {"protocol": "udp", "field": "dport"}}, "data": "@m"}}]
    assert judged(*chains(by_map, more=more)) == {"firewall-dhcp": "error"}
    goto = [port("udp", 69), {"goto": {"target": "d"}}]
    assert judged(*chains(goto, more=more)) == {"firewall-tftp": "error"}


def test_a_jump_in_a_circle_ends() -> None:
    place = {"family": "inet", "table": "t"}
    more = (
        {"chain": {**place, "name": "d"}},
        {"rule": {**place, "chain": "d", "expr": [{"jump": {"target": "d"}}]}},
    )
    assert judged(*chains([{"jump": {"target": "d"}}], more=more)) == {}


def test_what_another_chain_accepts_a_later_one_can_drop() -> None:
    first = chains([ACCEPT])
    second = [Chain("ip", "u", "late", hook="input", priority=10, policy="drop")]
    assert judged(*first, *second) == ALL
    nat = Chain("ip", "n", "p", hook="prerouting", policy="drop", kind="nat")
    assert judged(*first, nat) == {}


def test_answers_and_the_way_in_by_ingress() -> None:
    assert judged(*chains([DROP], hook="output")) == {"firewall-replies": "error"}
    for device, expected in (("pxe0", ALL), ("eth0", {})):
        assert judged(Chain("netdev", "t", "i", hook="ingress", policy="drop", device=device)) == expected


def test_the_line_that_mends_is_of_whoever_writes_the_rules() -> None:
    def fixes(seen: Firewall) -> str:
        return " ".join(f.fix for f in judge_firewall(settings(), seen))

    assert 'nft insert rule inet t c iifname "pxe0" udp dport 67 accept' in fixes(
        Firewall(chains=tuple(chains(policy="drop")))
    )
    saved = tuple(parse_iptables("*filter\n:INPUT DROP [0:0]\nCOMMIT\n"))
    assert "iptables -I INPUT -i pxe0 -p udp --dport 69 -j ACCEPT" in fixes(Firewall(chains=saved))
    ufw = fixes(Firewall(chains=saved, ufw="Status: active"))
    assert "ufw allow in on pxe0 to any port 8080 proto tcp" in ufw
    theirs = (Chain("inet", "firewalld", "filter_INPUT", hook="input", policy="drop"),)
    zones = {"pxe0": Zone("pxe", "ACCEPT")}
    assert "firewall-cmd --permanent --zone=pxe --add-port=67/udp" in fixes(Firewall(theirs, zones=zones))


IPTABLES: Final = """# Generated by iptables-save v1.8.9 {backend}
*raw
:PREROUTING ACCEPT [0:0]
COMMIT
*nat
:PREROUTING DROP [0:0]
COMMIT
*filter
:INPUT {policy} [0:0]
:mine - [0:0]
{rules}
COMMIT
"""


KNOWN_FIRST: Final = """-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i pxe0 -m comment --comment "PXE here" -j ACCEPT"""


@pytest.mark.parametrize(
    ("rules", "policy", "expected"),
    [
        ("", "ACCEPT", {}),
        ("", "DROP", ALL),
        ("-A INPUT -p udp -m udp --dport 67 -j DROP", "ACCEPT", {"firewall-dhcp": "error"}),
        ("-A INPUT -p udp -m multiport --dports 67,69 -j DROP", "ACCEPT",
         {"firewall-dhcp": "error", "firewall-tftp": "error"}),
        ("-A INPUT ! -i lo -p tcp -m tcp --dport 8000:9000 -j REJECT --reject-with tcp-reset", "ACCEPT",
         {"firewall-http": "error"}),
        ("-A INPUT -i pxe+ -j mine\n-A mine -p udp -j DROP", "ACCEPT",
         {"firewall-dhcp": "error", "firewall-tftp": "error"}),
        (KNOWN_FIRST, "DROP", {}),
        ("-A INPUT -m recent --update -j DROP", "ACCEPT", {}),
        ("-A INPUT -p udp -m limit --limit 3/min -j LOG\n-A INPUT -j NFLOG", "ACCEPT", {}),
        ("-A INPUT -m addrtype --dst-type BROADCAST -j DROP", "ACCEPT", {"firewall-dhcp": "error"}),
        ("-A INPUT -s 10.0.0.0/8 -j DROP", "ACCEPT", {}),
        ("-A INPUT -g mine\n-A mine -j RETURN", "DROP", ALL),
    ],
)  # fmt: skip
def test_rules_of_iptables(rules: str, policy: str, expected: dict[str, str]) -> None:
    text = IPTABLES.format(rules=rules, policy=policy, backend="(nf_tables)")
    assert judged(*parse_iptables(text)) == expected


def test_legacy_rules_are_told_by_their_heading() -> None:
    assert not is_legacy(IPTABLES.format(rules="", policy="DROP", backend="(nf_tables)"))
    assert is_legacy(IPTABLES.format(rules="", policy="DROP", backend=""))


UFW: Final = """Status: active
Default: {default} (incoming), allow (outgoing)

To                         Action      From
--                         ------      ----
{rules}
"""


@pytest.mark.parametrize(
    ("rules", "default", "well"),
    [
        ("", "deny", False),
        ("", "allow", True),
        ("Anywhere on pxe0           ALLOW IN    Anywhere", "deny", True),
        ("Anywhere on eth0           ALLOW IN    Anywhere", "deny", False),
        ("67,69/udp                  ALLOW IN    Anywhere\n8080/tcp on pxe0 ALLOW IN Anywhere", "deny", True),
        ("67,69/udp                  ALLOW IN    10.0.0.0/8\n8080/tcp ALLOW IN Anywhere", "deny", False),
        ("67/udp DENY IN Anywhere\nAnywhere on pxe0 ALLOW IN Anywhere", "deny", False),
        ("67:69/udp (v6) ALLOW IN Anywhere (v6)", "deny", False),
    ],
)
def test_ufw(rules: str, default: str, well: bool) -> None:
    found = bad(judge_firewall(settings(), Firewall(ufw=UFW.format(rules=rules, default=default))))
    assert found == ({} if well else {"firewall-ufw": "error"})


@pytest.mark.parametrize(
    ("zone", "well"),
    [
        (Zone("public"), False),
        (Zone("trusted", "ACCEPT"), True),
        (Zone("pxe", services=frozenset({"dhcp", "tftp"}), ports=frozenset({"8080/tcp"})), True),
        (Zone("pxe", ports=frozenset({"67/udp", "69/udp", "8080/tcp"})), True),
        (Zone("pxe", services=frozenset({"dhcp", "tftp"})), False),
    ],
)
def test_firewalld(zone: Zone, well: bool) -> None:
    found = bad(judge_firewall(settings(PXE), Firewall(zones={"pxe0": zone})))
    assert found == ({} if well else {"firewall-firewalld": "error"})


def test_a_proxy_needs_4011_too() -> None:
    zone = Zone("pxe", services=frozenset({"dhcp", "tftp"}), ports=frozenset({"8080/tcp"}))
    assert bad(judge_firewall(settings(PROXY), Firewall(zones={"old0": zone}))) == {
        "firewall-firewalld": "error"
    }
    only = [[port("udp", 4011), DROP]]
    seen = Firewall(chains=tuple(chains(*only)))
    assert bad(judge_firewall(settings(PROXY), seen)) == {"firewall-dhcp": "error"}
    assert bad(judge_firewall(settings(PXE), seen)) == {}


def test_text_that_is_no_ruleset_is_no_rules() -> None:
    for text in ("", "{", "[]", '{"nftables": 3}', '{"nftables": [{"rule": {"expr": [1, {}, "x"]}}]}'):
        assert parse_ruleset(text) == []


def test_rules_that_could_not_be_read_are_not_judged() -> None:
    found = [f.id for f in judge_firewall(settings(), Firewall(hidden=True))]
    assert found == ["firewall-ufw", "firewall-firewalld"]
