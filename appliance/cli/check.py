"""`check`: every problem in what the operator wrote, offline."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from appliance.cli.common import Output, print_json
from appliance.errors import ExitCode, Problem
from appliance.paths import Paths
from appliance.plain_text import safe_text
from appliance.sync.inputs import Counts, examine


def check(paths: Paths, output: str = Output.TABLE) -> int:
    """Print what is wrong, or that nothing is; the exit code: 0, or 3 when there are problems.

    Warnings are printed beside and change no exit code.

    Raises:
        SurroundingsError: the files cannot be reached at all.
    """
    problems, warnings, counts = examine(paths)
    if output == Output.JSON:
        print_json(
            {
                "problems": [asdict(p) for p in problems],
                "warnings": [asdict(w) for w in warnings],
                "notes": list(counts.notes),
            }
        )
    else:
        _print(problems, warnings, counts)
    return int(ExitCode.OPERATOR if problems else ExitCode.FINE)


def _print(problems: Sequence[Problem], warnings: Sequence[Problem], counts: Counts) -> None:
    for problem in problems:
        sys.stderr.write(safe_text(str(problem), limit=4000) + "\n")
    for warning in warnings:
        sys.stderr.write(safe_text(f"warning: {warning}", limit=4000) + "\n")
    if problems:
        sys.stderr.write(_counted(len(problems), "problem") + "\n")
        return
    summary = (
        _counted(counts.machines, "machine"),
        _counted(counts.profiles, "profile"),
        _counted(counts.networks, "network"),
        *([_counted(len(warnings), "warning")] if warnings else []),
    )
    for note in counts.notes:
        sys.stdout.write(safe_text(f"note: {note}", limit=4000) + "\n")
    sys.stdout.write(f"OK: {', '.join(summary)}\n")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
