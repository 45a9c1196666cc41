"""`service install`, `uninstall`, `reload`: the appliance as a service of this host, without a package."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer
from typer.core import TyperGroup

from appliance import __version__
from appliance.cli.common import INTERRUPTED, Session, print_lines, stderr_console
from appliance.cli.reloading import await_outcome, running_daemon
from appliance.errors import ExitCode, Refused, SurroundingsError
from appliance.paths import Paths
from appliance.service.apply import carry_out, drop_guard, reload_service
from appliance.service.look import (
    is_active,
    look_at_host,
    program_path,
    refuse_unless_root,
    shipped_units,
)
from appliance.service.parts import SERVICE, UNIT_DIRECTORY, parts
from appliance.service.plan import ServicePlan, plan_install, plan_lines, plan_uninstall

service_app = typer.Typer(
    help="The appliance as a systemd service of this host (for pip and uv).", no_args_is_help=True
)
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]


@service_app.command("install")
def install(
    context: typer.Context,
    yes: _Yes = False,
    dry_run: _DryRun = False,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it, too.")] = True,
) -> None:
    """User, directories, units, manual pages and completions below /usr/local; enabled and started.

    Again after an upgrade of the program: a running daemon takes itself over, and no exchange is lost.
    """
    _refuse_root_option(context, "install")
    manual, completions = _generated(context)
    wanted = parts(program_path(), shipped_units(), manual, completions)
    standing = look_at_host(part.path for part in wanted)
    plan = plan_install(wanted, standing, start=start)
    _agree(plan, yes=yes, dry_run=dry_run)
    before = running_daemon(Paths())
    if not carry_out(plan, _say):
        _say(f"the service is installed, and does not run: journalctl -u {SERVICE} -n 50")
        raise typer.Exit(ExitCode.SURROUNDINGS)
    if standing.active and (why := await_outcome(Paths(), before)):
        _say(f"the service is installed, and the program before it serves on: {why}")
        _say(f"journalctl -u {SERVICE} -n 50")
        raise typer.Exit(ExitCode.SURROUNDINGS)
    print_lines(["The service is installed."])


@service_app.command("uninstall")
def uninstall(
    context: typer.Context,
    yes: _Yes = False,
    dry_run: _DryRun = False,
    purge_state: Annotated[
        bool,
        typer.Option(
            "--purge-state", help="Remove /var/lib/pxe-appliance, too: generations, images, history."
        ),
    ] = False,
) -> None:
    """Stop the service and take away what `service install` put here; what the operator wrote stays."""
    _refuse_root_option(context, "uninstall")
    plan = plan_uninstall(look_at_host(()), purge_state=purge_state)
    _agree(plan, yes=yes, dry_run=dry_run)
    well = carry_out(plan, _say)
    drop_guard()
    if not well:
        _say("the service is removed, but for what is named above")
        raise typer.Exit(ExitCode.SURROUNDINGS)
    print_lines(["The service is removed."])


@service_app.command("reload")
def reload(context: typer.Context) -> None:
    """Let the running daemon go on as the program that is installed, and wait until it has.

    No exchange is lost. A program that cannot take over leaves the one before it serving, and this says why.
    """
    _refuse_root_option(context, "reload")
    if not is_active():
        print_lines(["The service does not run: there is nothing to take over."])
        return
    before = running_daemon(Paths())
    reload_service()
    if why := await_outcome(Paths(), before):
        raise SurroundingsError(why, hint=f"journalctl -u {SERVICE} -n 50")
    print_lines([f"The daemon goes on as version {__version__}."])


def register(app: typer.Typer) -> None:
    """Add `service` to `app`."""
    app.add_typer(service_app, name="service")


def _refuse_root_option(context: typer.Context, command: str) -> None:
    session = context.obj
    assert isinstance(session, Session)
    if session.paths != Paths():
        raise Refused(f"cannot install a service for {session.paths.root}: units serve the host as a whole")
    refuse_unless_root(command)


def _generated(context: typer.Context) -> tuple[Mapping[str, str], Mapping[str, str]]:
    from appliance.cli.completions import completions
    from appliance.cli.manual import man_pages

    root = context.find_root().command
    assert isinstance(root, TyperGroup)
    return man_pages(root), completions()


def _agree(plan: ServicePlan, *, yes: bool, dry_run: bool) -> None:
    print_lines(plan_lines(plan))
    print_lines(_differences(plan))
    if dry_run:
        raise typer.Exit
    if yes or not sys.stdin.isatty():
        return
    try:
        agreed = typer.confirm("Do this?", err=True)
    except typer.Abort:
        raise typer.Exit(INTERRUPTED) from None
    if not agreed:
        raise Refused("nothing was done")


def _differences(plan: ServicePlan) -> Iterator[str]:
    """How units that are there already would change: the rest is not worth reading."""
    for change in plan.changes:
        if change.before is None or change.after is None or not change.path.startswith(UNIT_DIRECTORY):
            continue
        before, after = change.before.text.splitlines(), change.after.text.splitlines()
        yield from difflib.unified_diff(before, after, change.path, change.path, lineterm="")


def _say(words: str) -> None:
    stderr_console().print(words, markup=False)
