"""Who holds what, event by event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from immutables import Map

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.daemon.leases import Lease, after_event, live
from tests.unit.daemon.rooms import AT, LAB, MAC, PXE, event, served

K = EventKind
OTHER = Mac.parse("52:54:00:aa:00:02")
SERVED = served((replace(PXE, lease=600), LAB))


def after(*events: Event) -> Mapping[str, Lease]:
    leases: Map[str, Lease] = Map()
    for happened in events:
        leases = after_event(leases, happened, SERVED)
    return leases


def test_an_ack_grants_for_as_long_as_the_network_says() -> None:
    (lease,) = after(event(K.ACK)).values()
    assert lease.as_json() == {
        "ip": "172.0.1.21",
        "mac": "52:54:00:aa:00:01",
        "machine": "node1",
        "network": "pxe",
        "granted": "2025-01-31T04:05:06.789Z",
        "expires": "2025-01-31T04:15:06.789Z",
    }


def test_a_renewal_prolongs_and_the_last_nic_holds() -> None:
    (lease,) = after(event(K.ACK), event(K.ACK, mac=OTHER, after=60)).values()
    assert (lease.mac, lease.expires) == (OTHER, AT + timedelta(seconds=660))


@pytest.mark.parametrize("kind", [K.RELEASE, K.DECLINE])
def test_only_its_holder_gives_it_back(kind: EventKind) -> None:
    assert after(event(K.ACK), event(kind, mac=OTHER))
    assert after(event(K.ACK), event(kind, ip="172.0.1.22"))
    assert after(event(K.ACK), event(kind, ip=None))
    assert not after(event(K.ACK), event(kind))
    assert not after(event(K.ACK), event(kind, mac=None))
    assert not after(event(kind))


@pytest.mark.parametrize(
    "happened",
    [
        event(K.ACK, "ghost"),
        event(K.ACK, None),
        event(K.ACK, mac=None),
        event(K.ACK, ip=None),
        event(K.ACK, network=None),
        event(K.ACK, network="gone"),
        event(K.OFFER),
        event(K.REQUEST),
        event(K.NAK),
    ],
)
def test_what_grants_nothing(happened: Event) -> None:
    nothing: Map[str, Lease] = Map()
    assert after_event(nothing, happened, SERVED) is nothing


def test_expired_ones_are_not_told_and_the_rest_comes_by_address() -> None:
    leases = after(
        event(K.ACK, "node2", ip="172.0.1.122"),
        event(K.ACK, "node1", ip="172.0.1.21", after=300),
        event(K.ACK, "other1", ip="172.0.9.9", network="lab", mac=MAC),
    )
    assert [str(x.ip) for x in live(leases, AT)] == ["172.0.1.21", "172.0.1.122", "172.0.9.9"]
    assert [str(x.ip) for x in live(leases, AT + timedelta(seconds=600))] == ["172.0.1.21", "172.0.9.9"]
    assert live(leases, AT + timedelta(days=1)) == []
