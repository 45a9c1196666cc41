"""Looks on while the decider works: counts, logs, tells webhooks. Decides nothing, and nobody waits for it.

It sees every step from its edge: the state before, the signal, the state after, and what was ordered.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.boot.ladder import RUNGS, Ladder
from appliance.daemon import signals as s
from appliance.daemon.diagnosis import Outside
from appliance.daemon.gauges import Moment, families
from appliance.daemon.known import State
from appliance.daemon.log_lines import Severity
from appliance.daemon.logs import Logs
from appliance.daemon.metrics import Metrics, chosen_form
from appliance.daemon.notable import Note, Outlook, Rations, changes, climbed, lasting, of_climb, of_event
from appliance.daemon.webhooks import Webhooks
from appliance.paths import Paths
from appliance.settings import Settings
from appliance.system.clock import monotonic, now
from appliance.system.figures import own_figures

_LOOK_EVERY: Final = 5.0  # seconds
_IMAGES_EVERY: Final = 30.0
_PAGE_SECONDS: Final = 1.0  # that a page is given out again: anybody on the VLAN may ask for it
_REMEMBERED: Final = 4096  # NICs that were refused, with the reason
# Told by the rung that they lead to, or not worth a line each.
_QUIET: Final = frozenset(
    {
        *RUNGS,
        EventKind.NAK,
        EventKind.DECLINE,
        EventKind.RELEASE,
        EventKind.TFTP_ERROR,
        EventKind.HTTP_ERROR,
        EventKind.REPORT,
    }
)
_LEVELS: Final = {
    Severity.ERROR: logging.ERROR,
    Severity.WARNING: logging.WARNING,
    Severity.INFO: logging.INFO,
    Severity.DEBUG: logging.DEBUG,
}
_log = logging.getLogger("pxe-appliance")


@dataclass(frozen=True, slots=True)
class Loads:
    """What waits or was lost in the daemon: signals, events, bytes of dnsmasq's log."""

    queue: int
    events_dropped: int
    log_skipped: int
    events_left_out: int


class Watched(Protocol):
    """The desk, as seen from here."""

    started: datetime

    def known(self) -> State: ...
    def status(self) -> dict[str, object]: ...
    def machines(self) -> list[dict[str, object]]: ...
    async def images(self) -> list[dict[str, object]]: ...
    def outside(self) -> Outside: ...
    def loads(self) -> Loads: ...


