"""What a machine is to come to when it is powered on, and whether it did. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from appliance.addresses import Mac
from appliance.boot.events import EventKind
from appliance.lab import disk
from appliance.lab.payload_script import EMPTY_BEFORE, SYSTEM_BEFORE
from appliance.lab.rack import LabMachine
from appliance.lab.watch import Finding, Watch, judge_machine, judge_outsiders

_DHCP: Final = frozenset({EventKind.DISCOVER, EventKind.OFFER, EventKind.REQUEST, EventKind.ACK})
_HELD_ON_SCREEN: Final = "is held:"


class Aim(StrEnum):
    """Where a power-on is to end."""

    HOME = "home"  # every rung, a call home from userspace
    INSTALL = "install"  # the same, as installed, onto an empty disk
    REINSTALL = "reinstall"  # as installed, onto a disk that had a system
    DISK = "disk"  # an address and no boot file; the disk's own first words
    LOST = "lost"  # every rung but the last: its installer never calls home
    HELD = "held"  # a script that says so, and nothing to boot


Aims = Mapping[str, Aim]


def arrived(aim: Aim, watch: Watch, machine: LabMachine, printed: str) -> bool:
    """Whether there is nothing more to wait for; a machine that powers itself off is waited for otherwise."""
    match aim:
        case Aim.HOME | Aim.INSTALL | Aim.REINSTALL:
            return watch.done(machine)
        case Aim.DISK:
            return disk.SAYS in printed and watch.rungs.get(machine.name, {}).keys() >= _DHCP
        case Aim.HELD:
            return bool(_to(watch, machine)) and _HELD_ON_SCREEN in printed
        case Aim.LOST:
            return False


def judge(
    watch: Watch,
    aims: Aims,
    *,
    notes: Mapping[str, str],
    printed: Mapping[str, str],
    answered: Mapping[Mac, Sequence[str]],
) -> tuple[Finding, ...]:
    """Everything that a power-on shows, machines first.

    Args:
        watch: what the events said.
        aims: by machine; one that is not named is to go home.
        notes: by machine, what else is known of one that did not get there.
        printed: by machine, its serial lines.
        answered: by outsider, what servers were heard to say to it on the wire itself.
    """
    found = []
    for machine in watch.rack.machines:
        name = machine.name
        finding = _judge(aims.get(name, Aim.HOME), watch, machine, printed.get(name, ""), notes.get(name, ""))
        found.append(finding)
    return (*found, *judge_outsiders(watch, answered))


def _judge(aim: Aim, watch: Watch, machine: LabMachine, printed: str, note: str) -> Finding:
    match aim:
        case Aim.HOME:
            return judge_machine(watch, machine, note)
        case Aim.INSTALL:
            return _installed(watch, machine, EMPTY_BEFORE, note)
        case Aim.REINSTALL:
            return _installed(watch, machine, SYSTEM_BEFORE, note)
        case Aim.DISK:
            return _from_disk(watch, machine, printed, note)
        case Aim.LOST:
            return _lost(watch, machine, note)
        case Aim.HELD:
            return _held(watch, machine, printed, note)


def _installed(watch: Watch, machine: LabMachine, before: str, note: str) -> Finding:
    climbed = judge_machine(watch, machine, note)
    if not climbed.holds:
        return climbed
    said = watch.details[machine.name][EventKind.DONE][0]
    if said.get("stage") != "installed" or not said.get("message", "").endswith(before):
        heard = f"{said.get('stage')}: {said.get('message')}"
        return _no(machine, f"was to install onto a disk that {before}, and said {heard}")
    return Finding(machine.name, True, f"installed onto a disk that {before}, and called home as installed")


def _from_disk(watch: Watch, machine: LabMachine, printed: str, note: str) -> Finding:
    reached = set(watch.rungs.get(machine.name, {}))
    if given := sorted(reached - _DHCP):
        return _no(machine, f"was to be sent to its disk by DHCP alone, and was seen at {', '.join(given)}")
    if missing := sorted(_DHCP - reached):
        return _no(machine, f"never got its address: not seen at {', '.join(missing)}", note)
    if disk.SAYS not in printed:
        return _no(machine, "got its address, and its disk never booted", note)
    return Finding(machine.name, True, "booted from its disk: an address, no boot file, nothing loaded")


def _lost(watch: Watch, machine: LabMachine, note: str) -> Finding:
    missing = watch.missing(machine)
    if missing != [EventKind.DONE]:
        seen = "called home" if not missing else f"was not seen at {', '.join(missing)}"
        return _no(machine, f"was to get its installer and never call home, and {seen}", note)
    return Finding(machine.name, True, "got its installer, and never called home")


def _held(watch: Watch, machine: LabMachine, printed: str, note: str) -> Finding:
    sent = _to(watch, machine)
    if not sent:
        return _no(machine, "was to be held, and never got a script", note)
    if wrong := next((to or "its image" for to in sent if to != "held"), ""):
        return _no(machine, f"was to be held, and its script sent it to {wrong}")
    reached = watch.rungs.get(machine.name, {})
    if EventKind.KERNEL in reached or EventKind.IGNITION in reached:
        return _no(machine, "was to be held, and loaded something", note)
    if _HELD_ON_SCREEN not in printed:
        return _no(machine, "is held, and its screen does not say so", note)
    return Finding(machine.name, True, "is held: nothing to boot, and its screen says why")


def _to(watch: Watch, machine: LabMachine) -> list[str]:
    scripts = watch.details.get(machine.name, {}).get(EventKind.SCRIPT, ())
    return [detail.get("to", "") for detail in scripts]


def _no(machine: LabMachine, reason: str, note: str = "") -> Finding:
    return Finding(machine.name, False, f"{reason}: {note}" if note else reason)
