"""What a power-on was to come to: each aim is reached in one way, and missed in many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from types import MappingProxyType

import pytest

from appliance.boot.events import Event, EventKind
from appliance.lab.aims import Aim, arrived, judge
from appliance.lab.disk import SAYS
from appliance.lab.rack import Firmware, LabMachine, Rack
from appliance.lab.watch import RUNGS, Finding, Watch

POWER_ON = datetime(2025, 1, 31, tzinfo=UTC)
NODE = LabMachine(1, Firmware.BIOS, disk=True)
RACK = Rack((NODE,), stranger=None)
DHCP = RUNGS[:4]
SCREEN = "pxe-appliance 172.0.1.1: node1 is held: install 3 within 20 minutes without a call home"
Details = Mapping[EventKind, Mapping[str, str]]


def watched(rungs: Iterable[EventKind], details: Details = MappingProxyType({})) -> Watch:
    watch = Watch(RACK, POWER_ON)
    for number, kind in enumerate(rungs, start=1):
        at = POWER_ON + timedelta(seconds=number)
        detail = MappingProxyType(dict(details.get(kind, {})))
        watch.see(Event(at, kind, machine="node1", ip=IPv4Address("172.0.1.11"), detail=detail))
    return watch


def found(
    aim: Aim, rungs: Iterable[EventKind], details: Details = MappingProxyType({}), printed: str = ""
) -> Finding:
    watch = watched(rungs, details)
    (finding,) = judge(watch, {"node1": aim}, notes={}, printed={"node1": printed}, answered={})
    return finding


def report(stage: str, before: str) -> Details:
    return {EventKind.DONE: {"stage": stage, "message": f"node1 is installed on /dev/vda, which {before}"}}


def test_a_machine_without_an_aim_is_to_go_home() -> None:
    (finding,) = judge(watched(RUNGS), {}, notes={}, printed={}, answered={})
    assert finding == Finding("node1", True)
    (finding,) = judge(watched(RUNGS[:-1]), {}, notes={"node1": "note"}, printed={}, answered={})
    assert finding.reason == "got as far as ignition and never to done: note"


@pytest.mark.parametrize(
    ("aim", "before", "other"),
    [
        (Aim.INSTALL, "was empty", "had a system on it"),
        (Aim.REINSTALL, "had a system on it", "was empty"),
    ],
)
def test_an_installation_says_what_was_on_the_disk(aim: Aim, before: str, other: str) -> None:
    assert found(aim, RUNGS, report("installed", before)).holds
    assert "and said installed: " in found(aim, RUNGS, report("installed", other)).reason
    assert "and said done: " in found(aim, RUNGS, report("done", before)).reason
    assert not found(aim, RUNGS[:-1]).holds


def test_from_the_disk_is_an_address_and_the_disks_own_words() -> None:
    finding = found(Aim.DISK, DHCP, printed=f"Booting from Hard Disk..\n{SAYS}\n")
    assert finding == Finding("node1", True, "booted from its disk: an address, no boot file, nothing loaded")
    assert "its disk never booted" in found(Aim.DISK, DHCP, printed="No bootable device.").reason
    assert "not seen at ack" in found(Aim.DISK, DHCP[:3], printed=SAYS).reason


@pytest.mark.parametrize("kind", RUNGS[4:])
def test_whoever_loaded_anything_was_not_sent_to_the_disk_by_dhcp(kind: EventKind) -> None:
    finding = found(Aim.DISK, [*DHCP, kind], printed=SAYS)
    assert not finding.holds
    assert finding.reason.endswith(f"was seen at {kind}")


def test_an_installer_that_never_calls_home_does_all_the_rest() -> None:
    assert found(Aim.LOST, RUNGS[:-1]).holds
    assert found(Aim.LOST, RUNGS).reason.endswith("and called home")
    assert found(Aim.LOST, DHCP).reason.endswith("kernel, initrd, ignition, done")


def test_held_is_a_script_that_says_so_and_nothing_more() -> None:
    held: Details = {EventKind.SCRIPT: {"to": "held"}}
    rungs = RUNGS[: RUNGS.index(EventKind.SCRIPT) + 1]
    assert found(Aim.HELD, rungs, held, SCREEN).holds
    assert "its script sent it to its image" in found(Aim.HELD, rungs, printed=SCREEN).reason
    assert "its script sent it to disk" in found(Aim.HELD, rungs, {EventKind.SCRIPT: {"to": "disk"}}).reason
    assert "never got a script" in found(Aim.HELD, DHCP, printed=SCREEN).reason
    assert "its screen does not say so" in found(Aim.HELD, rungs, held, "iPXE").reason
    assert "loaded something" in found(Aim.HELD, [*rungs, EventKind.KERNEL], held, SCREEN).reason


def test_what_still_has_to_come_is_waited_for() -> None:
    script = [*DHCP, EventKind.SCRIPT]
    for aim in (Aim.HOME, Aim.INSTALL, Aim.REINSTALL):
        assert arrived(aim, watched(RUNGS), NODE, "")
        assert not arrived(aim, watched(RUNGS[:-1]), NODE, SAYS)
    assert arrived(Aim.DISK, watched(DHCP), NODE, SAYS)
    assert not arrived(Aim.DISK, watched(DHCP), NODE, "")
    assert not arrived(Aim.DISK, watched(DHCP[:3]), NODE, SAYS)
    assert arrived(Aim.HELD, watched(script), NODE, SCREEN)
    assert not arrived(Aim.HELD, watched(script), NODE, "")
    assert not arrived(Aim.HELD, watched(DHCP), NODE, SCREEN)
    assert not arrived(Aim.LOST, watched(RUNGS[:-1]), NODE, ""), "a late call home is what it must not make"
