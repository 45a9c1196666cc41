"""`doctor`: its options. What it needs is large (OpenPGP, templates), so it is imported when asked for."""

from __future__ import annotations

from typing import Annotated

import typer

from appliance.cli.common import Output, Session


def doctor(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="This check alone, or several: a,b or --only twice.")
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List the checks instead.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print it.")] = Output.TABLE,
) -> None:
    """Check this host for all that keeps machines from booting: evidence, and the command that fixes it."""
    from appliance.cli import doctor as command

    if list_them:
        command.list_checks(output=output)
        return
    session = context.obj
    assert isinstance(session, Session)
    raise typer.Exit(command.doctor(session.paths, only=only or (), output=output))


def register(app: typer.Typer) -> None:
    """Add `doctor` to `app`."""
    app.command()(doctor)
