"""What events amount to: every way in which a lab run can fail to show something has its sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from types import MappingProxyType

import pytest

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.lab.rack import STRANGER, FirmwareChoice, Rack, fill
from appliance.lab.watch import RUNGS, Finding, Watch, event_from_json, judge

POWER_ON = datetime(2025, 1, 31, 4, 5, 6, tzinfo=UTC)
RACK = fill(1, FirmwareChoice.BIOS)
NODE = RACK.machines[0]
(OTHER,) = NODE.others


def event(
    kind: EventKind,
    seconds: float,
    *,
    mac: Mac | None = None,
    machine: str | None = None,
    ip: str | None = None,
) -> Event:
    at = POWER_ON + timedelta(seconds=seconds)
    return Event(at, kind, machine=machine, mac=mac, ip=IPv4Address(ip) if ip else None)


def whole_boot(without: Iterable[EventKind] = (), ip: str = "172.0.1.11") -> list[Event]:
    skipped = set(without)
    return [event(r, i, mac=NODE.mac, ip=ip) for i, r in enumerate(RUNGS, start=1) if r not in skipped]


TURNED_AWAY = [
    event(EventKind.STRAY, 1, mac=STRANGER),
    event(EventKind.IGNORED, 2, mac=OTHER, machine="node1"),
]


def found(events: Iterable[Event], *, note: str = "", answered: str = "", rack: Rack = RACK) -> list[Finding]:
    watch = Watch(rack, POWER_ON)
    for one in events:
        watch.see(one)
    return list(
        judge(
            watch, notes={"node1": note} if note else {}, answered={STRANGER: [answered]} if answered else {}
        )
    )


def reasons(*args: Iterable[Event], note: str = "", answered: str = "") -> dict[str, str]:
    return {f.subject: f.reason for f in found(*args, note=note, answered=answered) if not f.holds}


def test_the_rungs_are_those_of_the_contract() -> None:
    words = "discover offer request ack bootfile ipxe script kernel initrd ignition done"
    assert [r.value for r in RUNGS] == words.split()


def test_a_whole_boot_and_silence_for_outsiders_is_all_that_is_asked() -> None:
    findings = found([*whole_boot(), *TURNED_AWAY])
    assert [f.subject for f in findings] == ["node1", "node1's second NIC", "the stranger"]
    assert all(f.holds for f in findings)


def test_seconds_count_from_power_on_and_only_the_first_time_counts() -> None:
    watch = Watch(RACK, POWER_ON)
    assert watch.see(event(EventKind.DISCOVER, 2.5, mac=NODE.mac)) == NODE
    assert watch.see(event(EventKind.DISCOVER, 9, mac=NODE.mac)) is None
    assert watch.rungs == {"node1": {EventKind.DISCOVER: 2.5}}


def test_what_was_before_power_on_is_of_an_earlier_boot() -> None:
    watch = Watch(RACK, POWER_ON)
    assert watch.see(event(EventKind.DONE, -1, mac=NODE.mac)) is None
    assert not watch.done(NODE)


def test_events_without_a_mac_are_told_by_the_machine_name() -> None:
    watch = Watch(RACK, POWER_ON)
    assert watch.see(event(EventKind.SCRIPT, 3, machine="node1")) == NODE
    assert watch.see(event(EventKind.SCRIPT, 3, machine="another")) is None


def test_a_second_nic_does_not_climb_its_machines_ladder() -> None:
    watch = Watch(RACK, POWER_ON)
    assert watch.see(event(EventKind.DISCOVER, 3, mac=OTHER, machine="node1")) is None
    assert watch.rungs == {}


def test_a_machine_that_nobody_heard_of_is_said_with_what_is_known_of_it() -> None:
    assert reasons(TURNED_AWAY, note="qemu exited with 1") == {
        "node1": "was never heard of: qemu exited with 1"
    }


def test_a_machine_that_stopped_is_named_with_both_rungs() -> None:
    reached = [e for e in whole_boot() if e.kind not in (EventKind.IGNITION, EventKind.DONE)]
    assert reasons([*reached, *TURNED_AWAY], note="no lease on eth0") == {
        "node1": "got as far as initrd and never to ignition: no lease on eth0"
    }


def test_a_rung_that_was_skipped_on_the_way_is_named_too() -> None:
    boot = whole_boot(without=[EventKind.OFFER, EventKind.DONE])
    assert reasons([*boot, *TURNED_AWAY]) == {
        "node1": "got as far as ignition and never to done, unseen at offer"
    }


def test_home_without_every_rung_is_not_enough() -> None:
    boot = whole_boot(without=[EventKind.BOOTFILE])
    assert reasons([*boot, *TURNED_AWAY]) == {"node1": "called home without being seen at bootfile"}


def test_another_address_than_the_reserved_one_is_a_failure() -> None:
    assert reasons([*whole_boot(ip="172.0.1.99"), *TURNED_AWAY]) == {
        "node1": "was given 172.0.1.99; 172.0.1.11 is reserved for it"
    }


@pytest.mark.parametrize("kind", [EventKind.OFFER, EventKind.ACK, EventKind.NAK, EventKind.BOOTFILE])
def test_an_outsider_that_was_given_anything_is_a_failure(kind: EventKind) -> None:
    given = event(kind, 4, mac=OTHER, machine="node1")
    assert reasons([*whole_boot(), *TURNED_AWAY, given]) == {
        "node1's second NIC": f"was given something: {kind} in the events"
    }


def test_an_answer_on_the_wire_counts_even_when_no_event_tells_of_it() -> None:
    said = reasons([*whole_boot(), *TURNED_AWAY], answered="OFFER 172.0.1.200 from 52:54:00:00:00:99")
    assert said == {"the stranger": "was answered on the wire: OFFER 172.0.1.200 from 52:54:00:00:00:99"}


def test_an_outsider_that_the_events_do_not_show_is_a_failure() -> None:
    assert reasons([*whole_boot(), TURNED_AWAY[1]]) == {
        "the stranger": "asked for an address, and the events do not say so"
    }


def test_a_printed_event_is_read_back() -> None:
    one = event(EventKind.ACK, 1.5, mac=NODE.mac, machine="node1", ip="172.0.1.11")
    assert event_from_json(json.dumps(one.as_json())) == one


def test_its_detail_comes_with_it_and_is_kept_by_machine_and_rung() -> None:
    plain = event(EventKind.SCRIPT, 3, machine="node1")
    first, second = (replace(plain, detail=MappingProxyType({"image": image})) for image in ("a", "b"))
    assert event_from_json(json.dumps(first.as_json())) == first
    watch = Watch(RACK, POWER_ON)
    for one in (first, second):
        watch.see(one)
    assert watch.details == {"node1": {EventKind.SCRIPT: [{"image": "a"}, {"image": "b"}]}}


def test_an_event_of_a_later_version_is_passed_over() -> None:
    line = json.dumps({**event(EventKind.ACK, 1).as_json(), "event": "teleported"})
    assert event_from_json(line) is None


@pytest.mark.parametrize(
    "line", ["", "no json", "[]", "{}", '{"at": 3, "event": "ack"}', '{"at":"x","event":"ack"}']
)
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        event_from_json(line)
