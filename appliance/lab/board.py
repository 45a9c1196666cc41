"""How a lab run looks: a live board on a terminal, plain lines in a pipe, a table of rungs at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from appliance.boot.events import EventKind
from appliance.lab.rack import LabMachine
from appliance.lab.watch import RUNGS, Finding, Watch
from appliance.plain_text import safe_text

_PER_SECOND: Final = 4
_WIDE: Final = 120  # columns that a row with every rung takes


class Board:
    """Shows a run as it goes; a context, so that the terminal is whole again however it ends."""

    def __init__(self, console: Console, watch: Watch) -> None:
        self._console = console
        self._watch = watch
        self._since = time.monotonic()
        self._live = (
            Live(self._now(), console=console, refresh_per_second=_PER_SECOND, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def reached(self, machine: LabMachine, rung: EventKind) -> None:
        """Machine `machine` has just been seen on `rung`."""
        if self._live is None:
            seconds = self._watch.rungs[machine.name][rung]
            self._console.print(f"{seconds:6.1f} s  {machine.name:<8} {rung}", highlight=False)

    def tick(self) -> None:
        """Let the clock on the board go on."""
        if self._live:
            self._live.update(self._now())

    def _now(self) -> Table:
        title = f"{time.monotonic() - self._since:.0f} s since power-on"
        return rung_table(self._watch, title=title, width=self._console.width)


def rung_table(watch: Watch, *, title: str, width: int) -> Table:
    """Machines against rungs, in seconds after power-on; a dot where nobody has been yet.

    A row per machine where `width` columns allow it, else a column per machine.
    """
    heads = ["machine", "firmware", "address", *(rung.value for rung in RUNGS)]
    grid = [heads, *(_row(watch, machine) for machine in watch.rack.machines)]
    if width < _WIDE:
        grid = [list(cells) for cells in zip(*grid, strict=True)]
    table = Table(title=title, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for number, head in enumerate(grid[0]):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    for cells in grid[1:]:
        table.add_row(*cells)
    return table


def _row(watch: Watch, machine: LabMachine) -> list[str]:
    reached = watch.rungs.get(machine.name, {})
    seconds = [f"{reached[rung]:.1f}" if rung in reached else "·" for rung in RUNGS]
    if watch.done(machine):
        seconds[-1] = f"[green]{seconds[-1]}[/green]"
    return [machine.name, machine.firmware.value, str(machine.ip), *seconds]


def print_result(console: Console, watch: Watch, findings: tuple[Finding, ...]) -> None:
    """The table of rungs, then one line per finding."""
    if not console.is_terminal:
        # In a pipe a row is a line, whatever its length.
        console = Console(file=console.file, width=_WIDE, soft_wrap=True, highlight=False)
    console.print(rung_table(watch, title="seconds after power-on", width=console.width))
    outsiders = set(watch.rack.outsiders().values())
    silent = {
        subject: "got nothing, and the events say so" if subject in outsiders else "went through every rung"
        for subject in (finding.subject for finding in findings)
    }
    print_findings(console, [replace(f, reason=f.reason or silent[f.subject]) for f in findings])


def print_findings(console: Console, findings: Iterable[Finding]) -> None:
    """One line per finding."""
    if not console.is_terminal:
        console = Console(file=console.file, width=_WIDE, soft_wrap=True, highlight=False)
    for finding in findings:
        said = finding.reason
        mark = "[green]ok[/green]    " if finding.holds else "[bold red]FAILED[/bold red]"
        console.print(f"{mark} {escape(safe_text(f'{finding.subject}: {said}', limit=1000))}")
