"""The life of one dnsmasq child as a table: phase and signal in, next phase and orders out.

A missing entry is a programming error and raises. What the words of time mean (how long a backoff lasts, when
a probe counts as lost) is in `Patience`, so that the table stays a table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Final


class Phase(StrEnum):
    """Where a child is in its life."""

    STOPPED = auto()
    STARTING = auto()  # spawned; has not said yet that it read its hosts
    SERVING = auto()
    HUNG = auto()  # did not answer its probes; killed, waiting for it to be gone
    RESTARTING = auto()  # asked to end so that a new configuration takes effect
    BACKOFF = auto()  # it ended by itself; waiting before the next try
    STOPPING = auto()


class Signal(StrEnum):
    """What can happen to it."""

    START = auto()
    RESTART = auto()
    STOP = auto()
    READY = auto()  # its log says that it has read its files
    EXITED = auto()
    LOST = auto()  # too many probes went unanswered, or it never became ready
    TIMER = auto()  # the backoff is over


class Order(StrEnum):
    """What has to be done about it."""

    SPAWN = auto()
    TERM = auto()
    KILL = auto()
    ARM_BACKOFF = auto()


_P, _S, _O = Phase, Signal, Order
# A float ends at 2**1024, which a child that never comes up reaches after some four hours.
_DOUBLINGS: Final = 32

TABLE: Final = MappingProxyType(
    {
        (_P.STOPPED, _S.START): (_P.STARTING, (_O.SPAWN,)),
        (_P.STOPPED, _S.RESTART): (_P.STARTING, (_O.SPAWN,)),
        (_P.STOPPED, _S.STOP): (_P.STOPPED, ()),
        (_P.STOPPED, _S.TIMER): (_P.STOPPED, ()),
        (_P.STARTING, _S.READY): (_P.SERVING, ()),
        (_P.STARTING, _S.EXITED): (_P.BACKOFF, (_O.ARM_BACKOFF,)),
        (_P.STARTING, _S.LOST): (_P.HUNG, (_O.KILL,)),
        (_P.STARTING, _S.START): (_P.STARTING, ()),
        (_P.STARTING, _S.RESTART): (_P.RESTARTING, (_O.TERM,)),
        (_P.STARTING, _S.STOP): (_P.STOPPING, (_O.TERM,)),
        (_P.STARTING, _S.TIMER): (_P.STARTING, ()),
        (_P.SERVING, _S.READY): (_P.SERVING, ()),  # again after each SIGHUP
        (_P.SERVING, _S.EXITED): (_P.BACKOFF, (_O.ARM_BACKOFF,)),
        (_P.SERVING, _S.LOST): (_P.HUNG, (_O.KILL,)),
        (_P.SERVING, _S.START): (_P.SERVING, ()),
        (_P.SERVING, _S.RESTART): (_P.RESTARTING, (_O.TERM,)),
        (_P.SERVING, _S.STOP): (_P.STOPPING, (_O.TERM,)),
        (_P.SERVING, _S.TIMER): (_P.SERVING, ()),
        (_P.HUNG, _S.EXITED): (_P.STARTING, (_O.SPAWN,)),
        (_P.HUNG, _S.READY): (_P.HUNG, ()),  # a line that was still in the log
        (_P.HUNG, _S.LOST): (_P.HUNG, (_O.KILL,)),
        (_P.HUNG, _S.START): (_P.HUNG, ()),
        (_P.HUNG, _S.RESTART): (_P.HUNG, ()),
        (_P.HUNG, _S.STOP): (_P.STOPPING, (_O.KILL,)),
        (_P.HUNG, _S.TIMER): (_P.HUNG, ()),
        (_P.RESTARTING, _S.EXITED): (_P.STARTING, (_O.SPAWN,)),
        (_P.RESTARTING, _S.READY): (_P.RESTARTING, ()),
        (_P.RESTARTING, _S.LOST): (_P.RESTARTING, (_O.KILL,)),
        (_P.RESTARTING, _S.START): (_P.RESTARTING, ()),
        (_P.RESTARTING, _S.RESTART): (_P.RESTARTING, ()),
        (_P.RESTARTING, _S.STOP): (_P.STOPPING, (_O.TERM,)),
        (_P.RESTARTING, _S.TIMER): (_P.RESTARTING, ()),
        (_P.BACKOFF, _S.TIMER): (_P.STARTING, (_O.SPAWN,)),
        (_P.BACKOFF, _S.READY): (_P.BACKOFF, ()),
        (_P.BACKOFF, _S.LOST): (_P.BACKOFF, ()),
        (_P.BACKOFF, _S.START): (_P.BACKOFF, ()),
        (_P.BACKOFF, _S.RESTART): (_P.STARTING, (_O.SPAWN,)),  # a new configuration deserves a try at once
        (_P.BACKOFF, _S.STOP): (_P.STOPPED, ()),
        (_P.STOPPING, _S.EXITED): (_P.STOPPED, ()),
        (_P.STOPPING, _S.READY): (_P.STOPPING, ()),
        (_P.STOPPING, _S.LOST): (_P.STOPPING, (_O.KILL,)),
        (_P.STOPPING, _S.START): (_P.RESTARTING, ()),
        (_P.STOPPING, _S.RESTART): (_P.RESTARTING, ()),
        (_P.STOPPING, _S.STOP): (_P.STOPPING, ()),
        (_P.STOPPING, _S.TIMER): (_P.STOPPING, ()),
    }
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what; seconds of the monotonic clock."""

    start: float = 10.0  # until a child must have read its files, beside its hosts
    hang: float = 3.0  # without an answered probe while serving
    stop: float = 3.0  # from TERM to KILL
    calm: float = 30.0  # of serving, after which earlier failures are forgotten
    first_backoff: float = 0.1
    longest_backoff: float = 15.0


