"""Lives and reliefs as a dialogue: what happened, what is kept, and which process follows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.addresses import Mac
from appliance.boot.arming import armed_with
from appliance.boot.events import EventKind
from appliance.boot.policy import BootPolicy, Cue, Life, LifeState
from appliance.daemon import signals as s
from appliance.daemon.minding import RELIEVE_EVERY
from tests.dialogue.test_state import ALL, UP, Dialogue, hands, recorded
from tests.unit.daemon.rooms import AT, MAC, WORKER, event, rack, served

K, S = EventKind, LifeState
CHILD = "dhcp:pxe"
NODE1 = frozenset({MAC})
IPXE = {"stage": "ipxe"}
INSTALLED = s.Happened(event(K.DONE, detail={"stage": "installed"}))


@pytest.fixture
def serving() -> Dialogue:
    """Three children that serve, on two interfaces that are up; node2 is installed once as well."""
    machines = tuple(replace(m, profile="worker") for m in rack())
    dialogue = Dialogue()
    dialogue.say(s.Adopted(served(machines=machines)), *(s.ChildReady(name) for name in ALL))
    dialogue.say(*(s.InterfaceSeen(name, seen) for name, seen in UP.items()))
    return dialogue


def life(dialogue: Dialogue, machine: str = "node1") -> Life:
    return dialogue.state.lives.get(machine, Life())


def reliefs(commands: list[s.Command]) -> list[s.Relieve]:
    return [c for c in commands if isinstance(c, s.Relieve)]


def saved(commands: list[s.Command]) -> list[LifeState]:
    return [c.life.state for c in commands if isinstance(c, s.SaveLife)]


def installed(machine: str, after: float = 0.0) -> s.Happened:
    return s.Happened(event(K.DONE, machine, detail={"stage": "installed"}, after=after))


def alive(dialogue: Dialogue, seconds: float) -> list[s.Command]:
    """Let time pass over children that answer."""
    commands: list[s.Command] = []
    for _ in range(round(seconds / 0.25)):
        dialogue.say(*(s.ChildAlive(name) for name in ALL))
        commands += dialogue.wait(0.25)
    return commands


# ---- lives ----


def test_from_the_first_boot_to_the_disk_and_back(serving: Dialogue) -> None:
    said = serving.say(s.Happened(event(K.SCRIPT)))
    assert saved(said) == [S.INSTALLING]
    assert recorded(said, K.LIFECYCLE) == [{"from": "new", "to": "installing"}]
    said = serving.say(s.Happened(event(K.DONE, after=60, detail={"stage": "installed", "disk": "sda"})))
    assert saved(said) == [S.INSTALLED]
    assert life(serving).facts == {"disk": "sda"}
    assert reliefs(serving.wait(0.25)) == [s.Relieve(CHILD, NODE1)]
    serving.say(s.Marked(CHILD, NODE1))
    said = serving.say(s.LifeWanted("node1", Cue.REINSTALL))
    assert saved(said) == [S.REINSTALL]
    assert recorded(said, K.LIFECYCLE) == [{"from": "installed", "to": "reinstall"}]
    assert reliefs(alive(serving, RELIEVE_EVERY)) == [s.Relieve(CHILD, frozenset())]


def test_a_life_is_saved_before_its_turn_is_told(serving: Dialogue) -> None:
    """Who reads the event and pulls the plug must find what it said."""
    said = serving.say(INSTALLED)
    kinds = [type(c) for c in said]
    assert kinds.index(s.SaveLife) < max(n for n, c in enumerate(said) if isinstance(c, s.Record))


def test_a_call_home_closes_what_its_token_opened(serving: Dialogue) -> None:
    assert s.CloseTokens("node1") in serving.say(INSTALLED)
    assert s.CloseTokens("node1") in serving.say(s.Happened(event(K.DONE, detail={"stage": "done"})))
    said = serving.say(s.Happened(event(K.REPORT, detail={"stage": "installing"})))
    assert not [c for c in said if isinstance(c, s.CloseTokens)]
    ghost = serving.say(s.Happened(event(K.DONE, "ghost", detail={"stage": "installed"})))
    assert not [c for c in ghost if isinstance(c, s.CloseTokens | s.SaveLife)]


def test_tokens_are_kept_as_they_are_told(serving: Dialogue) -> None:
    ip = serving.state.served.machines["node1"].ip
    tokens = armed_with((), "A" * 24, AT, AT, ip)
    assert serving.say(s.TokensGiven("node1", tokens)) == [s.SaveTokens("node1", tokens)]


def test_the_third_install_is_held_and_a_release_lets_it_try_again(serving: Dialogue) -> None:
    for n in range(2):
        serving.say(s.Happened(event(K.DISCOVER, after=90 * n, detail={"stage": "firmware"})))
        serving.say(s.Happened(event(K.SCRIPT, after=90 * n + 20)))
    serving.say(s.Happened(event(K.DISCOVER, after=200, detail={"stage": "firmware"})))
    said = serving.say(s.Happened(event(K.SCRIPT, after=220, detail={"to": "held", "reason": "r"})))
    (held,) = recorded(said, K.HELD)
    assert (held["by"], held["remedy"]) == ("install-loop", "pxe-appliance machine release node1")
    assert life(serving).held
    verdict = serving.state.ladders["node1"].verdict
    assert verdict is not None
    assert verdict.id == "held"
    assert reliefs(alive(serving, 3)) == [], "it still gets its boot file: its screen says why"
    said = serving.say(s.LifeWanted("node1", Cue.RELEASE))
    assert recorded(said, K.LIFECYCLE) == [{"from": "held", "to": "installing"}]
    assert life(serving).installs == ()
    assert serving.state.ladders["node1"].verdict is None
    assert [type(c) for c in said] == [s.SaveLadder, s.SaveLife, s.Record]


def test_a_further_try_in_the_same_boot_is_no_further_install(serving: Dialogue) -> None:
    """Its kernel came and its initrd did not: it asks DHCP again after five seconds, ten times."""
    for n in range(10):
        detail = {"again": "yes"} if n else {}
        for m, kind in enumerate((K.DISCOVER, K.OFFER, K.REQUEST, K.ACK, K.IPXE)):
            serving.say(s.Happened(event(kind, after=10 * n + m / 10, detail=IPXE)))
        serving.say(s.Happened(event(K.SCRIPT, after=10 * n + 1, detail=detail)))
        serving.say(s.Happened(event(K.KERNEL, after=10 * n + 2)))
        serving.say(s.Happened(event(K.HTTP_ERROR, after=10 * n + 3)))
    assert (life(serving).state, len(life(serving).installs)) == (S.INSTALLING, 1)
    for m, kind in enumerate((K.DISCOVER, K.OFFER, K.REQUEST, K.ACK, K.IPXE)):
        serving.say(s.Happened(event(kind, after=200 + m / 10, detail=IPXE)))
    serving.say(s.Happened(event(K.SCRIPT, after=201)))
    assert len(life(serving).installs) == 2, "and the next boot is"


def test_a_boot_loop_gets_its_address_alone_until_it_is_released(serving: Dialogue) -> None:
    said: list[s.Command] = []
    for n in range(3):
        for kind in (K.DISCOVER, K.OFFER, K.REQUEST, K.ACK, K.BOOTFILE):
            detail = {"stage": "firmware", "file": "undionly.kpxe"}
            said = serving.say(s.Happened(event(kind, after=90 * n, detail=detail)))
    (held,) = recorded(said, K.HELD)
    assert held["by"] == "boot-loop"
    assert reliefs(serving.wait(0.25)) == [s.Relieve(CHILD, NODE1)]
    serving.say(s.Marked(CHILD, NODE1))
    serving.say(s.LifeWanted("node1", Cue.RELEASE))
    assert not serving.state.ladders["node1"].held
    assert serving.state.ladders["node1"].fetches == 0, "it has three more tries"
    assert reliefs(alive(serving, RELIEVE_EVERY)) == [s.Relieve(CHILD, frozenset())]
    serving.say(s.Happened(event(K.DISCOVER, after=400, detail={"stage": "firmware"})))
    assert not life(serving).held, "what was over does not come back"


@pytest.mark.parametrize(
    ("machine", "cue"),
    [("node1", Cue.RELEASE), ("ghost", Cue.HOLD), ("ghost", Cue.RELEASE)],
)
def test_what_makes_no_sense_changes_nothing(serving: Dialogue, machine: str, cue: Cue) -> None:
    before = serving.state
    assert serving.say(s.LifeWanted(machine, cue)) == []
    assert serving.state == before


def test_a_held_machine_is_not_reinstalled(serving: Dialogue) -> None:
    serving.say(s.LifeWanted("node1", Cue.HOLD, "why"))
    assert serving.say(s.LifeWanted("node1", Cue.REINSTALL)) == []
    assert life(serving).reason == "why"


def test_where_nobody_knows_any_more_who_is_installed_disks_come_first(serving: Dialogue) -> None:
    dialogue = Dialogue()
    said = dialogue.say(
        s.Remembered(leases=dialogue.state.leases, assumed=("node1",)),
        s.Adopted(serving.state.served),
    )
    assert saved(said) == [S.INSTALLED]
    assert s.Spawn(CHILD, NODE1) in said


# ---- reliefs ----


def test_a_child_starts_with_whom_it_has_to_send_to_their_disks(serving: Dialogue) -> None:
    dialogue = Dialogue()
    dialogue.state = replace(dialogue.state, lives=serving.state.lives.set("node1", _once()))
    said = dialogue.say(s.Adopted(serving.state.served))
    assert hands(said) == [s.Spawn("dhcp:lab"), s.Spawn(CHILD, NODE1), s.Spawn("tftp")]
    dialogue.say(*(s.ChildReady(name) for name in ALL))
    assert reliefs(alive(dialogue, 5)) == []


def _once() -> Life:
    return Life().after(Cue.INSTALLED, AT)


def test_a_rack_that_installs_at_once_is_followed_once_a_second(serving: Dialogue) -> None:
    serving.say(installed("node1"))
    (first,) = reliefs(serving.wait(0.25))
    assert first.macs == NODE1
    serving.say(installed("node2"), installed("other1"))
    (other,) = reliefs(serving.wait(0.25))
    assert other.name == "dhcp:lab", "each network has its own"
    assert reliefs(alive(serving, 5)) == [], "one at a time: the first is still coming up"
    serving.say(s.Marked(CHILD, first.macs), s.Marked("dhcp:lab", other.macs))
    (second,) = reliefs(serving.wait(0.25))
    assert second == s.Relieve(CHILD, NODE1 | frozenset(rack()[1].macs))
    serving.say(s.Marked(CHILD, second.macs))
    serving.say(s.LifeWanted("node2", Cue.REINSTALL))
    assert reliefs(alive(serving, RELIEVE_EVERY - 0.25)) == [], "the last one was just now"
    assert reliefs(alive(serving, 0.5)) == [s.Relieve(CHILD, NODE1)]


def test_what_came_and_went_needs_nobody(serving: Dialogue) -> None:
    serving.say(INSTALLED)
    serving.say(s.LifeWanted("node1", Cue.REINSTALL))
    assert reliefs(alive(serving, 5)) == []


def test_a_relief_that_failed_is_tried_again_and_not_at_once(serving: Dialogue) -> None:
    serving.say(INSTALLED)
    assert len(reliefs(serving.wait(0.25))) == 1
    serving.say(s.Marked(CHILD, None))
    assert reliefs(alive(serving, RELIEVE_EVERY - 0.25)) == []
    assert reliefs(alive(serving, 0.5)) == [s.Relieve(CHILD, NODE1)]


def test_one_that_died_is_started_anew_with_whom_it_has_to_send_and_needs_no_relief(
    serving: Dialogue,
) -> None:
    serving.say(INSTALLED)
    assert len(reliefs(serving.wait(0.25))) == 1
    serving.say(s.ChildExited(CHILD, -9, "killed"))  # in the middle of it
    serving.say(s.Marked(CHILD, None))
    assert hands(serving.wait(0.75)) == [s.Spawn(CHILD, NODE1)]
    serving.say(s.ChildReady(CHILD))
    assert reliefs(alive(serving, 5)) == []


def test_nobody_is_relieved_who_does_not_serve(serving: Dialogue) -> None:
    serving.say(s.RestartChild(CHILD))
    serving.say(INSTALLED)
    assert reliefs(serving.wait(2)) == []
    assert hands(serving.say(s.ChildExited(CHILD, 0, ""))) == [s.Spawn(CHILD, NODE1)]
    assert reliefs(serving.wait(1)) == [], "it is starting, and with all it needs"


def test_nobody_is_relieved_while_all_of_it_stops(serving: Dialogue) -> None:
    serving.say(INSTALLED, s.StopRequested())
    assert reliefs(serving.wait(5)) == []


@pytest.mark.parametrize(
    ("before", "after", "to_disk"),
    [
        (BootPolicy.INSTALL_ONCE, BootPolicy.ALWAYS, False),
        (BootPolicy.ALWAYS, BootPolicy.INSTALL_ONCE, True),
        (BootPolicy.ALWAYS, BootPolicy.DISK, True),
    ],
)
def test_a_changed_policy_is_followed(
    serving: Dialogue, before: BootPolicy, after: BootPolicy, to_disk: bool
) -> None:
    now = serving.state.served

    def with_policy(policy: BootPolicy) -> s.Adopted:
        profiles = {"worker": replace(WORKER, boot=policy)}
        machines = rack()[:1]
        inventory = replace(now.inventory, machines=machines, profiles=profiles)
        return s.Adopted(replace(now, inventory=inventory, machines={"node1": machines[0]}))

    serving.say(with_policy(before), INSTALLED)
    for command in reliefs(alive(serving, 2)):
        serving.say(s.Marked(command.name, command.macs))
    assert hands(serving.say(with_policy(after))) == [], "no process has to be started for that"
    assert reliefs(alive(serving, 2)) == [s.Relieve(CHILD, NODE1 if to_disk else frozenset())]


def test_a_machine_with_two_nics_is_sent_to_its_disk_by_both(serving: Dialogue) -> None:
    serving.say(installed("node2"))
    (relief,) = reliefs(serving.wait(0.25))
    assert relief.macs == {Mac.parse("52:54:00:aa:00:02"), Mac.parse("52:54:00:aa:00:12")}
