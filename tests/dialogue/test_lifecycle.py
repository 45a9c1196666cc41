"""The life of one child, told signal by signal."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest

from appliance.dnsmasq.lifecycle import TABLE, Child, Order, Patience, Phase, Signal, reading_time

P, S, O = Phase, Signal, Order  # noqa: E741
PATIENCE = Patience()
# There is no process in these phases that could say or do anything.
ABSENT = {
    (P.STOPPED, S.READY),
    (P.STOPPED, S.EXITED),
    (P.STOPPED, S.LOST),
    (P.BACKOFF, S.EXITED),
}


def told(child: Child, signals: Iterable[Signal], now: float = 0.0) -> tuple[Child, list[Order]]:
    """The child after all of `signals` at one moment, and every order that was given."""
    orders: list[Order] = []
    for signal in signals:
        child, more = child.after(signal, now, PATIENCE)
        orders += more
    return child, orders


def serving(since: float = 0.0) -> Child:
    child, _ = told(Child("dhcp:pxe"), [S.START, S.READY], since)
    assert child.phase is P.SERVING
    return child


def crashed(times: int) -> tuple[Child, list[float]]:
    """A child that never comes up, and how long it was left alone after each try."""
    now, waits = 0.0, []
    child, _ = told(Child("tftp"), [S.START], now)
    for _ in range(times):
        child, orders = told(child, [S.EXITED], now)
        assert (child.phase, orders) == (P.BACKOFF, [O.ARM_BACKOFF])
        assert child.wake_at is not None
        waits.append(child.wake_at - now)
        assert child.due(child.wake_at - 0.001, PATIENCE) is None
        now = child.wake_at
        assert child.due(now, PATIENCE) is S.TIMER
        child, orders = told(child, [S.TIMER], now)
        assert (child.phase, orders) == (P.STARTING, [O.SPAWN])
    return child, waits


@pytest.mark.parametrize(("phase", "signal"), [*itertools.product(Phase, Signal)])
def test_every_pair_is_answered_or_cannot_be(phase: Phase, signal: Signal) -> None:
    child = Child("dhcp:pxe", phase)
    if (phase, signal) in ABSENT:
        with pytest.raises(KeyError):
            child.after(signal, 1.0, PATIENCE)
        return
    after, orders = child.after(signal, 1.0, PATIENCE)
    assert (after.phase, orders) == TABLE[phase, signal]


def test_a_process_is_started_only_where_none_can_be() -> None:
    for (phase, signal), (_, orders) in TABLE.items():
        if O.SPAWN in orders:
            assert signal is S.EXITED or phase in {P.STOPPED, P.BACKOFF}, (phase, signal)
        if O.TERM in orders or O.KILL in orders:
            assert phase not in {P.STOPPED, P.BACKOFF}, (phase, signal)


def test_what_ends_by_itself_is_left_alone_for_longer_each_time() -> None:
    child, waits = crashed(12)
    assert waits[:5] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    assert waits[-4:] == pytest.approx([PATIENCE.longest_backoff] * 4)
    assert (child.restarts, child.failures) == (12, 12)


def test_the_first_restart_comes_within_a_second() -> None:
    _, waits = crashed(1)
    assert waits[0] <= 0.5


def test_a_child_that_crashes_for_days_is_still_tried() -> None:
    child, waits = crashed(20_000)
    assert waits[-1] == PATIENCE.longest_backoff
    assert child.phase is P.STARTING


def test_failures_are_forgotten_after_a_calm_spell_and_not_before() -> None:
    child, _ = crashed(6)
    child, _ = told(child, [S.READY], 100.0)
    early, _ = told(child, [S.EXITED], 100.0 + PATIENCE.calm - 1)
    calm, _ = told(child, [S.EXITED], 100.0 + PATIENCE.calm)
    assert early.failures == 7
    assert calm.failures == 1
    assert calm.wake_at == pytest.approx(100.0 + PATIENCE.calm + PATIENCE.first_backoff)
    assert calm.restarts == 7


def test_time_spent_starting_is_not_calm() -> None:
    child, _ = told(Child("tftp", failures=5), [S.START], 0.0)
    child, _ = told(child, [S.EXITED], PATIENCE.calm * 2)
    assert child.failures == 6


def test_a_hang_is_ended_and_mended() -> None:
    child = serving(since=10.0)
    assert child.due(10.0 + PATIENCE.hang - 0.01, PATIENCE) is None
    assert child.due(10.0 + PATIENCE.hang, PATIENCE) is S.LOST
    child, orders = told(child, [S.LOST], 13.0)
    assert (child.phase, orders, child.restarts) == (P.HUNG, [O.KILL], 1)
    child, orders = told(child, [S.READY], 13.1)
    assert (child.phase, orders) == (P.HUNG, []), "a line that was still in the log revives nobody"
    child, orders = told(child, [S.EXITED], 13.2)
    assert (child.phase, orders, child.restarts) == (P.STARTING, [O.SPAWN], 1)


def test_a_kill_that_does_not_reach_is_repeated_and_counted_once() -> None:
    child, _ = told(serving(), [S.LOST], 5.0)
    for again in (8.0, 11.0, 14.0):
        assert child.due(again - 0.1, PATIENCE) is None
        assert child.due(again, PATIENCE) is S.LOST
        child, orders = told(child, [S.LOST], again)
        assert (child.phase, orders) == (P.HUNG, [O.KILL])
    assert child.restarts == 1


def test_one_that_never_becomes_ready_is_ended() -> None:
    child, _ = told(Child("dhcp:pxe"), [S.START], 1.0)
    assert child.due(1.0 + PATIENCE.start - 0.1, PATIENCE) is None
    assert child.due(1.0 + PATIENCE.start, PATIENCE) is S.LOST
    assert told(child, [S.LOST], 11.0)[1] == [O.KILL]


def test_while_it_reads_its_hosts_silence_proves_nothing() -> None:
    reading = Child("dhcp:pxe", P.SERVING, since=0.0, alive_at=0.0, reading=30.0)
    assert reading.due(30.0 + PATIENCE.hang - 0.1, PATIENCE) is None
    assert reading.due(30.0 + PATIENCE.hang, PATIENCE) is S.LOST
    starting = Child("dhcp:pxe", P.STARTING, since=0.0, reading=30.0)
    assert starting.due(30.0 + PATIENCE.start - 0.1, PATIENCE) is None
    assert starting.due(30.0 + PATIENCE.start, PATIENCE) is S.LOST
    for child in (reading, starting):
        done, _ = told(child, [S.READY], 4.0)
        assert done.due(4.0 + PATIENCE.hang, PATIENCE) is S.LOST


def test_a_usual_inventory_keeps_nobody_waiting_and_a_huge_one_is_given_time_to_be_read() -> None:
    assert reading_time(1000) < 0.1
    assert PATIENCE.hang + reading_time(10_000) < 4.5, "a hang is over within five seconds"
    assert reading_time(100_000) == 100.0


def test_a_reload_is_not_a_new_life() -> None:
    child = serving(since=0.0)
    reloaded, orders = told(child, [S.READY], 20.0)
    assert (reloaded.since, orders) == (0.0, [])


def test_a_restart_waits_for_the_old_process_to_be_gone() -> None:
    child, orders = told(serving(), [S.RESTART], 1.0)
    assert (child.phase, orders) == (P.RESTARTING, [O.TERM])
    child, orders = told(child, [S.RESTART, S.START, S.READY, S.TIMER], 1.1)
    assert (child.phase, orders) == (P.RESTARTING, [])
    assert child.due(1.0 + PATIENCE.stop, PATIENCE) is S.LOST
    child, orders = told(child, [S.LOST, S.EXITED], 4.0)
    assert (child.phase, orders) == (P.STARTING, [O.KILL, O.SPAWN])
    assert child.restarts == 0, "what was asked for is no failure"


def test_a_new_configuration_ends_the_wait_of_a_failing_child() -> None:
    child, _ = told(serving(), [S.EXITED], 1.0)
    child, orders = told(child, [S.RESTART], 1.01)
    assert (child.phase, orders, child.wake_at) == (P.STARTING, [O.SPAWN], None)


def test_one_that_is_wanted_again_while_it_stops_comes_back() -> None:
    child, _ = told(serving(), [S.STOP, S.START], 1.0)
    assert child.phase is P.RESTARTING
    child, orders = told(child, [S.EXITED], 1.1)
    assert (child.phase, orders) == (P.STARTING, [O.SPAWN])


@pytest.mark.parametrize("phase", Phase)
def test_a_stop_from_every_phase_ends_stopped(phase: Phase) -> None:
    child, orders = told(Child("dhcp:pxe", phase, wake_at=9.0), [S.STOP], 1.0)
    alive = phase not in {P.STOPPED, P.BACKOFF}
    assert child.phase is (P.STOPPING if alive else P.STOPPED)
    if phase in {P.STARTING, P.SERVING, P.HUNG, P.RESTARTING}:
        assert orders in ([O.TERM], [O.KILL])
    if alive:  # it does not listen: it is killed, once for each patience
        now = child.since + PATIENCE.stop
        assert child.due(now, PATIENCE) is S.LOST
        child, orders = told(child, [S.LOST, S.LOST, S.EXITED], now)
        assert orders == [O.KILL, O.KILL]
    assert child.phase is P.STOPPED
    assert child.due(1e9, PATIENCE) is None
    assert told(child, [S.STOP, S.TIMER]) == (child, [])


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_there_is_one_process_at_most_and_a_stop_ends_it(seed: int) -> None:
    """A walk of random signals, of which only those reach the child that its process can cause."""
    dice = random.Random(seed)
    child, alive, now = Child("dhcp:pxe"), False, 0.0
    for _ in range(500):
        now += dice.choice((0.0, 0.1, 4.0, 20.0))
        possible = [S.START, S.RESTART, S.STOP, *([S.READY, S.EXITED] if alive else [])]
        due = child.due(now, PATIENCE)
        signal = due if due and dice.random() < 0.5 else dice.choice(possible)
        if signal is S.EXITED:
            alive = False
        child, orders = child.after(signal, now, PATIENCE)
        for order in orders:
            if order is O.SPAWN:
                assert not alive
                alive = True
            elif order in {O.TERM, O.KILL}:
                assert alive
        assert alive == (child.phase not in {P.STOPPED, P.BACKOFF})
    child, _ = child.after(S.STOP, now, PATIENCE)
    if alive:
        child, _ = child.after(S.EXITED, now, PATIENCE)
    assert child.phase is P.STOPPED
