"""What every command shares: where things are, how output looks, how errors end the program."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from appliance.errors import ApplianceError, NotProven, OperatorError
from appliance.paths import Paths
from appliance.plain_text import safe_text

ROOT_VARIABLE = "PXE_APPLIANCE_ROOT"
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended


class Output(StrEnum):
    """How a listing is printed."""

    TABLE = "table"
    JSON = "json"


class Listing(StrEnum):
    """How a table that others take over is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the command line: its paths and how talkative it is."""

    paths: Paths
    verbose: bool = False


def session_paths(root: Path | None) -> Paths:
    """The places below `--root`, the environment's root, or the host's own."""
    chosen = str(root) if root is not None else os.environ.get(ROOT_VARIABLE, "/")
    return Paths(PurePosixPath(os.path.abspath(chosen)))  # noqa: PTH100 - no symlink may be resolved here


def stdout_console() -> Console:
    """Standard output, plain for NO_COLOR and in a pipe."""
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty(), color_system=None if plain else "auto")


def stderr_console() -> Console:
    """Standard error, for everything that is not the answer; plain as standard output is."""
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(stderr=True, highlight=False, soft_wrap=True, color_system=None if plain else "auto")


def print_json(value: object) -> None:
    """One JSON document on standard output, in ASCII: text from the wire can hold what moves a cursor."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_lines(lines: Iterable[str]) -> None:
    """Plain lines on standard output, safe for a terminal."""
    for line in lines:
        sys.stdout.write(safe_text(line, limit=2000) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A table; one line saying `empty` when there is nothing to show."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        count += 1
        table.add_row(*(escape(safe_text(cell)) for cell in row))
    if not count:
        sys.stdout.write(empty + "\n")
        return
    console = stdout_console()
    if not sys.stdout.isatty():
        console.width = 10_000  # in a pipe a row is a line, whatever its length
    console.print(table)


def report_error(error: ApplianceError) -> int:
    """Say on standard error what went wrong and what to do; the exit code for the shell."""
    console = stderr_console()
    if isinstance(error, OperatorError):
        for problem in error.problems:
            place = f"{problem.file}:{problem.line}" if problem.line else problem.file
            path = f" {problem.path}:" if problem.path else ""
            console.print(f"[bold]{_shown(place)}[/bold]:{_shown(path)} {_shown(problem.message)}")
            if problem.hint:
                console.print(f"    [dim]{_shown(problem.hint)}[/dim]")
    if isinstance(error, NotProven) and error.evidence:
        console.print("Proven again after the rollback:")
        for line in error.evidence:
            console.print(f"  {_shown(line)}")
    console.print(f"[bold red]error:[/bold red] {_shown(error.message)}")
    if error.hint:
        console.print(f"  [dim]{_shown(error.hint)}[/dim]")
    return int(error.exit_code)


def _shown(text: str) -> str:
    return escape(safe_text(text, limit=1000))
