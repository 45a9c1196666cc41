"""The ledger of strays: who gets a row, who loses it, what a flood costs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.daemon import ledger as book
from appliance.daemon.ledger import FLOOD, FLOOD_OVER, NOTED, ROWS, SLACK, UUIDS, WINDOW, Ledger, Stray
from appliance.dnsmasq.reasons import Reason
from tests.unit.daemon.rooms import AT, LAB, MAC, PXE, event, rack, served

K = EventKind
STRANGER = Mac.parse("00:1b:21:0a:0b:0c")
ENO2 = Mac.parse("52:54:00:bb:00:01")  # of node1, which must not boot from it
UUID = "4c4c4544-0042-3510-8051-b4c04f4a3231"
SERVED = served()
UNKNOWN = {"code": "not-in-inventory", "reason": "not in the inventory"}
OTHER = {"code": "other-nic", "reason": "eno2 of node1 is not a NIC it boots from"}


def nobody(_: Stray) -> bool:
    return False


def stray(
    mac: Mac = STRANGER, after: float = 0.0, *, network: str | None = "pxe", ip: str | None = None,
    detail: Mapping[str, str] = UNKNOWN,
) -> Event:  # fmt: skip
    return event(K.STRAY, None, mac=mac, ip=ip, network=network, after=after, detail=detail)


def numbered(number: int) -> Mac:
    return Mac("02:" + ":".join(f"{number >> shift & 255:02x}" for shift in (32, 24, 16, 8, 0)))


def told(*events: Event, ledger: Ledger | None = None, at: float | None = None) -> Ledger:
    """The ledger after events, each at its own time or all `at` one."""

    def turn(before: Ledger, happened: Event) -> Ledger:
        seconds = (happened.at - AT).total_seconds() if at is None else at
        return book.after_event(before, happened, SERVED, seconds, nobody)

    return reduce(turn, events, Ledger() if ledger is None else ledger)


def test_a_stranger_has_a_row_with_all_that_it_said() -> None:
    said = {
        **UNKNOWN,
        "class": "x86-64 UEFI (7)",
        "vendor_class": "PXEClient:Arch:00007",
        "client_name": "n7",
    }
    ledger = told(stray(detail=said), stray(after=9))
    assert ledger.rows[STRANGER].as_json() == {
        "mac": "00:1b:21:0a:0b:0c",
        "network": "pxe",
        "first": "2025-01-31T04:05:06.789Z",
        "last": "2025-01-31T04:05:15.789Z",
        "count": 2,
        "arch": "x86-64 UEFI (7)",
        "vendor_class": "PXEClient:Arch:00007",
        "client_name": "n7",
        "reason_code": "not-in-inventory",
        "reason": "not in the inventory",
        "remedy": None,
        "uuid": None,
        "machine": None,
        "ignored": None,
    }
    assert STRANGER in ledger
    assert (len(ledger), ledger.counted) == (1, 1)


def test_nics_of_machines_that_are_refused_are_on_it_and_are_no_strangers() -> None:
    other = event(K.IGNORED, "node1", mac=ENO2, ip=None, detail=OTHER)
    wrong = event(
        K.IGNORED, "node2", mac=rack()[1].mac, ip=None, network="lab", detail={"code": "wrong-network"}
    )
    ledger = told(other, wrong)
    assert [row.machine for row in ledger.rows.values()] in (["node1", "node2"], ["node2", "node1"])
    assert ENO2 not in ledger
    assert rack()[1].mac not in ledger
    assert len(ledger) == 2


def test_one_by_http_tells_what_it_asked_for() -> None:
    by_http = {"path": "/ipxe" + "x" * 999, "status": "200"}
    (row,) = told(stray(ip="172.0.1.200", detail=by_http)).rows.values()
    assert row.reason.code == "http-stranger"
    assert row.reason.text.startswith("asked for /ipxexxx")
    assert len(row.reason.text) < 200
    (row,) = told(stray(MAC, ip="172.0.1.200", detail=by_http)).rows.values()
    assert row.reason.code == "wrong-address"
    assert row.reason.text == "node1 asks by HTTP from 172.0.1.200, not from its address 172.0.1.21"


@pytest.mark.parametrize("kind", [k for k in K if k not in {K.STRAY, K.IGNORED}])
def test_other_events_make_no_row(kind: EventKind) -> None:
    assert len(told(event(kind, None, mac=STRANGER))) == 0


def test_what_has_no_mac_has_no_row() -> None:
    assert told(event(K.STRAY, None, mac=None, ip="10.0.0.9")) == Ledger()


@pytest.mark.parametrize("kind", [K.OFFER, K.ACK])
def test_who_is_served_leaves_and_is_kept_as_gone(kind: EventKind) -> None:
    refused = event(K.IGNORED, detail={"code": "no-boot-file", "reason": "no boot file"})
    ledger, _ = book.saved(told(refused), 1)
    elsewhere = told(event(kind, network="lab"), ledger=ledger)
    assert len(elsewhere) == 1, "served on another network, refused on this one"
    served_now = told(event(kind), ledger=ledger)
    assert len(served_now) == 0
    assert book.saved(served_now, 2)[1] == {MAC: None}


def test_what_a_client_says_is_cut() -> None:
    long = {**UNKNOWN, "vendor_class": "v" * 5000, "client_name": "\U0001f600" * 5000, "class": "c" * 5000}
    (row,) = told(stray(detail=long)).rows.values()
    assert len(row.vendor_class) + len(row.client_name) + len(row.arch) <= 128 + 64 + 128


# ---- UUIDs ----


def test_a_uuid_finds_its_row_before_and_after_the_log_tells_of_it() -> None:
    early = told(stray(), ledger=book.after_client(Ledger(), STRANGER, UUID))
    late = book.after_client(told(stray()), STRANGER, UUID)
    assert [ledger.rows[STRANGER].uuid for ledger in (early, late)] == [UUID, UUID]
    assert not early.uuids
    assert book.after_client(late, STRANGER, UUID) is late


def test_uuids_of_macs_that_never_come_are_bounded() -> None:
    ledger = Ledger()
    for number in range(3 * UUIDS):
        ledger = book.after_client(ledger, numbered(number), UUID)
        assert len(ledger.uuids) <= UUIDS
    ledger = told(stray(numbered(3 * UUIDS - 1)), ledger=ledger)
    assert ledger.rows[numbered(3 * UUIDS - 1)].uuid == UUID


# ---- another generation ----


def adopted(ledger: Ledger, *machines: object, networks: object = (PXE, LAB)) -> Ledger:
    return book.after_adoption(ledger, served(networks, machines=tuple(machines)))  # type: ignore[arg-type]


def test_a_stranger_that_becomes_a_machine_leaves_at_once() -> None:
    node1, *others = rack()
    ledger = adopted(told(stray(), stray(numbered(1))), replace(node1, macs=(STRANGER,)), *others)
    assert list(ledger.rows) == [numbered(1)]


def test_another_inventory_gives_another_reason() -> None:
    node1, *others = rack()
    nic = replace(node1.nics[0], mac=STRANGER)
    other = adopted(told(stray()), replace(node1, nics=(nic,)), *others).rows[STRANGER]
    assert (other.reason.code, other.machine) == ("other-nic", "node1")
    elsewhere = adopted(told(stray(network="lab")), replace(node1, macs=(STRANGER,)), *others).rows[STRANGER]
    assert (elsewhere.reason.code, elsewhere.machine) == ("wrong-network", "node1")
    refused = told(event(K.IGNORED, "node1", mac=ENO2, ip=None, detail=OTHER))
    nobodys = adopted(refused, *others).rows[ENO2]
    assert (nobodys.reason.code, nobodys.machine) == ("not-in-inventory", None)


def test_a_refusal_that_no_inventory_explains_stays_until_it_is_served() -> None:
    ledger = told(event(K.IGNORED, detail={"code": "no-boot-file", "reason": "no boot file"}))
    assert adopted(ledger, *rack()).rows[MAC].reason.code == "no-boot-file"
    not_served = told(event(K.IGNORED, detail={"code": "not-served", "reason": "x", "remedy": "run sync"}))
    assert len(adopted(not_served, *rack())) == 0


# ---- notes ----


def test_an_ignored_stray_is_not_counted_and_stays() -> None:
    ledger = book.after_note(told(stray(), stray(numbered(1))), STRANGER, "the printer" + "!" * 999)
    assert (len(ledger), ledger.counted) == (2, 1)
    assert ledger.rows[STRANGER].note == ("the printer" + "!" * 999)[:200]
    ledger = told(stray(after=5), ledger=ledger)
    assert ledger.rows[STRANGER].note is not None
    assert book.after_note(ledger, STRANGER, None).counted == 2
    old = book.ticked(ledger, 10_000, AT + timedelta(weeks=52))
    assert list(old.rows) == [STRANGER]


def test_no_more_are_ignored_than_leave_room_for_others() -> None:
    ledger = told(*(stray(numbered(n)) for n in range(NOTED + 1)))
    for number in range(NOTED + 1):
        ledger = book.after_note(ledger, numbered(number), "")
    assert ledger.noted == NOTED
    assert ledger.rows[numbered(NOTED)].note is None
    assert book.after_note(ledger, STRANGER, "x") is ledger
    again = book.after_note(ledger, numbered(1), "another note")
    assert again.rows[numbered(1)].note == "another note"


# ---- bounds ----


def flooded(ledger: Ledger, macs: int, *, named: book.Named = nobody) -> Ledger:
    rng = random.Random(7)
    for number in range(macs):
        happened = stray(numbered(rng.getrandbits(40)), 1000 + number / 1000)
        ledger = book.after_event(ledger, happened, SERVED, 1000 + number / 1000, named)
    return ledger


def test_a_flood_throws_out_one_time_strangers_only() -> None:
    twice = told(stray(), stray(after=1))
    noted = book.after_note(told(stray(numbered(1)), ledger=twice), numbered(1), "a note")
    owned = told(event(K.IGNORED, "node1", mac=ENO2, ip=None, detail=OTHER), ledger=noted)
    named = told(stray(numbered(2)), stray(numbered(3)), ledger=owned)
    after = flooded(named, 20_000, named=lambda row: row.mac == numbered(2))
    kept = {mac for mac in (STRANGER, *map(numbered, range(1, 4)), ENO2) if mac in after.rows}
    assert kept == {STRANGER, numbered(1), ENO2, numbered(2)}
    assert ROWS <= len(after) <= ROWS + SLACK
    assert after.counted == len(after) - 1


def test_where_all_are_well_known_the_bound_holds_all_the_same() -> None:
    ledger = flooded(Ledger(), 10_000, named=lambda _: True)
    assert ROWS <= len(ledger) <= ROWS + SLACK
    assert max(row.last for row in ledger.rows.values()) > AT + timedelta(seconds=1009)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from("sdniuac"), st.floats(0, 9000)), max_size=200))
def test_whatever_happens_the_counts_are_right(steps: list[tuple[int, str, float]]) -> None:
    ledger = Ledger()
    for number, what, at in steps:
        mac = numbered(number)
        match what:
            case "s" | "d":
                ledger = book.after_event(ledger, stray(mac, at), SERVED, at, nobody)
            case "n" | "i":
                ledger = book.after_note(ledger, mac, "note" if what == "n" else None)
            case "u":
                ledger = book.after_client(ledger, mac, UUID)
            case "a":
                ledger = book.after_event(ledger, event(K.ACK, None, mac=mac), SERVED, at, nobody)
            case _:
                ledger = book.ticked(ledger, at, AT + timedelta(weeks=at / 1000))
        assert ledger.noted == sum(row.note is not None for row in ledger.rows.values())
        assert all(mac == row.mac for mac, row in ledger.rows.items())
    after, changed = book.saved(ledger, 1.0)
    assert not after.unsaved
    assert {mac: row for mac, row in changed.items() if row} == dict(ledger.rows)


@given(st.integers(1, 3000), st.integers(1, 3000))
@settings(max_examples=10, deadline=None)
def test_rows_that_came_in_any_order_stay_bounded(first: int, second: int) -> None:
    small = told(*(stray(numbered(n)) for n in range(first)))
    both = told(*(stray(numbered(n), 5) for n in range(second)), ledger=small)
    assert len(both) == max(first, second)
    assert sum(row.count for row in both.rows.values()) == first + second


def test_rows_of_long_ago_go() -> None:
    ledger = told(stray(), stray(numbered(1), 14 * 86_400))
    late = AT + timedelta(weeks=4, seconds=1)
    assert list(book.ticked(ledger, 600, late).rows) == [numbered(1)]
    assert len(book.ticked(ledger, 599, late)) == 2, "looked at every ten minutes"


# ---- floods ----


def test_a_flood_begins_once_and_ends_once() -> None:
    before = told(*(stray(numbered(n), n / 10) for n in range(FLOOD - 1)))
    assert before.flood is None
    begun = told(stray(numbered(FLOOD), 30), ledger=before)
    assert begun.flood is not None
    assert begun.flood.words == (
        "a flood of strangers on network pxe: 256 new MACs since 2025-01-31T04:05:36.789Z"
    )
    event_begun = book.told(before.flood, begun.flood, AT)
    assert event_begun is not None
    assert (event_begun.kind, event_begun.network) == (K.STRAY_FLOOD, "pxe")
    assert (event_begun.detail["what"], event_begun.detail["macs"]) == ("begun", "256")
    more = told(stray(numbered(FLOOD + 1), 31, network="lab"), ledger=begun)
    assert book.told(begun.flood, more.flood, AT) is None
    goes_on = book.ticked(more, WINDOW, AT)
    assert goes_on.flood == more.flood, "the minute that it began in brought many"
    trickle = told(*(stray(numbered(1000 + n), 61) for n in range(FLOOD_OVER)), ledger=goes_on)
    over = book.ticked(trickle, 2 * WINDOW, AT)
    assert over.flood is None
    event_over = book.told(trickle.flood, over.flood, AT)
    assert event_over is not None
    assert (event_over.detail["what"], event_over.detail["macs"]) == ("over", str(FLOOD + 1 + FLOOD_OVER))
    assert event_over.network is None, "it was on two"


def test_the_same_macs_again_and_a_few_new_ones_a_minute_are_no_flood() -> None:
    rack_of_200 = [stray(numbered(n), n / 100) for n in range(200)]
    ledger = told(*rack_of_200, *rack_of_200, *rack_of_200)
    for minute in range(1, 30):
        ledger = told(*(stray(numbered(1000 * minute + n), minute * 61) for n in range(100)), ledger=ledger)
        assert ledger.flood is None


def test_a_burst_lies_within_one_window() -> None:
    ledger = told(stray(), at=0.0)
    ledger = book.ticked(ledger, WINDOW + 1, AT)
    ledger = told(*(stray(numbered(n)) for n in range(FLOOD)), ledger=ledger, at=2 * WINDOW - 1)
    assert ledger.flood is not None


# ---- kept and restored ----


def test_what_was_kept_is_restored() -> None:
    said = {
        **UNKNOWN,
        "class": "BIOS (0)",
        "vendor_class": "PXE\ud800Client",
        "client_name": "n7",
        "remedy": "r",
    }
    ledger = book.after_note(told(stray(detail=said), stray(numbered(1))), numbered(1), "")
    ledger = book.after_client(ledger, STRANGER, UUID)
    _, changed = book.saved(ledger, 1)
    back = book.restored({mac.text: row.as_json() for mac, row in changed.items() if row})
    assert back.rows == ledger.rows
    assert back.noted == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from(["mac", "network", "first", "last", "count", "reason_code", "reason", "ignored", ""]),
)
def test_a_row_that_cannot_be_read_is_left_out(value: object, key: str) -> None:
    row = Stray(STRANGER, "pxe", AT, AT).as_json()
    raw = {**row, key: value} if key else value
    back = book.restored({"a": raw, "b": Stray(numbered(1), "pxe", AT, AT).as_json()})
    assert numbered(1) in back.rows
    assert len(back) <= 2


def test_too_many_kept_rows_are_put_in_order_and_the_rest_forgotten() -> None:
    rows = [Stray(numbered(n), "pxe", AT, AT + timedelta(seconds=n)) for n in range(ROWS + 10)]
    kept = {row.mac.text: row.as_json() for row in rows}
    back = book.restored(kept)
    assert len(back) == ROWS
    assert back.unsaved == Map({numbered(n): True for n in range(10)})


def test_changes_are_kept_every_other_second_at_most() -> None:
    ledger = told(stray())
    assert book.due(ledger, 2.0)
    ledger, _ = book.saved(ledger, 2.0)
    assert not book.due(ledger, 10.0)
    again = told(stray(after=1), ledger=ledger)
    assert [book.due(again, at) for at in (3.9, 4.0)] == [False, True]


def test_a_reason_is_a_value() -> None:
    assert Stray(STRANGER, None, AT, AT).reason == Reason("not-in-inventory", "not in the inventory")


def test_a_clock_that_ran_ahead_leaves_no_row_in_the_future() -> None:
    """A host without a battery for its clock, before NTP: the row would come first for ever, and never go."""
    ahead = AT + timedelta(days=3650)
    ledger = told(stray(numbered(1), after=3650 * 86400.0))
    assert ledger.rows[numbered(1)].last == ahead
    ledger = book.ticked(ledger, 600, AT)
    row = ledger.rows[numbered(1)]
    assert (row.first, row.last) == (AT, AT)
    assert not book.ticked(ledger, 1200, AT + timedelta(weeks=5)).rows