class Observer:
    """One daemon's: its metrics, its webhooks, and what was told last."""

    def __init__(self, paths: Paths, desk: Watched) -> None:
        self._desk = desk
        self.metrics = Metrics()
        self.hooks = Webhooks(paths, self.metrics.delivery)
        self.logs: Logs | None = None  # whose settings follow those of the generation
        self._rations = Rations()
        self._refused: OrderedDict[tuple[Mac, str], None] = OrderedDict()
        self._seen = self._kept = Outlook()
        self._problems: list[dict[str, str]] = []
        self._synced_at: datetime | None = None
        self._images: tuple[float, Mapping[str, int]] = (float("-inf"), {})
        self._pages: dict[str, tuple[float, tuple[bytes, str]]] = {}  # by form: two at most
        self._making = asyncio.Lock()

    # ---- what happens ----

    def saw(self, before: State, signal: s.Signal, after: State, commands: list[s.Command]) -> None:
        """One step of the decider."""
        if isinstance(signal, s.Adopted):
            self._adopt(signal.served.settings)
        for command in commands:
            if isinstance(command, s.Record):
                self._event(before, command.event, after)

    def unchanged(self) -> None:
        """A sync ended with nothing to do."""
        self._sync("unchanged")

    def _adopt(self, settings: Settings) -> None:
        self.metrics.networks(settings.networks)
        self.metrics.hooks(settings.webhooks)
        self.hooks.use(settings.webhooks)
        if self.logs is not None:
            self.logs.use(settings.log)

    def _event(self, before: State, event: Event, after: State) -> None:
        network = event.network or ""
        served = network in after.served.settings.networks
        self.metrics.event(event, network=network if served else "")
        machine = after.served.machines.get(event.machine or "")
        if machine is not None:
            nothing, name = Ladder(), str(machine.name)
            old, new = before.ladders.get(name, nothing), after.ladders.get(name, nothing)
            climb = climbed(old, event, new) if new is not old else None
            if climb is not None:
                self.metrics.climb(climb, network=machine.network)
                if self._rations.take("rung", monotonic()):
                    self._tell(of_climb(event, climb))
                return
        self._count_sync(event)
        first = self._is_first(before, event)
        if event.kind in {EventKind.STRAY, EventKind.IGNORED} and not first:
            return
        if event.kind in _QUIET or not self._rations.take(event.kind.value, monotonic()):
            return
        note = of_event(event, first=first)
        if note is not None:
            self._tell(note)

    def _is_first(self, before: State, event: Event) -> bool:
        """Whether a stranger, or a NIC that is refused for this reason, was not told of before."""
        if event.mac is None:
            return False
        if event.kind is EventKind.STRAY:
            return event.mac not in before.strays
        if event.kind is not EventKind.IGNORED:
            return False
        key = (event.mac, event.detail.get("code", ""))
        new = key not in self._refused
        self._refused[key] = None
        self._refused.move_to_end(key)
        if len(self._refused) > _REMEMBERED:
            self._refused.popitem(last=False)
        return new

    def _count_sync(self, event: Event) -> None:
        if event.kind is EventKind.ROLLBACK:
            self._sync("rolled-back")
        elif event.kind is EventKind.SYNC and "until" not in event.detail:  # that one has not ended yet
            self._sync("failed" if "reason" in event.detail else "applied")

    def _sync(self, result: str) -> None:
        self.metrics.sync(result)
        if result in {"applied", "unchanged"}:
            self._synced_at = now()

    def _tell(self, note: Note) -> None:
        _log.log(_LEVELS[note.severity], "%s", note.message, extra={"facts": note.facts})
        if note.notice is not None:
            self.hooks.tell(note)

    # ---- what lasts ----

    async def watch(self) -> None:
        """Look for what became wrong, or well again, for ever."""
        try:
            while True:
                # Whatever goes wrong in words about a boot, machines are served on.
                (failed,) = await asyncio.gather(self._look(), return_exceptions=True)
                if failed is not None:
                    _log.error("cannot look for what is wrong: %r", failed, exc_info=failed)
                await asyncio.sleep(_LOOK_EVERY)
        finally:
            await self.hooks.close()

    async def _look(self) -> None:
        rows: list[dict[str, object]] = []
        status = self._desk.status()
        counts, problems = status["machines"], status["problems"]
        self._problems = problems if isinstance(problems, list) else []
        if self._kept.verdicts or (isinstance(counts, dict) and (counts["stuck"] or counts["held"])):
            rows = await asyncio.to_thread(self._desk.machines)
        seen = Outlook.of(rows, self._problems)
        after = lasting(self._seen, seen, self._kept)
        notes = [*changes(self._kept, after), *self._rations.withheld()]
        self._seen, self._kept = seen, after
        for note in notes:
            if self._rations.take(note.kind, monotonic()):
                self._tell(note)

    # ---- what is asked ----

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The metrics, and their content type."""
        form = chosen_form(accept)
        async with self._making:
            made, answer = self._pages.get(form, (float("-inf"), (b"", "")))
            if monotonic() - made > _PAGE_SECONDS:
                answer = await self._make(form)
                self._pages[form] = (monotonic(), answer)
            return answer

    async def _make(self, accept: str) -> tuple[bytes, str]:
        if monotonic() - self._images[0] > _IMAGES_EVERY:
            states = Counter(str(row.get("state")) for row in await self._desk.images())
            self._images = (monotonic(), states)
        loads = self._desk.loads()
        moment = Moment(
            state=self._desk.known(),
            problems=self._problems,
            now=now(),
            started=self._desk.started,
            figures=own_figures(),
            outside=self._desk.outside(),
            images=self._images[1],
            waiting=self.hooks.waiting,
            queue=loads.queue,
            events_dropped=loads.events_dropped,
            log_skipped=loads.log_skipped,
            events_left_out=loads.events_left_out,
            lines_dropped=self.logs.dropped if self.logs else 0,
            synced_at=self._synced_at,
        )
        # The loop has machines to answer meanwhile.
        return await asyncio.to_thread(self.metrics.page, accept, lambda: families(moment))
