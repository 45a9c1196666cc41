"""Who may open a connection: machines have their room, whatever strangers do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from appliance.daemon.gate import (
    MOST,
    MOST_OF_STRANGERS,
    MOST_PER_PEER,
    MOST_PER_STRANGER,
    Crowd,
    admitted,
    is_expected,
)
from appliance.daemon.served import Served
from appliance.settings import NetworkMode
from tests.unit.daemon.rooms import PXE, served

NODE1, HERE, STRANGER = "172.0.1.21", "172.0.1.1", "172.0.1.200"


def crowd_of(strangers: int, each: int) -> Counter[str]:
    return Counter({f"172.0.1.{100 + number}": each for number in range(strangers)})


@pytest.mark.parametrize("peer", ["", "::1", "192.0.2.1", "10.0.0.1", "x"])
def test_peers_of_other_networks_have_none(peer: str) -> None:
    assert not admitted(peer, Counter(), served())


@pytest.mark.parametrize(
    ("peer", "most"), [(NODE1, MOST_PER_PEER), (HERE, MOST_PER_PEER), (STRANGER, MOST_PER_STRANGER)]
)
def test_each_has_so_many(peer: str, most: int) -> None:
    assert admitted(peer, Counter({peer: most - 1}), served())
    assert not admitted(peer, Counter({peer: most}), served())


def test_strangers_with_many_addresses_leave_room_for_machines() -> None:
    full = crowd_of(MOST_OF_STRANGERS // MOST_PER_STRANGER, MOST_PER_STRANGER)
    assert not admitted(STRANGER, full, served())
    assert admitted(NODE1, full, served())
    assert admitted(HERE, full, served())
    assert MOST - MOST_OF_STRANGERS >= 512, "a rack that is switched on at once"


def test_machines_take_nothing_of_the_strangers_room_but_the_whole_is_bounded() -> None:
    assert admitted(STRANGER, Counter({NODE1: 64}), served())
    assert not admitted(NODE1, Counter({HERE: MOST}), served())


def test_in_proxy_mode_an_address_tells_nothing() -> None:
    now = served()
    networks = {**now.settings.networks, "pxe": replace(PXE, mode=NetworkMode.PROXY)}
    proxied = Served.of(replace(now.settings, networks=networks), now.inventory)
    assert is_expected(STRANGER, proxied)
    assert not is_expected(STRANGER, now)


def test_a_crowd_is_told_with_who_holds_most() -> None:
    crowd = Crowd()
    assert crowd.problems() == []
    crowd.note(Counter({STRANGER: 16, NODE1: 2}), strangers=True)
    (found,) = crowd.problems()
    assert (found["id"], found["severity"], found["fix"]) == (
        "http-crowded",
        "warning",
        f"ip neigh show {STRANGER}",
    )
    assert f"{STRANGER}'s (16)" in found["message"]
    crowd.note(Counter({NODE1: 64}), strangers=False)
    assert crowd.problems()[0]["severity"] == "error"
