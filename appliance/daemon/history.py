"""What outlives a restart: events, how far each machine has come, its life, the strays. SQLite, bounded.

Everything in here is a convenience: a damaged file is set aside and begun anew, a full or read-only disk
means a history in memory, and neither keeps the wire from being served.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from appliance.boot.policy import Life, LifeState
from appliance.system.acting import acting_for
from appliance.system.files import make_directory

EVENTS_KEPT = 100_000
STRANGERS_KEPT = 20_000  # of these; whoever is on the wire can make as many as they like
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_log = logging.getLogger("pxe-appliance")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY, machine TEXT, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_machine ON event (machine, id);
CREATE TABLE IF NOT EXISTS installed (machine TEXT PRIMARY KEY, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ladder (machine TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS life (machine TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS seen (machine TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stray (mac TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tokens (machine TEXT PRIMARY KEY, body TEXT NOT NULL);
"""
LADDER, LIFE, SEEN, STRAY, TOKENS = TABLES = ("ladder", "life", "seen", "stray", "tokens")
# By table: JSON text by machine, of strays by MAC; None where nothing is to be known any more.
Kept = Mapping[str, Mapping[str, str | None]]
_NOTHING: Final[Kept] = MappingProxyType({})


class History:
    """One open history file. Used from one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create `path`; a damaged file is kept beside it as `history.db.damaged`.

        One that is whole and cannot be written is read into memory, and what happens is kept there.
        """
        make_directory(path.parent)
        with acting_for(path.parent):
            opened = _opened(path)
        self._db, self.problem = opened.db, opened.problem
        self.durable, self.lost_installs = opened.durable, opened.lost_installs

    def append(self, events: Iterable[tuple[str | None, str]] = (), kept: Kept = _NOTHING) -> None:
        """Keep all of it in one transaction.

        Args:
            events: machine and JSON text.
            kept: by table, what takes the place of what was known of a machine or a stray.
        """
        with self._db:
            self._db.executemany("INSERT INTO event (machine, body) VALUES (?, ?)", events)
            for table in TABLES:
                rows = kept.get(table, {}).items()
                new = [(key, text) for key, text in rows if text is not None]
                self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", new)  # noqa: S608
                gone = [(key,) for key, text in rows if text is None]
                self._db.executemany(f"DELETE FROM {table} WHERE {_key(table)} = ?", gone)  # noqa: S608
            self._db.execute(
                "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?",
                (EVENTS_KEPT,),
            )
            self._db.execute(
                "DELETE FROM event WHERE machine IS NULL AND id <= "
                "(SELECT id FROM event WHERE machine IS NULL ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (STRANGERS_KEPT,),
            )

    def kept(self, table: str) -> dict[str, object]:
        """What one of `TABLES` knows, as parsed JSON by its key; None where the text is none."""
        found: dict[str, object] = {}
        for key, body in self._db.execute(f"SELECT {_key(table)}, body FROM {table}"):  # noqa: S608
            try:
                found[key] = json.loads(body)
            except (ValueError, RecursionError):
                found[key] = None
        return found

    def events(self, *, limit: int, machine: str | None = None) -> list[str]:
        """The newest `limit` events as JSON texts, oldest first; of one machine when named."""
        where, values = ("WHERE machine = ?", (machine,)) if machine else ("", ())
        rows = self._db.execute(
            f"SELECT body FROM event {where} ORDER BY id DESC LIMIT ?",  # noqa: S608 - where is a constant
            (*values, limit),
        ).fetchall()
        return [body for (body,) in reversed(rows)]

    def close(self) -> None:
        """Flush and let go."""
        self._db.close()


def _key(table: str) -> str:
    return "mac" if table == STRAY else "machine"


@dataclass(frozen=True, slots=True)
class _Opened:
    """A history, what is wrong with it in words for an operator, and what that means."""

    db: sqlite3.Connection
    problem: str | None = None
    durable: bool = True  # what is written is there after a power cut
    lost_installs: bool = False  # who is installed could not be read


