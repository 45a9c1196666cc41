"""What outlives a restart: the newest events, and how far each machine has come. SQLite, bounded.

Everything in here is a convenience: a lost or damaged file is set aside and begun anew, and never keeps the
wire from being served.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from appliance.system.files import make_directory

EVENTS_KEPT = 100_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY, machine TEXT, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_machine ON event (machine, id);
CREATE TABLE IF NOT EXISTS installed (machine TEXT PRIMARY KEY, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ladder (machine TEXT PRIMARY KEY, body TEXT NOT NULL);
"""


class History:
    """One open history file. Used from one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create `path`; a damaged file is kept beside it as `history.db.damaged`."""
        make_directory(path.parent)
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError:
            path.replace(path.with_name(path.name + ".damaged"))
            for tail in ("-wal", "-shm"):
                path.with_name(path.name + tail).unlink(missing_ok=True)
            self._db = _open(path)

    def append(self, events: Iterable[tuple[str | None, str]], ladders: Mapping[str, str]) -> None:
        """Keep events (machine, JSON text) and ladders (machine to JSON text) in one transaction."""
        with self._db:
            self._db.executemany("INSERT INTO event (machine, body) VALUES (?, ?)", events)
            self._db.executemany("INSERT OR REPLACE INTO ladder VALUES (?, ?)", ladders.items())
            self._db.execute(
                "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?",
                (EVENTS_KEPT,),
            )

    def set_installed(self, changes: Mapping[str, str | None]) -> None:
        """Keep when machines were installed (RFC 3339), or forget it (None)."""
        with self._db:
            for machine, at in changes.items():
                self._db.execute("DELETE FROM installed WHERE machine = ?", (machine,))
                if at is not None:
                    self._db.execute("INSERT INTO installed VALUES (?, ?)", (machine, at))

    def installed(self) -> dict[str, str]:
        """When each installed machine said so, RFC 3339."""
        return dict(self._db.execute("SELECT machine, at FROM installed"))

    def forget(self, machines: Iterable[str]) -> None:
        """Drop the ladders of machines that are no longer in the inventory."""
        with self._db:
            self._db.executemany("DELETE FROM ladder WHERE machine = ?", [(m,) for m in machines])

    def ladders(self) -> dict[str, object]:
        """Every machine's ladder as parsed JSON."""
        return {m: json.loads(body) for m, body in self._db.execute("SELECT machine, body FROM ladder")}

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


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, timeout=5)
    # WAL with NORMAL loses at most the last moments at a power cut and never the file.
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.executescript(_SCHEMA)
    db.execute("SELECT count(*) FROM ladder").fetchone()
    return db
