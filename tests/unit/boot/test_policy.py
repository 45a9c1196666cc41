"""The life of a machine: the table, pair by pair, and what no sequence of it may ever lead to."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.boot.policy import (
    LOOP_AFTER,
    LOOP_WITHIN,
    BootPolicy,
    Cue,
    Given,
    Impossible,
    Life,
    LifeState,
    loop_reason,
    way_out,
)

S, C, P = LifeState, Cue, BootPolicy
START = datetime(2025, 1, 31, 4, 0, 0, tzinfo=UTC)
ONCE = P.INSTALL_ONCE
# What each state becomes with each cue; None is refused. Written down once more on purpose.
EXPECTED: dict[LifeState, dict[Cue, LifeState | None]] = {
    S.NEW: {
        C.SERVED: S.INSTALLING,
        C.INSTALLED: S.INSTALLED,
        C.DONE: S.NEW,
        C.REINSTALL: S.NEW,
        C.HOLD: S.HELD,
        C.RELEASE: None,
    },
    S.INSTALLING: {
        C.SERVED: S.INSTALLING,
        C.INSTALLED: S.INSTALLED,
        C.DONE: S.INSTALLING,
        C.REINSTALL: S.INSTALLING,
        C.HOLD: S.HELD,
        C.RELEASE: None,
    },
    S.INSTALLED: {
        C.SERVED: S.INSTALLED,
        C.INSTALLED: S.INSTALLED,
        C.DONE: S.INSTALLED,
        C.REINSTALL: S.REINSTALL,
        C.HOLD: S.HELD,
        C.RELEASE: None,
    },
    S.REINSTALL: {
        C.SERVED: S.INSTALLING,
        C.INSTALLED: S.REINSTALL,
        C.DONE: S.REINSTALL,
        C.REINSTALL: S.REINSTALL,
        C.HOLD: S.HELD,
        C.RELEASE: None,
    },
}


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def life_in(state: LifeState, before: LifeState = S.NEW) -> Life:
    if state is S.HELD:
        return life_in(before).after(C.HOLD, START, reason="a reason")
    return Life(state, START)


def served(life: Life, minutes: float, *, boot: float | None = None) -> Life:
    began = minutes if boot is None else boot
    return life.after(C.SERVED, at(minutes), boot=at(began))


@pytest.mark.parametrize(("state", "cue"), list(itertools.product(EXPECTED, Cue)))
def test_every_pair_of_the_table(state: LifeState, cue: Cue) -> None:
    life, to = life_in(state), EXPECTED[state][cue]
    if to is None:
        with pytest.raises(Impossible, match="not held"):
            life.after(cue, at(1))
        return
    after = life.after(cue, at(1))
    assert after.state is to
    assert after.since == (START if to is state else at(1)), "since when it is what it is"


@pytest.mark.parametrize(("before", "cue"), list(itertools.product(EXPECTED, Cue)))
def test_a_held_machine_stays_held_and_goes_back_to_what_it_became(before: LifeState, cue: Cue) -> None:
    held = life_in(S.HELD, before)
    if cue is C.REINSTALL:
        with pytest.raises(Impossible, match="release it first"):
            held.after(cue, at(1))
        return
    after = held.after(cue, at(1))
    if cue is C.RELEASE:
        assert (after.state, after.since) == (before, at(1))
        assert (after.reason, after.by, after.installs) == ("", "", ())
        return
    assert (after.state, after.since) == (S.HELD, START)
    became = EXPECTED[before][cue] if cue in {C.INSTALLED, C.DONE} else before
    assert after.after(C.RELEASE, at(2)).state is became, "what it said of itself while it was held counts"


def test_who_holds_it_last_says_why() -> None:
    held = Life().after(C.HOLD, START, reason="install 3", by="install-loop")
    assert (held.by, held.reason) == ("install-loop", "install 3")
    again = held.after(C.HOLD, at(1), reason="disk 3 is broken")
    assert (again.by, again.reason, again.before) == ("operator", "disk 3 is broken", S.NEW)


GIVEN = {
    (None, S.NEW): Given.IMAGE,
    (None, S.INSTALLED): Given.IMAGE,
    (P.ALWAYS, S.NEW): Given.IMAGE,
    (P.ALWAYS, S.INSTALLING): Given.IMAGE,
    (P.ALWAYS, S.INSTALLED): Given.IMAGE,
    (P.ALWAYS, S.REINSTALL): Given.IMAGE,
    (P.DISK, S.NEW): Given.DISK,
    (P.DISK, S.INSTALLED): Given.DISK,
    (P.DISK, S.REINSTALL): Given.DISK,
    (ONCE, S.NEW): Given.IMAGE,
    (ONCE, S.INSTALLING): Given.IMAGE,
    (ONCE, S.INSTALLED): Given.DISK,
    (ONCE, S.REINSTALL): Given.IMAGE,
}


@pytest.mark.parametrize(("policy", "state"), GIVEN)
def test_what_is_given(policy: BootPolicy | None, state: LifeState) -> None:
    life, expected = life_in(state), GIVEN[policy, state]
    assert life.given(policy, START, START) is expected
    assert life.goes_to_disk(policy) is (expected is Given.DISK), "DHCP and the scripts say the same"


@pytest.mark.parametrize("policy", [None, *P])
@pytest.mark.parametrize("by", ["operator", "install-loop", "boot-loop"])
def test_a_held_machine_gets_nothing_and_sees_why_unless_it_never_comes_so_far(
    policy: BootPolicy | None, by: str
) -> None:
    held = Life().after(C.HOLD, START, reason="x", by=by)
    assert held.given(policy, START, START) is Given.NOTHING
    assert held.goes_to_disk(policy) is (by == "boot-loop")


# ---- the install loop ----


@pytest.mark.parametrize(
    ("minutes", "loops"),
    [
        ((0, 1, 2), True),
        ((0, 10, 20), True),  # within twenty minutes, to the second
        ((0, 10, 20.02), False),
        ((0, 19.9, 20.1), False),
        ((0, 0.1, 0.2), True),
    ],
)
def test_the_third_installer_within_twenty_minutes_is_not_given(
    minutes: tuple[float, float, float], loops: bool
) -> None:
    assert LOOP_AFTER == 3
    assert timedelta(minutes=20) == LOOP_WITHIN
    life = Life()
    for minute in minutes[:2]:
        assert life.given(ONCE, at(minute), at(minute)) is Given.IMAGE
        life = served(life, minute)
    third = at(minutes[2])
    assert life.loops(third, third) is loops
    assert life.given(ONCE, third, third) is (Given.NOTHING if loops else Given.IMAGE)


def test_two_a_slow_installer_and_a_power_cut_are_no_loop() -> None:
    life = Life()
    for minute in range(0, 200, 11):
        assert life.given(ONCE, at(minute), at(minute)) is Given.IMAGE
        life = served(life, minute)
        assert len(life.installs) <= 2, "what is long ago is forgotten"


@pytest.mark.parametrize("cue", [C.INSTALLED, C.DONE])
def test_a_call_home_in_between_begins_the_count_anew(cue: Cue) -> None:
    life = served(served(Life(), 0), 1).after(cue, at(2))
    assert life.installs == ()
    if cue is C.INSTALLED:
        life = life.after(C.REINSTALL, at(2))
    for minute in (3, 4):
        assert life.given(ONCE, at(minute), at(minute)) is Given.IMAGE
        life = served(life, minute)
    assert life.given(ONCE, at(5), at(5)) is Given.NOTHING


@pytest.mark.parametrize("turn", [C.REINSTALL, C.RELEASE])
def test_an_operator_s_word_begins_the_count_anew(turn: Cue) -> None:
    life = served(served(Life(), 0), 1)
    if turn is C.RELEASE:
        life = life.after(C.HOLD, at(2), by="install-loop", reason=loop_reason())
    life = life.after(turn, at(3))
    assert life.given(ONCE, at(3), at(3)) is Given.IMAGE
    assert served(served(life, 3), 4).given(ONCE, at(5), at(5)) is Given.NOTHING


def test_the_same_boot_that_asks_again_counts_once() -> None:
    life = Life()
    for minute in (0, 0.1, 0.5, 2):
        life = served(life, minute, boot=0)
    assert life.installs == (at(0),)
    life = served(life, 3)
    for minute in (3.1, 10):  # its script is asked for again, when a kernel did not arrive
        assert life.given(ONCE, at(3), at(minute)) is Given.IMAGE
        life = served(life, minute, boot=3)
    assert life.given(ONCE, at(11), at(11)) is Given.NOTHING


def test_only_installs_loop() -> None:
    life = served(served(Life(), 0), 1)
    assert life.given(P.ALWAYS, at(2), at(2)) is Given.IMAGE
    assert life.given(None, at(2), at(2)) is Given.IMAGE
    assert life.given(P.DISK, at(2), at(2)) is Given.DISK


def test_what_an_operator_reads_of_a_loop() -> None:
    assert loop_reason() == "install 3 within 20 minutes without a call home"
    assert way_out("node1") == "pxe-appliance machine release node1"


# ---- no sequence of it ----

_STEPS = st.lists(st.tuples(st.sampled_from(Cue), st.integers(0, 15), st.booleans()), max_size=40)


@given(_STEPS, st.sampled_from([None, *P]))
def test_whatever_happens(steps: list[tuple[Cue, int, bool]], policy: BootPolicy | None) -> None:
    """As the daemon plays it: a boot is given something first, and the event of it follows."""
    life, now, boot = Life(), 0.0, 0.0
    given_since: list[float] = []  # installers, by boot, since the last word of machine or operator
    for cue, minutes, same_boot in steps:
        now += minutes
        if not same_boot:
            boot = now
        if cue is C.SERVED:
            given = life.given(policy, at(boot), at(now))
            if given is not Given.IMAGE:
                assert given is (Given.NOTHING if life.held else given)
                continue
            assert not life.held
            assert not (policy is ONCE and life.installed), "an installed machine never gets the installer"
            assert policy is not P.DISK
            given_since = [b for b in given_since if at(now) - at(b) <= LOOP_WITHIN]
            given_since += [] if boot in given_since else [boot]
            assert policy is not ONCE or len(given_since) < LOOP_AFTER
            if policy is not ONCE:
                continue  # nobody counts those
        before = life
        try:
            life = life.after(cue, at(now), boot=at(boot), reason="r")
        except Impossible:
            assert (cue, before.held) in {(C.RELEASE, False), (C.REINSTALL, True)}
            continue
        if cue is not C.SERVED and cue is not C.HOLD:
            given_since = []
        if before.held:
            assert life.held is (cue is not C.RELEASE), "only a release lets it go"
        if cue is C.RELEASE:
            assert life.state is before.before
        if cue is C.HOLD:
            assert life.held
            assert life.before is (before.before if before.held else before.state)
        assert Life.from_json(json.loads(json.dumps(life.as_json()))) == life
        assert life.before is not S.HELD


# ---- what it says of itself, and keeping it ----


def test_what_it_reports_is_kept_and_bounded() -> None:
    life = Life().reported({"disk": "sda", "os": "x"}).reported({"disk": "sdb"})
    assert dict(life.facts) == {"disk": "sdb", "os": "x"}
    for number in range(100):
        life = life.reported({f"fact{number}": str(number)})
    assert len(life.facts) <= 32
    assert life.facts["fact99"] == "99"


def test_it_reads_what_it_wrote() -> None:
    life = served(served(Life(), 0.001), 1).reported({"disk": "sda"})
    life = life.after(C.HOLD, at(2), reason="why", by="install-loop")
    assert life.as_json() == {
        "state": "held",
        "since": "2025-01-31T04:02:00.000Z",
        "installs": ["2025-01-31T04:00:00.060000+00:00", "2025-01-31T04:01:00+00:00"],
        "before": "installing",
        "reason": "why",
        "by": "install-loop",
        "facts": {"disk": "sda"},
        "macs": [],
    }
    assert Life.from_json(life.as_json()) == life
    assert Life.from_json(Life().as_json()) == Life()


KEPT = Life().as_json()


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "held",
        {},
        {k: v for k, v in KEPT.items() if k != "state"},
        {**KEPT, "state": "gone"},
        {**KEPT, "state": None},
        {**KEPT, "state": []},
        {**KEPT, "since": "yesterday"},
        {**KEPT, "since": 5},
        {**KEPT, "installs": None},
        {**KEPT, "installs": 5},
        {**KEPT, "installs": "now"},
        {**KEPT, "before": "gone"},
        {**KEPT, "facts": [1]},
        {**KEPT, "facts": "x"},
    ],
)
def test_what_is_no_life_is_refused(raw: object) -> None:
    with pytest.raises(ValueError):
        Life.from_json(raw)


def test_its_nics_are_kept_and_a_life_of_before_they_were_is_read() -> None:
    life = Life(macs=("52:54:00:aa:00:01", "52:54:00:aa:00:02"))
    assert Life.from_json(json.loads(json.dumps(life.as_json()))) == life
    assert Life.from_json({key: value for key, value in life.as_json().items() if key != "macs"}).macs == ()


def test_a_life_is_a_value() -> None:
    life = served(Life(), 0)
    assert replace(life) == life
    assert Life() == Life()
    assert life.reported({"a": "b"}) == life.reported({"a": "b"})


def test_holding_a_held_machine_again_keeps_the_reason_unless_there_is_a_new_one() -> None:
    held = Life().after(C.HOLD, at(0), reason="disk 3 is broken")
    assert held.after(C.HOLD, at(1)).reason == "disk 3 is broken"
    assert held.after(C.HOLD, at(1), reason="fan, too").reason == "fan, too"
    assert Life().after(C.HOLD, at(0)).reason, "its screen says something"
