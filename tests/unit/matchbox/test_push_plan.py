"""What is brought to an external Matchbox: only what differs, nothing that is not ours, in its order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.matchbox.errors import IgnitionError
from appliance.matchbox.model import Boot, Group, MachineBoot, Profile
from appliance.matchbox.push_plan import (
    IGNITION_MARK,
    Delete,
    Document,
    Found,
    Kind,
    Objects,
    PushPlan,
    Put,
    Stored,
    diff,
    objects_of,
    stored_of,
)
from tests.unit.matchbox.machines import BOOT, document, machine

THEIRS = Group("theirs", "theirs", {"os": "installed"}, {})
TWO = ("52:54:00:aa:00:01", "52:54:00:aa:00:11")


def there(*machines: MachineBoot) -> Found:
    """What a push of these leaves behind."""
    return after(Found(), diff(objects_of(machines), Found()))


def after(found: Found, plan: PushPlan, most: int | None = None) -> Found:
    """Carry a plan out, or its first so many steps."""
    groups, profiles, ignition = dict(found.groups), dict(found.profiles), dict(found.ignition)
    for step in (*plan.puts, *plan.deletions)[:most]:
        match step:
            case Put(_, name, Document() as value):
                ignition[name] = stored_of(value.make())
            case Put(_, name, Profile() as value):
                profiles[name] = value
            case Put(_, name, Group() as value):
                groups[name] = replace(value, file=f"{name}.json")
            case Delete(Kind.IGNITION, name):
                ignition.pop(name, None)
            case Delete(Kind.PROFILE, name):
                profiles.pop(name, None)
            case Delete(_, name):
                groups.pop(name, None)
    return Found(groups, profiles, ignition)


def steps(plan: PushPlan) -> list[str]:
    return [f"put {p.kind} {p.id}" for p in plan.puts] + [f"delete {d.kind} {d.id}" for d in plan.deletions]


def test_a_machine_is_a_group_for_each_mac_a_profile_and_a_document() -> None:
    wanted = objects_of([machine("node1", *TWO, ignition=document())])
    assert dict(wanted.profiles) == {
        "pxe-appliance-node1": Profile(
            "pxe-appliance-node1", "managed by pxe-appliance", BOOT, "pxe-appliance-node1.ign"
        )
    }
    first, second = wanted.groups.values()
    assert list(wanted.groups) == ["pxe-appliance-node1", "pxe-appliance-node1-2"]
    assert (first.selector, second.selector) == ({"mac": TWO[0]}, {"mac": TWO[1]})
    assert first.metadata == second.metadata == {"rack": "r1", "managed_by": "pxe-appliance"}
    assert {first.profile, second.profile} == {"pxe-appliance-node1"}
    (made,) = wanted.ignition.values()
    assert made.make() == document() + IGNITION_MARK


def test_a_label_cannot_take_the_mark_away() -> None:
    wanted = objects_of([machine(metadata={"managed_by": "me"})])
    assert [group.metadata["managed_by"] for group in wanted.groups.values()] == ["pxe-appliance"]


def test_whoever_boots_nothing_of_ours_needs_nothing() -> None:
    bare = replace(machine("node2"), profile=None)
    assert objects_of([machine("node1", boot=None, ignition=document()), bare]) == Objects({}, {}, {})


def test_a_machine_that_is_called_as_the_second_group_of_another_keeps_its_own() -> None:
    wanted = objects_of([machine("node1", *TWO), machine("node1-2", "52:54:00:aa:00:21")])
    assert {name: group.profile for name, group in wanted.groups.items()} == {
        "pxe-appliance-node1": "pxe-appliance-node1",
        "pxe-appliance-node1-3": "pxe-appliance-node1",
        "pxe-appliance-node1-2": "pxe-appliance-node1-2",
    }


def test_first_everything_from_below_then_nothing() -> None:
    wanted = objects_of([machine("node1", *TWO, ignition=document()), machine("node2")])
    plan = diff(wanted, Found({"theirs": THEIRS}))
    assert steps(plan) == [
        "put ignition pxe-appliance-node1.ign",
        "put profile pxe-appliance-node1",
        "put profile pxe-appliance-node2",
        "put group pxe-appliance-node1",
        "put group pxe-appliance-node1-2",
        "put group pxe-appliance-node2",
    ]
    assert diff(wanted, after(Found(), plan)) == PushPlan()


def test_only_what_differs_is_written() -> None:
    before = there(machine("node1", ignition=document()), machine("node2"))
    changed = machine("node1", ignition=document(content="other"))
    assert steps(diff(objects_of([changed, machine("node2")]), before)) == [
        "put ignition pxe-appliance-node1.ign"
    ]
    args = replace(BOOT, args=("a=2",))
    assert steps(
        diff(objects_of([machine("node1", ignition=document()), machine("node2", boot=args)]), before)
    ) == ["put profile pxe-appliance-node2"]
    moved = machine("node2", "52:54:00:aa:00:77")
    assert steps(diff(objects_of([machine("node1", ignition=document()), moved]), before)) == [
        "put group pxe-appliance-node2"
    ]


def test_who_is_gone_is_removed_from_above() -> None:
    before = there(machine("node1", *TWO, ignition=document()), machine("node2"))
    found = replace(before, groups={**before.groups, "theirs": THEIRS}, profiles=before.profiles)
    assert steps(diff(objects_of([machine("node2")]), found)) == [
        "delete group pxe-appliance-node1",
        "delete group pxe-appliance-node1-2",
        "delete profile pxe-appliance-node1",
        "delete ignition pxe-appliance-node1.ign",
    ]


def test_a_document_that_a_profile_no_longer_names_is_removed() -> None:
    plan = diff(objects_of([machine("node1")]), there(machine("node1", ignition=document())))
    assert steps(plan) == ["put profile pxe-appliance-node1", "delete ignition pxe-appliance-node1.ign"]


@pytest.mark.parametrize(
    "foreign",
    [
        Group("pxe-appliance-node1", "x", {"mac": "52:54:00:aa:00:01"}, {}),
        Group("pxe-appliance-node1", "x", {}, {"managed_by": "somebody"}),
        None,
    ],
)
def test_a_foreign_group_at_our_name_is_left_alone_and_named(foreign: Group | None) -> None:
    plan = diff(objects_of([machine("node1", *TWO)]), Found({"pxe-appliance-node1": foreign}))
    assert steps(plan) == ["put profile pxe-appliance-node1", "put group pxe-appliance-node1-2"]
    assert plan.conflicts == (
        (
            "groups/pxe-appliance-node1.json is there and is not ours: node1 is not pushed; "
            "rename or delete that file there"
        ),
    )
    assert diff(objects_of([]), Found({"pxe-appliance-node1": foreign})) == PushPlan()


@pytest.mark.parametrize("foreign", [Profile("pxe-appliance-node1", "hand-made", Boot("k")), None])
def test_nothing_is_hung_on_a_foreign_profile(foreign: Profile | None) -> None:
    wanted = objects_of([machine("node1", *TWO, ignition=document())])
    plan = diff(wanted, Found(profiles={"pxe-appliance-node1": foreign}))
    assert steps(plan) == ["put ignition pxe-appliance-node1.ign"]
    assert [c.partition(" ")[0] for c in plan.conflicts] == ["profiles/pxe-appliance-node1.json"]


def test_nothing_is_hung_on_a_foreign_document() -> None:
    foreign = Found(ignition={"pxe-appliance-node1.ign": stored_of(document())})
    plan = diff(objects_of([machine("node1", ignition=document()), machine("node2")]), foreign)
    assert steps(plan) == ["put profile pxe-appliance-node2", "put group pxe-appliance-node2"]
    assert [c.partition(" ")[0] for c in plan.conflicts] == ["ignition/pxe-appliance-node1.ign"]
    assert diff(objects_of([]), foreign) == PushPlan()


def test_a_document_that_was_edited_there_is_ours_as_long_as_our_profile_names_it() -> None:
    before = there(machine("node1", ignition=document()))
    edited = replace(before, ignition={"pxe-appliance-node1.ign": Stored("0" * 64, marked=False)})
    plan = diff(objects_of([machine("node1", ignition=document())]), edited)
    assert steps(plan) == ["put ignition pxe-appliance-node1.ign"]


def test_a_profile_of_ours_does_not_make_us_delete_elsewhere() -> None:
    led_astray = Profile("pxe-appliance-x", "managed by pxe-appliance", None, "../generic/secret.ign")
    plan = diff(objects_of([]), Found(profiles={"pxe-appliance-x": led_astray}))
    assert steps(plan) == ["delete profile pxe-appliance-x"]


def test_the_mark_without_our_name_is_not_ours() -> None:
    copied = replace(THEIRS, metadata={"managed_by": "pxe-appliance"})
    profile = Profile("theirs", "managed by pxe-appliance", BOOT)
    assert diff(objects_of([]), Found({"theirs": copied}, {"theirs": profile})) == PushPlan()


def test_a_foreign_group_for_the_same_mac_keeps_its_machine() -> None:
    rival = Group("hand-made", "theirs", {"mac": TWO[0]}, {})
    plan = diff(objects_of([machine("node1", *TWO)]), Found({"hand-made": rival}))
    assert steps(plan) == ["put profile pxe-appliance-node1", "put group pxe-appliance-node1-2"]
    (told,) = plan.conflicts
    assert told.startswith(f"the group hand-made there, which is not ours, selects {TWO[0]} of node1 too")
    narrower = replace(rival, selector={"mac": TWO[0], "os": "installed"})
    assert diff(objects_of([machine("node1")]), Found({"hand-made": narrower})).conflicts == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (document("2.3.0"), "its Ignition is of version '2.3.0'"),
        (document("3.5.0"), "its Ignition is of version '3.5.0'"),
        (document("3.4.0-experimental"), "its Ignition is of version '3.4.0-experimental'"),
        (document("4.0.0"), "its Ignition is of version '4.0.0'"),
        (document("3.4.0\n"), "its Ignition is of version"),
        (b'{"ignition": {}}', "its Ignition names no version"),
        (b"[]", "its Ignition names no version"),
        (b"{", "its Ignition names no version"),
        (b"[" * 100_000, "its Ignition names no version"),
    ],
)
def test_what_matchbox_would_answer_as_an_empty_document_is_not_pushed(content: bytes, reason: str) -> None:
    sound = machine("node2", ignition=document("3.0.0"))
    wanted = objects_of([machine("node1", *TWO, ignition=content), sound])
    assert list(wanted.refused) == ["node1"]
    assert wanted.refused["node1"].startswith(reason)
    before = there(machine("node1", *TWO, ignition=document()), sound)
    assert diff(wanted, before) == PushPlan(), "what is there goes on serving it"


def test_a_document_that_cannot_be_made_is_a_refusal() -> None:
    def broken(_token: str) -> bytes:
        raise IgnitionError("an undefined variable")

    assert objects_of([machine(ignition=broken)]).refused == {
        "node1": "its Ignition cannot be made: an undefined variable"
    }


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "a\nb", "x" * 64])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    wanted = objects_of([machine(name)])
    assert list(wanted.refused) == [name]
    assert not wanted.groups


def test_the_token_of_a_document_is_empty() -> None:
    tokens: list[str] = []

    def made(token: str) -> bytes:
        tokens.append(token)
        return document()

    (one,) = objects_of([machine(ignition=made)]).ignition.values()
    one.make()
    assert set(tokens) == {""}


_RACKS = st.dictionaries(
    st.sampled_from(["a", "a-2", "b", "c"]),
    st.tuples(st.sampled_from([None, "x", "y"]), st.sampled_from(["k1", "k2"]), st.integers(1, 3)),
)


def _rack(drawn: dict[str, tuple[str | None, str, int]]) -> list[MachineBoot]:
    names = ["a", "a-2", "b", "c"]
    return [
        machine(
            name,
            *(f"52:54:00:00:0{names.index(name)}:0{n}" for n in range(1, macs + 1)),
            boot=Boot(kernel),
            ignition=document(content=content) if content else None,
        )
        for name, (content, kernel, macs) in drawn.items()
    ]


@given(_RACKS, _RACKS, _RACKS, st.integers(0, 30))
def test_a_push_that_is_cut_off_anywhere_is_finished_by_the_next(
    first: dict[str, tuple[str | None, str, int]],
    second: dict[str, tuple[str | None, str, int]],
    third: dict[str, tuple[str | None, str, int]],
    cut: int,
) -> None:
    """Also when the inventory changed meanwhile; and at no step does a group name what is not there."""
    theirs = Found({"theirs": THEIRS}, {"theirs": Profile("theirs", "", BOOT)})
    found = after(theirs, diff(objects_of(_rack(first)), theirs))
    found = after(found, diff(objects_of(_rack(second)), found), cut)
    for group in found.groups.values():
        assert group is not None
        profile = found.profiles[group.profile]
        assert profile is not None
        assert not profile.ignition_id or profile.ignition_id in found.ignition
    plan = diff(objects_of(_rack(third)), found)
    assert plan.conflicts == ()
    found = after(found, plan)
    expected = after(theirs, diff(objects_of(_rack(third)), theirs))
    assert found == expected, "nothing is missing, nothing of ours is left over"
