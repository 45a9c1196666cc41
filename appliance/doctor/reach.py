"""What gatherers may reach: /proc, /sys, other programs, a clock that runs out; all can be put elsewhere.

A gatherer never raises for what it cannot see: it notes that, and the round tells it as a finding of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from appliance.errors import SurroundingsError
from appliance.system.clock import monotonic
from appliance.system.command import Completed, environment, pasteable, run

ROUND_SECONDS: Final = 2.3  # for all gatherers together, after the daemon was asked
_COMMAND_SECONDS: Final = 1.5
_FILE_LIMIT: Final = 2**20


class Reach:
    """One round's hands; threads share it. `unanswered` and `unseen` collect what was in the way."""

    def __init__(
        self, proc: Path = Path("/proc"), sys: Path = Path("/sys"), seconds: float = ROUND_SECONDS
    ) -> None:
        self.proc = proc
        self.sys = sys
        self._seconds = seconds
        self.deadline = monotonic() + seconds
        self.unanswered: list[str] = []
        self.unseen: list[str] = []

    def extend(self) -> None:
        """The round begins now: what came before it was not its time."""
        self.deadline = monotonic() + self._seconds

    @property
    def root(self) -> bool:
        """Whether we may look everywhere."""
        return os.geteuid() == 0

    @property
    def left(self) -> float:
        """Seconds until the round ends; at least a little, so that a socket's time-out is never zero."""
        return max(self.deadline - monotonic(), 0.05)

    @property
    def spare(self) -> float:
        """What a socket may wait: a little less, so that what it has to tell is told in time."""
        return max(self.left - 0.3, 0.05)

    def has(self, program: str) -> str:
        """Where a program is; empty when it is not installed."""
        return shutil.which(program, path=environment()["PATH"]) or ""

    def run(self, *argv: str) -> Completed | None:
        """Run a program that is there to its end; None when it is not, or does not come to one in time."""
        if not self.has(argv[0]):
            return None
        try:
            return run(argv, timeout=min(_COMMAND_SECONDS, self.spare), check=False)
        except SurroundingsError as error:
            self.unanswered.append(f"{pasteable(argv)}: {error.message}")
            return None

    def text(self, path: Path) -> str:
        """What stands in a file of /proc or /sys; empty when it is not there or says nothing."""
        try:
            with path.open("rb") as stream:
                return stream.read(_FILE_LIMIT).decode(errors="replace")
        except OSError:
            return ""

    def number(self, path: Path) -> int | None:
        """The number in a file; None when there is none."""
        text = self.text(path).strip()
        return int(text) if text.lstrip("-").isdecimal() else None

    def sysctl(self, name: str) -> int | None:
        """A kernel setting by its dotted path, where an interface's name stands as one word."""
        return self.number(self.proc.joinpath("sys", *name.split("/")))

    def hidden(self, what: str) -> None:
        """Something that only root can see."""
        self.unseen.append(what)


def names(directory: Path) -> Sequence[str]:
    """The names in a directory, sorted; none when it cannot be read."""
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return []
