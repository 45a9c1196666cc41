"""What is proven again, and what that must not take back, on a real disk with children that are values."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from appliance.boot.events import EventKind
from appliance.daemon import changes as changes_module
from appliance.daemon import hanging, unapplied
from appliance.daemon import signals as s
from appliance.daemon.activate import Activator
from appliance.daemon.adopt import adopted_generation
from appliance.daemon.keeper import Keeper
from appliance.daemon.run import Daemon as Appliance
from appliance.dnsmasq.lifecycle import Child, Phase
from appliance.errors import NotProven, Refused, SurroundingsError
from appliance.sync import asked, generations
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.sync.run import Request, sync
from appliance.system.network import InterfaceState
from tests.netns.wire import wait_until
from tests.unit.sync.rooms import MOVED, Daemon, Site


@dataclass
class Room:
    """A daemon that is not started: what it is told stands in its queue."""

    site: Site
    host: Appliance
    fails: bool = False
    exchanged: bool = True
    activated: list[int] = field(default_factory=list)

    @property
    def keeper(self) -> Keeper:
        return self.host.keeper

    def activate(self, applied: AppliedPlan) -> ProvenPlan:
        """In the place of `Changes.activate`; the way back always works."""
        self.activated.append(applied.number)
        if self.fails and applied.plan.base == applied.number:
            raise NotProven("nobody is offered anything", hint="look there")
        return ProvenPlan(applied, ("proven",), self.exchanged)

    def serve(self, *, up: bool = True) -> None:
        """The current generation, by children that all serve."""
        adopted = adopted_generation(self.site.paths)
        assert adopted is not None
        served = adopted.served
        network = served.settings.networks["pxe"]
        seen = InterfaceState("pxe0", present=True, up=up, addresses=(f"{network.address}/24",))
        self.host.state = replace(
            self.host.state,
            served=served,
            children={name: Child(name, Phase.SERVING) for name in served.children()},
            interfaces={"pxe": seen},
        )

    def rounds(self, count: int) -> None:
        async def all_of_them() -> None:
            for _ in range(count):
                await self.keeper._round(None)

        asyncio.run(all_of_them())

    def rollbacks(self) -> list[str]:
        found = []
        while not self.host.queue.empty():
            told = self.host.queue.get_nowait()
            if isinstance(told, s.Happened) and told.event.kind is EventKind.ROLLBACK:
                found.append(told.event.detail["reason"])
        return found

    @property
    def current(self) -> int | None:
        return generations.current_id(self.site.paths)

    @property
    def problem(self) -> str:
        return (self.host.desk.sync_problem or {}).get("message", "")


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """Generation 1 is proven; generation 2 was acknowledged while nobody could be asked."""
    monkeypatch.setattr(changes_module, "_ADOPT_SECONDS", 0.01)
    site = Site(tmp_path)
    site.write()
    sync(site.paths, Request(), Daemon())
    site.write(MOVED)
    Path(site.paths.run).mkdir(parents=True, exist_ok=True)
    host = Appliance(site.paths)
    made = Room(site, host, exchanged=False)
    monkeypatch.setattr(host.changes, "activate", made.activate)
    sync(site.paths, Request(), made.activate)
    made.activated.clear()
    with closing(host.history):
        made.serve()
        yield made


def test_one_silent_round_takes_back_nothing_and_is_told(room: Room) -> None:
    room.fails = True
    room.rounds(2)
    assert (room.current, room.activated) == (2, [2, 2])
    assert room.problem == "generation 2 does not prove itself: nobody is offered anything"
    assert not room.rollbacks()
    room.fails, room.exchanged = False, True
    room.rounds(1)
    assert generations.read_manifest(room.site.paths, 2).proven
    assert room.problem == ""


def test_while_a_network_is_not_usable_nothing_is_ever_taken_back(room: Room) -> None:
    room.serve(up=False)
    room.fails = True
    room.rounds(20)
    assert room.current == 2
    assert not room.rollbacks()


def test_while_a_child_does_not_serve_nothing_is_taken_back(room: Room) -> None:
    room.fails = True
    children = {**room.host.state.children, "tftp": Child("tftp", Phase.BACKOFF)}
    room.host.state = replace(room.host.state, children=children)
    room.rounds(20)
    assert room.current == 2


def test_what_fails_again_and_again_with_everything_fit_is_taken_back_and_told(room: Room) -> None:
    room.fails = True
    room.rounds(3)
    assert room.current == 1
    assert generations.read_manifest(room.site.paths, 2).rejected == "nobody is offered anything"
    assert room.rollbacks() == ["rolled back to generation 1: nobody is offered anything"]
    assert room.problem == "not in sync: rolled back to generation 1: nobody is offered anything"


def test_a_way_back_that_went_wrong_is_not_known_until_it_is_proven(room: Room) -> None:
    generations.make_current(room.site.paths, 1)
    room.serve()
    known = [room.keeper.known]
    room.keeper.activator.troubled = True
    known.append(room.keeper.known)
    assert known == [True, False]
    assert not room.host.changes._runs(1), "a sync with nothing to do proves it too"
    words = "generation 2 was not confirmed; that one does not prove itself either: it is mute"
    tail = "; generation 1 is served until the next sync"
    room.host.desk.sync_problem = {"message": words + tail}
    room.fails = True
    room.rounds(5)
    assert room.current == 1
    assert room.problem == words + tail
    room.fails, room.exchanged = False, True
    room.rounds(1)
    assert room.problem == f"generation 2 was not confirmed{tail}"


# ---- what waits for its confirmation ----


def waiting(room: Room) -> None:
    room.exchanged = True
    generations.make_current(room.site.paths, 1)
    generations.mark_rejected(room.site.paths, 2, "another test")
    room.serve()


def test_whatever_fails_after_a_change_has_begun_to_wait_it_has_its_time(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(room)

    async def unreadable() -> None:
        raise SurroundingsError("cannot read generation 3")

    monkeypatch.setattr(room.host.changes, "readopt", unreadable)
    with pytest.raises(SurroundingsError):
        asyncio.run(room.host.sync(Request(confirm_within=60)))
    awaited = room.host.changes.awaited
    assert awaited is not None
    assert awaited.pending.generation == 3
    assert room.host.desk.pending is not None


def test_a_change_that_waits_on_disk_alone_is_found_and_taken_back(room: Room) -> None:
    waiting(room)
    sync(room.site.paths, Request(confirm_within=5), room.activate)
    assert room.host.changes.awaited is None
    manifest = generations.generation_directory(room.site.paths, 3) / "pending"
    manifest.write_text("2020-01-01T00:00:00.000Z")

    async def taken_back() -> None:
        async with room.host.changes.lock:
            await room.host.changes._arm()
            await room.host.changes._overdue()

    asyncio.run(taken_back())
    assert room.current == 1
    assert room.rollbacks()


def test_what_was_taken_back_waits_no_more_although_it_cannot_be_read_for_the_endpoint(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(room)
    asyncio.run(room.host.sync(Request(confirm_within=60)))
    awaited = room.host.changes.awaited
    assert awaited is not None

    async def unreadable() -> None:
        raise SurroundingsError("cannot read generation 1")

    monkeypatch.setattr(room.host.changes, "readopt", unreadable)
    asyncio.run(room.host.changes._back(awaited.pending, "not confirmed"))
    assert (room.current, room.host.changes.awaited, room.host.desk.pending) == (1, None, None)
    with pytest.raises(Refused, match="generation 3 was rolled back"):
        asyncio.run(room.host.confirm())
    assert not generations.read_manifest(room.site.paths, 3).proven


def test_what_has_to_be_confirmed_is_marked_until_a_generation_says_so(room: Room) -> None:
    waiting(room)
    seen = []

    async def all_of_it() -> None:
        async with room.host.changes.lock:  # another change is under way
            waits = asyncio.create_task(room.host.sync(Request(confirm_within=60)))
            await asyncio.to_thread(wait_until, lambda: asked.lasts(room.site.paths), "the mark", 30)
            seen.append(generations.current_id(room.site.paths))
        await waits

    asyncio.run(all_of_it())
    assert (seen, room.current) == ([1], 3)
    assert not asked.lasts(room.site.paths)


def test_a_change_that_was_refused_is_not_brought_by_a_start_either(room: Room) -> None:
    waiting(room)
    room.host.state = replace(room.host.state, served=replace(room.host.state.served, proven=True))
    before = unapplied.unapplied(room.site.paths)

    def left(number: int = 1) -> bool:
        host = room.host
        return asyncio.run(
            unapplied.stays(room.site.paths, host.desk, number, stands_in=False, dropped=False)
        )

    assert not left()
    with pytest.raises(Refused, match="the plan is not the one"):
        asyncio.run(room.host.sync(Request(confirm_within=60, expected="another")))
    assert left()
    words = f"a change that was to be confirmed was cut short: {before}; generation 1 is served until the"
    assert room.problem.startswith(words)
    room.site.write()
    assert not left(), "the files do not ask for it any more"
    room.site.write(MOVED)
    assert asyncio.run(room.host.sync(Request()))["generation"] == 3
    assert not left(3)
    assert not asked.lasts(room.site.paths)


def test_where_the_disk_hangs_before_it_waits_it_does_not_stay_on_the_wire(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(room)
    answers, wire = threading.Event(), []

    async def stood_in(_: Activator, applied: AppliedPlan, adopt: s.Adopted, copied: int) -> ProvenPlan:
        wire.append((adopt.served.id, copied))
        room.host.children.stands_in = copied
        return ProvenPlan(applied, ())

    monkeypatch.setattr(hanging, "PATIENCE", 0.2)
    monkeypatch.setattr(Activator, "activate", stood_in)
    monkeypatch.setattr(generations, "mark_pending", lambda *_: answers.wait())

    async def all_of_it() -> None:
        try:
            with pytest.raises(SurroundingsError, match="the disk does not answer"):
                await room.host.sync(Request(confirm_within=60))
            with pytest.raises(SurroundingsError, match="the disk does not answer"):
                await room.host.sync(Request())
        finally:
            answers.set()

    asyncio.run(all_of_it())
    assert (room.activated, wire) == ([3], [(1, 1)])
    assert room.problem.startswith("generation 1 is served from a copy in memory: generation 3 was not conf")
    assert room.host.changes.awaited is None
