"""Put this directory on PYTHONPATH of a program that runs under libfaketime.

Python sleeps until an absolute time (clock_nanosleep), which libfaketime 0.9.10 refuses with EINVAL when it
is told to leave the monotonic clock alone. Sleeping for a while, by select, it leaves alone.
"""

from __future__ import annotations

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep  # type: ignore[assignment]
