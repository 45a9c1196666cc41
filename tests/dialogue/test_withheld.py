"""Networks that must not be served: what answers on them ends, and comes back when they are safe again."""

from __future__ import annotations

from typing import Final

import pytest

from appliance.boot.events import EventKind
from appliance.daemon import signals as s
from appliance.system.safety import Danger
from tests.dialogue.test_state import ALL, UP, Dialogue, hands, recorded
from tests.unit.daemon.rooms import PXE, served

K = EventKind
DANGER: Final = Danger("interface-mac", "lab0 is not the NIC that is pinned", "ip -br link")


@pytest.fixture
def told() -> Dialogue:
    """Both networks are served."""
    dialogue = Dialogue()
    dialogue.say(s.Adopted(served()), *(s.InterfaceSeen(n, seen) for n, seen in UP.items()))
    dialogue.say(*(s.ChildReady(name) for name in ALL))
    return dialogue


def test_an_unsafe_network_is_withheld_and_comes_back_by_itself(told: Dialogue) -> None:
    commands = told.say(s.SafetySeen("lab", DANGER))
    assert hands(commands) == [s.Terminate("dhcp:lab")]
    assert "lab0 is not the NIC" in recorded(commands, K.DNSMASQ)[0]["message"]
    assert told.say(s.SafetySeen("lab", DANGER), s.SafetySeen("pxe", None)) == []
    told.say(s.ChildExited("dhcp:lab", 0, ""))
    assert set(told.phases()) == {"dhcp:pxe", "tftp"}  # it is not started again, and nobody waits for it
    assert not told.state.usable("lab")
    assert told.state.usable("pxe")
    assert hands(told.wait(2)) == []
    assert hands(told.say(s.SafetySeen("lab", None))) == [s.Spawn("dhcp:lab", frozenset())]
    told.say(s.ChildReady("dhcp:lab"))
    assert set(told.phases().values()) == {"serving"}
    assert told.state.usable("lab")


def test_what_is_unsafe_before_it_is_served_is_never_started() -> None:
    told = Dialogue()
    commands = told.say(s.SafetySeen("lab", DANGER), s.Adopted(served()))
    assert {c.name for c in commands if isinstance(c, s.Spawn)} == {"dhcp:pxe", "tftp"}


def test_with_every_network_withheld_nobody_gives_files_either(told: Dialogue) -> None:
    told.say(s.SafetySeen("lab", DANGER))
    assert s.Terminate("tftp") in told.say(s.SafetySeen("pxe", DANGER))
    told.say(*(s.ChildExited(name, 0, "") for name in ALL))
    assert told.phases() == {}
    assert s.Spawn("tftp", frozenset()) in told.say(s.SafetySeen("pxe", None))


def test_a_network_that_is_withheld_while_its_child_ends_comes_back_once(told: Dialogue) -> None:
    told.say(s.SafetySeen("lab", DANGER), s.SafetySeen("lab", None))
    assert hands(told.say(s.ChildExited("dhcp:lab", 0, ""))) == [s.Spawn("dhcp:lab", frozenset())]


def test_other_settings_forget_the_dangers_of_networks_that_are_gone(told: Dialogue) -> None:
    told.say(s.SafetySeen("lab", DANGER), s.Adopted(served((PXE,), ())))
    assert told.state.dangers == {}
