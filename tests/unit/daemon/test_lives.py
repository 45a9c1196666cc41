"""What an event makes of a machine's life, and whom DHCP sends to the disk."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

import pytest
from immutables import Map

from appliance.addresses import Hostname, Mac
from appliance.boot.events import EventKind
from appliance.boot.ladder import Ladder, climb
from appliance.boot.policy import BootPolicy, Cue, Life, LifeState
from appliance.daemon.lives import (
    after_event,
    assumed_installed,
    boot_began,
    marked,
    marked_with,
    of,
    renamed,
    turn,
)
from appliance.daemon.served import Served
from tests.unit.daemon.rooms import AT, WORKER, event, rack, served

K, S, C = EventKind, LifeState, Cue
ONCE = BootPolicy.INSTALL_ONCE
BOOT = Ladder()
for _kind in (K.DISCOVER, K.OFFER, K.REQUEST, K.ACK, K.BOOTFILE):
    BOOT = climb(BOOT, event(_kind, detail={"stage": "firmware", "file": "undionly.kpxe"}))


def lived(life: Life, *steps: tuple[EventKind, dict[str, str]], policy: BootPolicy | None = ONCE) -> Life:
    ladder = BOOT
    for n, (kind, detail) in enumerate(steps):
        happened = event(kind, after=n, detail=detail)
        ladder = climb(ladder, happened)
        life = after_event(life, happened, policy, ladder)
    return life


def test_an_installer_that_was_given_counts_by_the_boot_it_was_given_to() -> None:
    life = lived(Life(), (K.SCRIPT, {}), (K.SCRIPT, {}))
    assert (life.state, life.installs) == (S.INSTALLING, (AT,))


@pytest.mark.parametrize("policy", [None, BootPolicy.ALWAYS, BootPolicy.DISK])
def test_whoever_installs_nothing_is_not_installing(policy: BootPolicy | None) -> None:
    assert lived(Life(), (K.SCRIPT, {}), policy=policy) == Life()


def test_a_script_that_goes_to_the_disk_is_no_install() -> None:
    installed = Life().after(C.INSTALLED, AT)
    assert lived(installed, (K.SCRIPT, {"to": "disk"})) == installed


def test_what_was_asked_for_in_another_s_name_moves_nobody() -> None:
    assert lived(Life(), *((K.SCRIPT, {"claims": "node2"}) for _ in range(9))) == Life()
    assert lived(Life(), (K.SCRIPT, {"claims": "node2", "to": "held"})) == Life()
    assert lived(Life(), (K.DONE, {"claims": "node2", "stage": "installed"})) == Life()


def test_a_script_that_says_held_holds_it_once() -> None:
    life = lived(Life(), (K.SCRIPT, {"to": "held"}))
    assert (life.state, life.by) == (S.HELD, "install-loop")
    assert "within 20 minutes" in life.reason
    operator = Life().after(C.HOLD, AT, reason="mine")
    assert lived(operator, (K.SCRIPT, {"to": "held"})) == operator, "who held it first, and why, stays"


def test_what_it_reports_is_kept_and_its_stage_moves_it() -> None:
    life = lived(Life(), (K.REPORT, {"stage": "installing", "message": "42 %", "disk": "sda"}))
    assert (life.state, dict(life.facts)) == (S.NEW, {"disk": "sda"})
    life = lived(life, (K.DONE, {"stage": "installed", "message": "", "os": "x"}))
    assert (life.state, dict(life.facts)) == (S.INSTALLED, {"disk": "sda", "os": "x"})
    assert lived(Life(), (K.DONE, {"stage": "done"})).state is S.NEW


@pytest.mark.parametrize("policy", [None, *BootPolicy])
def test_a_boot_loop_holds_whatever_the_policy(policy: BootPolicy | None) -> None:
    ladder, life = Ladder(), Life()
    for n in range(3):
        for kind in (K.DISCOVER, K.OFFER, K.REQUEST, K.ACK, K.BOOTFILE):
            happened = event(kind, after=90 * n, detail={"stage": "firmware", "file": "undionly.kpxe"})
            ladder = climb(ladder, happened)
            life = after_event(life, happened, policy, ladder)
        assert life.held is (n == 2)
    assert life.by == "boot-loop"
    assert "undionly.kpxe 3 times" in life.reason
    assert life.goes_to_disk(policy)


def test_a_boot_is_told_by_its_beginning_as_precise_as_it_is_kept() -> None:
    assert boot_began(None, AT) == boot_began(Ladder(), AT) == AT
    later = AT + timedelta(minutes=1)
    assert boot_began(BOOT, later) == AT
    assert boot_began(Ladder.from_json(BOOT.as_json()), later) == AT, "a restart makes no new boot of it"
    odd = climb(Ladder(), replace(event(K.DISCOVER), at=AT + timedelta(microseconds=654)))
    assert boot_began(odd, later) == boot_began(Ladder.from_json(odd.as_json()), later)


def test_only_a_turn_is_an_event() -> None:
    node1 = rack()[0]
    new, held = Life(), Life().after(C.HOLD, AT, reason="why", by="install-loop")
    assert turn(node1, new, new.reported({"a": "b"}), AT) == []
    (told,) = turn(node1, new, held, AT)
    assert (told.kind, told.machine, told.network) == (K.HELD, "node1", "pxe")
    assert told.detail == {
        "from": "new",
        "to": "held",
        "by": "install-loop",
        "reason": "why",
        "remedy": "pxe-appliance machine release node1",
    }
    (back,) = turn(node1, held, held.after(C.RELEASE, AT), AT)
    assert (back.kind, back.detail) == (K.LIFECYCLE, {"from": "held", "to": "new"})


def test_whom_dhcp_sends_to_the_disk() -> None:
    now = served()
    installed = Life().after(C.INSTALLED, AT)
    caught = Life().after(C.HOLD, AT, by="boot-loop")
    assert marked(now, {}) == {"dhcp:pxe": frozenset(), "dhcp:lab": frozenset()}
    lives = {"node1": installed, "node2": installed, "other1": caught, "gone": installed}
    found = marked(now, lives)
    assert found["dhcp:pxe"] == frozenset(now.machines["node1"].macs), "node2 has no policy"
    assert found["dhcp:lab"] == frozenset(now.machines["other1"].macs)
    disk = replace(
        now, inventory=replace(now.inventory, profiles={"worker": replace(WORKER, boot=BootPolicy.DISK)})
    )
    assert marked(disk, {})["dhcp:pxe"] == frozenset(now.machines["node1"].macs)


def test_one_machine_s_turn_changes_its_own_child_alone() -> None:
    now = served()
    before = marked(now, {})
    node2 = now.machines["node2"]
    caught = Life().after(C.HOLD, AT, by="boot-loop")
    after = marked_with(before, now, node2, caught)
    assert after == {"dhcp:pxe": frozenset(node2.macs), "dhcp:lab": frozenset()}
    assert len(node2.macs) == 2
    assert marked_with(after, now, node2, caught) is after, "nothing new"
    assert marked_with(after, now, node2, Life()) == before


def test_where_nobody_knows_any_more_disks_come_first() -> None:
    lives = assumed_installed(Map({"node1": Life().after(C.HOLD, AT)}), ("node1", "node2"), AT)
    assert lives["node1"].state is S.HELD, "what is known stays"
    assert lives["node2"].state is S.INSTALLED


def test_another_name_for_the_same_nics_is_the_same_machine() -> None:
    """A running server must not be installed over because its name was changed."""
    before, after = served(), served(machines=(replace(rack()[0], name=Hostname.parse("web1")), *rack()[1:]))
    installed = Life().after(Cue.INSTALLED, AT)
    moved = renamed(Map({"node1": installed}), before, after)
    assert moved["web1"].state is LifeState.INSTALLED
    assert moved["node1"] == Life()
    kept = of(before.machines["node1"], installed)
    assert renamed(Map({"node1": kept}), Served.nothing(), after)["web1"].state is LifeState.INSTALLED, (
        "after a restart"
    )
    assert moved == renamed(Map({"node1": kept}), before, after)
    other = replace(rack()[0], name=Hostname.parse("web1"), macs=(Mac.parse("52:54:00:cc:00:01"),))
    assert renamed(Map({"node1": kept}), before, served(machines=(other,))) == {}, "other hardware"
    assert renamed(Map({"node1": kept}), before, before) == {}


def with_nics(**macs: str) -> Served:
    """node1 and node2 with these NICs, and whoever else is named."""
    node1 = rack()[0]
    made = (
        replace(node1, name=Hostname.parse(name), ip=IPv4Address(f"172.0.1.{n}"), macs=(Mac.parse(mac),))
        for n, (name, mac) in enumerate(macs.items(), start=21)
    )
    return served(machines=tuple(made))


A, B, NEW = "52:54:00:aa:00:01", "52:54:00:aa:00:02", "52:54:00:cc:00:01"


def test_two_machines_that_swap_their_names_swap_their_lives() -> None:
    before = with_nics(node1=A, node2=B)
    lives = Map({"node1": of(before.machines["node1"], Life().after(C.INSTALLED, AT))})
    moved = renamed(lives, before, with_nics(node1=B, node2=A))
    assert moved["node2"].state is S.INSTALLED
    assert moved["node2"].macs == (A,)
    held = of(before.machines["node2"], Life().after(C.HOLD, AT))
    moved = renamed(lives.set("node2", held), before, with_nics(node1=B, node2=A))
    assert (moved["node1"].state, moved["node2"].state) == (S.HELD, S.INSTALLED)


def test_a_new_nic_under_an_old_name_is_a_repair() -> None:
    before, after = with_nics(node1=A), with_nics(node1=NEW)
    kept = of(before.machines["node1"], Life().after(C.INSTALLED, AT))
    moved = renamed(Map({"node1": kept}), before, after)
    assert (moved["node1"].state, moved["node1"].macs) == (S.INSTALLED, (NEW,))
    # The old NIC turns up in another server much later: it does not take the life along.
    lives = Map(moved)
    assert renamed(lives, after, with_nics(node1=NEW, node9=A)) == {}
    # In one go, nobody is installed over.
    moved = renamed(Map({"node1": kept}), before, with_nics(node1=NEW, node9=A))
    assert (moved["node1"].state, moved["node9"].state) == (S.INSTALLED, S.INSTALLED)


def test_a_machine_that_is_away_keeps_its_life_until_it_is_back() -> None:
    before = with_nics(node1=A, node2=B)
    lives = Map({"node1": of(before.machines["node1"], Life().after(C.INSTALLED, AT))})
    assert renamed(lives, before, with_nics(node2=B)) == {}
    assert renamed(lives, with_nics(node2=B), with_nics(node2=B, web1=A))["web1"].state is S.INSTALLED


def test_a_name_with_a_life_of_its_own_keeps_it() -> None:
    before = with_nics(node1=A, node2=B)
    installed, held = Life().after(C.INSTALLED, AT), Life().after(C.HOLD, AT)
    lives = Map(
        {"node1": of(before.machines["node1"], installed), "node2": of(before.machines["node2"], held)}
    )
    both = replace(before.machines["node2"], macs=(Mac.parse(B), Mac.parse(A)))
    moved = renamed(lives, before, served(machines=(both,)))
    assert "node2" not in moved
