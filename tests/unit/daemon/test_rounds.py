"""When a generation is proven again, and after how many failures it is left."""

from __future__ import annotations

from appliance.daemon.rounds import Rounds

BOTH = frozenset({"lab", "pxe"})
PXE = frozenset({"pxe"})


def asked_at(
    rounds: Rounds, seconds: int, usable: frozenset[str] = BOTH, *, hurried: bool = False
) -> list[int]:
    """The seconds at which a round is made that shows nothing."""
    found = []
    for at in range(seconds):
        if rounds.due(7, usable, at, hurried=hurried):
            found.append(at)
            rounds.open(at)
    return found


def test_the_pauses_grow_to_two_minutes() -> None:
    assert asked_at(Rounds(), 500) == [10, 20, 40, 80, 160, 280, 400]


def test_after_a_way_back_that_went_wrong_they_stay_short() -> None:
    assert asked_at(Rounds(), 60, hurried=True) == [3, 6, 12, 22, 32, 42, 52]


def test_a_network_that_comes_back_is_asked_at_once() -> None:
    rounds = Rounds()
    asked_at(rounds, 200, PXE)
    assert rounds.due(7, BOTH, 200)
    rounds.open(200)
    assert not rounds.due(7, PXE, 201)
    assert not rounds.due(7, PXE, 209)
    assert rounds.due(7, PXE, 210)


def test_another_generation_begins_anew() -> None:
    rounds = Rounds()
    asked_at(rounds, 200)
    rounds.failed(200)
    assert not rounds.due(8, BOTH, 201)
    assert rounds.failures == 0
    assert rounds.due(8, BOTH, 211)


def test_three_failures_in_a_row_are_enough_and_one_round_between_begins_anew() -> None:
    rounds = Rounds()
    rounds.due(7, BOTH, 0)
    assert [rounds.failed(1), rounds.failed(4)] == [False, False]
    rounds.open(7)
    found = [(at, rounds.failed(at)) for at in range(10, 40) if rounds.due(7, BOTH, at)]
    assert found[:3] == [(17, False), (20, False), (23, True)]
