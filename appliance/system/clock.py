"""The two clocks: one that people read, one that only moves forward.

Durations and deadlines use `monotonic`: the wall clock of a host without a network can jump by years.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds since an arbitrary start; never steps back."""
    return time.monotonic()


def since_boot() -> float:
    """Seconds since the host was started, those in which it was suspended among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def pause(seconds: float) -> None:
    """Wait. Not for the daemon's loop, which has a wait of its own."""
    time.sleep(seconds)
