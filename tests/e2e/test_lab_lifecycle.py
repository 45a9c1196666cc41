"""Machines through their lives for real: installed, from disk, installed again; a loop, a thief, a bond.

It needs what `test_lab` needs, and like it never skips.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from appliance.lab import premises
from appliance.lab.premises import Premises
from tests.e2e.test_lab import lab, left_of
from tests.e2e.test_lab_image import KeptLab

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

Event = Mapping[str, object]
INSTALLED = ["new → installing", "installing → installed", "installed → reinstall", "reinstall → installing"]


def test_machines_live_a_loop_is_held_and_a_thief_gets_nothing() -> None:
    with lab("--lifecycle", "--keep") as process:
        kept = KeptLab(process.pid)
        try:
            said, _ = process.communicate(timeout=400)
            assert process.returncode == 0, said
            check_what_was_said(said)
            events = kept.events()
            assert lives(events) == {
                "node1": [*INSTALLED, "installing → installed"],
                "node2": [*INSTALLED, "installing → installed"],
                "node3": ["new → installing", "installing → held", "held → installing"],
            }
            check_the_loop(kept, events)
            check_the_thief(events)
        finally:
            premises.remove(Premises(process.pid))
    assert left_of(process.pid) == []


def check_what_was_said(said: str) -> None:
    """Each turn's verdicts after what it was powered on for, and the orders between them."""
    from_disk = "booted from its disk: an address, no boot file, nothing loaded"
    first, again = ("installed onto a disk that was empty", "installed onto a disk that had a system on it")
    expected = [
        "1: powering on node1, node2, node3: ",
        f"ok     node1: {first}, and called home as installed",
        f"ok     node2: {first}, and called home as installed",
        "ok     node3: got its installer, and never called home",
        "2: powering on node1, node2, node3: ",
        f"ok     node1: {from_disk}",
        f"ok     node2: {from_disk}",
        "ok     node3: got its installer, and never called home",
        "$ pxe-appliance machine reinstall node1",
        "$ pxe-appliance machine reinstall node2",
        "3: powering on node1, node2, node4: ",
        f"ok     node1: {again}, and called home as installed",
        f"ok     node2: {again}, and called home as installed",
        "ok     node4: went through every rung",
        "ok     node4: got nothing of node3's, and spoke for nobody but itself",
        "ok     node4: was refused node3's Ignition ",
        "4: powering on node3, node5: ",
        "ok     node3: is held: nothing to boot, and its screen says why",
        "ok     node5: went through every rung",
        "ok     node5's second NIC: got nothing, and the events say so",
        "ok     node5's third NIC: got nothing, and the events say so",
        "ok     node5: its Ignition makes bond0 of its own NICs, and VLAN 100 on it",
        "$ pxe-appliance machine release node3",
        "5: powering on node3: ",
        "ok     node3: got its installer, and never called home",
    ]
    left = iter(said.splitlines())
    for line in expected:
        assert any(there.strip().startswith(line) for there in left), f"no {line!r} in its place in:\n{said}"
    assert "FAILED" not in said


def lives(events: Sequence[Event]) -> dict[object, list[str]]:
    """By machine, every turn in its life."""
    found: dict[object, list[str]] = {}
    for event in events:
        if event["event"] in {"lifecycle", "held"}:
            detail = detail_of(event)
            found.setdefault(event["machine"], []).append(f"{detail['from']} → {detail['to']}")
    return found


def detail_of(event: Event) -> Mapping[str, str]:
    """What an event says besides."""
    detail = event["detail"]
    assert isinstance(detail, dict)
    return detail


def check_the_loop(kept: KeptLab, events: Sequence[Event]) -> None:
    """Two boots got the installer, the third the message; released, it got the installer again."""
    (held,) = (detail_of(event) for event in events if event["event"] == "held")
    assert held["by"] == "install-loop"
    assert held["reason"] == "install 3 within 20 minutes without a call home"
    assert held["remedy"] == "pxe-appliance machine release node3"
    of_node3 = [event for event in events if event["machine"] == "node3"]
    assert scripts_of_boots(of_node3) == ["image", "image", "held", "image"]
    assert [event["event"] for event in of_node3].count("kernel") == 3
    assert json.loads(kept.asked("machine", "show", "node3", "-o", "json"))["lifecycle"] == "installing"
    kept.asked("machine", "hold", "node3", "-m", "smoke from the rack")
    shown = kept.asked("machine", "show", "node3")
    assert "held" in shown
    assert "smoke from the rack" in shown


def scripts_of_boots(events: Sequence[Event]) -> list[str]:
    """Where the script of each boot sent the machine: the first one that its iPXE got."""
    found: list[str] = []
    boots = False
    for event in events:
        if event["event"] == "ipxe":
            boots = True
        elif event["event"] == "script" and boots:
            found.append(detail_of(event).get("to", "image"))
            boots = False
    return found


def check_the_thief(events: Sequence[Event]) -> None:
    """It read its own Ignition and no other; no event gives a token away, which would open one."""
    read = [event["machine"] for event in events if event["event"] == "ignition"]
    assert read.count("node4") == 1
    assert read.count("node3") == 3
    reasons = {
        detail_of(event).get("reason", "") for event in events if detail_of(event).get("claims") == "node3"
    }
    assert any("172.0.1.14 is node4's address" in reason for reason in reasons), reasons
    assert "token=" not in json.dumps(events)
