"""A change and the way back from it on children of which some do not listen."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import pytest

from appliance.daemon import activate
from appliance.daemon import signals as s
from appliance.daemon.activate import Activator
from appliance.daemon.children import Children
from appliance.daemon.known import State
from appliance.daemon.served import Served
from appliance.dnsmasq.lifecycle import Child, Phase
from appliance.dnsmasq.records import HostsRead
from appliance.errors import NotProven, SurroundingsError
from appliance.inventory.model import Inventory
from appliance.paths import Paths
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.sync.plan import Desired, Plan, make_plan
from appliance.tree import Activation, RenderedFile, Tree
from tests.unit.daemon.rooms import served

BOTH = ("dhcp:lab", "dhcp:pxe")


class Wire(Children):
    """Children that are values: which were told what, and what the deaf ones have not read."""

    def __init__(self, paths: Paths, deaf: Sequence[str] = ()) -> None:
        super().__init__(paths, self.take)
        self.deaf = set(deaf)
        self.stopped = False  # what ends a child, and brings it back, does not work either
        self.told: list[str] = []
        self.state = State(
            served=replace(served(), id=1),
            children={name: Child(name, Phase.SERVING) for name in (*BOTH, "tftp")},
        )

    def follow(self, served: Served) -> None:
        """Names matter to nobody here."""

    def signal(self, name: str, number: signal.Signals) -> None:
        assert number is signal.SIGHUP
        self.told.append(f"reload {name}")
        if name not in self.deaf:
            self.say(name)

    def take(self, told: s.Signal) -> None:
        """What is reported to the decider."""
        if isinstance(told, s.Adopted):
            self.told.append(f"adopted {told.served.id}")
            self.state = replace(self.state, served=told.served)
        if isinstance(told, s.RestartChild):
            self.told.append(f"restart {told.name}")
            if not self.stopped:
                self.say(told.name)

    def say(self, name: str) -> None:
        for watcher in self._watchers.get(name, ()):
            watcher(HostsRead("hosts"), 7)


@dataclass
class Scene:
    """One daemon's activations, from generation to generation."""

    wire: Wire
    no_guard: bool = False
    proofs: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.activator = Activator(self.wire, self.wire.take, lambda: self.wire.state, self.prove, self.guard)

    async def prove(self, _: Plan, adopt: s.Adopted, __: Served) -> tuple[list[str], bool]:
        self.proofs.append(adopt.served.id or 0)
        return ["proven"], True

    async def guard(self, _: Served) -> None:
        if self.no_guard:
            raise SurroundingsError("cannot run nft")

    def go(self, number: int, base: int, *, again: bool = False) -> ProvenPlan:
        return asyncio.run(self.change(number, base, again=again))

    async def change(self, number: int, base: int, *, again: bool = False) -> ProvenPlan:
        adopt = s.Adopted(replace(served(), id=number, proven=again))
        plan = make_plan(base, desired(base), desired(number))
        applied = AppliedPlan(plan, number, None, (), again=again)
        self.wire.told.clear()
        return await self.activator.activate(applied, adopt)


def desired(number: int) -> Desired:
    """A generation whose hosts files differ from those of every other."""
    hosts = (
        RenderedFile(f"network/{name}/hosts", f"{number}".encode(), activation=Activation.RELOAD)
        for name in ("pxe", "lab")
    )
    return Desired(served().settings, Inventory(), Tree.of(*hosts))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(activate, "SETTLE", 0.05)
    return Scene(Wire(Paths(PurePosixPath(tmp_path))))


def test_a_change_of_reservations_is_a_reload_for_each_and_is_proven(scene: Scene) -> None:
    scene.go(2, 1)
    assert sorted(scene.wire.told) == ["adopted 2", *(f"reload {name}" for name in BOTH)]
    assert (scene.proofs, scene.activator.troubled) == ([2], False)


@pytest.mark.parametrize("deaf", BOTH)
def test_on_the_way_back_one_that_does_not_hear_keeps_no_other_with_the_change(
    scene: Scene, deaf: str
) -> None:
    scene.go(2, 1)
    scene.wire.deaf = {deaf}
    scene.go(1, 2, again=True)
    assert sorted(scene.wire.told[:2]) == [f"reload {name}" for name in BOTH]
    assert scene.wire.told[2:] == ["adopted 1", f"restart {deaf}"], "whoever starts reads what is current"
    assert (scene.proofs, scene.activator.troubled) == ([2, 1], False)


def test_a_change_that_one_does_not_take_up_is_not_adopted_and_the_way_back_reaches_all(scene: Scene) -> None:
    scene.wire.deaf = {BOTH[0]}
    with pytest.raises(NotProven, match="dhcp:lab did not take up the change"):
        scene.go(2, 1)
    assert sorted(scene.wire.told) == [f"reload {name}" for name in BOTH]
    assert scene.activator.troubled
    scene.go(1, 2, again=True)
    assert sorted(scene.wire.told) == ["adopted 1", *(f"reload {n}" for n in BOTH), "restart dhcp:lab"]
    assert not scene.activator.troubled


def test_after_a_way_back_that_did_not_come_so_far_every_child_starts_anew(scene: Scene) -> None:
    scene.go(2, 1)
    scene.wire.deaf, scene.wire.stopped = set(BOTH), True
    with pytest.raises(NotProven):
        scene.go(1, 2, again=True)
    assert scene.wire.state.served.id == 1, "the endpoint serves what is current in any case"
    assert scene.activator.troubled
    scene.wire.stopped = False
    scene.go(1, 1, again=True)
    assert scene.proofs == [2, 1]
    assert not scene.activator.troubled


def test_after_a_change_that_is_half_read_another_way_than_back_starts_every_child_anew(scene: Scene) -> None:
    """The way back may fail before any child is told of it."""
    scene.wire.deaf = {BOTH[0]}
    with pytest.raises(NotProven):
        scene.go(2, 1)
    scene.no_guard = True
    with pytest.raises(SurroundingsError):
        scene.go(1, 2, again=True)
    assert scene.wire.told == []
    scene.no_guard = False
    with pytest.raises(NotProven, match="tftp"):  # it starts, and says another word than these
        scene.go(1, 1, again=True)
    assert {f"restart {name}" for name in BOTH} <= set(scene.wire.told)


def test_what_is_under_way_ends_with_the_daemon_and_nothing_begins_any_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activate, "SETTLE", 600)
    monkeypatch.setattr(activate, "_STOPPING", 0.05)
    scene.wire.deaf = set(BOTH)

    async def stopped() -> None:
        stopping = asyncio.Event()
        async with asyncio.timeout(60):
            change = asyncio.create_task(scene.change(2, 1))
            end = asyncio.create_task(scene.activator.end_with(stopping))
            await asyncio.sleep(0)
            assert scene.wire.told, "it waits for who does not hear"
            stopping.set()
            with pytest.raises(asyncio.CancelledError):
                await change
            await end
            with pytest.raises(asyncio.CancelledError):
                await asyncio.create_task(scene.change(2, 1))

    asyncio.run(stopped())
    assert scene.wire.told == []
    assert scene.activator.troubled, "nobody knows what they have"
