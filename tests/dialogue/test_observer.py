"""The observer beside the decider: what is counted, logged and told of a dialogue; nothing of it decides."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.daemon import signals as s
from appliance.daemon.diagnosis import Outside
from appliance.daemon.known import Now, State
from appliance.daemon.notable import Note
from appliance.daemon.observer import Loads, Observer
from appliance.daemon.state import step
from appliance.daemon.status import Process, machines_json, status_json
from appliance.paths import Paths
from tests.unit.daemon.moments import parsed, value
from tests.unit.daemon.rooms import AT, event, served

K = EventKind
WHOLE = (K.DISCOVER, K.OFFER, K.REQUEST, K.ACK, K.BOOTFILE, K.IPXE, K.SCRIPT, K.KERNEL, K.INITRD, K.IGNITION,
         K.DONE)  # fmt: skip
LATER = AT + timedelta(hours=1)
HOSTILE = ("\n", "\x1b[31m", '"} 1\nx{y="', "\u202e", "\ud800", "${x}", "pxe", "a" * 10_000, "")


@dataclass
class Wire:
    """A decider and its observer, at a clock set by hand."""

    state: State = field(default_factory=State)
    started: Any = AT
    told: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.observer = Observer(Paths(PurePosixPath("/nowhere")), self)
        self.observer.hooks.tell = self.told.append  # type: ignore[method-assign, assignment]

    def say(self, *signals: s.Signal) -> None:
        for signal in signals:
            before = self.state
            self.state, commands = step(before, signal, Now(AT, 100.0))
            self.observer.saw(before, signal, self.state, commands)

    def happen(self, *events: Event) -> None:
        self.say(*(s.Happened(each) for each in events))

    # ---- the desk's side ----

    def known(self) -> State:
        return self.state

    def status(self) -> dict[str, object]:
        return status_json(self.state, Process(1, AT, {}), AT + timedelta(hours=1))

    def machines(self) -> list[dict[str, object]]:
        return machines_json(self.state, LATER)

    async def images(self) -> list[dict[str, object]]:
        return [{"state": "ok"}, {"state": "damaged"}]

    def outside(self) -> Outside:
        return Outside()

    def loads(self) -> Loads:
        return Loads(1, 2, 3, 4)


@pytest.fixture(autouse=True)
def no_page_is_given_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.daemon.observer._PAGE_SECONDS", 0.0)


def on_the_wire(work: Callable[[Wire], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        wire = Wire()
        wire.say(s.Adopted(served()))
        await work(wire)

    asyncio.run(main())


async def samples(wire: Wire) -> Callable[..., float]:
    body, _ = await wire.observer.page("")
    found = list(parsed(body.decode()).values())
    return lambda sample, **labels: value(found, sample, **labels) or 0.0


def test_a_boot_is_counted_timed_and_told_rung_by_rung(caplog: pytest.LogCaptureFixture) -> None:
    async def work(wire: Wire) -> None:
        with caplog.at_level(logging.INFO, "pxe-appliance"):
            wire.happen(*(event(kind, after=float(n)) for n, kind in enumerate(WHOLE)))
            wire.happen(event(K.KERNEL, after=20), event(K.OFFER, after=21, detail={"stage": "os"}))
        rungs = [r.facts for r in caplog.records if r.facts["event"] in set(WHOLE)]  # type: ignore[attr-defined]
        assert [facts["stage"] for facts in rungs] == [kind.value for kind in WHOLE]
        assert {facts["machine"] for facts in rungs} == {"node1"}
        assert {facts["mac"] for facts in rungs} == {"52:54:00:aa:00:01"}
        get = await samples(wire)
        assert get("pxe_appliance_boots_finished_total", network="pxe", to="image") == 1
        assert get("pxe_appliance_boot_stage_seconds_sum", stage="kernel") == 1
        assert get("pxe_appliance_events_total", event="kernel") == 2
        assert get("pxe_appliance_events_total", event="lifecycle") > 0
        assert [note.notice for note in wire.told if note.kind == "rung"] == ["done"]

    on_the_wire(work)


def test_a_stranger_is_told_once_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    async def work(wire: Wire) -> None:
        stray = event(K.STRAY, None, mac=Mac.parse("02:00:00:00:00:01"), ip=None)
        with caplog.at_level(logging.INFO, "pxe-appliance"):
            wire.happen(stray, stray, stray)
        assert sum("stranger 02:00:00:00:00:01" in r.getMessage() for r in caplog.records) == 1
        assert (await samples(wire))("pxe_appliance_events_total", event="stray") == 3

    on_the_wire(work)


def test_a_nic_that_is_refused_is_told_once_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def work(wire: Wire) -> None:
        with caplog.at_level(logging.INFO, "pxe-appliance"):
            for code in ("other-nic", "other-nic", "wrong-network", "other-nic"):
                wire.happen(event(K.IGNORED, detail={"code": code, "reason": "r"}))
        told = [r.facts["code"] for r in caplog.records if r.facts["event"] == "ignored"]  # type: ignore[attr-defined]
        assert told == ["other-nic", "wrong-network"]

    on_the_wire(work)


def test_a_flood_of_strangers_leaves_a_short_log(caplog: pytest.LogCaptureFixture) -> None:
    async def work(wire: Wire) -> None:
        with caplog.at_level(logging.INFO, "pxe-appliance"):
            began = time.perf_counter()
            for n in range(5_000):
                mac = Mac.parse(f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}")
                wire.happen(event(K.STRAY, None, mac=mac, ip=None))
            assert time.perf_counter() - began < 10
            await wire.observer._look()
        assert sum(r.getMessage().startswith("stranger") for r in caplog.records) < 100
        assert any("more lines of the kind stray were left out" in r.getMessage() for r in caplog.records)
        assert (await samples(wire))("pxe_appliance_events_total", event="stray") == 5_000

    on_the_wire(work)


def test_the_number_of_series_depends_on_nothing_that_is_on_the_wire() -> None:
    async def work(wire: Wire) -> None:
        before = await _series(wire)
        for kind in EventKind:
            for n, text in enumerate(HOSTILE):
                detail = dict.fromkeys(("stage", "code", "to", "reason", "server", "message", "what"), text)
                name = ("node1", None, text)[n % 3]
                wire.happen(event(kind, name, network=text, ip=f"172.0.1.{n}", detail=detail))
                wire.observer.metrics.request("unknown", 404, 0.1)
        after = await _series(wire)
        new = after - before
        assert all('network=""' in each or 'kind="unknown"' in each or "problems" in each for each in new), (
            new
        )
        assert len(new) < 40

    on_the_wire(work)


async def _series(wire: Wire) -> set[str]:
    body, _ = await wire.observer.page("")
    lines = body.decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if line and not line.startswith("#")}


def test_a_stuck_boot_is_told_when_it_is_and_when_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def work(wire: Wire) -> None:
        wire.happen(event(K.DISCOVER), event(K.OFFER, after=1))
        with caplog.at_level(logging.INFO, "pxe-appliance"):
            await wire.observer._look()
            await wire.observer._look()
        (stuck,) = [note for note in wire.told if note.notice == "stuck"]
        assert stuck.data["machine"] == "node1"
        assert stuck.data["gone"] is False
        assert any(r.levelname == "WARNING" and "node1 is stuck" in r.getMessage() for r in caplog.records)
        verdict = stuck.data["verdict"]
        assert isinstance(verdict, dict)
        assert (await samples(wire))("pxe_appliance_verdicts", verdict=verdict["id"]) == 1
        wire.state = replace(wire.state, ladders=wire.state.ladders.delete("node1"))
        await wire.observer._look()
        assert [note.data["gone"] for note in wire.told if note.notice == "stuck"] == [False, True]

    on_the_wire(work)


def test_syncs_are_counted_by_their_end() -> None:
    async def work(wire: Wire) -> None:
        assert "last_sync" not in (await wire.observer.page(""))[0].decode()
        wire.happen(
            event(K.SYNC, None, detail={"generation": "4"}),
            event(K.SYNC, None, detail={"reason": "x"}),
            event(K.ROLLBACK, None, detail={"reason": "x"}),
            event(K.SYNC, None, detail={"generation": "5", "until": "it is confirmed or taken back"}),
        )
        wire.observer.unchanged()
        get = await samples(wire)
        for result in ("applied", "failed", "rolled-back", "unchanged"):
            assert get("pxe_appliance_syncs_total", result=result) == 1
        assert get("pxe_appliance_last_sync_timestamp_seconds") > AT.timestamp()
        assert [str(note.notice) for note in wire.told] == ["sync", "sync", "rollback", "sync"]

    on_the_wire(work)


def test_a_look_that_fails_is_logged_and_ends_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.daemon.observer._LOOK_EVERY", 0.01)

    async def work(wire: Wire) -> None:
        good, wire.status = wire.status, dict  # type: ignore[method-assign]
        watching = asyncio.create_task(wire.observer.watch())
        async with asyncio.timeout(10):
            while "cannot look" not in caplog.text:  # noqa: ASYNC110 - the log has no event
                await asyncio.sleep(0.01)
            wire.status = good  # type: ignore[method-assign]
            seen = wire.observer._seen
            while wire.observer._seen is seen:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not watching.done()
        watching.cancel()

    on_the_wire(work)
