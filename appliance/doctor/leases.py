"""Judges who holds an address against who should. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from appliance.doctor.finding import Finding, doubtful, fine
from appliance.inventory.model import Inventory

_NAMED = 10


def judge_leases(leases: Sequence[Mapping[str, object]], inventory: Inventory) -> Iterator[Finding]:
    """Rows of `/v1/leases` against the inventory as the operator wrote it."""
    by_mac = {str(mac): machine for mac, machine in inventory.by_mac().items()}
    removed = [row for row in leases if str(row.get("mac")) not in by_mac]
    moved = [
        (row, by_mac[str(row.get("mac"))])
        for row in leases
        if str(row.get("mac")) in by_mac and str(by_mac[str(row.get("mac"))].ip) != str(row.get("ip"))
    ]
    if removed:
        words = f"{len(removed)} hold an address and are not in the inventory: {_who(removed[0])}"
        fix = "pxe-appliance sync (it takes their leases back)"
        yield doubtful("leases-removed", words, fix, *map(_who, removed[:_NAMED]))
    else:
        yield fine("leases-removed", f"all {len(leases)} leases are of machines in the inventory")
    if moved:
        row, machine = moved[0]
        words = f"{machine.name} holds {row.get('ip')}, its reservation is {machine.ip}"
        fix = f"pxe-appliance sync; then reboot {machine.name}, or wait for its lease to end"
        told = (f"{_who(row)}; the inventory says {machine.ip}" for row, machine in moved[:_NAMED])
        yield doubtful("leases-moved", words, fix, *told)
    else:
        yield fine("leases-moved", "everybody holds the address of its reservation")


def _who(row: Mapping[str, object]) -> str:
    return f"{row.get('machine')} ({row.get('mac')}) at {row.get('ip')} until {row.get('expires')}"
