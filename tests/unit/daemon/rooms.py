"""What the daemon's tests serve: a rack on two networks, profiles, a clock that stands still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Final

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.daemon.served import Served
from appliance.inventory.model import BootPolicy, Inventory, KernelRef, Machine, Profile
from appliance.settings import NetworkSettings, Origin, Settings
from tests.unit.dnsmasq.rooms import machine, network

AT: Final = datetime(2025, 1, 31, 4, 5, 6, 789000, tzinfo=UTC)
MAC: Final = Mac.parse("52:54:00:aa:00:01")
WORKER: Final = Profile(
    "worker",
    KernelRef("/assets/lab/vmlinuz", ("/assets/lab/initrd.gz",)),
    ("console=ttyS0",),
    "worker.ign",
    BootPolicy.INSTALL_ONCE,
)
PXE: Final = network()
LAB: Final = network("lab", "eno4.7", "172.0.9.0/24", "172.0.9.1")


def rack() -> tuple[Machine, ...]:
    node1 = machine("node1", str(MAC), "172.0.1.21", nics=(("eno2", "52:54:00:bb:00:01"),))
    node2 = machine("node2", ("52:54:00:aa:00:02", "52:54:00:aa:00:12"), "172.0.1.22")
    other1 = machine("other1", "52:54:00:aa:00:09", "172.0.9.9", net="lab")
    return (replace(node1, profile="worker", origin=Origin("rack.toml", 7)), node2, other1)


def served(
    networks: tuple[NetworkSettings, ...] = (PXE, LAB),
    machines: tuple[Machine, ...] | None = None,
    *,
    number: int | None = 3,
) -> Served:
    """A generation as the daemon holds it; machines of networks that are not there are left out."""
    names = {n.name for n in networks}
    chosen = tuple(m for m in (rack() if machines is None else machines) if m.network in names)
    settings = Settings({n.name: n for n in networks})
    inventory = Inventory(chosen, {"worker": WORKER})
    return Served.of(
        settings,
        inventory,
        number=number,
        at="2025-01-31T04:00:00.000Z",
        proven=True,
        boot_files=("ipxe.efi", "snponly.efi", "undionly.kpxe"),
    )


def event(
    kind: EventKind,
    machine: str | None = "node1",
    *,
    mac: Mac | None = MAC,
    ip: str | None = "172.0.1.21",
    network: str | None = "pxe",
    after: float = 0.0,
    detail: Mapping[str, str] | None = None,
) -> Event:
    """An event `after` seconds."""
    address = IPv4Address(ip) if ip else None
    return Event(AT + timedelta(seconds=after), kind, machine, mac, address, network, detail or {})
