"""The history file: bounded, mended, shared, and never in the way."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.boot.events import rfc3339
from appliance.boot.policy import Life, LifeState
from appliance.daemon import history as room
from appliance.daemon.history import LADDER, LIFE, STRAY, TOKENS, History
from tests.fakes.full_disk import filled, read_only, small_disk
from tests.unit.daemon.rooms import AT


def events(*texts: str, machine: str | None = "node1") -> list[tuple[str | None, str]]:
    return [(machine, text) for text in texts]


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    first = History(tmp_path / "state/history.db")
    kept = {LADDER: {"node1": '{"rung":"ack"}'}, LIFE: {"node1": '{"state":"new"}'}, TOKENS: {"node1": "[]"}}
    first.append(events("1", "2"), kept)
    first.close()
    again = History(tmp_path / "state/history.db")
    assert again.events(limit=10) == ["1", "2"]
    assert again.kept(LADDER) == {"node1": {"rung": "ack"}}
    assert again.kept(LIFE) == {"node1": {"state": "new"}}
    assert again.kept(TOKENS) == {"node1": []}
    again.close()


def test_events_come_oldest_first_newest_kept_and_by_machine(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    history.append(events("1", "2"))
    history.append([*events("3", machine="node2"), *events("4", machine=None), *events("5")])
    assert history.events(limit=3) == ["3", "4", "5"]
    assert history.events(limit=2, machine="node1") == ["2", "5"]
    assert history.events(limit=0) == []
    assert history.events(limit=9, machine="no'such") == []
    history.close()


def test_what_is_newer_takes_the_place_of_what_was_known_of_that_machine_alone(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    history.append((), {LADDER: {"node1": "1"}, LIFE: {"node1": "3", "node2": "4"}})
    history.append((), {LADDER: {"node1": "2"}, LIFE: {"node2": "5"}})
    assert history.kept(LADDER) == {"node1": 2}
    assert history.kept(LIFE) == {"node1": 3, "node2": 5}
    history.close()


def test_strays_are_kept_by_their_mac_and_forgotten(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    history.append((), {STRAY: {"02:00:00:00:00:01": "1", "02:00:00:00:00:02": "2"}})
    history.append((), {STRAY: {"02:00:00:00:00:01": None, "02:00:00:00:00:03": None}})
    assert history.kept(STRAY) == {"02:00:00:00:00:02": 2}
    history.close()


def test_a_text_that_is_no_json_is_told_as_none(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    history.append((), {LIFE: {"node1": "{", "node2": "1"}})
    assert history.kept(LIFE) == {"node1": None, "node2": 1}
    history.close()


def test_the_oldest_events_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "EVENTS_KEPT", 100)
    history = History(tmp_path / "history.db")
    for start in range(0, 1000, 50):
        history.append(events(*(str(n) for n in range(start, start + 50))))
    assert history.events(limit=10_000) == [str(n) for n in range(900, 1000)]
    history.close()


def test_all_of_a_write_is_kept_or_nothing(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    with pytest.raises(sqlite3.Error):
        history.append(events("1"), {LADDER: {"node1": "1"}, LIFE: {"node1": object()}})  # type: ignore[dict-item]
    assert history.events(limit=9) == []
    assert history.kept(LADDER) == {}
    history.close()


def test_two_may_have_it_open(tmp_path: Path) -> None:
    ours, theirs = History(tmp_path / "history.db"), History(tmp_path / "history.db")
    ours.append(events("1"))
    theirs.append(events("2"))
    assert ours.events(limit=9) == theirs.events(limit=9) == ["1", "2"]
    ours.close()
    theirs.close()


def _header(content: bytes) -> bytes:
    return b"not a database" + content[14:]


def _pages(content: bytes) -> bytes:
    return content[:8192] + b"\xa5" * (len(content) - 8192)


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _tail(content: bytes) -> bytes:
    return content[:-20_000] + b"\xa5" * 20_000


@pytest.mark.parametrize("damage", [_header, _pages, _half, lambda _: b"\0" * 5000])
def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "history.db"
    history = History(path)
    history.append(events(*("x" * 500 for _ in range(500))))
    history.close()
    harmed = damage(path.read_bytes())
    path.write_bytes(harmed)
    anew = History(path)
    anew.append(events("1"), {LIFE: {"node1": "1"}})
    assert anew.events(limit=9) == ["1"]
    anew.close()
    assert path.with_name("history.db.damaged").read_bytes() == harmed


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.touch()
    History(path).close()
    assert not path.with_name("history.db.damaged").exists()


@pytest.mark.parametrize("trouble", [filled, read_only])
def test_a_disk_that_takes_nothing_sets_nothing_aside_and_loses_nothing(
    tmp_path: Path, trouble: Callable[[Path], object]
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "history.db"
        before = History(path)
        before.append(events("1"), {LADDER: {"node1": "1"}, LIFE: {"node1": '{"state": "installed"}'}})
        before.close()
        with trouble(disk):  # type: ignore[attr-defined]
            meanwhile = History(path)
            assert meanwhile.kept(LIFE) == {"node1": {"state": "installed"}}
            assert not meanwhile.durable
            meanwhile.append(events("2"))
            assert meanwhile.events(limit=9) == ["1", "2"]
            meanwhile.close()
        after = History(path)
        assert after.events(limit=9) == ["1"]
        assert after.kept(LADDER) == {"node1": 1}
        after.close()
        assert not (disk / "history.db.damaged").exists()


@pytest.mark.timeout(20)
def test_a_fifo_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    os.mkfifo(path)
    opened = History(path)
    opened.append([("node1", "{}")])
    assert opened.lost_installs, "who is installed is not known"
    assert opened.problem
    assert path.is_file()
    assert (tmp_path / "history.db.odd").is_fifo()
    opened.close()


def test_a_directory_in_its_place_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    history = History(tmp_path / "history.db")
    history.append(events("1"))
    assert history.events(limit=9) == ["1"]
    history.close()


@pytest.mark.parametrize("damage", [_half, _tail])
def test_who_is_installed_is_saved_from_a_damaged_file(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """A machine that is forgotten here is installed again at its next boot."""
    path = tmp_path / "history.db"
    history = History(path)
    history.append((), {LIFE: {"node1": '{"state": "installed"}', "node2": '{"state": "held"}'}})
    history.append(events(*("x" * 500 for _ in range(500))))
    history.close()
    path.write_bytes(damage(path.read_bytes()))
    anew = History(path)
    assert anew.kept(LIFE) == {"node1": {"state": "installed"}, "node2": {"state": "held"}}
    assert not anew.lost_installs
    assert anew.events(limit=9) == []
    assert "set aside" in (anew.problem or "")
    anew.close()


# What an appliance from before there were lives left behind.
OLD_SCHEMA = """
CREATE TABLE event (id INTEGER PRIMARY KEY, machine TEXT, body TEXT NOT NULL);
CREATE INDEX event_machine ON event (machine, id);
CREATE TABLE ladder (machine TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE installed (machine TEXT PRIMARY KEY, at TEXT NOT NULL);
INSERT INTO installed VALUES ('node1', '2025-01-31T04:05:06.789Z'), ('node2', 'no time at all');
INSERT INTO ladder VALUES ('node1', '{"rung":"done"}');
INSERT INTO event (machine, body) VALUES ('node1', '"x"');
"""


def old_file(path: Path, *texts: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.executescript(OLD_SCHEMA)
        db.executemany("INSERT INTO event (machine, body) VALUES ('node1', ?)", [(text,) for text in texts])


def test_whoever_was_installed_before_there_were_lives_still_is(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    old_file(path)
    history = History(path)
    life = Life.from_json(history.kept(LIFE)["node1"])
    assert (life.state, rfc3339(life.since or AT)) == (LifeState.INSTALLED, "2025-01-31T04:05:06.789Z")
    assert Life.from_json(history.kept(LIFE)["node2"]).state is LifeState.INSTALLED, "when does not matter"
    assert history.kept(LADDER) == {"node1": {"rung": "done"}}
    assert history.events(limit=9) == ['"x"']
    history.close()


def test_the_past_of_before_does_not_come_back(tmp_path: Path) -> None:
    """A reinstall that was asked for after the change is not undone by what the old table said."""
    path = tmp_path / "history.db"
    old_file(path)
    history = History(path)
    history.append((), {LIFE: {"node1": '{"state": "reinstall"}'}})
    history.close()
    for _ in range(2):
        again = History(path)
        assert again.kept(LIFE)["node1"] == {"state": "reinstall"}
        again.close()


@pytest.mark.parametrize("damage", [_half, _tail])
def test_whoever_was_installed_is_saved_from_a_damaged_file_of_before(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "history.db"
    old_file(path, *("x" * 500 for _ in range(500)))
    path.write_bytes(damage(path.read_bytes()))
    history = History(path)
    assert Life.from_json(history.kept(LIFE)["node1"]).state is LifeState.INSTALLED
    assert not history.lost_installs
    history.close()


def test_it_is_told_when_nobody_knows_any_more_who_is_installed(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"\0" * 5000)
    history = History(path)
    assert history.lost_installs
    assert "machine reinstall" in (history.problem or "")
    history.close()
