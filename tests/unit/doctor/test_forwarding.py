"""Forwarding, the reverse path, bridges: each both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import pytest

from appliance.doctor.forwarding import Kernel, judge_forwarding
from appliance.doctor.interface import Link, Route
from appliance.doctor.nft_ruleset import parse_ruleset
from appliance.doctor.packet_walk import Chain, Rule, interface_is
from appliance.settings import Forwarding, Relayed
from tests.unit.doctor.rooms import PXE, bad, settings

LINKS: Final = (
    Link("lo", addresses=("127.0.0.1/8",)),
    Link("pxe0", addresses=("172.0.1.1/24",)),
    Link("eth0", addresses=("10.0.0.5/24",)),
)
GUARD: Final = Chain(
    "inet",
    "guard",
    "f",
    (
        Rule((interface_is(["pxe0"]),), "drop", text="iifname pxe0 drop"),
        Rule((interface_is(["pxe0"], leaving=True),), "drop", text="oifname pxe0 drop"),
    ),
    hook="forward",
)
CLOSED: Final = Chain("ip", "f", "F", hook="forward", policy="drop")
DEFAULT: Final = Route(IPv4Network("0.0.0.0/0"), "eth0", IPv4Address("10.0.0.1"))
OWN: Final = Route(IPv4Network("172.0.1.0/24"), "pxe0")
BEHIND: Final = Relayed(IPv4Network("172.0.2.0/24"), IPv4Address("172.0.2.1"))
BY_ROUTER: Final = Route(BEHIND.subnet, "pxe0", IPv4Address("172.0.1.254"))


@pytest.mark.parametrize(
    ("kernel", "chains", "found"),
    [
        (Kernel(), (), False),
        (Kernel(True, {"pxe0": True, "eth0": True}), (), True),
        (Kernel(True, {"pxe0": False, "eth0": False}), (), False),
        (Kernel(True, {"pxe0": False, "eth0": True}), (), True),
        (Kernel(True, {"pxe0": True, "eth0": True}), (GUARD,), False),
        (Kernel(True, {"pxe0": True, "eth0": True}), (replace(GUARD, rules=GUARD.rules[:1]),), True),
        (Kernel(True, {"pxe0": True, "eth0": True}), (CLOSED,), False),
    ],
)  # fmt: skip
def test_forwarding(kernel: Kernel, chains: tuple[Chain, ...], found: bool) -> None:
    told = bad(judge_forwarding(settings(), kernel, LINKS, [OWN], chains))
    assert told == ({"forwarding": "warning"} if found else {})


def test_a_router_on_purpose_is_no_finding() -> None:
    kernel = Kernel(True, {"pxe0": True, "eth0": True})
    routed = settings(replace(PXE, forwarding=Forwarding.ALLOW))
    assert not bad(judge_forwarding(routed, kernel, LINKS, [OWN], ()))


def test_the_daemon_s_guard_is_read_as_it_stands() -> None:
    """As nft lists it."""

    def drop(one: str, other: str) -> list[object]:
        return [
            {"match": {"op": "==", "left": {"meta": {"key": one}}, "right": "pxe0"}},
            {"match": {"op": "!=", "left": {"meta": {"key": other}}, "right": "pxe0"}},
            {"counter": {"packets": 0, "bytes": 0}},
            {"drop": None},
        ]

    both = (drop("iifname", "oifname"), drop("oifname", "iifname"))
    table = {"family": "inet", "table": "pxe-appliance"}
    chain = {**table, "name": "forward", "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}
    rules = [{"rule": {**table, "chain": "forward", "handle": 1, "expr": e}} for e in both]
    chains = parse_ruleset(json.dumps({"nftables": [{"chain": chain}, *rules]}))
    kernel = Kernel(True, {"pxe0": True, "eth0": True})
    assert not bad(judge_forwarding(settings(), kernel, LINKS, [OWN], chains))
    assert bad(judge_forwarding(settings(), kernel, LINKS, [OWN], parse_ruleset(
        json.dumps({"nftables": [{"chain": chain}, rules[0]]})))) == {"forwarding": "warning"}  # fmt: skip


def test_a_host_with_one_interface_forwards_nothing() -> None:
    assert not bad(judge_forwarding(settings(), Kernel(True, {"pxe0": True}), LINKS[:2], [OWN], ()))


@pytest.mark.parametrize(
    ("modes", "routes", "found"),
    [
        ({"pxe0": 0}, [DEFAULT], True),  # files would leave by production
        ({"pxe0": 0}, [DEFAULT, BY_ROUTER], False),
        ({"pxe0": 1}, [DEFAULT], True),
        ({"all": 1, "pxe0": 0}, [DEFAULT], True),
        ({"pxe0": 1}, [DEFAULT, BY_ROUTER], False),
        ({"all": 1, "pxe0": 2}, [DEFAULT], True),
        ({"all": 1, "pxe0": 2}, [DEFAULT, BY_ROUTER], False),
        ({"pxe0": 2}, [], True),
    ],
)
def test_the_reverse_path_of_a_relay(modes: dict[str, int], routes: list[Route], found: bool) -> None:
    relayed = settings(replace(PXE, relayed=(BEHIND,)))
    told = bad(judge_forwarding(relayed, Kernel(rp_filter=modes), LINKS, [OWN, *routes], ()))
    assert told == ({"reverse-path": "error"} if found else {})


def test_without_a_relay_strict_filtering_does_no_harm() -> None:
    assert not bad(judge_forwarding(settings(), Kernel(rp_filter={"all": 1}), LINKS, [OWN, DEFAULT], ()))


@pytest.mark.parametrize(
    ("kind", "calls", "policy", "found"),
    [
        ("bridge", True, "drop", True),
        ("bridge", False, "drop", False),
        ("bridge", True, "accept", False),
        ("", True, "drop", False),
    ],
)
def test_frames_between_ports_of_a_bridge(kind: str, calls: bool, policy: str, found: bool) -> None:
    links = [replace(LINKS[1], kind=kind)]
    chain = Chain("ip", "filter", "FORWARD", hook="forward", policy=policy)
    told = bad(judge_forwarding(settings(), Kernel(bridge_calls=calls), links, [OWN], [chain]))
    assert told == ({"bridge-netfilter": "error"} if found else {})
