"""What the decider is told of a flood: each thing once a second, whoever and however many ask."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.daemon.crowd import Crowd

AT = datetime(2026, 11, 27, tzinfo=UTC)
NODE = Mac.parse("52:54:00:aa:00:01")


def event(kind: EventKind = EventKind.DISCOVER, *, machine: str | None = "node1", mac: Mac | None = NODE,
          ip: str | None = None, **detail: str) -> Event:  # fmt: skip
    return Event(AT, kind, machine, mac, IPv4Address(ip) if ip else None, "pxe", detail)


def test_a_machine_is_told_of_once_a_second_and_the_rest_is_counted() -> None:
    crowd = Crowd()
    assert [crowd.lets(event(xid=str(n)), 10.0 + n / 10) for n in range(12)] == [
        n in {0, 10} for n in range(12)
    ]
    assert crowd.left_out == 10


def test_each_step_of_a_boot_is_told() -> None:
    crowd = Crowd()
    steps = [EventKind.DISCOVER, EventKind.OFFER, EventKind.REQUEST, EventKind.ACK, EventKind.BOOTFILE]
    boot = [event(kind, stage=stage) for stage in ("firmware", "ipxe") for kind in steps]
    boot += [event(machine="node2", mac=Mac.parse("52:54:00:aa:00:11"))]
    boot += [event(EventKind.ACK, stage="ipxe", to="disk"), event(EventKind.IGNORED, code="boot-arch")]
    assert all(crowd.lets(each, 10.0) for each in boot)
    assert crowd.left_out == 0


def test_strangers_have_a_share_of_it_however_many_they_are() -> None:
    crowd = Crowd()
    macs = [
        Mac.parse(f"02:00:{n >> 16:02x}:{n >> 8 & 255:02x}:{n * 7 & 255:02x}:{n & 255:02x}")
        for n in range(20_000)
    ]
    told = sum(crowd.lets(event(EventKind.STRAY, machine=None, mac=mac), 10.0) for mac in macs)
    told += sum(crowd.lets(event(EventKind.TFTP_ERROR, machine=None, mac=None, ip=f"10.{n >> 8}.{n & 255}.1",
                                 file=str(n)), 10.0) for n in range(20_000))  # fmt: skip
    assert 256 <= told <= 512
    assert crowd.lets(event(), 10.0), "a machine is told of among them"


def test_what_it_remembers_is_bounded() -> None:
    crowd = Crowd()
    for n in range(50_000):
        assert crowd.lets(event(machine=f"node{n}"), n / 100)
    assert len(crowd._told_at) <= 10_000
