"""Work that a disk keeps: who waits for it, for how long, and what it may still do when the disk answers."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path, PurePosixPath

import pytest

from appliance.daemon import hanging
from appliance.daemon.hanging import Disk, Hangs
from appliance.errors import NotProven, SurroundingsError
from appliance.sync.apply import Activate, AppliedPlan, ProvenPlan
from appliance.sync.run import Request, sync
from tests.netns.wire import wait_until
from tests.unit.sync.rooms import Daemon, Site


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hanging, "PATIENCE", 0.2)


@pytest.fixture
def applied(tmp_path: Path) -> AppliedPlan:
    """One that was taken to the wire."""
    site, daemon = Site(tmp_path), Daemon()
    site.write()
    sync(site.paths, Request(), daemon)
    return daemon.seen[0]


def free(disk: Disk) -> bool:
    try:
        disk.refuse()
    except Hangs:
        return False
    return True


def on_the_wire(applied: AppliedPlan) -> ProvenPlan:
    return ProvenPlan(applied, ("proven",))


def test_what_it_returns_or_raises_is_what_the_work_does(applied: AppliedPlan) -> None:
    disk = Disk(PurePosixPath("/disk"))

    def fails(activate: Activate) -> None:
        raise NotProven("it is mute")

    def works(activate: Activate) -> tuple[str, ...]:
        return activate(applied).evidence

    assert asyncio.run(disk.carried(works, on_the_wire, 0)) == ("proven",)
    with pytest.raises(NotProven, match="it is mute"):
        asyncio.run(disk.carried(fails, on_the_wire, 0))


def test_time_on_the_wire_does_not_count(applied: AppliedPlan) -> None:
    disk, slow = Disk(PurePosixPath("/disk")), threading.Event()

    def slowly(applied: AppliedPlan) -> ProvenPlan:
        slow.wait(1.5)
        return ProvenPlan(applied, ("proven",))

    def work(activate: Activate) -> ProvenPlan:
        return activate(applied)

    assert asyncio.run(disk.carried(work, slowly, 0)).evidence == ("proven",)


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_given_up_reaches_the_wire_no_more_and_keeps_others_from_it(
    applied: AppliedPlan, at_once: bool
) -> None:
    disk, answers, ends = Disk(PurePosixPath("/disk")), threading.Event(), []

    def work(activate: Activate) -> None:
        if not at_once:
            activate(applied)
        answers.wait()
        try:
            activate(applied)
        except SurroundingsError as error:
            ends.append(error.message)

    async def all_of_it() -> None:
        try:
            with pytest.raises(Hangs, match="the disk does not answer: /disk") as caught:
                await disk.carried(work, on_the_wire, 0, at_once=at_once)
            assert caught.value.applied == (None if at_once else applied)
            with pytest.raises(Hangs):
                await disk.carried(work, on_the_wire, 0)
        finally:
            answers.set()
        await asyncio.to_thread(wait_until, lambda: free(disk), "the end of it", 30)

    asyncio.run(all_of_it())
    assert ends == ["it was given up while the disk did not answer"]


def test_planning_has_the_time_that_it_needs(applied: AppliedPlan) -> None:
    disk, slow = Disk(PurePosixPath("/disk")), threading.Event()

    def work(activate: Activate) -> ProvenPlan:
        slow.wait(1.5)
        return activate(applied)

    assert asyncio.run(disk.carried(work, on_the_wire, 0, at_once=False)).evidence == ("proven",)
