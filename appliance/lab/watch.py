"""What is known of a lab run: which rung each machine reached when, and what outsiders were given.

Pure: events come in, findings go out. Seconds count from power-on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.lab.rack import LabMachine, Rack

RUNGS: Final = tuple(EventKind)[: tuple(EventKind).index(EventKind.DONE) + 1]
# What a server that answers somebody makes of it in `events`; an outsider must cause none of them.
_ANSWERS: Final = frozenset({EventKind.OFFER, EventKind.ACK, EventKind.NAK, EventKind.BOOTFILE})
_TURNED_AWAY: Final = frozenset({EventKind.IGNORED, EventKind.STRAY})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the lab set out to show: about whom, whether it holds, and why not."""

    subject: str
    holds: bool
    reason: str = ""


@dataclass(slots=True)
class Watch:
    """What the events of one run said so far; feed it with `see`."""

    rack: Rack
    powered_on: datetime
    rungs: dict[str, dict[EventKind, float]] = field(default_factory=dict)
    details: dict[str, dict[EventKind, list[Mapping[str, str]]]] = field(default_factory=dict)
    addresses: dict[str, set[IPv4Address]] = field(default_factory=dict)
    outsiders: dict[Mac, set[EventKind]] = field(default_factory=dict)

    def see(self, event: Event) -> LabMachine | None:
        """Take note of `event`; the machine that it put on a new rung, if it did."""
        seconds = (event.at - self.powered_on).total_seconds()
        if seconds < 0:
            return None
        if event.mac is not None and event.mac in self.rack.outsiders():
            # Before the name: a second NIC's events bear the name of the machine that owns it.
            self.outsiders.setdefault(event.mac, set()).add(event.kind)
            return None
        machine = self._whose(event)
        if machine is None:
            return None
        if event.kind is EventKind.ACK and event.ip is not None:
            self.addresses.setdefault(machine.name, set()).add(event.ip)
        self.details.setdefault(machine.name, {}).setdefault(event.kind, []).append(event.detail)
        reached = self.rungs.setdefault(machine.name, {})
        if event.kind not in RUNGS or event.kind in reached:
            return None
        reached[event.kind] = seconds
        return machine

    def done(self, machine: LabMachine) -> bool:
        """Whether `machine` has called home."""
        return EventKind.DONE in self.rungs.get(machine.name, {})

    def missing(self, machine: LabMachine) -> list[EventKind]:
        """The rungs that `machine` was not seen on, in order."""
        reached = self.rungs.get(machine.name, {})
        return [rung for rung in RUNGS if rung not in reached]

    def _whose(self, event: Event) -> LabMachine | None:
        for machine in self.rack.machines:
            if machine.name == event.machine or machine.mac == event.mac:
                return machine
        return None


def judge(
    watch: Watch, *, notes: Mapping[str, str], answered: Mapping[Mac, Sequence[str]]
) -> tuple[Finding, ...]:
    """Everything that the lab shows, machines first.

    Args:
        notes: by machine, what else is known of one that did not get through.
        answered: by outsider, what servers were heard to say to it on the wire itself.
    """
    machines = [judge_machine(watch, m, notes.get(m.name, "")) for m in watch.rack.machines]
    return (*machines, *judge_outsiders(watch, answered))


def judge_outsiders(watch: Watch, answered: Mapping[Mac, Sequence[str]]) -> tuple[Finding, ...]:
    """Whether each outsider got nothing, and the events say so; `answered` as in `judge`."""
    return tuple(
        _outsider(name, watch.outsiders.get(mac, set()), answered.get(mac, ()))
        for mac, name in sorted(watch.rack.outsiders().items())
    )


def event_from_json(line: str) -> Event | None:
    """An event as `events -o json` prints it; None for what this version does not know.

    Raises:
        ValueError: the line is no event at all.
    """
    raw: object = json.loads(line)
    if not isinstance(raw, dict):
        raise ValueError("an event is a JSON object")
    facts = {str(key): value for key, value in raw.items()}
    at, kind = facts.get("at"), facts.get("event")
    if not isinstance(at, str) or not isinstance(kind, str):
        raise ValueError("an event says when (at) and what (event)")
    if kind not in set(EventKind):
        return None
    machine, mac, ip, detail = (facts.get(key) for key in ("machine", "mac", "ip", "detail"))
    said = detail if isinstance(detail, dict) else {}
    return Event(
        at=datetime.fromisoformat(at),
        kind=EventKind(kind),
        machine=machine if isinstance(machine, str) else None,
        mac=Mac.parse(mac) if isinstance(mac, str) else None,
        ip=IPv4Address(ip) if isinstance(ip, str) else None,
        detail=MappingProxyType({str(key): str(value) for key, value in said.items()}),
    )


def judge_machine(watch: Watch, machine: LabMachine, note: str) -> Finding:
    """Whether `machine` went through every rung; `note` is what else is known of one that did not."""
    missing = watch.missing(machine)
    addresses = watch.addresses.get(machine.name, set())
    if strange := sorted(addresses - {machine.ip}):
        return Finding(machine.name, False, f"was given {strange[0]}; {machine.ip} is reserved for it")
    if not missing:
        return Finding(machine.name, True)
    reached = [rung for rung in RUNGS if rung not in missing]
    if EventKind.DONE in reached:
        reason = f"called home without being seen at {', '.join(missing)}"
    elif reached:
        skipped = [rung for rung in missing if RUNGS.index(rung) < RUNGS.index(reached[-1])]
        unseen = f", unseen at {', '.join(skipped)}" if skipped else ""
        awaited = RUNGS[RUNGS.index(reached[-1]) + 1]
        reason = f"got as far as {reached[-1]} and never to {awaited}{unseen}"
    else:
        reason = "was never heard of"
    return Finding(machine.name, False, f"{reason}: {note}" if note else reason)


def _outsider(name: str, events: set[EventKind], heard: Sequence[str]) -> Finding:
    if heard:
        return Finding(name, False, f"was answered on the wire: {heard[0]}")
    if given := sorted(events & _ANSWERS):
        return Finding(name, False, f"was given something: {given[0]} in the events")
    if not events & _TURNED_AWAY:
        return Finding(name, False, "asked for an address, and the events do not say so")
    return Finding(name, True)
