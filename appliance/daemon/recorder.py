"""Events to whoever listens, and to the history, a moment behind: a slow disk must not slow the decider."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading

from appliance.boot.events import Event
from appliance.daemon import signals as s
from appliance.daemon.history import LADDER, LIFE, SEEN, STRAY, TOKENS, History
from appliance.errors import SurroundingsError

_EVERY = 0.5  # seconds between writes
_WAITING = 50_000  # events kept for a disk that is not ready; more are dropped and counted
_LISTENER = 10_000
_PATIENCE = 2.0  # seconds for who asks: a disk that hangs must not keep all threads there are
_STRAYS = 10_000  # changes of the ledger that are tried again
_log = logging.getLogger("pxe-appliance")


class Recorder:
    """Collects what has to be kept and hands it on."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._events: list[tuple[str | None, str]] = []
        self._kept: dict[str, dict[str, str | None]] = {}
        self._listeners: dict[asyncio.Queue[str], str | None] = {}
        self._busy = threading.Lock()
        self.dropped = 0
        self.failure = ""  # why the last write failed, empty when it did not

    @property
    def problem(self) -> str:
        """What an operator has to know about the history; empty when it is well."""
        if self.failure:
            return f"the history cannot be written, {self.dropped} events are lost: {self.failure}"
        return self._history.problem or ""

    def record(self, event: Event) -> None:
        """Keep and publish one event."""
        # ASCII: a report can hold half a surrogate pair, which neither a socket nor SQLite takes as UTF-8.
        text = json.dumps(event.as_json())
        if len(self._events) < _WAITING:
            self._events.append((event.machine, text))
        else:
            self.dropped += 1
        for listener, machine in list(self._listeners.items()):
            if machine is not None and machine != event.machine:
                continue
            if listener.full():  # whoever does not read loses the oldest, and nobody waits for it
                listener.get_nowait()
            listener.put_nowait(text)

    def keep(self, command: s.Saving) -> None:
        """Keep what the decider wants to know again after a restart."""
        match command:
            case s.SaveLadder(machine, ladder):
                self.save(LADDER, machine, ladder.as_json())
            case s.SaveLife(machine, life):
                self.save(LIFE, machine, life.as_json())
            case s.SaveSighting(machine, sighting):
                self.save(SEEN, machine, sighting.as_json())
            case s.SaveStrays(rows):
                for mac, row in rows.items():
                    self.save(STRAY, mac.text, row.as_json() if row else None)
            case s.SaveTokens(machine, tokens):
                self.save(TOKENS, machine, [token.as_json() for token in tokens])

    def save(self, table: str, key: str, value: object) -> None:
        """Keep what is known of a machine, or a stray by its MAC, as plain JSON; None: nothing any more."""
        self._kept.setdefault(table, {})[key] = None if value is None else json.dumps(value)

    def subscribe(self, machine: str | None = None) -> asyncio.Queue[str]:
        """A queue that gets every event from now on, or those of one machine; an empty text is the end."""
        queue: asyncio.Queue[str] = asyncio.Queue(_LISTENER)
        self._listeners[queue] = machine
        return queue

    def dismiss(self) -> None:
        """Tell everybody who listens, by an empty text, that nothing more comes from here."""
        for listener in self._listeners:
            if listener.full():
                listener.get_nowait()
            listener.put_nowait("")

    def unsubscribe(self, queue: asyncio.Queue[str]) -> None:
        """Stop filling a queue."""
        self._listeners.pop(queue, None)

    def past(self, limit: int, machine: str | None) -> list[str]:
        """The newest events as JSON texts, those that are not written yet included."""
        self.flush()
        if not self._busy.acquire(timeout=_PATIENCE):
            raise SurroundingsError("cannot read the history: the disk does not answer")
        try:
            return self._history.events(limit=limit, machine=machine)
        finally:
            self._busy.release()

    def flush(self) -> bool:
        """Write what has been collected, from any thread; whether all of it is on disk."""
        if not self._busy.acquire(timeout=_PATIENCE):
            return False
        try:
            events, self._events = self._events, []
            kept, self._kept = self._kept, {}
            if not events and not kept:
                return self._history.durable
            try:
                self._history.append(events, kept)
            except sqlite3.Error as error:
                # A full disk costs the past, never the present. What is known of machines is tried again:
                # that is bounded by the inventory, and a forgotten installation would be installed over.
                # Strays are bounded by nothing: of a flood, the newest are.
                self.dropped += len(events)
                for table, values in kept.items():
                    waiting = {**values, **self._kept.get(table, {})}
                    over = len(waiting) - _STRAYS if table == STRAY else 0
                    self._kept[table] = dict(list(waiting.items())[over:]) if over > 0 else waiting
                self.failure = str(error)
                _log.warning("cannot write the history, %d events lost: %s", len(events), error)
                return False
            self.failure = ""
            return self._history.durable
        finally:
            self._busy.release()

    async def write_behind(self) -> None:
        """Write every half second, for ever."""
        while True:
            await asyncio.sleep(_EVERY)
            await asyncio.to_thread(self.flush)
