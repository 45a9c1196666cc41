"""The limits as text: whole for the usual cases, with every MAC of the inventory and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import pytest

from appliance.addresses import Mac
from appliance.daemon.guard_rules import ruleset
from appliance.daemon.limits import LIMITED, Known, limits
from appliance.settings import NetworkMode, NetworkSettings, Relayed
from tests.goldens import assert_golden
from tests.unit.daemon.rooms import MAC, served
from tests.unit.daemon.test_guard_rules import LAB, PXE, of

MACS: Final = [Mac.parse("52:54:00:aa:00:02"), Mac.parse("52:54:00:aa:00:01")]
FAR: Final = replace(LAB, relayed=(Relayed(IPv4Network("172.0.3.0/24"), IPv4Address("172.0.3.1")),))


KNOWN: Final = Known(
    frozenset(MACS),
    frozenset({(MACS[0], IPv4Address("172.0.1.22")), (MACS[1], IPv4Address("172.0.1.21"))}),
)
BEHIND: Final = Known(
    KNOWN.macs | {Mac.parse("52:54:00:aa:00:03")},
    KNOWN.held | {(Mac.parse("52:54:00:aa:00:03"), IPv4Address("172.0.3.21"))},
)


def text(*networks: NetworkSettings, known: Known = KNOWN) -> str:
    return "\n".join(limits(networks, known, 8080)) + "\n"


def test_the_limits_whole() -> None:
    cases = {
        "one.nft": text(PXE),
        "two-relayed.nft": text(PXE, FAR, known=BEHIND),
        "two-one-proxied.nft": text(PXE, replace(LAB, mode=NetworkMode.PROXY)),
        "nobody-known.nft": text(PXE, known=Known()),
    }
    assert_golden("limits", {name: rules.encode() for name, rules in cases.items()})


def test_the_order_of_the_macs_makes_no_new_rules() -> None:
    turned = Known(frozenset(MACS[::-1]), frozenset(sorted(KNOWN.held, reverse=True)))
    assert text(PXE) == text(PXE, known=turned)


def test_they_stand_in_the_guard_and_say_which_drops_are_theirs() -> None:
    without, with_them = ruleset(of(PXE), frozenset(), 998), ruleset(of(PXE), frozenset(), 998, KNOWN)
    added = with_them.removeprefix(without.removesuffix("}\n")).splitlines()
    drops = [line for line in added if " drop " in line]
    assert len(drops) == 8
    assert all(f'comment "{LIMITED}: ' in line for line in drops)
    assert text().strip() == "", "nothing is served, nothing is limited"


def test_everybody_of_a_generation_is_known_and_has_an_address_for_what_may_boot() -> None:
    known = Known.of(served())
    other = Mac.parse("52:54:00:bb:00:01")
    assert {(MAC, IPv4Address("172.0.1.21")), (MACS[0], IPv4Address("172.0.1.22"))} <= known.held
    assert other in known.macs
    assert other not in {mac for mac, _ in known.held}


def slots(limit: str) -> int:
    """How many of TFTP's slots whoever never acknowledges holds under a limit."""
    found = re.search(r"rate (?:over )?([0-9]+)/second burst ([0-9]+)", limit)
    assert found
    return int(found[1]) * 28 + int(found[2])


@pytest.mark.parametrize("networks", [(PXE,), (PXE, FAR)])
def test_a_machine_and_all_who_need_no_known_mac_leave_slots(networks: tuple[NetworkSettings, ...]) -> None:
    rules = text(*networks, known=BEHIND)
    together = [line for line in rules.splitlines() if "TFTP" in line and " rate over " in line]
    machine = re.search(r"update @readers .*", rules)
    assert machine
    assert len(together) == len(networks)
    assert sum(map(slots, together)) + slots(machine[0]) < 1024


def test_no_set_can_be_filled_by_whoever_is_not_in_the_inventory() -> None:
    """A full set would let each new asker pass, or none: its keys are those of sets that we write."""
    rules = text(PXE, FAR, known=BEHIND)
    for name, asked in (
        ("machine_asks", {"ether saddr @known goto machine_asks"}),
        ("machine_reads", {"ether saddr . ip saddr @reserved goto machine_reads"}),
        ("relayed_reads", {"ip saddr @relayed goto relayed_reads"}),
        ("machine_connects", {"ether saddr . ip saddr @reserved goto machine_connects"}),
        ("relayed_connects", {"ip saddr @relayed goto relayed_connects"}),
    ):
        assert {line.strip() for line in rules.splitlines() if f"goto {name}" in line} == asked
    many = Known(frozenset(Mac.parse(f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}") for n in range(20_000)))
    assert rules.count(" size 65535;") == 5
    assert text(PXE, known=many).count(" size 80000;") == 5
