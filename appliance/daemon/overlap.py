"""Two processes that answer the same clients and write one log: what both of them tell is told once. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from appliance.boot.events import Event, EventKind
from appliance.dnsmasq.correlate import Correlator

_HEAD: Final = (
    44  # characters of a line that dnsmasq wrote itself, whatever a client says: time, name, process id
)
_REMEMBERED: Final = 20_000  # steps; an overlap lasts a moment

Step = tuple[EventKind, str, str]  # of an exchange: what, its transaction id, whose


class Overlap:
    """Takes both processes' lines apart, and merges their events.

    A broadcast reaches both, a unicast one of them (SO_REUSEPORT), a process that comes or goes misses what
    was before or after it. So an event counts the first time that either of the two tells it; a client that
    asks again with the same transaction id is told again.
    """

    def __init__(self, correlators: Mapping[int, Correlator]) -> None:
        """`correlators` by process id."""
        self.correlators = dict(correlators)
        self._marks = {f"[{pid}]: ": pid for pid in correlators}
        self._told: OrderedDict[Step, dict[int, int]] = OrderedDict()

    def writer(self, line: str) -> int | None:
        """Which of the two wrote a line; None for anybody else's."""
        head = line[:_HEAD]
        return next((pid for mark, pid in self._marks.items() if mark in head), None)

    def merged(self, pid: int, events: Iterable[Event]) -> list[Event]:
        """Those of a process's events that the other has not told already; all that belong to no exchange."""
        return [event for event in events if "xid" not in event.detail or self._first(pid, event)]

    def _first(self, pid: int, event: Event) -> bool:
        step = (event.kind, event.detail["xid"], str(event.mac))
        heard = self._told.setdefault(step, dict.fromkeys(self.correlators, 0))
        told = max(heard.values())
        heard[pid] += 1
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return heard[pid] > told
