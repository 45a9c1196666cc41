"""Two processes, one log: whose line it is, and every step of an exchange told once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from appliance.boot.events import Event, EventKind
from appliance.daemon.overlap import Overlap
from appliance.dnsmasq.correlate import Correlator
from tests.unit.daemon.rooms import event
from tests.unit.dnsmasq.test_correlate import Rack

K = EventKind
OLD, YOUNG = 411, 4117


def overlap() -> Overlap:
    return Overlap({pid: Correlator("pxe", Rack()) for pid in (OLD, YOUNG)})


def step(xid: int, kind: EventKind = K.ACK) -> Event:
    return event(kind, detail={"xid": str(xid)})


def test_a_line_is_that_of_the_process_that_wrote_it_whatever_a_client_says() -> None:
    room = overlap()
    head = "Jan 31 04:05:06 dnsmasq-dhcp"
    assert room.writer(f"{head}[{OLD}]: 77 DHCPACK(pxe0) 172.0.1.21") == OLD
    assert room.writer(f"{head}[{YOUNG}]: 77 DHCPACK(pxe0) 172.0.1.21") == YOUNG
    assert room.writer(f"{head}[41]: 77 DHCPACK(pxe0) 172.0.1.21") is None
    assert room.writer(f"{head}[{OLD}]: 77 client provides name: [{YOUNG}]: x") == OLD
    assert room.writer("") is None


def test_both_tell_it_and_it_is_told_once() -> None:
    room = overlap()
    assert room.merged(OLD, [step(1, K.DISCOVER), step(1, K.OFFER)]) == [
        step(1, K.DISCOVER),
        step(1, K.OFFER),
    ]
    assert room.merged(YOUNG, [step(1, K.DISCOVER), step(1, K.OFFER), step(1)]) == [step(1)]
    assert room.merged(OLD, [step(1)]) == []
    assert room.merged(OLD, [step(2)]) == [step(2)]


def test_a_client_that_asks_again_is_told_again() -> None:
    room = overlap()
    assert room.merged(OLD, [step(1), step(1)]) == [step(1), step(1)]
    assert room.merged(YOUNG, [step(1), step(1)]) == []
    assert room.merged(YOUNG, [step(1)]) == [step(1)]


def test_another_client_with_the_same_number_is_another() -> None:
    room = overlap()
    other = event(K.ACK, "node2", mac=None, detail={"xid": "1"})
    assert room.merged(OLD, [step(1)]) == [step(1)]
    assert room.merged(YOUNG, [other]) == [other]


def test_what_belongs_to_no_exchange_is_told_as_it_comes() -> None:
    room, said = overlap(), event(K.DNSMASQ, detail={"message": "x"})
    assert room.merged(OLD, [said, said]) == [said, said]


def test_a_flood_in_between_is_bounded() -> None:
    room = overlap()
    for xid in range(50_000):
        room.merged(OLD, [step(xid)])
    assert len(room._told) <= 20_000


@given(st.data())
def test_in_whatever_order_the_lines_come(data: st.DataObject) -> None:
    """The old one hears the first packets, the young one the last, both those in between, some unicast."""
    packets = data.draw(st.lists(st.integers(0, 5), max_size=30))
    comes = data.draw(st.integers(0, len(packets)))
    goes = data.draw(st.integers(comes, len(packets)))
    to_one = data.draw(st.lists(st.sampled_from([OLD, YOUNG, None]), min_size=30, max_size=30))
    heard: dict[int, list[int]] = {OLD: [], YOUNG: []}
    for n, xid in enumerate(packets):
        unicast = to_one[n] if comes <= n < goes else None
        if n < goes and unicast in {None, OLD}:
            heard[OLD].append(xid)
        if n >= comes and unicast in {None, YOUNG}:
            heard[YOUNG].append(xid)
    most = {xid: max(heard[OLD].count(xid), heard[YOUNG].count(xid)) for xid in packets}
    room, told = overlap(), Counter[str]()
    while heard[OLD] or heard[YOUNG]:
        pid = data.draw(st.sampled_from([pid for pid in (OLD, YOUNG) if heard[pid]]))
        told.update(e.detail["xid"] for e in room.merged(pid, [step(heard[pid].pop(0))]))
    assert {int(xid): times for xid, times in told.items()} == most, "never twice, and never not at all"
