"""The guard's rules as text: whole, for the usual cases; and nothing in them that is not a typed value."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import pytest

from appliance.daemon.guard_rules import ruleset
from appliance.settings import Forwarding, HttpSettings, NetworkSettings, Settings
from tests.goldens import assert_golden

PXE: Final = NetworkSettings("pxe", "eno4", IPv4Network("172.0.1.0/24"), IPv4Address("172.0.1.1"))
LAB: Final = NetworkSettings("lab", "br0.50", IPv4Network("172.0.2.0/24"), IPv4Address("172.0.2.1"))


def of(*networks: NetworkSettings) -> Settings:
    return Settings({n.name: n for n in networks}, http=HttpSettings(8080))


def test_the_rules_whole() -> None:
    routed = replace(LAB, forwarding=Forwarding.ALLOW)
    cases = {
        "one.nft": ruleset(of(PXE), frozenset(), 998),
        "root.nft": ruleset(of(PXE), frozenset(), 0),
        "two-one-routed.nft": ruleset(of(PXE, routed), frozenset(), 998),
        "one-of-two-withheld.nft": ruleset(of(PXE, LAB), frozenset({"lab"}), 998),
        "all-withheld.nft": ruleset(of(PXE), frozenset({"pxe"}), 998),
    }
    assert_golden("guard", {name: text.encode() for name, text in cases.items()})


def test_every_policy_is_accept_and_every_drop_is_about_us() -> None:
    for line in ruleset(of(PXE, LAB), frozenset({"lab"}), 998).splitlines():
        if "policy" in line:
            assert "policy accept" in line
        if "drop" in line:
            assert any(word in line for word in ("eno4", "br0.50", "172.0.1.1", "172.0.2.1")), line


@pytest.mark.parametrize("name", ['e"n', "e n", "e\nadd", "", "x" * 16, "eth0*"])
def test_no_other_word_gets_into_a_rule(name: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in a rule"):
        ruleset(of(replace(PXE, interface=name)), frozenset(), 998)
    with pytest.raises(ValueError, match="cannot stand in a rule"):
        ruleset(of(replace(PXE, name=name + '"')), frozenset(), 998)
