"""`strays …`: the options, and which function carries each command out."""

from __future__ import annotations

from typing import Annotated

import typer

from appliance.cli import strays as commands
from appliance.cli.common import Output, Session

OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print it.")]
_Mac = Annotated[str, typer.Argument(help="A MAC address that strays lists.")]

strays_app = typer.Typer(help="Who asked and was not served.", invoke_without_command=True)


@strays_app.callback()
def strays(
    context: typer.Context,
    ignored: Annotated[bool, typer.Option("--all", "-a", help="Those that are ignored, too.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Every MAC that asked and was not served: why, and whose it may be."""
    if context.invoked_subcommand is None:
        commands.list_strays(_session(context).paths, ignored=ignored, output=output)


@strays_app.command("show")
def show(context: typer.Context, mac: _Mac, output: OutputOption = Output.TABLE) -> None:
    """One stray: all that is known of it, and what to do, ready to paste."""
    commands.show_stray(_session(context).paths, mac, output=output)


@strays_app.command("ignore")
def ignore(
    context: typer.Context,
    mac: _Mac,
    note: Annotated[str, typer.Option("--note", "-m", help="Whose it is, or why it may ask.")] = "",
) -> None:
    """Count a stray no more: it asks for good reason. It still gets nothing."""
    commands.ignore_stray(_session(context).paths, mac, note)


@strays_app.command("unignore")
def unignore(context: typer.Context, mac: _Mac) -> None:
    """Count an ignored stray again."""
    commands.unignore_stray(_session(context).paths, mac)


def register(app: typer.Typer) -> None:
    """Add `strays` to `app`."""
    app.add_typer(strays_app, name="strays")


def _session(context: typer.Context) -> Session:
    session = context.obj
    assert isinstance(session, Session)
    return session
