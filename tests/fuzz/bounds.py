"""Time and memory that one reading of hostile bytes may cost, and what it may end with."""

from __future__ import annotations

import contextlib
import gc
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

# Address space on top of what the test has already.
MEMORY: Final = 768 << 20
_HANGS_AFTER: Final = 10.0  # seconds of processor time: on a loaded machine a wall clock would lie
_PAGE: Final = resource.getpagesize()


class Hangs(BaseException):
    """No parser catches it: it took all the time that it may take, and was not done."""


@contextlib.contextmanager
def bounded(seconds: float = _HANGS_AFTER) -> Iterator[None]:
    """Whatever runs in here gets so much processor time at a stretch, and bounded memory.

    Call `again` (below) before each reading: the time is that of one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * _PAGE
    before = signal.signal(signal.SIGPROF, _hangs)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    gc.freeze()  # what thousands of tests before have left would be gone through again and again meanwhile
    try:
        yield
    finally:
        gc.unfreeze()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def spent(work: Callable[[], object], seconds: float = _HANGS_AFTER) -> tuple[object, float]:
    """What `work` returns, and its processor seconds.

    Raises:
        Hangs: it did not end; anything that `work` raises.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    began = time.process_time()
    try:
        return work(), time.process_time() - began
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _hangs(_number: int, _frame: FrameType | None) -> None:
    raise Hangs("it was not done after all the processor time that it may take")
