"""Which release a machine booted: one witness that says otherwise is enough to fail it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from appliance.boot.events import Event, EventKind
from appliance.lab.booted import judge_release
from appliance.lab.rack import FirmwareChoice, Rack, fill
from appliance.lab.watch import Finding, Watch

POWER_ON = datetime(2025, 1, 31, tzinfo=UTC)
RACK = Rack(fill(1, FirmwareChoice.BIOS).machines, stranger=None)
BASE = "/assets/flatcar/stable/4593.2.5"
WITNESSES: dict[EventKind, dict[str, str]] = {
    EventKind.SCRIPT: {"image": "flatcar/stable@4593.2.5"},
    EventKind.KERNEL: {"path": f"{BASE}/flatcar_production_pxe.vmlinuz"},
    EventKind.INITRD: {"path": f"{BASE}/flatcar_production_pxe_image.cpio.gz"},
    EventKind.DONE: {"message": "node1 has 172.0.1.11 and its own Ignition, from release 4593.2.5"},
}


def found(*said: Mapping[EventKind, Mapping[str, str]]) -> Finding:
    watch = Watch(RACK, POWER_ON)
    for witnesses in said:
        for number, (kind, detail) in enumerate(witnesses.items(), start=1):
            at = POWER_ON + timedelta(seconds=number)
            watch.see(Event(at, kind, machine="node1", detail=MappingProxyType(dict(detail))))
    (finding,) = judge_release(watch, "4593.2.5")
    return finding


def test_all_witnesses_agree() -> None:
    said = "booted flatcar/stable@4593.2.5: script, kernel, initrd and what runs on it say so"
    assert found(WITNESSES) == Finding("node1", True, said)


@pytest.mark.parametrize("kind", WITNESSES)
def test_each_witness_can_fail_it(kind: EventKind) -> None:
    of_next = {k: v.replace("4593.2.5", "4593.2.6") for k, v in WITNESSES[kind].items()}
    finding = found({**WITNESSES, kind: of_next})
    assert not finding.holds
    assert finding.reason.startswith("was to boot flatcar/stable@4593.2.5: ")
    assert finding.reason.endswith(next(iter(of_next.values())))


@pytest.mark.parametrize("kind", WITNESSES)
def test_a_witness_that_never_spoke_is_missed(kind: EventKind) -> None:
    finding = found({k: v for k, v in WITNESSES.items() if k is not kind})
    assert not finding.holds
    assert finding.reason.endswith("nothing")


def test_a_second_word_counts_as_much_as_the_first() -> None:
    assert not found(WITNESSES, {EventKind.SCRIPT: {"image": "flatcar/stable@4593.2.6"}}).holds


def test_a_script_for_something_else_than_the_store_fails_it() -> None:
    assert found({**WITNESSES, EventKind.SCRIPT: {}}).reason.endswith("its script was nothing")
