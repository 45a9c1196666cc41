"""The table of a child's life: complete where it has to be, and with a way out of every phase."""

from __future__ import annotations

from itertools import product

import pytest

from appliance.dnsmasq.lifecycle import TABLE, Child, Order, Patience, Phase, Signal

PATIENCE = Patience()
# A child that does not run cannot say that it is ready, end, or be missed.
IMPOSSIBLE = {
    (Phase.STOPPED, Signal.READY),
    (Phase.STOPPED, Signal.EXITED),
    (Phase.STOPPED, Signal.LOST),
    (Phase.BACKOFF, Signal.EXITED),
}


def test_the_table_is_complete_but_for_the_impossible() -> None:
    assert set(TABLE) == set(product(Phase, Signal)) - IMPOSSIBLE


def test_what_is_missing_is_an_error() -> None:
    for phase, signal in IMPOSSIBLE:
        with pytest.raises(KeyError):
            Child("x", phase).after(signal, 0.0, PATIENCE)


@pytest.mark.parametrize("phase", Phase)
def test_a_stop_ends_in_stopped_from_everywhere(phase: Phase) -> None:
    child, orders = Child("x", phase).after(Signal.STOP, 0.0, PATIENCE)
    assert Order.SPAWN not in orders
    if child.phase is not Phase.STOPPED:
        child, orders = child.after(Signal.EXITED, 0.1, PATIENCE)
        assert orders == ()
    assert child.phase is Phase.STOPPED


@pytest.mark.parametrize("phase", Phase)
def test_a_start_leads_to_serving_from_everywhere(phase: Phase) -> None:
    child = Child("x", phase, wake_at=0.0)
    child, _ = child.after(Signal.START, 0.0, PATIENCE)
    for now in range(1, 200):
        if child.phase is Phase.SERVING:
            return
        signal = {
            Phase.STARTING: Signal.READY,
            Phase.BACKOFF: Signal.TIMER,
        }.get(child.phase, Signal.EXITED)
        child, _ = child.after(signal, float(now), PATIENCE)
    raise AssertionError(f"stays in {child.phase}")


def test_only_a_spawn_starts_and_only_from_a_phase_without_a_process() -> None:
    running = {Phase.STARTING, Phase.SERVING, Phase.STOPPING}
    for (phase, signal), (_, orders) in TABLE.items():
        if Order.SPAWN in orders:
            assert phase not in running, (phase, signal)
            assert phase in {Phase.STOPPED, Phase.BACKOFF} or signal is Signal.EXITED


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.RESTARTING, Phase.HUNG])
def test_who_does_not_end_is_killed(phase: Phase) -> None:
    child = Child("x", phase, since=0.0)
    assert child.due(PATIENCE.stop - 0.1, PATIENCE) is None
    assert child.due(PATIENCE.stop, PATIENCE) is Signal.LOST
    assert child.after(Signal.LOST, PATIENCE.stop, PATIENCE)[1] == (Order.KILL,)
