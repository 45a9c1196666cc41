"""The commands that change the wire: plan, sync, generations, rollback."""

from __future__ import annotations

import sys

import typer

from appliance.cli.client import ask, daemon_is_running
from appliance.cli.common import Output, print_json, print_lines, print_table, stderr_console
from appliance.errors import ExitCode, Refused
from appliance.paths import Paths
from appliance.sync import run as route
from appliance.sync.apply import whoami
from appliance.sync.generations import current_id
from appliance.sync.generations import list_generations as read_generations
from appliance.sync.plan import Plan
from appliance.sync.show import plan_lines

_SYNC_SECONDS = 300.0  # 100,000 reservations keep dnsmasq busy for half a minute


def plan(paths: Paths, *, output: Output, exit_code: bool) -> int:
    """Print what a sync would do; 10 with `exit_code` when that is anything."""
    wanted = route.plan(paths, route.Request())
    _show(wanted, output)
    if exit_code and not wanted.empty:
        return ExitCode.CHANGES_PENDING
    return ExitCode.FINE


def sync(paths: Paths, *, yes: bool, why: str, allow_mass_change: bool, output: Output) -> None:
    """Show the plan, ask a person who sits there, carry it out."""
    request = route.Request(why=why, who=whoami(), allow_mass_change=allow_mass_change)
    _carry_out(paths, request, yes=yes, output=output)


def rollback(paths: Paths, number: int | None, *, yes: bool, output: Output) -> None:
    """Go back to generation `number`, as a change like any other."""
    target = route.rollback_target(paths, number)
    request = route.Request(why=f"rollback to {target}", who=whoami(), allow_mass_change=True, to=target)
    _carry_out(paths, request, yes=yes, output=output)


def list_generations(paths: Paths, *, output: Output) -> None:
    """Print every generation, oldest first."""
    current = current_id(paths)
    found = read_generations(paths)
    if output is Output.JSON:
        print_json([{**m.as_json(), "current": m.id == current} for m in found])
        return
    rows = (
        (
            f"{m.id}{' *' if m.id == current else ''}",
            m.at,
            "yes" if m.proven else "taken back" if m.rejected else "no",
            m.who,
            m.why,
            m.summary,
        )
        for m in found
    )
    print_table(("ID", "AT", "PROVEN", "WHO", "WHY", "WHAT"), rows, empty="No generations yet.")


def _carry_out(paths: Paths, request: route.Request, *, yes: bool, output: Output) -> None:
    wanted = route.plan(paths, request)
    if output is Output.TABLE:
        print_lines(plan_lines(wanted))
    if not wanted.empty and not yes and sys.stdin.isatty() and not typer.confirm("Apply this?", err=True):
        raise Refused("nothing was changed")
    body: dict[str, object] = {
        "why": request.why,
        "who": request.who,
        "allow_mass_change": request.allow_mass_change,
        "expected": wanted.fingerprint,
        "to": request.to,
    }
    if daemon_is_running(paths):
        answer = ask(paths, "POST", "/v1/sync", body, timeout=_SYNC_SECONDS)
        result = answer if isinstance(answer, dict) else {}
    else:
        agreed = route.Request(
            request.why, request.who, request.allow_mass_change, wanted.fingerprint, request.to
        )
        result = route.sync(paths, agreed, None).as_json()
    if output is Output.JSON:
        print_json(result)
    else:
        _conclude(wanted, result)


def _conclude(wanted: Plan, result: dict[str, object]) -> None:
    active = result.get("active") is True
    evidence = result.get("evidence")
    if wanted.empty:
        if not active:
            stderr_console().print("The daemon is not running: nothing is served.", markup=False)
        return
    if isinstance(evidence, list):
        print_lines(f"  {line}" for line in evidence)
    number = result.get("generation")
    if active:
        print_lines([f"Generation {number} is current, active and verified."])
    else:
        print_lines(
            [f"Generation {number} is applied, not active: the daemon is not running (pxe-appliance serve)."]
        )


def _show(wanted: Plan, output: Output) -> None:
    if output is Output.JSON:
        print_json(wanted.as_json())
    else:
        print_lines(plan_lines(wanted))
