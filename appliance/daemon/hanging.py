"""A change in a thread of its own, which goes to disk and wire: nobody waits for ever for the disk.

Whoever writes to a disk that hangs (a path to a SAN that is gone, a guest that is frozen for its snapshot)
gets no error: he waits. Nobody else must, least of all a change on the wire that is to be taken back.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final, TypeVar

from appliance.errors import SurroundingsError
from appliance.sync.apply import Activate, AppliedPlan, ProvenPlan
from appliance.system.clock import monotonic

PATIENCE: Final = 5.0  # seconds
PER_MACHINE: Final = 0.001  # each is read and compared before anything is written
_LOOK: Final = 0.5
_T = TypeVar("_T")


class Hangs(SurroundingsError):
    """The disk does not answer. `applied` is what the work had taken to the wire before, if it had."""

    def __init__(self, place: PurePosixPath, applied: AppliedPlan | None = None) -> None:
        super().__init__(f"the disk does not answer: {place}", hint="dmesg | tail -n 20")
        self.applied = applied


class Disk:
    """The one that the state directory is on. For one loop."""

    def __init__(self, place: PurePosixPath) -> None:
        self._place = place
        self._left: set[asyncio.Task[object]] = set()  # they end when the disk answers

    def refuse(self) -> None:
        """Begin nothing while work is left that waits for the disk.

        Raises:
            Hangs: there is some.
        """
        if self._left:
            raise Hangs(self._place)

    async def carried(
        self, work: Callable[[Activate], _T], activate: Activate, machines: int, *, at_once: bool = True
    ) -> _T:
        """What `work` returns, or raises; given up when the disk keeps it for too long.

        What is given up ends when the disk answers, and does not reach the wire any more. Time on the wire
        does not count, nor, without `at_once`, the time before the work is there for the first time.

        Raises:
            Hangs: it was given up.
        """
        self.refuse()
        going = _Going(activate, monotonic() if at_once else None)
        task = asyncio.create_task(asyncio.to_thread(work, going.activate))
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK)
            if not task.done() and going.given_up_after(PATIENCE + PER_MACHINE * machines):
                self._left.add(task)
                task.add_done_callback(self._came_back)
                raise Hangs(self._place, going.applied)
        return task.result()

    def _came_back(self, task: asyncio.Task[object]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # whoever was to hear of it was told that the disk hangs


class _Going:
    """One piece of work, seen from its thread and from the loop."""

    def __init__(self, activate: Activate, since: float | None) -> None:
        self._activate = activate
        self._since = since  # when it went to the disk; None while that does not count
        self._given_up = False
        self._turn = threading.Lock()
        self.applied: AppliedPlan | None = None

    def activate(self, applied: AppliedPlan) -> ProvenPlan:
        with self._turn:
            if self._given_up:
                raise SurroundingsError("it was given up while the disk did not answer")
            self._since = None
            self.applied = self.applied or applied
        try:
            return self._activate(applied)
        finally:
            with self._turn:
                self._since = monotonic()

    def given_up_after(self, seconds: float) -> bool:
        with self._turn:
            self._given_up = self._since is not None and monotonic() - self._since > seconds
            return self._given_up
