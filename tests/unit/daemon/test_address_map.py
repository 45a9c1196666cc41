"""The networks with the use of their addresses."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

from immutables import Map

from appliance.addresses import Mac
from appliance.boot.events import EventKind as K
from appliance.boot.ladder import Ladder, Verdict, climb
from appliance.daemon.address_map import networks_json
from appliance.daemon.known import State
from appliance.daemon.leases import Lease
from tests.unit.daemon.rooms import AT, event, served
from tests.unit.dnsmasq.rooms import machine, network

RELAYED = network("far", "eno5", "172.0.8.0/24", "172.0.8.1", relayed=(("172.0.7.0/24", "172.0.7.254"),))


def lease_until(end: datetime) -> Lease:
    return Lease(IPv4Address("172.0.1.22"), Mac.parse("52:54:00:aa:00:02"), "node2", "pxe", AT, end)


def subnet(state: State, name: str, number: int = 0) -> Any:
    found: Any = next(n for n in networks_json(state, AT) if n["name"] == name)
    return found["subnets"][number]


def kinds(state: State, name: str = "pxe", number: int = 0) -> dict[str, str]:
    return {a["ip"]: a["kind"] for a in subnet(state, name, number)["addresses"]}


def test_each_address_that_is_not_free_is_named_with_what_it_is() -> None:
    lease = lease_until(AT + timedelta(hours=1))
    booting = climb(Ladder(), event(K.DISCOVER, detail={"stage": "firmware"}))
    state = State(served(), ladders=Map({"node1": booting}), leases=Map({"172.0.1.22": lease}))
    assert kinds(state) == {"172.0.1.1": "ours", "172.0.1.21": "booting", "172.0.1.22": "leased"}
    found = subnet(state, "pxe")
    assert found["size"] == 254
    assert found["counts"]["free"] == 251
    assert found["addresses"][2]["until"] == "2025-01-31T05:05:06.789Z"


def test_stuck_is_stuck_and_an_ended_lease_is_idle() -> None:
    stuck = Ladder(rung=K.ACK, last=AT, verdict=Verdict("boot-loop", "loops", "mend it"))
    over = lease_until(AT)
    state = State(served(), ladders=Map({"node1": stuck}), leases=Map({"172.0.1.22": over}))
    assert kinds(state) == {"172.0.1.1": "ours", "172.0.1.21": "stuck", "172.0.1.22": "reserved"}


def test_a_relayed_subnet_has_its_router_and_its_machines() -> None:
    far = machine("far1", "52:54:00:aa:00:31", "172.0.7.9", net="far")
    state = State(served((RELAYED,), (far,)))
    assert kinds(state, "far") == {"172.0.8.1": "ours"}
    assert kinds(state, "far", 1) == {"172.0.7.254": "router", "172.0.7.9": "reserved"}
