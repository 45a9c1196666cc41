"""The board as it changes: one task that looks while somebody follows, and tells all of them the same.

A rack that boots at once changes thousands of rows a second. They are put together and told twice a second;
each row is worked out when its machine's ladder, life or lease has changed, and in turn besides, because time
alone makes a boot late. Nobody is waited for: whoever does not read is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime
from typing import Final, Protocol

from appliance.boot.events import rfc3339
from appliance.boot.ladder import Ladder
from appliance.daemon.board import RUNG_NAMES, board_row, cause_of, health, moods_of
from appliance.daemon.diagnosis import Diagnosis, Outside
from appliance.daemon.known import State
from appliance.daemon.sightings import Sighting
from appliance.daemon.status import machine_row
from appliance.inventory.model import Inventory, Machine

EVERY: Final = 0.5  # seconds between two looks
_BEAT: Final = 5.0  # seconds after which something is said even if nothing happened
_PIECE: Final = 200  # rows in a message, and rows that are worked out before others get their turn
_IN_TURN: Final = 400  # rows that are looked at in each round whatever happened
_STATUS_ROUNDS: Final = 2
_WAITING: Final = 256  # messages that one who follows may leave unread


class Source(Protocol):
    """The daemon, as seen from here."""

    def known(self) -> State: ...
    def outside(self) -> Outside: ...
    def status(self) -> dict[str, object]: ...


class Follower:
    """One who follows: messages to send, and whether it was given up on."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING + 1)
        self.dropped = False

    def tell(self, message: bytes) -> None:
        """Hand on a message; one who has left too many unread is dropped, and hears so by None."""
        if self.dropped:
            return
        if self.queue.qsize() >= _WAITING:
            self.end()
            return
        self.queue.put_nowait(message)

    def end(self) -> None:
        """Nothing more comes."""
        self.dropped = True
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class Feed:
    """What the board shows, kept up to date for as long as anybody follows."""

    def __init__(self, source: Source, clock: Callable[[], datetime], edition: str = "") -> None:
        """`edition` tells a page that was loaded earlier whether it is still the one that is served."""
        self._source = source
        self._clock = clock
        self._edition = edition
        self._followers: set[Follower] = set()
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._rows: dict[str, str] = {}  # each machine's row, encoded
        self._seen: dict[str, tuple[object, ...]] = {}  # what each row was made from
        self._keys: dict[str, str] = {}  # by which the board is sorted
        self._causes: dict[str, str] = {}  # of each machine that is stuck: the id of its reason
        self._inventory: Inventory | None = None
        self._status = ""
        self._place = 0
        self._rounds = 0
        self._said = 0.0
        self._ledger: object = None

    @property
    def followers(self) -> int:
        """How many follow at this moment."""
        return len(self._followers)

    def dismiss(self) -> None:
        """Tell everybody who follows that nothing more comes from here; a page asks again by itself."""
        for follower in self._followers:
            follower.end()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[tuple[Follower, list[bytes]]]:
        """Follow within the block: the follower, and the messages that tell it all there is so far."""
        if self._task is None or self._task.done():
            self._ready, self._followers = asyncio.Event(), set()
            self._task = asyncio.create_task(self._look_on(self._ready, self._followers), name="board")
        task, ready, followers, follower = self._task, self._ready, self._followers, Follower()
        followers.add(follower)
        try:
            await ready.wait()
            if follower.dropped:  # the first look failed
                yield follower, []
                return
            follower.queue = asyncio.Queue(_WAITING + 1)  # the snapshot holds what came meanwhile
            yield follower, list(self._everything())
        finally:
            followers.discard(follower)
            if not followers:
                task.cancel()
                if self._task is task:
                    self._task = None

    def _everything(self) -> Iterator[bytes]:
        state = self._source.known()
        yield _message(
            "hello",
            {
                "now": rfc3339(self._clock()),
                "rungs": RUNG_NAMES,
                "edition": self._edition,
                "machines": len(state.served.inventory.machines),
            },
        )
        yield _encoded("status", self._status)
        rows = list(self._rows.values())
        for start in range(0, len(rows), _PIECE):
            yield _rows_message(rows[start : start + _PIECE], ())
        yield _message("ready", {"rows": len(rows), "now": rfc3339(self._clock())})

    async def _look_on(self, ready: asyncio.Event, followers: set[Follower]) -> None:
        """Look for as long as anybody of one round follows."""
        try:
            self._rows, self._seen, self._keys, self._causes = {}, {}, {}, {}
            self._place, self._inventory = 0, None
            while True:
                await self._look(everything=not ready.is_set())
                ready.set()
                await asyncio.sleep(EVERY)
        finally:
            ready.set()
            for follower in followers:  # whatever ended us: a page that hears nothing comes again
                follower.end()

    async def _look(self, *, everything: bool) -> None:
        """One round: what changed is told to all."""
        state, changed = self._source.known(), []
        diagnosis = Diagnosis(state, self._clock(), self._source.outside())
        machines, gone = state.served.inventory.machines, self._gone(state.served.inventory)
        turn = range(self._place, self._place + _IN_TURN)
        for number, machine in enumerate(machines):
            if number % _PIECE == _PIECE - 1:
                await asyncio.sleep(0)
            name = str(machine.name)
            # Identical, nearly always: these values are replaced, never changed.
            made_from = (
                machine,
                state.ladders.get(name),
                state.lives.get(name),
                state.leases.get(str(machine.ip)),
                state.sightings.get(name),
            )
            if not everything and number not in turn and self._seen.get(name) == made_from:
                continue
            self._seen[name] = made_from
            if (row := self._worked_out(state, machine, name, diagnosis)) is not None:
                changed.append(row)
        self._place = 0 if turn.stop >= len(machines) else turn.stop
        if everything:
            self._look_at_status()
            return
        for start in range(0, max(len(changed), 1 if gone else 0), _PIECE):
            self._tell(_rows_message(changed[start : start + _PIECE], () if start else gone))
        self._look_at_ledger(state)
        # `status` asks after every machine: with thousands it costs more than the rows that changed.
        self._rounds += 1
        if (changed or gone or self._rounds % _STATUS_ROUNDS == 0) and self._look_at_status():
            self._tell(_encoded("status", self._status))
        now = asyncio.get_running_loop().time()
        if now - self._said >= _BEAT:
            self._tell(_message("beat", {"now": rfc3339(self._clock())}))

    def _worked_out(self, state: State, machine: Machine, name: str, diagnosis: Diagnosis) -> str | None:
        """A machine's row, encoded, when it is not the one that was told last."""
        ladder = state.ladders.get(name, Ladder())
        held = state.leases.get(str(machine.ip))
        row = board_row(
            machine_row(state, machine, diagnosis),
            [rung.value for rung in ladder.rungs],
            to_disk=ladder.handed_to_disk,
            lease=rfc3339(held.expires) if held else None,
            place=state.sightings.get(name, Sighting()).place,
        )
        text = json.dumps(row, separators=(",", ":"))
        if self._rows.get(name) == text:
            return None
        self._rows[name], self._keys[name] = text, str(row["key"])
        self._causes[name] = cause_of(row)
        return text

    def _gone(self, inventory: Inventory) -> list[str]:
        """The machines that the inventory no longer has; they are forgotten."""
        if inventory is self._inventory:
            return []
        self._inventory = inventory
        gone = list(self._rows.keys() - {str(m.name) for m in inventory.machines})
        for name in gone:
            for known in (self._rows, self._seen, self._keys, self._causes):
                known.pop(name, None)
        return gone

    def _look_at_status(self) -> bool:
        """Whether `status`, or the line about everything, is another one."""
        status = self._source.status()
        worst = min(self._keys, key=self._keys.__getitem__, default=None)
        row = json.loads(self._rows[worst]) if worst is not None else None
        line = health(status, moods_of(self._keys.values()), row, self._causes.values())
        text = json.dumps({"status": status, "health": line.as_json()}, separators=(",", ":"))
        if text == self._status:
            return False
        self._status = text
        return True

    def _look_at_ledger(self, state: State) -> None:
        """Say that the strays are others; who wants to see them asks for the listing."""
        if state.strays is not self._ledger:
            self._ledger = state.strays
            self._tell(_message("changed", {"strays": state.strays.counted}))

    def _tell(self, message: bytes) -> None:
        self._said = asyncio.get_running_loop().time()
        for follower in list(self._followers):
            follower.tell(message)


def _message(event: str, facts: Mapping[str, object]) -> bytes:
    return _encoded(event, json.dumps(facts, separators=(",", ":")))


def _encoded(event: str, text: str) -> bytes:
    """A server-sent event. JSON in ASCII holds no raw line break, which would end the field."""
    return f"event: {event}\ndata: {text}\n\n".encode("ascii")


def _rows_message(rows: list[str], gone: list[str] | tuple[str, ...]) -> bytes:
    return _encoded("rows", f'{{"rows":[{",".join(rows)}],"gone":{json.dumps(list(gone))}}}')
