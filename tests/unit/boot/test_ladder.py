"""Events in, the ladder out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.boot.events import Event, EventKind
from appliance.boot.ladder import RUNGS, Ladder, climb

K = EventKind
START = datetime(2025, 1, 31, 4, 0, 0, tzinfo=UTC)
EMPTY = Ladder()
FIRMWARE, IPXE, OS = {"stage": "firmware"}, {"stage": "ipxe"}, {"stage": "os"}
FILE = {"file": "snponly.efi"}
FIRST: tuple[tuple[EventKind, Mapping[str, str]], ...] = (
    (K.DISCOVER, FIRMWARE),
    (K.OFFER, FIRMWARE),
    (K.REQUEST, FIRMWARE),
    (K.ACK, FIRMWARE),
    (K.BOOTFILE, FILE),
)
SECOND = ((K.DISCOVER, IPXE), (K.OFFER, IPXE), (K.REQUEST, IPXE), (K.ACK, IPXE), (K.IPXE, IPXE))
REST = (
    (K.SCRIPT, {}),
    (K.KERNEL, {}),
    (K.INITRD, {}),
    *((k, OS) for k, _ in FIRST[:4]),
    (K.IGNITION, {}),
    (K.DONE, {}),
)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def play(
    steps: tuple[tuple[EventKind, Mapping[str, str]], ...], ladder: Ladder = EMPTY, begin: float = 0
) -> Ladder:
    for n, (kind, detail) in enumerate(steps):
        ladder = climb(ladder, Event(at(begin + n), kind, "node1", detail=detail))
    return ladder


def test_a_whole_boot_reaches_every_rung_in_order() -> None:
    ladder = play((*FIRST, *SECOND, *REST))
    assert ladder.rung is K.DONE
    assert tuple(ladder.rungs) == RUNGS
    assert (ladder.attempts, ladder.fetches, ladder.expected) == (1, 0, None)


def test_a_rom_that_is_ipxe_skips_the_first_stage() -> None:
    ladder = play((*SECOND, *REST))
    assert ladder.rung is K.DONE
    assert K.BOOTFILE not in ladder.rungs


def test_the_second_stages_own_discover_does_not_start_over() -> None:
    ladder = play((*FIRST, (K.DISCOVER, IPXE)))
    assert ladder.rung is K.BOOTFILE
    assert ladder.rungs[K.DISCOVER] == START


def test_the_systems_own_lease_does_not_start_over_or_begin_a_boot() -> None:
    done = play((*FIRST, *SECOND, *REST))
    assert play(((K.DISCOVER, OS), (K.OFFER, OS), (K.REQUEST, OS), (K.ACK, OS)), done, 5000) == done
    assert play(((K.REQUEST, OS), (K.ACK, OS))).rung is None


@pytest.mark.parametrize("length", range(1, 20))
def test_a_firmware_discover_later_begins_a_new_boot(length: int) -> None:
    before = play((*FIRST, *SECOND, *REST)[:length])
    after = play(FIRST[:1], before, 3600)
    assert (after.rung, dict(after.rungs), after.attempts) == (K.DISCOVER, {K.DISCOVER: at(3600)}, 1)


def test_an_ipxe_rom_begins_a_new_boot_after_done() -> None:
    again = play(SECOND[:1], play((*SECOND, *REST)), 100)
    assert dict(again.rungs) == {K.DISCOVER: at(100)}


def test_repeated_discovers_are_one_attempt_at_booting() -> None:
    ladder = Ladder()
    for second in (0, 4, 12, 28):
        ladder = play(FIRST[:1], ladder, second)
    assert (ladder.attempts, ladder.rungs[K.DISCOVER]) == (4, START)


def test_a_late_line_moves_nothing_down() -> None:
    ladder = play((*FIRST, *SECOND))
    late = play(((K.BOOTFILE, FILE), (K.OFFER, FIRMWARE)), ladder, 29)
    assert (late.rung, late.rungs, late.fetches) == (ladder.rung, ladder.rungs, 0)


def test_a_boot_file_that_is_told_before_its_address_loses_no_rung() -> None:
    """Two processes, two logs, read a moment apart."""
    ladder = play((*FIRST[:2], FIRST[4], *FIRST[2:4]))
    assert tuple(ladder.rungs) == RUNGS[:5]
    assert ladder.rung is K.BOOTFILE


def test_the_same_first_stage_three_times_in_a_row_is_a_loop_held_and_named() -> None:
    ladder = Ladder()
    for boot in range(3):
        assert not ladder.held
        # Firmware asks for the size first: two lines for one fetch.
        ladder = play((*FIRST, (K.BOOTFILE, FILE)), ladder, boot * 100)
    assert ladder.held
    assert ladder.verdict is not None
    assert ladder.verdict.id == "boot-loop"
    assert "snponly.efi 3 times" in ladder.verdict.message
    assert play(FIRST[:1], ladder, 400).held, "a further try changes nothing"
    freed = play((*FIRST, *SECOND), ladder, 400)
    assert (freed.held, freed.fetches, freed.verdict) == (False, 0, None)


def test_a_higher_rung_or_another_file_ends_the_count() -> None:
    ladder = play((*FIRST, *SECOND), play(FIRST, play(FIRST), 100), 200)
    assert ladder.fetches == 0
    other = (*FIRST[:4], (K.BOOTFILE, {"file": "ipxe.efi"}))
    assert play(other, play(FIRST, play(FIRST), 100), 200).fetches == 1


def test_a_refused_class_is_stuck_with_the_reason_until_it_is_answered() -> None:
    detail = {
        "code": "no-boot-file",
        "reason": "no boot file for client class arm64 UEFI (11)",
        "remedy": "install",
    }
    refused = play(((K.IGNORED, detail),))
    assert refused.verdict is not None
    assert refused.verdict.as_json() == {
        "id": "no-boot-file",
        "message": detail["reason"],
        "remedy": "install",
    }
    assert play(FIRST[:1], refused, 5).verdict is None
    assert play(FIRST[:1], refused, 500).verdict is None


def test_other_refusals_say_nothing_about_its_boot() -> None:
    ladder = play(FIRST)
    after = play(((K.IGNORED, {"code": "other-nic"}), (K.NAK, {}), (K.RELEASE, {})), ladder, 9)
    assert replace(after, signs=ladder.signs) == ladder
    assert [sign.kind for sign in after.signs[-2:]] == [K.IGNORED, K.NAK]


def test_a_machine_sent_to_its_disk_has_booted() -> None:
    ladder = play((*FIRST, *SECOND, (K.SCRIPT, {"to": "disk"})))
    assert (ladder.rung, ladder.finished) == (K.SCRIPT, True)
    assert not play(FIRST[:1], ladder, 9999).finished


@pytest.mark.parametrize("upto", [2, 4])
def test_one_that_gets_its_address_alone_has_booted(upto: int) -> None:
    """Some firmware leaves at the offer already, when there is no boot file in it."""
    alone = tuple((kind, {**detail, "to": "disk"}) for kind, detail in FIRST[:upto])
    ladder = play(alone)
    assert (ladder.finished, ladder.expected) == (True, None)
    assert not play(FIRST[:1], ladder, 9999).finished


def test_a_loop_that_is_sent_to_its_disk_stays_a_loop() -> None:
    ladder = Ladder()
    for boot in range(3):
        ladder = play(FIRST, ladder, boot * 100)
    alone = tuple((kind, {**detail, "to": "disk"}) for kind, detail in FIRST[:4])
    ladder = play(alone, ladder, 400)
    assert ladder.held


def test_a_held_machine_s_script_is_a_verdict_until_it_gets_another() -> None:
    held = (K.SCRIPT, {"to": "held", "reason": "why", "remedy": "release it"})
    ladder = play((*FIRST, *SECOND, held))
    assert ladder.verdict is not None
    assert ladder.verdict.as_json() == {"id": "held", "message": "held: why", "remedy": "release it"}
    assert not ladder.held, "that word is for a boot loop"
    assert play(((K.SCRIPT, {}),), ladder, 100).verdict is None
    assert play(FIRST[:1], ladder, 3600).verdict is None


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(list(EventKind)),
        st.sampled_from(
            [FIRMWARE, IPXE, OS, FILE, {"code": "no-boot-file"}, {"to": "disk"}, {"to": "held"}, {}]
        ),
        st.integers(0, 400),
    ),
    max_size=40,
)


@given(EVENTS)
def test_any_events_give_a_ladder_that_keeps(events: list[tuple[EventKind, Mapping[str, str], int]]) -> None:
    ladder, second = Ladder(), 0
    for kind, detail, gap in events:
        second += gap
        ladder = climb(ladder, Event(at(second), kind, "node1", detail=detail))
        kept = Ladder.from_json(json.loads(json.dumps(ladder.as_json())))
        assert kept == ladder
        assert (ladder.rung is None) == (not ladder.rungs)
        assert ladder.rung is None or ladder.rung in ladder.rungs


@pytest.mark.parametrize("raw", [None, [], {}, {"rung": "x"}, {"rung": "nak", "rungs": {}}])
def test_what_is_no_kept_ladder_is_refused(raw: object) -> None:
    with pytest.raises(ValueError):
        Ladder.from_json(raw)
