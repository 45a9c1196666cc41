"""The commands that change the wire: plan, sync, generations, rollback."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import typer

from appliance.cli import confirming
from appliance.cli.client import ask, daemon_is_running
from appliance.cli.common import INTERRUPTED, Output, print_json, print_lines, print_table, stderr_console
from appliance.daemon.only_one import instead_of_daemon
from appliance.errors import ExitCode, Refused, SurroundingsError
from appliance.paths import Paths
from appliance.sync import asked
from appliance.sync import run as route
from appliance.sync.apply import whoami
from appliance.sync.generations import Manifest, current_id
from appliance.sync.generations import list_generations as read_generations
from appliance.sync.plan import Plan
from appliance.sync.show import plan_lines
from appliance.system.files import LockHeld

_STARTING_LOOKS, _LOOK_SECONDS = 50, 0.2  # ten seconds for a daemon that is just starting
_SYNC_SECONDS = 300.0  # 100,000 reservations keep dnsmasq busy for half a minute


def plan(paths: Paths, *, output: Output, exit_code: bool) -> int:
    """Print what a sync would do; 10 with `exit_code` when that is anything."""
    wanted = route.plan(paths, route.Request())
    _show(wanted, output)
    if exit_code and not wanted.empty:
        return ExitCode.CHANGES_PENDING
    return ExitCode.FINE


def sync(
    paths: Paths, *, yes: bool, why: str, allow_mass_change: bool, output: Output, within: int = 0
) -> None:
    """Show the plan, ask a person who sits there, carry it out.

    `within`: seconds after which the daemon takes the change back unless it is confirmed; 0: it is kept.
    """
    request = route.Request(why=why, who=whoami(), allow_mass_change=allow_mass_change, confirm_within=within)
    _carry_out(paths, request, yes=yes, output=output)


def rollback(paths: Paths, number: int | None, *, yes: bool, output: Output, within: int = 0) -> None:
    """Go back to generation `number`, as a change like any other; `within` as for `sync`."""
    target = route.rollback_target(paths, number)
    request = route.Request(
        why=f"rollback to {target}",
        who=whoami(),
        allow_mass_change=True,
        to=target,
        confirm_within=within,
    )
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
            _proven_word(m),
            m.who,
            m.why,
            m.summary,
        )
        for m in found
    )
    print_table(("ID", "AT", "PROVEN", "WHO", "WHY", "WHAT"), rows, empty="No generations yet.")


def _proven_word(manifest: Manifest) -> str:
    if manifest.waits and manifest.pending:
        return f"to confirm until {manifest.pending}"
    return "yes" if manifest.proven else "taken back" if manifest.rejected else "no"


def _carry_out(paths: Paths, request: route.Request, *, yes: bool, output: Output) -> None:
    if request.confirm_within:
        confirming.need_daemon(paths)
    wanted = route.plan(paths, request)
    if output is Output.TABLE:
        print_lines(plan_lines(wanted))
    if not wanted.empty and not yes and sys.stdin.isatty():
        _ask_person()
    result = apply_agreed(paths, replace(request, expected=wanted.fingerprint))
    if output is Output.JSON:
        print_json(result)
        return
    _conclude(wanted, result)
    pending = result.get("pending")
    if isinstance(pending, dict):
        print_lines([confirming.told(pending)])
        if not yes and sys.stdin.isatty():
            confirming.wait(paths, pending, request.confirm_within)


def apply_agreed(paths: Paths, agreed: route.Request) -> dict[str, object]:
    """Have the daemon, or without one this process, carry out a plan that was agreed to; how it went."""
    offline = None if daemon_is_running(paths) else _without_daemon(paths, agreed)
    if offline is not None:
        return offline.as_json()
    body: dict[str, object] = {
        "why": agreed.why,
        "who": agreed.who,
        "allow_mass_change": agreed.allow_mass_change,
        "expected": agreed.expected,
        "to": agreed.to,
        "confirm_within": agreed.confirm_within,
    }
    answer = ask(paths, "POST", "/v1/sync", body, timeout=_SYNC_SECONDS)
    return answer if isinstance(answer, dict) else {}


def _ask_person() -> None:
    try:
        agreed = typer.confirm("Apply this?", err=True)
    except typer.Abort:  # Ctrl-C or the end of input; left alone, it would look like a bug of ours (1)
        raise typer.Exit(INTERRUPTED) from None
    if not agreed:
        raise Refused("nothing was applied")


def _without_daemon(paths: Paths, request: route.Request) -> route.Outcome | None:
    """Apply a change while no daemon runs; None when one has begun to listen in the meantime.

    A daemon that runs and does not listen (it starts, or its socket was removed) must not find another
    generation under its children.
    """
    for _ in range(_STARTING_LOOKS):
        try:
            with instead_of_daemon(paths):
                outcome = route.sync(paths, request, None)
                if request.to is None or not outcome.plan.empty:
                    asked.end(paths)
                return outcome
        except LockHeld:
            if daemon_is_running(paths):
                return None
            time.sleep(_LOOK_SECONDS)
    raise SurroundingsError(
        f"a daemon runs and does not listen on {paths.control}",
        hint="restart it: systemctl restart pxe-appliance",
    )


def _conclude(wanted: Plan, result: dict[str, object]) -> None:
    active = result.get("active") is True
    evidence = result.get("evidence")
    if wanted.empty:
        if not active:
            stderr_console().print("The daemon is not running: nothing is served.", markup=False)
        # The endpoint was asked all the same: it may have changed, or just been mended.
        said = [str(line) for line in evidence] if isinstance(evidence, list) else []
        print_lines(f"  {line}" for line in said if line.startswith("matchbox: "))
        return
    if isinstance(evidence, list):
        print_lines(f"  {line}" for line in evidence)
    number = result.get("generation")
    if isinstance(taken_back := result.get("taken_back"), int):
        print_lines(
            [f"Generation {taken_back} is taken back: generation {number} is served, and proven again."]
        )
    elif active and result.get("proven") is True:
        print_lines([f"Generation {number} is current, active and verified."])
    elif active:
        print_lines(
            [f"Generation {number} is current and active; it is proven as soon as a client can be asked."]
        )
    else:
        print_lines(
            [f"Generation {number} is applied, not active: the daemon is not running (pxe-appliance serve)."]
        )


def _show(wanted: Plan, output: Output) -> None:
    if output is Output.JSON:
        print_json(wanted.as_json())
    else:
        print_lines(plan_lines(wanted))
