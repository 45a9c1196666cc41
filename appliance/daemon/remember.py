"""Who held what, told anew from the events of the past. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import IPv4Address

from immutables import Map

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.daemon.leases import Lease, after_event
from appliance.daemon.served import Served
from appliance.inventory.model import BootPolicy

_TELLING = frozenset({EventKind.ACK, EventKind.RELEASE, EventKind.DECLINE})


def remembered(lines: Iterable[str], served: Served) -> Map[str, Lease]:
    """Leases by address, from kept events (JSON texts, oldest first).

    A line that cannot be read is left out: the past is a convenience.
    """
    leases: Map[str, Lease] = Map()
    for line in lines:
        event = read_event(line)
        if event is not None:
            leases = after_event(leases, event, served)
    return leases


def once_machines(served: Served) -> tuple[str, ...]:
    """Machines that are installed once: with nothing known of them, their disks come first."""
    return tuple(
        name
        for name, machine in served.machines.items()
        if machine.profile
        and (profile := served.inventory.profiles.get(machine.profile)) is not None
        and profile.boot is BootPolicy.INSTALL_ONCE
    )


def read_event(line: str) -> Event | None:
    """An event that says who holds what; None for any other line."""
    try:
        raw = json.loads(line)
        kind = EventKind(raw["event"])
        machine, network = raw["machine"], raw["network"]
        if kind not in _TELLING or not isinstance(machine, str | None) or not isinstance(network, str | None):
            return None
        return Event(
            datetime.fromisoformat(str(raw["at"])).astimezone(UTC),
            kind,
            machine,
            Mac.parse(raw["mac"]) if raw["mac"] else None,
            IPv4Address(raw["ip"]) if raw["ip"] else None,
            network,
        )
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None
