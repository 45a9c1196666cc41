"""What is remembered of a boot besides its rungs: merged, bounded, cleared, kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.boot.ladder import Ladder, climb
from appliance.boot.signs import MOST, Sign, carried, noted, read_sign

K = EventKind
START = datetime(2025, 1, 31, 4, 0, 0, tzinfo=UTC)
EMPTY: tuple[Sign, ...] = ()


def happened(kind: EventKind, second: float = 0, mac: str | None = None, **detail: str) -> Event:
    at = START + timedelta(seconds=second)
    return Event(at, kind, "node1", Mac.parse(mac) if mac else None, detail=detail)


def play(*events: Event) -> Ladder:
    ladder = Ladder()
    for event in events:
        ladder = climb(ladder, event)
    return ladder


def test_the_same_once_more_is_counted_and_another_is_another() -> None:
    signs = EMPTY
    for second, path in ((0, "/a"), (5, "/b"), (9, "/a")):
        signs = noted(signs, happened(K.HTTP_ERROR, second, path=path, status="404", bytes=str(second)))
    first, second_one = signs
    assert (first.count, first.first, first.last) == (2, START, START + timedelta(seconds=9))
    assert (first.get("bytes"), first.get("path"), second_one.count) == ("9", "/a", 1)


def test_what_tells_nothing_leaves_no_sign() -> None:
    for kind in (K.KERNEL, K.IGNITION, K.DONE, K.REQUEST, K.SYNC, K.STRAY):
        assert noted(EMPTY, happened(kind, path="/x")) is EMPTY


def test_they_are_bounded_in_number_and_in_length_and_the_stalest_goes() -> None:
    signs = noted(EMPTY, happened(K.NAK, 1000, note="kept: it is the newest"))
    for n in range(MOST + 10):
        signs = noted(signs, happened(K.TFTP_ERROR, n, file=f"{n}" * 500))
    assert len(signs) == MOST
    assert signs[0].kind is K.NAK
    assert max(len(sign.get("file")) for sign in signs) <= 160


def test_other_nics_are_told_apart_by_their_mac() -> None:
    signs = noted(EMPTY, happened(K.IGNORED, mac="52:54:00:00:00:01", code="other-nic"))
    signs = noted(signs, happened(K.IGNORED, mac="52:54:00:00:00:02", code="other-nic"))
    assert [sign.mac for sign in signs] == ["52:54:00:00:00:01", "52:54:00:00:00:02"]


def test_a_running_system_s_renewals_stop_counting() -> None:
    signs = EMPTY
    for n in range(9):
        signs = noted(signs, happened(K.ACK, n, stage="os"))
    assert signs[0].count == 3
    done = play(happened(K.DONE, stage="done"))
    assert climb(done, happened(K.ACK, 9, stage="os")) is done


def test_a_new_boot_clears_them_but_for_one_conversation() -> None:
    refused = (happened(K.TFTP_ERROR, 5, file="x"), happened(K.NAK, 6, note="no"), happened(K.DECLINE, 7))
    begun = (happened(K.DISCOVER, stage="firmware"), happened(K.ACK, 1, stage="firmware"))
    again = play(*begun, *refused, happened(K.DISCOVER, 20, stage="firmware"))
    assert [sign.kind for sign in again.signs] == [K.NAK, K.DECLINE, K.DISCOVER]
    later = play(*begun, *refused, happened(K.DISCOVER, 400, stage="firmware"))
    assert [sign.kind for sign in later.signs] == [K.DISCOVER]
    assert carried(again.signs, START + timedelta(seconds=500)) == ()


def test_an_ipxe_that_tries_again_remembers_how_far_it_came() -> None:
    loaded = [happened(kind, 1, stage="ipxe") for kind in (K.DISCOVER, K.ACK, K.IPXE, K.SCRIPT, K.KERNEL)]
    missing = happened(K.HTTP_ERROR, 2, path="/assets/initrd", status="404")
    anew = [happened(K.DISCOVER, 8, stage="ipxe"), happened(K.IPXE, 8, stage="ipxe")]
    tried = play(*loaded, missing, *anew, happened(K.SCRIPT, 9, again="yes"))
    assert {K.KERNEL, K.HTTP_ERROR} <= {sign.kind for sign in tried.signs}
    power_cycled = play(*loaded, missing, *anew, happened(K.SCRIPT, 9))
    assert not {K.KERNEL, K.HTTP_ERROR} & {sign.kind for sign in power_cycled.signs}


def test_boots_that_went_to_the_disk_are_counted_until_it_calls_home() -> None:
    alone = [happened(K.DISCOVER, 0, stage="firmware"), happened(K.OFFER, 0, stage="firmware", to="disk")]
    later = [happened(K.DISCOVER, 100, stage="firmware"), happened(K.OFFER, 100, stage="firmware", to="disk")]
    assert len(play(*alone, *alone).to_disk) == 1, "the same boot"
    assert len(play(*alone, *later).to_disk) == 2
    assert play(*alone, *later, happened(K.DONE, 120, stage="done")).to_disk == ()


def test_what_is_kept_reads_again_and_what_was_kept_before_signs_does_too() -> None:
    ladder = play(
        happened(K.DISCOVER, stage="firmware"),
        happened(K.OFFER, stage="firmware", to="disk", boot_file="x"),
        happened(K.IGNORED, 3, mac="52:54:00:00:00:01", code="other-nic"),
    )
    kept = json.loads(json.dumps(ladder.as_json()))
    assert Ladder.from_json(kept) == ladder
    old = {key: value for key, value in kept.items() if key not in {"signs", "to_disk"}}
    assert Ladder.from_json(old).signs == ()


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"kind": "x"},
        {"kind": "nak", "first": "x", "last": "x", "count": 1, "detail": {}, "mac": ""},
    ],
)
def test_what_is_no_sign_is_refused(raw: object) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        read_sign(raw)
    kept: Mapping[str, object] = {**Ladder().as_json(), "signs": [raw]}
    with pytest.raises(ValueError):
        Ladder.from_json(kept)
