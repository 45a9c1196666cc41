"""Signals in, commands out: the daemon's decider, without a process, a socket or a clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest

from appliance.addresses import Hostname, Mac
from appliance.boot.events import Event, EventKind
from appliance.daemon import signals as s
from appliance.daemon.served import Served
from appliance.daemon.state import STRAYS_COUNTED, Now, State, step
from appliance.dnsmasq.lifecycle import Phase
from appliance.inventory.model import Inventory, Machine
from appliance.settings import NetworkSettings, Settings
from appliance.system.network import InterfaceState

START = datetime(2025, 1, 31, tzinfo=UTC)
DHCP, TFTP = "dhcp:pxe", "tftp"


def network(name: str = "pxe", octet: int = 1) -> NetworkSettings:
    subnet = IPv4Network(f"172.0.{octet}.0/24")
    return NetworkSettings(name, f"if-{name}", subnet, subnet.network_address + 1)


def machine(name: str, number: int) -> Machine:
    mac = Mac.parse(f"52:54:00:aa:00:{number:02x}")
    return Machine(Hostname(name), Hostname(name), (mac,), IPv4Address(f"172.0.1.{number}"), "pxe")


def served(*names: str, networks: Iterable[NetworkSettings] = (network(),), number: int = 1) -> Served:
    machines = tuple(machine(name, 20 + n) for n, name in enumerate(names))
    settings = Settings(networks={n.name: n for n in networks})
    return Served.of(settings, Inventory(machines), number=number)


UP = InterfaceState("if-pxe", present=True, up=True, addresses=("172.0.1.1/24",))


class Play:
    """A dialogue with the decider on a clock set by hand."""

    def __init__(self) -> None:
        self.state = State()
        self.time = 0.0

    def say(self, *signals: s.Signal) -> list[s.Command]:
        commands: list[s.Command] = []
        for signal in signals:
            now = Now(START + timedelta(seconds=self.time), self.time)
            self.state, more = step(self.state, signal, now)
            commands += more
        return [c for c in commands if not isinstance(c, s.Record)]

    def wait(self, seconds: float, *, beat: float = 0.25) -> list[s.Command]:
        """Let time pass, a tick at every beat."""
        commands: list[s.Command] = []
        end = self.time + seconds
        while self.time < end - 1e-9:
            self.time = min(self.time + beat, end)
            commands += self.say(s.Ticked())
        return commands

    def serving(self) -> Play:
        self.say(s.Adopted(served("node1", "node2")), s.InterfaceSeen("pxe", UP))
        self.say(s.ChildReady(DHCP), s.ChildReady(TFTP))
        return self

    def phase(self, name: str = DHCP) -> Phase:
        return self.state.children[name].phase

    def stopped(self) -> bool:
        return self.state.stopped

    def event(self, kind: EventKind, name: str | None = "node1", **detail: str) -> Event:
        found = self.state.served.machines.get(name) if name else None
        mac, ip = (found.mac, found.ip) if found else (None, None)
        at = START + timedelta(seconds=self.time)
        return Event(at, kind, name, mac, ip, "pxe", detail)


@pytest.fixture
def play() -> Play:
    return Play()


def test_adopting_a_generation_starts_its_children(play: Play) -> None:
    assert play.say(s.Adopted(served("node1"))) == [s.Spawn(DHCP), s.Spawn(TFTP)]
    assert play.phase() is Phase.STARTING
    assert play.say(s.ChildReady(DHCP)) == []
    assert play.phase() is Phase.SERVING
    assert play.say(s.Adopted(served("node1", "node2", number=2))) == []


def test_a_network_that_goes_takes_its_child_along(play: Play) -> None:
    both = served("node1", networks=(network(), network("lab", 2)))
    assert play.say(s.Adopted(both)) == [s.Spawn("dhcp:lab"), s.Spawn(DHCP), s.Spawn(TFTP)]
    play.say(s.ChildReady("dhcp:lab"))
    assert play.say(s.Adopted(served("node1", number=2))) == [s.Terminate("dhcp:lab")]
    play.say(s.ChildExited("dhcp:lab", 0, ""))
    assert set(play.state.children) == {DHCP, TFTP}


def test_a_crash_is_answered_at_once_and_a_crash_loop_with_patience(play: Play) -> None:
    play.serving()
    waits = []
    for _ in range(9):
        play.say(s.ChildExited(DHCP, -11, "segmentation fault"))
        assert play.phase() is Phase.BACKOFF
        began = play.time
        while s.Spawn(DHCP) not in play.wait(0.05, beat=0.05):
            assert play.time - began < 60
        waits.append(play.time - began)
        play.say(s.ChildReady(DHCP))
    assert waits[0] <= 0.2
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(play.state.patience.longest_backoff, abs=0.1)
    assert play.state.children[DHCP].restarts == 9


def test_a_calm_spell_forgives(play: Play) -> None:
    play.serving()
    for _ in range(5):
        play.say(s.ChildExited(DHCP, 1, ""))
        play.wait(5)
        play.say(s.ChildReady(DHCP))
    for _ in range(40):
        play.say(s.ChildAlive(DHCP))
        play.wait(1)
    play.say(s.ChildExited(DHCP, 1, ""))
    assert s.Spawn(DHCP) in play.wait(0.25)


def test_a_child_that_answers_nothing_is_killed_and_replaced_within_five_seconds(play: Play) -> None:
    play.serving()
    commands = play.wait(5)
    assert s.Probe(DHCP) in commands
    assert s.Kill(DHCP) in commands
    assert play.phase() is Phase.HUNG
    assert play.say(s.ChildExited(DHCP, -9, "")) == [s.Spawn(DHCP)]


def test_answers_keep_a_child_alive_and_probes_come_every_second(play: Play) -> None:
    play.serving()
    commands = []
    for _ in range(20):
        play.say(s.ChildAlive(DHCP), s.ChildAlive(TFTP))
        commands += play.wait(1)
    assert s.Kill(DHCP) not in commands
    assert 19 <= commands.count(s.Probe(DHCP)) <= 21


@pytest.mark.parametrize(
    "seen",
    [
        InterfaceState("if-pxe", present=False),
        replace(UP, up=False),
        replace(UP, addresses=()),
        replace(UP, addresses=("10.0.0.1/24",)),
    ],
    ids=["absent", "down", "no address", "another address"],
)
def test_what_cannot_be_asked_is_not_judged(play: Play, seen: InterfaceState) -> None:
    play.serving().say(s.InterfaceSeen("pxe", seen))
    assert play.wait(30) == []
    assert play.phase() is Phase.SERVING


def test_reading_hosts_makes_deaf_and_is_forgiven(play: Play) -> None:
    play.serving().say(s.ChildDeaf(DHCP, 10.0))
    assert s.Kill(DHCP) not in play.wait(12)
    assert s.Kill(DHCP) in play.wait(2)


def test_a_child_that_never_gets_ready_is_killed(play: Play) -> None:
    play.say(s.Adopted(served("node1")), s.InterfaceSeen("pxe", UP))
    assert s.Kill(DHCP) in play.wait(play.state.patience.start + 1)


def test_a_stop_ends_every_child_and_is_complete_when_they_are_gone(play: Play) -> None:
    play.serving()
    assert play.say(s.StopRequested()) == [s.Terminate(DHCP), s.Terminate(TFTP)]
    assert not play.stopped()
    play.say(s.ChildExited(DHCP, 0, ""))
    assert play.wait(4).count(s.Kill(TFTP)) >= 1
    play.say(s.ChildExited(TFTP, -9, ""))
    assert play.stopped()
    assert play.wait(60) == []


@pytest.mark.parametrize(
    "late", [s.Ticked(), s.ChildReady(DHCP), s.RestartChild(DHCP), s.Adopted(served("node1"))]
)
def test_nothing_is_started_during_a_stop(play: Play, late: s.Signal) -> None:
    play.serving().say(s.ChildExited(DHCP, 1, ""))
    play.say(s.StopRequested())
    play.time += 60
    assert s.Spawn(DHCP) not in play.say(late, s.Ticked())


def test_a_restart_waits_for_the_old_one_to_end(play: Play) -> None:
    play.serving()
    assert play.say(s.RestartChild(DHCP)) == [s.Terminate(DHCP)]
    assert play.say(s.RestartChild(DHCP)) == []
    assert play.say(s.ChildExited(DHCP, 0, "")) == [s.Spawn(DHCP)]
    assert play.state.children[DHCP].restarts == 0


def test_a_restart_cuts_a_backoff_short(play: Play) -> None:
    play.serving().say(s.ChildExited(DHCP, 1, "bad option"))
    assert play.say(s.RestartChild(DHCP)) == [s.Spawn(DHCP)]


def test_signals_about_unknown_children_are_let_pass(play: Play) -> None:
    for signal in (s.ChildReady("x"), s.ChildExited("x", 0, ""), s.ChildAlive("x"), s.RestartChild("x")):
        assert play.say(signal) == []


def test_an_acknowledgement_is_a_lease_until_it_is_given_back(play: Play) -> None:
    play.serving()
    ack = play.event(EventKind.ACK, stage="firmware")
    commands = play.say(s.Happened(ack))
    assert [type(c) for c in commands] == [s.SaveLadder]
    lease = play.state.leases["172.0.1.20"]
    assert (lease.machine, lease.expires - lease.granted) == ("node1", timedelta(hours=1))
    foreign = replace(play.event(EventKind.RELEASE), mac=Mac.parse("52:54:00:aa:00:99"))
    play.say(s.Happened(foreign))
    assert "172.0.1.20" in play.state.leases
    play.say(s.Happened(play.event(EventKind.RELEASE)))
    assert not play.state.leases


def test_a_removed_machine_loses_ladder_and_lease(play: Play) -> None:
    play.serving().say(s.Happened(play.event(EventKind.ACK, stage="firmware")))
    play.say(s.Adopted(served("node2", number=2)))
    assert not play.state.ladders
    assert not play.state.leases


def test_an_installed_machine_is_remembered_until_it_is_wanted_anew(play: Play) -> None:
    play.serving()
    commands = play.say(s.Happened(play.event(EventKind.DONE, stage="installed")))
    assert s.SaveInstalled("node1", START) in commands
    assert "node1" in play.state.installed
    play.say(s.Happened(play.event(EventKind.DONE, "node2", stage="done")))
    assert "node2" not in play.state.installed
    assert play.say(s.ReinstallWanted("node1")) == [s.SaveInstalled("node1", None)]
    assert not play.state.installed


def test_a_flood_of_strangers_stays_bounded(play: Play) -> None:
    play.serving()
    for number in range(100_000):
        mac = Mac(
            f"02:00:{number >> 24:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        )
        event = Event(START, EventKind.STRAY, mac=mac, network="pxe")
        play.state, _ = step(play.state, s.Happened(event), Now(START, 0.0))
    assert len(play.state.strays) == STRAYS_COUNTED


def test_every_event_is_recorded_once(play: Play) -> None:
    play.serving()
    event = play.event(EventKind.DISCOVER, stage="firmware")
    _, commands = step(play.state, s.Happened(event), Now(START, 0.0))
    assert commands.count(s.Record(event)) == 1


def test_a_phase_that_operators_want_to_know_becomes_an_event(play: Play) -> None:
    play.serving()
    _, commands = step(
        play.state, s.ChildExited(DHCP, 2, "failed to bind DHCP server socket"), Now(START, 1.0)
    )
    (record,) = [c for c in commands if isinstance(c, s.Record)]
    assert record.event.detail["said"] == "failed to bind DHCP server socket"
    assert record.event.network == "pxe"
