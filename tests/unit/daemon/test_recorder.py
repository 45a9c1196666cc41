"""Events on their way to listeners and to the disk, on a real disk that is full."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.boot.events import EventKind
from appliance.boot.ladder import Ladder, climb
from appliance.daemon import recorder as room
from appliance.daemon.history import LADDER, LIFE, STRAY, History
from appliance.daemon.recorder import Recorder
from tests.fakes.full_disk import filled, small_disk
from tests.netns.wire import wait_until
from tests.unit.daemon.rooms import event

ACK = EventKind.ACK


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    history = History(tmp_path / "history.db")
    yield Recorder(history)
    history.close()


def numbers(texts: list[str]) -> list[int]:
    return [int(json.loads(text)["detail"]["n"]) for text in texts]


def tell(recorder: Recorder, *ns: int, machine: str | None = "node1") -> None:
    for n in ns:
        recorder.record(event(ACK, machine, detail={"n": str(n)}))


def heard(queue: asyncio.Queue[str]) -> list[str]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


def test_the_past_has_what_was_only_just_told(recorder: Recorder) -> None:
    tell(recorder, 1, 2)
    tell(recorder, 3, machine="node2")
    assert numbers(recorder.past(10, None)) == [1, 2, 3]
    assert numbers(recorder.past(10, "node2")) == [3]
    assert numbers(recorder.past(2, None)) == [2, 3]


def test_every_listener_hears_everything_from_then_on(recorder: Recorder) -> None:
    tell(recorder, 1)
    first = recorder.subscribe()
    tell(recorder, 2)
    second = recorder.subscribe()
    tell(recorder, 3)
    recorder.unsubscribe(first)
    recorder.unsubscribe(first)
    tell(recorder, 4)
    assert numbers(heard(first)) == [2, 3]
    assert numbers(heard(second)) == [3, 4]


def test_a_slow_listener_loses_the_oldest_and_holds_up_nobody(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_LISTENER", 10)
    slow, quick = recorder.subscribe(), recorder.subscribe()
    told = []
    for n in range(100):
        tell(recorder, n)
        told += numbers(heard(quick))
    assert told == list(range(100))
    assert numbers(heard(slow)) == list(range(90, 100))
    assert recorder.dropped == 0


def test_more_than_a_waiting_disk_may_cost_is_dropped_and_counted(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_WAITING", 5)
    listener = recorder.subscribe()
    tell(recorder, *range(8))
    assert recorder.dropped == 3
    assert numbers(heard(listener)) == list(range(8)), "whoever listens hears them all the same"
    assert numbers(recorder.past(10, None)) == [0, 1, 2, 3, 4]


def test_a_full_disk_costs_the_past_and_not_what_is_known_of_machines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        history = History(disk / "history.db")
        recorder = Recorder(history)
        with filled(disk), caplog.at_level(logging.WARNING):
            for n in range(50):
                recorder.record(event(ACK, detail={"n": str(n), "much": "x" * 10_000}))
            recorder.save(LADDER, "node1", climb(Ladder(), event(EventKind.DISCOVER)).as_json())
            recorder.save(LIFE, "node1", {"state": "installed"})
            recorder.save(LIFE, "node2", {"state": "installed"})
            assert not recorder.flush()
            assert recorder.dropped == 50
            assert "50 events lost" in caplog.text
            recorder.save(LADDER, "node1", climb(Ladder(), event(ACK)).as_json())  # what is newer counts
            recorder.save(LIFE, "node2", {"state": "reinstall"})
        assert recorder.flush()
        tell(recorder, 51)
        assert numbers(recorder.past(10, None)) == [51]
        history.close()
        kept = History(disk / "history.db")
        assert Ladder.from_json(kept.kept(LADDER)["node1"]).rung is ACK
        assert kept.kept(LIFE) == {"node1": {"state": "installed"}, "node2": {"state": "reinstall"}}
        kept.close()


def test_a_full_disk_and_a_flood_of_strays_cost_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_STRAYS", 100)
    with small_disk(tmp_path / "disk") as disk:
        history = History(disk / "history.db")
        recorder = Recorder(history)
        with filled(disk):
            for number in range(1000):
                for text in ("x" * 1000, "y"):
                    recorder.save(STRAY, f"{number}{text[0]}", {"text": text})
                if number % 100 == 50:
                    assert not recorder.flush()
            assert not recorder.flush()
        recorder.save(STRAY, "999y", None)
        assert recorder.flush()
        kept = history.kept(STRAY)
        assert set(kept) == {f"{n}{t}" for n in range(950, 1000) for t in "xy"} - {"999y"}
        history.close()


@pytest.mark.parametrize(
    "text", ["\ud800", "\udcff\udcfe", "\0", "\x1b[31m", "\u202e", "\U0001f600", "'; --"]
)
def test_no_text_from_the_wire_stops_the_writing(recorder: Recorder, text: str) -> None:
    listener = recorder.subscribe()
    recorder.record(event(EventKind.REPORT, detail={"message": text}))
    (past,) = recorder.past(1, None)
    assert json.loads(past)["detail"]["message"] == text
    assert heard(listener) == [past]
    assert past.isascii()
    assert past.isprintable()
    assert recorder.dropped == 0


def test_it_writes_behind_without_being_asked(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_EVERY", 0.001)
    reader = History(tmp_path / "history.db")

    async def live() -> None:
        writing = asyncio.create_task(recorder.write_behind())
        tell(recorder, 1)
        await asyncio.to_thread(wait_until, lambda: reader.events(limit=1), "the event on the disk", 5)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    asyncio.run(live())
    reader.close()
