"""`doctor`: what the round found, for people and for scripts."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import Final

import typer
from rich.console import Console
from rich.markup import escape

from appliance.cli.client import ask
from appliance.cli.common import Output, print_json, print_table, stdout_console
from appliance.doctor.catalogue import CHECKS, GROUPS
from appliance.doctor.examine import ASK_SECONDS, Report, examine
from appliance.doctor.finding import Finding, Verdict
from appliance.errors import ExitCode
from appliance.paths import Paths
from appliance.plain_text import safe_text

_SIGNS: Final = {
    Verdict.OK: "[green]ok     [/green]",
    Verdict.WARNING: "[yellow]WARNING[/yellow]",
    Verdict.ERROR: "[bold red]ERROR  [/bold red]",
}


def doctor(paths: Paths, *, only: Sequence[str] = (), output: Output) -> int:
    """Print every check, problems last; 5 when one of them found an error.

    Raises:
        typer.BadParameter: `only` names a check that there is not.
    """
    wanted = _wanted(only)
    report = examine(paths, lambda target: ask(paths, "GET", target, timeout=ASK_SECONDS), only=wanted)
    if output is Output.JSON:
        print_json([found.as_json() for found in report.findings])
    else:
        _print(stdout_console(), report)
    failed = any(found.verdict is Verdict.ERROR for found in report.findings)
    return ExitCode.SURROUNDINGS if failed else ExitCode.FINE


def list_checks(*, output: Output) -> None:
    """Every check by its id, and what is true when it is well."""
    if output is Output.JSON:
        print_json([{"id": c.id, "group": c.group, "message": c.words} for c in CHECKS.values()])
        return
    print_table(
        ("check", "about", "is well when"), ((c.id, c.group, c.words) for c in CHECKS.values()), empty=""
    )


def _wanted(only: Sequence[str]) -> Collection[str]:
    wanted = [identity for word in only for identity in word.split(",") if identity]
    for identity in wanted:
        if identity not in CHECKS:
            near = difflib.get_close_matches(identity, list(CHECKS), 1)
            hint = f"did you mean {near[0]}?" if near else "doctor --list shows them"
            raise typer.BadParameter(f"there is no check {identity[:64]!r}: {hint}")
    return wanted


def _print(console: Console, report: Report) -> None:
    fine = [f for f in report.findings if f.verdict is Verdict.OK]
    bad = sorted(
        (f for f in report.findings if f.verdict is not Verdict.OK), key=lambda f: f.verdict == "error"
    )
    for group in GROUPS:
        rows = [f for f in fine if f.id in CHECKS and CHECKS[f.id].group == group]
        if rows:
            console.print(f"[bold]{group}[/bold]")
        for row in rows:
            console.print(f"  {_SIGNS[row.verdict]} {row.id:<22} {_shown(row.message)}")
    if report.not_tried:
        console.print(f"not tried: {', '.join(report.not_tried)}", style="dim")
    if bad:
        console.print()
    for row in bad:
        _print_problem(console, row)
    console.print(_summary(report))


def _print_problem(console: Console, row: Finding) -> None:
    console.print(f"{_SIGNS[row.verdict]} [bold]{row.id}[/bold]: {_shown(row.message)}")
    for line in row.evidence:
        console.print(f"          {_shown(line)}", style="dim")
    if row.fix:
        console.print(f"          fix: {_shown(row.fix)}")


def _summary(report: Report) -> str:
    errors = sum(f.verdict is Verdict.ERROR for f in report.findings)
    warnings = sum(f.verdict is Verdict.WARNING for f in report.findings)
    checks = len({f.id for f in report.findings})
    told = f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}"
    skipped = f"; {len(report.not_tried)} not tried" if report.not_tried else ""
    return f"{_counted(checks, 'check')}: {told}{skipped}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shown(text: str) -> str:
    return escape(safe_text(text, limit=2000))
