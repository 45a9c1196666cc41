"""The decider as a dialogue: what is reported to it, what it orders."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from appliance.boot.events import EventKind
from appliance.boot.policy import Cue, Life, LifeState
from appliance.daemon import signals as s
from appliance.daemon.known import Now, State
from appliance.daemon.minding import PROBE_EVERY
from appliance.daemon.state import step
from appliance.dnsmasq.lifecycle import Phase
from appliance.system.network import InterfaceState
from tests.unit.daemon.rooms import AT, LAB, MAC, PXE, event, rack, served
from tests.unit.dnsmasq.rooms import machine

K = EventKind
ALL = ("dhcp:lab", "dhcp:pxe", "tftp")
UP = {
    net.name: InterfaceState(net.interface, True, True, "", 1500, (f"{net.address}/24",))
    for net in (PXE, LAB)
}


@dataclass
class Dialogue:
    """A decider, a clock, and everything that it has said."""

    state: State = field(default_factory=State)
    at: float = 100.0

    def say(self, *signals: s.Signal) -> list[s.Command]:
        """Report; the orders that come back."""
        commands: list[s.Command] = []
        for signal in signals:
            wall = AT + timedelta(seconds=self.at)
            self.state, more = step(self.state, signal, Now(wall, self.at))
            commands += more
        return commands

    def wait(self, seconds: float, beat: float = 0.25) -> list[s.Command]:
        """Let time pass, tick by tick; the orders that come of it."""
        commands: list[s.Command] = []
        end = self.at + seconds
        while self.at < end - 1e-9:
            self.at += beat
            commands += self.say(s.Ticked())
        return commands

    def phases(self) -> dict[str, str]:
        return {name: child.phase.value for name, child in self.state.children.items()}


def hands(commands: list[s.Command]) -> list[s.Command]:
    """The orders that reach a process."""
    return [c for c in commands if isinstance(c, s.Spawn | s.Terminate | s.Kill)]


def recorded(commands: list[s.Command], kind: EventKind) -> list[Mapping[str, str]]:
    return [c.event.detail for c in commands if isinstance(c, s.Record) and c.event.kind is kind]


def probes(commands: list[s.Command]) -> list[str]:
    return [c.name for c in commands if isinstance(c, s.Probe)]


@pytest.fixture
def serving() -> Dialogue:
    """Three children that serve, on two interfaces that are up."""
    dialogue = Dialogue()
    dialogue.say(s.Adopted(served()), *(s.ChildReady(name) for name in ALL))
    dialogue.say(*(s.InterfaceSeen(name, seen) for name, seen in UP.items()))
    return dialogue


# ---- generations ----


def test_a_generation_starts_its_children_and_ready_ones_serve() -> None:
    dialogue = Dialogue()
    assert dialogue.say(s.Adopted(served())) == [s.Spawn(name) for name in ALL]
    said = dialogue.say(*(s.ChildReady(name) for name in ALL))
    assert [d["message"] for d in recorded(said, K.DNSMASQ)] == [f"{name} is serving" for name in ALL]
    assert set(dialogue.phases().values()) == {"serving"}


def test_the_same_generation_again_disturbs_nobody(serving: Dialogue) -> None:
    assert serving.say(s.Adopted(served(number=4))) == []
    assert serving.state.served.id == 4


def test_a_network_that_goes_takes_its_child_along_and_no_other(serving: Dialogue) -> None:
    serving.say(s.Happened(event(K.ACK, "other1", ip="172.0.9.9", network="lab")))
    assert serving.say(s.Adopted(served((PXE,)))) == [s.Terminate("dhcp:lab")]
    assert serving.say(s.ChildExited("dhcp:lab", 0, "")) == []
    assert serving.phases() == {"dhcp:pxe": "serving", "tftp": "serving"}
    assert set(serving.state.interfaces) == {"pxe"}
    assert not serving.state.leases
    assert not serving.state.ladders


def test_the_last_network_takes_tftp_along(serving: Dialogue) -> None:
    commands = serving.say(s.Adopted(served(())))
    assert commands == [s.Terminate(name) for name in ALL]
    serving.say(*(s.ChildExited(name, 0, "") for name in ALL))
    assert serving.phases() == {}


def test_a_network_that_comes_back_while_its_child_stops_gets_one_process(serving: Dialogue) -> None:
    serving.say(s.Adopted(served((PXE,))))
    assert hands(serving.say(s.Adopted(served()))) == []
    assert hands(serving.say(s.ChildExited("dhcp:lab", 0, ""))) == [s.Spawn("dhcp:lab")]


def test_what_a_removed_machine_did_is_forgotten_and_a_kept_one_s_stays(serving: Dialogue) -> None:
    serving.say(s.Happened(event(K.ACK)), s.Happened(event(K.ACK, "node2", ip="172.0.1.22")))
    serving.say(s.Adopted(served(machines=rack()[1:])))
    assert set(serving.state.ladders) == {"node2"}
    assert set(serving.state.leases) == {"172.0.1.22"}


def test_a_changed_configuration_restarts_only_its_child(serving: Dialogue) -> None:
    assert hands(serving.say(s.RestartChild("dhcp:pxe"))) == [s.Terminate("dhcp:pxe")]
    assert hands(serving.say(s.ChildExited("dhcp:pxe", 0, ""))) == [s.Spawn("dhcp:pxe")]
    assert serving.state.children["dhcp:pxe"].restarts == 0


# ---- crashes and hangs ----


def test_a_crash_is_recorded_in_its_own_words_and_mended_within_a_second(serving: Dialogue) -> None:
    said = serving.say(s.ChildExited("dhcp:pxe", -11, "segmentation fault"))
    assert hands(said) == []
    assert [d["said"] for d in recorded(said, K.DNSMASQ)] == ["segmentation fault"]
    assert hands(serving.wait(0.5)) == [s.Spawn("dhcp:pxe")]
    assert serving.phases()["tftp"] == "serving"


def test_an_end_without_words_says_its_exit_code(serving: Dialogue) -> None:
    serving.say(s.ChildExited("tftp", 2, ""))
    assert serving.state.last_words["tftp"] == "exit code 2"


def test_a_child_that_never_comes_up_is_tried_less_and_less(serving: Dialogue) -> None:
    serving.say(s.ChildExited("tftp", 2, "no"))
    starts = []
    while serving.at < 220:
        if s.Spawn("tftp") in serving.wait(0.25):
            starts.append(serving.at)
            serving.say(s.ChildExited("tftp", 2, "no"))
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(serving.state.patience.longest_backoff, abs=0.5)
    assert len(starts) < 20


def test_a_hang_is_killed_and_serving_again_within_five_seconds(serving: Dialogue) -> None:
    began = serving.at
    while serving.phases()["dhcp:pxe"] == "serving":
        serving.say(s.ChildAlive("tftp"), s.ChildAlive("dhcp:lab"))
        commands = serving.wait(0.25)
    assert hands(commands) == [s.Kill("dhcp:pxe")]
    assert "answered nothing" in recorded(commands, K.DNSMASQ)[0]["message"]
    assert hands(serving.say(s.ChildExited("dhcp:pxe", -9, ""))) == [s.Spawn("dhcp:pxe")]
    serving.say(s.ChildReady("dhcp:pxe"))
    assert serving.at - began < 5
    assert serving.phases() == dict.fromkeys(ALL, "serving")


def test_signs_of_life_keep_it(serving: Dialogue) -> None:
    for _ in range(100):
        serving.say(*(s.ChildAlive(name) for name in ALL))
        assert hands(serving.wait(0.25)) == []


def heard_nothing(serving: Dialogue, seconds: float) -> list[s.Command]:
    """Orders while one child says nothing and the others live."""
    commands: list[s.Command] = []
    for _ in range(int(seconds / 0.25)):
        serving.say(s.ChildAlive("tftp"), s.ChildAlive("dhcp:lab"))
        commands += hands(serving.wait(0.25))
    return commands


def test_reading_hosts_is_no_hang(serving: Dialogue) -> None:
    serving.say(s.ChildDeaf("dhcp:pxe", 20.0))
    assert heard_nothing(serving, 20.0) == []


def test_one_that_has_read_its_hosts_is_excused_no_longer(serving: Dialogue) -> None:
    serving.say(s.ChildDeaf("dhcp:pxe", 20.0))
    serving.wait(0.25)
    serving.say(s.ChildReady("dhcp:pxe"))
    assert heard_nothing(serving, 2.75) == []
    assert heard_nothing(serving, 0.5) == [s.Kill("dhcp:pxe")]


def test_a_huge_inventory_has_the_time_to_be_read_at_the_start() -> None:
    many = [
        machine(f"n{i}", f"52:54:00:ab:{i >> 8:02x}:{i & 255:02x}", f"172.0.{i >> 8}.{i & 255}")
        for i in range(20_000)
    ]
    dialogue = Dialogue()
    dialogue.say(s.Adopted(served(machines=tuple(many))), s.ChildReady("tftp"))
    assert hands(dialogue.wait(13.75)) == []
    assert hands(dialogue.wait(0.5)) == [s.Kill("dhcp:lab"), s.Kill("dhcp:pxe")]


def test_a_reload_makes_a_hang_no_younger(serving: Dialogue) -> None:
    """Whoever is told to read at the end of its patience has said nothing since: it gets no second one."""
    assert heard_nothing(serving, 2.75) == []
    serving.say(s.ChildDeaf("dhcp:pxe", 0.0))
    assert heard_nothing(serving, 0.5) == [s.Kill("dhcp:pxe")]


def test_reports_of_a_child_that_is_gone_change_nothing(serving: Dialogue) -> None:
    before = serving.phases()
    gone = "dhcp:old"
    signals = (s.ChildReady(gone), s.ChildAlive(gone), s.ChildDeaf(gone, 5), s.RestartChild(gone))
    assert serving.say(*signals, s.ChildExited(gone, 0, "")) == []
    assert serving.phases() == before


# ---- probes ----


def test_each_child_is_asked_once_a_second(serving: Dialogue) -> None:
    asked = []
    for _ in range(40):
        serving.say(*(s.ChildAlive(name) for name in ALL))
        asked += probes(serving.wait(0.25))
    assert PROBE_EVERY == 1.0
    assert {name: asked.count(name) for name in ALL} == dict.fromkeys(ALL, 10)


@pytest.mark.parametrize(
    "seen",
    [
        InterfaceState("pxe0", False),
        InterfaceState("pxe0", True, False, "", 1500, ("172.0.1.1/24",)),
        InterfaceState("pxe0", True, True, "", 1500, ("172.0.1.2/24",)),
    ],
)
def test_without_a_usable_interface_silence_says_nothing(serving: Dialogue, seen: InterfaceState) -> None:
    serving.say(s.InterfaceSeen("pxe", seen))
    for _ in range(100):
        serving.say(s.ChildAlive("dhcp:lab"), s.ChildAlive("tftp"))
        commands = serving.wait(0.25)
        assert "dhcp:pxe" not in probes(commands)
        assert hands(commands) == []
    serving.say(s.InterfaceSeen("pxe", UP["pxe"]))
    assert "dhcp:pxe" in probes(serving.wait(0.25))


def test_tftp_is_asked_as_long_as_any_interface_is_usable(serving: Dialogue) -> None:
    serving.say(s.InterfaceSeen("pxe", InterfaceState("pxe0", False)))
    assert "tftp" in probes(serving.wait(1.0))
    serving.say(s.InterfaceSeen("lab", InterfaceState("eno4.7", False)))
    assert probes(serving.wait(10.0)) == []
    assert serving.phases() == dict.fromkeys(ALL, "serving")


def test_one_that_is_starting_is_not_asked() -> None:
    dialogue = Dialogue()
    dialogue.say(s.Adopted(served()), *(s.InterfaceSeen(name, seen) for name, seen in UP.items()))
    assert probes(dialogue.wait(5.0)) == []


# ---- what happens on the wire ----


def test_every_event_is_kept_and_a_rung_is_saved_once(serving: Dialogue) -> None:
    offer = event(K.OFFER, after=1)
    first = serving.say(s.Happened(event(K.DISCOVER)), s.Happened(offer))
    assert [type(c) for c in first] == [s.Record, s.SaveLadder, s.Record, s.SaveLadder]
    assert serving.state.ladders["node1"].rung is K.OFFER
    assert serving.say(s.Happened(offer)) == [s.Record(offer)], "the same once more moves nothing"


def test_a_machine_that_is_not_ours_has_no_ladder(serving: Dialogue) -> None:
    unknown = event(K.DISCOVER, "ghost")
    assert serving.say(s.Happened(unknown)) == [s.Record(unknown)]
    assert not serving.state.ladders


def test_a_lease_is_granted_and_released(serving: Dialogue) -> None:
    serving.say(s.Happened(event(K.ACK)))
    assert serving.state.leases["172.0.1.21"].mac == MAC
    serving.say(s.Happened(event(K.RELEASE)))
    assert not serving.state.leases


def test_installed_is_remembered_until_a_reinstall_is_wanted(serving: Dialogue) -> None:
    said = serving.say(s.Happened(event(K.DONE, detail={"stage": "installed"})))
    life = serving.state.lives["node1"]
    assert (life.state, life.since) == (LifeState.INSTALLED, AT)
    assert s.SaveLife("node1", life) in said
    assert serving.state.ladders["node1"].finished
    serving.say(s.Adopted(served(machines=rack()[1:])), s.Adopted(served()))
    assert serving.state.lives["node1"] == life, "a machine that was away for a while is still installed"
    (kept, told) = serving.say(s.LifeWanted("node1", Cue.REINSTALL))
    assert serving.state.lives["node1"].state is LifeState.REINSTALL
    assert kept == s.SaveLife("node1", serving.state.lives["node1"])
    assert recorded([told], K.LIFECYCLE) == [{"from": "installed", "to": "reinstall"}]


def test_done_alone_installs_nothing(serving: Dialogue) -> None:
    serving.say(s.Happened(event(K.DONE, detail={"stage": "done"})))
    assert serving.state.lives.get("node1", Life()).state is LifeState.NEW


def test_the_endpoint_is_known_as_it_was_last_seen(serving: Dialogue) -> None:
    assert serving.say(s.EndpointSeen(reachable=False)) == []
    assert serving.state.endpoint_reachable is False


# ---- the end ----


def test_a_stop_ends_every_child_and_is_then_complete(serving: Dialogue) -> None:
    assert hands(serving.say(s.StopRequested())) == [s.Terminate(name) for name in ALL]
    for name in ALL:
        assert not serving.state.stopped
        assert hands(serving.say(s.ChildExited(name, 0, ""))) == []
    assert serving.state.stopped


def test_a_stop_without_children_is_complete_at_once() -> None:
    dialogue = Dialogue()
    dialogue.say(s.StopRequested())
    assert dialogue.state.stopped


def test_one_that_does_not_listen_is_killed(serving: Dialogue) -> None:
    serving.say(s.StopRequested())
    assert hands(serving.wait(2.75)) == []
    assert hands(serving.wait(0.5)) == [s.Kill(name) for name in ALL]


@pytest.mark.parametrize("signal", [s.Adopted(served(number=9)), s.RestartChild("tftp"), s.StopRequested()])
def test_nothing_brings_a_child_back_while_all_of_it_stops(serving: Dialogue, signal: s.Signal) -> None:
    serving.say(s.ChildExited("dhcp:pxe", 1, ""))  # waits for its next try
    serving.say(s.RestartChild("dhcp:lab"))  # waits for its old process
    serving.say(s.StopRequested())
    commands = [*serving.say(signal), *serving.wait(30.0)]
    assert not [c for c in commands if isinstance(c, s.Spawn)]
    serving.say(s.ChildExited("dhcp:lab", 0, ""), s.ChildExited("tftp", 0, ""))
    assert serving.state.stopped
    assert {child.phase for child in serving.state.children.values()} == {Phase.STOPPED}
