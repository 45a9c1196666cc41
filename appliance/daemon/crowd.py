"""What of a flood the decider is told: each thing once a second, so that machines are seen through it. Pure.

A reader of logs is faster than who decides about what it reads, and a queue in between would grow as long as
somebody floods: everything that is reported would be late by as much.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from appliance.boot.events import Event

CROWDED: Final = 500  # signals that wait; a fraction of a second
FULL: Final = 4 * CROWDED  # the logs wait as well: they are bounded by themselves
BEHIND: Final = 1 << 20  # bytes of a log that were not read
_SECOND: Final = 1.0
_REMEMBERED: Final = 10_000
_SHARE: Final = 2  # characters by which strangers are told apart: a flood has any number of MACs

_Key = tuple[object, ...]


@dataclass(slots=True)
class Crowd:
    """`left_out`: events that were not told because they said nothing new."""

    left_out: int = 0
    _told_at: dict[_Key, float] = field(default_factory=dict)

    def lets(self, event: Event, at: float) -> bool:
        """Whether an event is told in a crowd; `at` is monotonic, in seconds."""
        key = _key(event)
        if at - self._told_at.get(key, float("-inf")) < _SECOND:
            self.left_out += 1
            return False
        if len(self._told_at) >= _REMEMBERED:
            self._told_at = {key: told for key, told in self._told_at.items() if at - told < _SECOND}
        self._told_at[key] = at
        return True


def _key(event: Event) -> _Key:
    """Alike for events of which the second says nothing new: bounded by the inventory, not by who asks."""
    if event.machine is None:
        return event.kind, str(event.mac or event.ip)[-_SHARE:], event.detail.get("code")
    words = (event.detail.get(word) for word in ("stage", "to", "code"))
    return event.kind, event.machine, event.mac, *words