def reading_time(hosts: int) -> float:
    """Seconds that a child may take to read so many hosts, deaf meanwhile.

    It compares each with all before it (measured with 2.90: 0.2 s of CPU for 10,000, 25 times that for five
    times as many). Five times that is allowed, for a host that has other work.
    """
    return (hosts / 10_000) ** 2


@dataclass(frozen=True, slots=True)
class Child:
    """One child: its phase since when, how often it has been started again, its last sign of life."""

    name: str
    phase: Phase = Phase.STOPPED
    since: float = 0.0
    failures: int = 0  # in a row, for the backoff
    restarts: int = 0  # by itself or by a hang, since we run
    alive_at: float = 0.0
    reading: float = 0.0  # seconds that it may be deaf, because it reads its hosts
    wake_at: float | None = None

    def after(self, signal: Signal, now: float, patience: Patience) -> tuple[Child, tuple[Order, ...]]:
        """The child after `signal`, and what has to be done."""
        phase, orders = TABLE[self.phase, signal]
        child = self
        if signal is Signal.EXITED and phase is Phase.BACKOFF:
            calm = self.phase is Phase.SERVING and now - self.since >= patience.calm
            failures = 0 if calm else self.failures
            growth = 2 ** min(failures, _DOUBLINGS)
            delay = min(patience.first_backoff * growth, patience.longest_backoff)
            child = replace(child, failures=failures + 1, restarts=self.restarts + 1, wake_at=now + delay)
        if signal is Signal.LOST and phase is Phase.HUNG and self.phase is not Phase.HUNG:
            child = replace(child, restarts=self.restarts + 1)
        if phase is not Phase.BACKOFF:
            child = replace(child, wake_at=None)
        if phase is not self.phase or orders:
            child = replace(child, phase=phase, since=now, alive_at=now)
        if signal is Signal.READY and phase is Phase.SERVING:
            child = replace(child, reading=0.0, alive_at=now)
        return child, orders

    def due(self, now: float, patience: Patience) -> Signal | None:
        """The signal that the clock alone gives, if any is due."""
        match self.phase:
            case Phase.BACKOFF if self.wake_at is not None and now >= self.wake_at:
                return Signal.TIMER
            case Phase.STARTING if now - self.since >= patience.start + self.reading:
                return Signal.LOST
            case Phase.SERVING if now - self.alive_at >= patience.hang + self.reading:
                return Signal.LOST
            case Phase.STOPPING | Phase.RESTARTING | Phase.HUNG if now - self.since >= patience.stop:
                return Signal.LOST
            case _:
                return None
