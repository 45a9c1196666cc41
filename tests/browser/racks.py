"""Racks of any size in any mood: what the page's tests and its pictures show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

from immutables import Map

from appliance.addresses import Hostname, Mac
from appliance.boot.ladder import RUNGS, Ladder, Verdict
from appliance.boot.policy import Life, LifeState
from appliance.daemon.known import State
from appliance.daemon.leases import Lease
from appliance.daemon.ledger import Ledger, Stray
from appliance.daemon.rogues import Rogue, Rogues
from appliance.daemon.served import Served
from appliance.dnsmasq.lifecycle import Child, Phase
from appliance.dnsmasq.reasons import Reason
from appliance.image_ref import ImageRef
from appliance.inventory.model import BootPolicy, Inventory, Machine, Nic, Profile
from appliance.inventory.serialize import dump_inventory
from appliance.paths import Paths
from appliance.settings import NetworkSettings, Settings
from appliance.sync.apply import CheckedPlan, commit, stage
from appliance.sync.generations import mark_proven
from appliance.sync.plan import Desired, make_plan
from appliance.system.clock import now
from appliance.system.network import InterfaceState
from appliance.tree import RenderedFile, Tree

SETTINGS: Final = """[network.pxe]
interface = "eno4"
subnet = "172.0.1.0/24"
"""

LOOP: Final = Verdict(
    "boot-loop",
    "fetched snponly.efi 3 times in a row and never came further",
    "turn Secure Boot off, or publish another iPXE build; then pxe-appliance machine release",
)
SILENT: Final = Verdict(
    "offered-no-request",
    "was offered its address 4 times and never asked for it",
    "check for a second DHCP server and for spanning tree on its switch port",
)
PACE: Final = (0.0, 0.1, 3.1, 3.2, 3.4, 6.0, 6.2, 14.0, 15.5, 21.0, 33.0)  # seconds of a usual boot
PROFILES: Final = {
    "worker": Profile(
        "worker", ImageRef("flatcar", "stable", None), ("console=ttyS0",), None, BootPolicy.INSTALL_ONCE
    ),
    "storage": Profile(
        "storage", ImageRef("fedora-coreos", "stable", None), (), None, BootPolicy.INSTALL_ONCE
    ),
}


def boot(height: int, ago: float, *, verdict: Verdict | None = None, to_disk: bool = False) -> Ladder:
    """A boot that reached rung number `height` (0: discover) so many seconds ago."""
    reached = now() - timedelta(seconds=ago)
    began = reached - timedelta(seconds=PACE[height])
    rungs = {rung: began + timedelta(seconds=PACE[n]) for n, rung in enumerate(RUNGS[: height + 1])}
    return Ladder(
        rung=RUNGS[height], rungs=MappingProxyType(rungs), last=reached, verdict=verdict,
        handed_to_disk=to_disk, file="snponly.efi", image="flatcar/stable@4230.2.1" if height > 5 else "",
    )  # fmt: skip


def network(name: str = "pxe", subnet: str = "172.0.1.0/24", interface: str = "eno4") -> NetworkSettings:
    """A network whose first address is ours."""
    parsed = IPv4Network(subnet)
    return NetworkSettings(name, interface, parsed, parsed.network_address + 1)


def machine(number: int, network: NetworkSettings, *, name: str = "") -> Machine:
    """Machine `number` of a rack, from 1."""
    host = Hostname.parse(name or f"node{number}")
    mac = Mac.parse(f"52:54:00:aa:{number >> 8:02x}:{number & 255:02x}")
    other = Mac.parse(f"52:54:00:bb:{number >> 8:02x}:{number & 255:02x}")
    return Machine(
        host, host, (mac,), network.subnet.network_address + 19 + number, network.name,
        profile="storage" if number % 7 == 0 else "worker",
        labels=MappingProxyType({"rack": f"r{1 + number // 40}"}),
        nics=(Nic("eno2", other),),
    )  # fmt: skip


def rack(count: int, networks: tuple[NetworkSettings, ...] | None = None) -> State:
    """So many machines: most have booted, some boot, a few are stuck."""
    if networks is None:
        networks = (network(),) if count < 230 else (network(subnet="172.16.0.0/16"),)
    machines = tuple(machine(number, networks[0]) for number in range(1, count + 1))
    return planted(networks, machines, dict(_moods(machines)), _lives(machines))


def planted(
    networks: tuple[NetworkSettings, ...],
    machines: tuple[Machine, ...],
    ladders: dict[str, Ladder],
    lives: dict[str, Life] | None = None,
) -> State:
    """A daemon that serves this and has seen that."""
    served = Served.of(
        Settings({n.name: n for n in networks}),
        Inventory(machines, PROFILES),
        number=12,
        at="2025-01-31T04:00:00.000Z",
        proven=True,
    )
    at = now()
    leases = {
        str(m.ip): Lease(m.ip, m.mac, str(m.name), m.network, at, at + timedelta(hours=1))
        for m in machines
        if (ladder := ladders.get(str(m.name))) is not None and RUNGS[3] in ladder.rungs
    }
    children = {name: Child(name, Phase.SERVING) for name in served.children()}
    interfaces = {
        n.name: InterfaceState(
            n.interface, present=True, up=True, addresses=(f"{n.address}/{n.subnet.prefixlen}",)
        )
        for n in networks
    }
    return State(
        served=served,
        children=MappingProxyType(children),
        interfaces=MappingProxyType(interfaces),
        ladders=Map(ladders),
        lives=Map(lives or {}),
        leases=Map(leases),
        endpoint_reachable=True,
    )


def _moods(machines: tuple[Machine, ...]) -> Iterator[tuple[str, Ladder]]:
    count = len(machines)
    for number, one in enumerate(machines, 1):
        name = str(one.name)
        if count > 20 and number == 17:
            yield name, boot(4, 214, verdict=LOOP)
        elif count > 20 and number == 63:
            yield name, boot(1, 75, verdict=SILENT)
        elif count > 20 and number % 23 == 5:
            yield name, boot((number * 7) % 9, 3 + number % 19)
        elif count > 20 and number % 31 == 8:
            continue  # never asked
        elif count == 2 and number == 2:
            yield name, boot(7, 4)
        elif number % 9 == 4:
            yield name, boot(6, 40_000 + number * 60, to_disk=True)
        else:
            yield name, boot(10, 60 + number * 97)


def _lives(machines: tuple[Machine, ...]) -> dict[str, Life]:
    lives = {str(m.name): Life(LifeState.INSTALLED, now()) for m in machines}
    if len(machines) > 100:
        lives["node104"] = Life(LifeState.HELD, now(), before=LifeState.INSTALLED, reason="waits for a disk")
    return lives


def lease_of(machine: Machine, until: datetime) -> Lease:
    """A lease that its machine holds."""
    return Lease(IPv4Address(machine.ip), machine.mac, str(machine.name), machine.network, now(), until)


def stray(
    mac: str,
    reason: Reason,
    *,
    arch: str = "",
    vendor_class: str = "",
    client_name: str = "",
    machine: str | None = None,
) -> Stray:
    """A row of the ledger, heard just now."""
    first, last = now() - timedelta(hours=3), now() - timedelta(seconds=40)
    parsed = Mac.parse(mac)
    return Stray(parsed, "pxe", first, last, 61, arch, vendor_class, client_name, reason, machine=machine)


def strays() -> Ledger:
    """A laptop, a machine's second NIC, a replaced board, and a printer that is ignored."""
    rows = (
        stray(
            "3c:52:82:1f:77:0a", Reason("not-in-inventory", "not in the inventory"),
            arch="x86-64 UEFI", vendor_class="PXEClient:Arch:00007:UNDI:003016", client_name="laptop-7",
        ),
        stray(
            "52:54:00:bb:00:07", Reason("other-nic", "eno2 of node7: known, and silent on this VLAN"),
            arch="BIOS", machine="node7",
        ),
        replace(stray("00:1b:a9:10:20:30", Reason("not-in-inventory", "unknown")), note="printer, rack 3"),
    )  # fmt: skip
    return Ledger(rows=Map({row.mac: row for row in rows}), noted=1)