def _opened(path: Path) -> _Opened:
    if path.is_fifo() or path.is_socket() or path.is_char_device() or path.is_block_device():
        return _instead_of_no_file(path)
    try:
        return _Opened(_open(path))
    except sqlite3.DatabaseError as error:
        damaged = error.sqlite_errorcode & 0xFF in _DAMAGED  # the low byte of an extended code
        if damaged and _set_aside(path):
            _log.error("the history was damaged and is begun anew: %s", error)
            anew = _opened(path)
            saved = _salvage(path, anew.db)
            words = f"the history was damaged: it was set aside as {path.name}.damaged and begun anew"
            if saved is None:
                words += (
                    "; who is installed could not be read from it, so every install-once machine boots "
                    "from its disk until machine reinstall says otherwise"
                )
            return replace(anew, problem=words, lost_installs=saved is None)
        _log.error("cannot write the history, it is kept in memory until the next start: %s", error)
        words = f"the history cannot be written and is kept in memory: {error}"
        return _Opened(_in_memory(path), words, durable=False)


def _instead_of_no_file(path: Path) -> _Opened:
    """SQLite would wait for ever for the other end of a FIFO, and the whole VLAN with it."""
    _log.error("%s is no file: it is set aside, and the history begun anew", path)
    try:
        path.replace(path.with_name(path.name + ".odd"))
    except OSError as error:
        words = f"the history is no file, and stays so: {error.strerror}; it is kept in memory"
        return _Opened(_in_memory(path.with_name("none")), words, durable=False, lost_installs=True)
    words = f"the history was no file: it was set aside as {path.name}.odd and begun anew"
    return replace(_opened(path), problem=words, lost_installs=True)


def _salvage(path: Path, db: sqlite3.Connection) -> int | None:
    """Bring over the machines' lives from the damaged file; how many, None when they cannot be read."""
    rows: list[tuple[str, str]] | None = None
    with contextlib.suppress(sqlite3.Error):
        damaged = sqlite3.connect(f"{path.absolute().as_uri()}.damaged?mode=ro", uri=True)
        with contextlib.closing(damaged):
            # Else a file that was cut short is refused with all the pages that it still has (lockBtree).
            damaged.execute("PRAGMA writable_schema=ON")
            rows = _lives(damaged)
    if rows is None:
        return None
    with contextlib.suppress(sqlite3.Error), db:
        db.executemany("INSERT OR REPLACE INTO life VALUES (?, ?)", rows)
    return len(rows)


def _lives(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """The machines' lives; of a file from before there were lives, who is installed."""
    there = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    rows: dict[str, str] = {}
    if "installed" in there:
        for machine, at in db.execute("SELECT machine, at FROM installed"):
            since = None
            with contextlib.suppress(ValueError, TypeError):
                since = datetime.fromisoformat(at).astimezone(UTC)
            # When does not matter: a machine that is forgotten here is installed over.
            rows[machine] = json.dumps(Life(LifeState.INSTALLED, since).as_json())
    if LIFE in there:
        rows |= dict(db.execute("SELECT machine, body FROM life").fetchall())
    elif "installed" not in there:
        raise sqlite3.DatabaseError("there is no table of lives")
    return list(rows.items())


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, timeout=5)
    try:
        # FULL: what was acknowledged (a machine is installed) is still known after a power cut.
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(_SCHEMA)
        with db:
            db.executemany("INSERT OR REPLACE INTO life VALUES (?, ?)", _lives(db))
            db.execute("DELETE FROM installed")
        if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            damage = sqlite3.DatabaseError("pages are damaged")
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage
    except sqlite3.Error:
        db.close()
        raise
    return db


def _set_aside(path: Path) -> bool:
    try:
        path.replace(path.with_name(path.name + ".damaged"))
        for tail in ("-wal", "-shm"):
            path.with_name(path.name + tail).unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _in_memory(path: Path) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    for how in ("mode=ro", "immutable=1"):  # the first sees the write-ahead log too, where it can be mapped
        with contextlib.suppress(sqlite3.Error):
            kept = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)
            with contextlib.closing(kept):
                kept.backup(memory)
            break
    memory.executescript(_SCHEMA)
    return memory
