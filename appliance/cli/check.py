"""`check`: every problem in settings and inventory, offline."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from appliance.cli.common import Output, print_json
from appliance.errors import ExitCode, OperatorError, Problem
from appliance.inventory.load import load_all
from appliance.paths import Paths
from appliance.plain_text import safe_text


def check(paths: Paths, output: str = Output.TABLE) -> int:
    """Print what is wrong, or that nothing is; the exit code: 0, or 3 when there are problems.

    Raises:
        SurroundingsError: the files cannot be reached at all.
    """
    problems: tuple[Problem, ...] = ()
    summary = ""
    try:
        settings, inventory = load_all(paths)
        summary = ", ".join(
            (
                _counted(len(inventory.machines), "machine"),
                _counted(len(inventory.profiles), "profile"),
                _counted(len(settings.networks), "network"),
            )
        )
    except OperatorError as error:
        whole = Problem(str(paths.etc), 0, "", error.message, error.hint)
        problems = error.problems or (whole,)
    if output == Output.JSON:
        print_json({"problems": [asdict(problem) for problem in problems]})
    elif problems:
        _print_problems(problems)
    else:
        sys.stdout.write(f"OK: {summary}\n")
    return int(ExitCode.OPERATOR if problems else ExitCode.FINE)


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        sys.stderr.write(safe_text(str(problem), limit=4000) + "\n")
    sys.stderr.write(_counted(len(problems), "problem") + "\n")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
