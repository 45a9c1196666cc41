"""Reports, lives and refusals: what a lifecycle trial's turn shows besides its rungs."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address
from types import MappingProxyType

import pytest

from appliance.boot.events import Event, EventKind
from appliance.lab.rack import Firmware, LabMachine, Rack
from appliance.lab.told import judge_lives, judge_refusals, judge_report
from appliance.lab.watch import Finding, Watch

AT = datetime(2025, 1, 31, tzinfo=UTC)
VICTIM, THIEF = LabMachine(3, Firmware.BIOS), LabMachine(4, Firmware.BIOS)


def refused(machine: LabMachine, ip: str, **detail: str) -> Event:
    said = MappingProxyType(detail)
    return Event(AT, EventKind.HTTP_ERROR, machine.name, machine.mac, IPv4Address(ip), "pxe", said)


OWN = refused(THIEF, "172.0.1.14", claims="node3", reason="172.0.1.14 is node4's address")
POSED = refused(VICTIM, "172.0.1.13", reason="172.0.1.13 is answered for by 52:54:…, which is node4's")


def test_refusals_from_both_addresses_are_counted() -> None:
    (finding,) = judge_refusals([OWN, OWN, POSED], thief=THIEF, victim=VICTIM)
    words = "was refused node3's Ignition 3 times, from its own address and from 172.0.1.13"
    assert finding == Finding("node4", True, words)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], "no event says so"),
        ([POSED], "no event says so"),
        ([OWN], "no event names node4"),
        ([OWN, refused(VICTIM, "172.0.1.13", reason="the request has no token")], "no event names node4"),
        ([refused(THIEF, "172.0.1.14", reason="no such file"), POSED], "no event says so"),
    ],
)
def test_a_refusal_that_no_event_tells_of_is_none(events: list[Event], reason: str) -> None:
    (finding,) = judge_refusals(events, thief=THIEF, victim=VICTIM)
    assert not finding.holds
    assert finding.reason.endswith(reason)


def test_lives_are_only_spoken_of_when_they_are_wrong() -> None:
    assert judge_lives({"node1": "installed", "node2": "new"}, {"node1": "installed"}) == ()
    wrong = judge_lives({"node1": "new"}, {"node1": "installed", "node2": "held"})
    assert [f.reason for f in wrong] == [
        "is said to be new, and should be installed",
        "is said to be unknown, and should be held",
    ]


@pytest.mark.parametrize(("said", "holds"), [("… which makes bond0,100", True), ("…", False), (None, False)])
def test_a_report_has_to_say_that_the_duty_is_done(said: str | None, holds: bool) -> None:
    watch = Watch(Rack((THIEF,), stranger=None), AT)
    if said is not None:
        detail = MappingProxyType({"stage": "done", "message": said})
        watch.see(Event(AT, EventKind.DONE, THIEF.name, detail=detail))
    assert judge_report(watch, THIEF, "which makes bond0,100", "words").holds is holds
