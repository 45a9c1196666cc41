"""The networks with the use of their addresses: who has which, who could, what is free. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network

from appliance.boot.events import rfc3339
from appliance.boot.ladder import BootState
from appliance.daemon.diagnosis import Diagnosis, Outside
from appliance.daemon.known import State
from appliance.inventory.model import Machine
from appliance.matchbox.handoff import boot_url
from appliance.settings import NetworkSettings

KINDS = ("ours", "router", "stuck", "booting", "leased", "reserved")


def networks_json(state: State, now: datetime, outside: Outside | None = None) -> list[dict[str, object]]:
    """For `/v1/networks`: each network with its subnets, and in them each address that is not free."""
    machines: dict[str, list[Machine]] = {}
    for machine in state.served.inventory.machines:
        machines.setdefault(machine.network, []).append(machine)
    diagnosis = Diagnosis(state, now, outside)
    return [
        _network(state, network, machines.get(network.name, []), now, diagnosis)
        for network in state.served.settings.networks.values()
    ]


def _network(
    state: State, network: NetworkSettings, machines: list[Machine], now: datetime, diagnosis: Diagnosis
) -> dict[str, object]:
    seen = state.interfaces.get(network.name)
    routers = {r.subnet: r.router for r in network.relayed}
    by_subnet: dict[IPv4Network, list[Machine]] = {}
    for machine in machines:
        subnet = network.subnet_of(machine.ip)
        if subnet is not None:
            by_subnet.setdefault(subnet, []).append(machine)
    return {
        "name": network.name,
        "interface": network.interface,
        "present": bool(seen and seen.present),
        "up": state.usable(network.name),
        "mode": network.mode.value,
        "address": str(network.address),
        "lease": network.lease,
        "vlan": network.vlan,
        "boot_url": boot_url(network.address, state.served.settings.http.port),
        "subnets": [
            _subnet(
                state,
                subnet,
                network.address,
                routers.get(subnet),
                by_subnet.get(subnet, []),
                now,
                diagnosis,
            )
            for subnet in (network.subnet, *routers)
        ],
    }


def _subnet(
    state: State,
    subnet: IPv4Network,
    ours: IPv4Address,
    router: IPv4Address | None,
    machines: list[Machine],
    now: datetime,
    diagnosis: Diagnosis,
) -> dict[str, object]:
    used = list(_used(state, subnet, ours, router, machines, now, diagnosis))
    counts = Counter(str(address["kind"]) for address in used)
    size = subnet.num_addresses - 2
    return {
        "subnet": str(subnet),
        "router": str(router) if router else None,
        "size": size,
        "counts": {**{kind: counts[kind] for kind in KINDS}, "free": size - len(used)},
        "addresses": used,
    }


def _used(
    state: State,
    subnet: IPv4Network,
    ours: IPv4Address,
    router: IPv4Address | None,
    machines: list[Machine],
    now: datetime,
    diagnosis: Diagnosis,
) -> Iterator[dict[str, object]]:
    if ours in subnet:
        yield {"ip": str(ours), "kind": "ours"}
    if router is not None:
        yield {"ip": str(router), "kind": "router"}
    for machine in sorted(machines, key=lambda m: m.ip):
        held = state.leases.get(str(machine.ip))
        until = rfc3339(held.expires) if held and held.expires > now else None
        facts: Mapping[str, object] = {
            "ip": str(machine.ip),
            "kind": _kind(diagnosis, machine, leased=until is not None),
            "machine": str(machine.name),
        }
        yield {**facts, "until": until} if until else dict(facts)


def _kind(diagnosis: Diagnosis, machine: Machine, *, leased: bool) -> str:
    match diagnosis.of(machine).state:
        case BootState.STUCK:
            return "stuck"
        case BootState.BOOTING:
            return "booting"
        case _:
            return "leased" if leased else "reserved"