def rogues() -> Rogues:
    """A router that somebody plugged in."""
    at = now()
    one = Rogue(
        "pxe", IPv4Address("192.168.1.1"), at - timedelta(minutes=2), at, "probe",
        Mac.parse("c4:ad:34:00:11:22"), IPv4Address("192.168.1.57"),
    )  # fmt: skip
    return Rogues(MappingProxyType({("pxe", one.address): one}))


def generations(root: Path, state: State) -> None:
    """Two generations on disk: the second moved a MAC and brought a machine and a token."""
    paths = Paths(PurePosixPath(root))
    machines = state.served.inventory.machines
    settings = state.served.settings
    first = Inventory(machines[:-1], PROFILES)
    moved = replace(machines[0], macs=(Mac.parse("52:54:00:aa:ff:01"),))
    worker = replace(PROFILES["worker"], args=("console=ttyS0", "api_token=hunter2"))
    second = Inventory((moved, *machines[1:]), {**PROFILES, "worker": worker})
    before: Desired | None = None
    for number, (inventory, why, who) in enumerate(
        ((first, "first machines", "root"), (second, "new board in node1", "ada")), 1
    ):
        tree = Tree.of(
            RenderedFile("appliance.toml", SETTINGS.encode()),
            RenderedFile("inventory.json", dump_inventory(inventory).encode()),
        )
        after = Desired(settings, inventory, tree)
        plan = make_plan(number - 1 or None, before, after)
        commit(paths, CheckedPlan(stage(paths, plan, why=why, who=who), ()))
        mark_proven(paths, number)
        before = after
