"""The judge of interfaces: each thing both ways."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any, Final

import pytest

from appliance.addresses import Mac
from appliance.doctor.interface import Beneath, Link, Route, judge_interface
from appliance.settings import DefaultRoute
from tests.unit.doctor.rooms import PXE, bad, verdicts

GOOD: Final = Link("pxe0", mac="52:54:00:00:00:01", addresses=("172.0.1.1/24",))
OTHER: Final = Link("eth0", mac="52:54:00:00:00:02", addresses=("10.0.0.5/24",))
OWN: Final = Route(IPv4Network("172.0.1.0/24"), "pxe0")
DEFAULT: Final = Route(IPv4Network("0.0.0.0/0"), "eth0")


def test_a_good_one_is_judged_eleven_times_and_well() -> None:
    found = verdicts(judge_interface(PXE, [GOOD, OTHER], [OWN, DEFAULT]))
    assert set(found.values()) == {"ok"}
    assert len(found) == 11


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "pxe1"}, {"interface-present": "error"}),
        ({"present": False}, {"interface-present": "error"}),
        ({"up": False, "carrier": False}, {"interface-up": "error"}),
        ({"carrier": False}, {"interface-carrier": "error"}),
        ({"addresses": ()}, {"interface-address": "error"}),
        ({"addresses": ("172.0.1.2/24",)}, {"interface-address": "error"}),
        ({"addresses": ("172.0.1.1/16",)}, {"interface-prefix": "error"}),
        ({"addresses": ("172.0.1.1/16", "172.0.1.1/24")}, {}),
        ({"mtu": 9000}, {"interface-mtu": "warning"}),
        ({"mtu": 1400}, {"interface-mtu": "warning"}),
        ({"master": "br0", "master_kind": "bridge"}, {"interface-member": "error"}),
        ({"kind": "bridge"}, {"interface-parent": "error"}),
        ({"kind": "bridge", "beneath": (Beneath("eno4", True, True),)}, {}),
        ({"kind": "vlan", "beneath": (Beneath("eno4", False, False),)}, {"interface-parent": "error"}),
        ({"kind": "vlan", "beneath": (Beneath("eno4", True, True, 1280),)}, {"interface-mtu": "error"}),
        (
            {"kind": "bridge", "beneath": (Beneath("a", True, True), Beneath("b", True, False))},
            {"interface-parent": "warning"},
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_own_id(change: dict[str, Any], expected: dict[str, str]) -> None:
    assert bad(judge_interface(PXE, [replace(GOOD, **change), OTHER], [OWN])) == expected


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (Route(IPv4Network("0.0.0.0/0"), "pxe0"), {"interface-default-route": "error"}),
        (Route(IPv4Network("172.0.1.128/25"), "eth0"), {"interface-subnet": "error"}),
        (Route(IPv4Network("172.0.1.0/24"), "eth0"), {"interface-subnet": "error"}),
        (Route(IPv4Network("172.0.0.0/16"), "eth0"), {}),
    ],
)
def test_routes(route: Route, expected: dict[str, str]) -> None:
    assert bad(judge_interface(PXE, [GOOD], [OWN, route])) == expected


def test_a_default_route_that_is_allowed_and_one_for_ipv6_are_warnings() -> None:
    default = Route(IPv4Network("0.0.0.0/0"), "pxe0")
    allowed = replace(PXE, default_route=DefaultRoute.ALLOW)
    assert bad(judge_interface(allowed, [GOOD], [OWN, default])) == {"interface-default-route": "warning"}
    found = bad(judge_interface(PXE, [GOOD], [OWN, DEFAULT], ipv6_default=True))
    assert found == {"interface-default-route": "warning"}


def test_a_pinned_mac_and_where_it_went() -> None:
    assert not bad(judge_interface(replace(PXE, mac=Mac.parse(GOOD.mac)), [GOOD, OTHER], []))
    pinned = replace(PXE, mac=Mac.parse(OTHER.mac))
    (wrong,) = [f for f in judge_interface(pinned, [GOOD, OTHER], []) if f.verdict != "ok"]
    assert wrong.id == "interface-mac"
    assert 'interface = "eth0"' in wrong.fix


def test_a_jumbo_network_wants_a_jumbo_interface() -> None:
    jumbo = replace(PXE, mtu=9000)
    assert bad(judge_interface(jumbo, [GOOD], [])) == {"interface-mtu": "warning"}
    assert not bad(judge_interface(jumbo, [replace(GOOD, mtu=9000)], []))


def test_an_address_on_another_interface_is_named() -> None:
    elsewhere = replace(OTHER, addresses=("172.0.1.1/24",))
    found = judge_interface(PXE, [replace(GOOD, addresses=()), elsewhere], [])
    (wrong,) = [f for f in found if f.id == "interface-address"]
    assert "172.0.1.1 is on eth0" in wrong.evidence
