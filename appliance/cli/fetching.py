"""A fetch, watched: bars on a terminal, a line for each artefact in a pipe."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from appliance.cli.common import stderr_console
from appliance.plain_text import safe_text


class Screen:
    """A watcher (images/progress) that prints to standard error."""

    def __init__(self) -> None:
        self._console: Console = stderr_console()
        self._bars = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            if self._console.is_terminal
            else None
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._came: dict[str, int] = {}

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def begins(self, name: str, total: int | None, done: int) -> None:
        """A bar that stands where the last attempt ended."""
        self._began.setdefault(name, (time.monotonic(), done))
        self._came[name] = done
        if self._bars is None:
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(safe_text(name, limit=60), total=total)
        self._bars.update(self._tasks[name], total=total, completed=done)

    def advances(self, name: str, count: int) -> None:
        """The bar grows."""
        self._came[name] = self._came.get(name, 0) + count
        if self._bars is not None and name in self._tasks:
            self._bars.advance(self._tasks[name], count)

    def says(self, words: str) -> None:
        """A line above the bars."""
        self._console.print(safe_text(words, limit=1000), markup=False)

    def ends(self, name: str, words: str) -> None:
        """The bar makes way for a line: size, time, speed, and what proved it."""
        began, before = self._began.get(name, (time.monotonic(), 0))
        seconds = max(time.monotonic() - began, 0.001)
        size = self._came.get(name, 0)
        resumed = f", {_megabytes(before)} of it from before" if before else ""
        speed = (size - before) / seconds
        self.says(f"{name}: {_megabytes(size)} in {seconds:.1f} s ({_megabytes(speed)}/s{resumed}); {words}")
        if self._bars is not None and name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"
