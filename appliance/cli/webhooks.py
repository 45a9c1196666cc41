"""`webhook test`: whether a receiver gets what it is sent, tried by the daemon itself."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from appliance.cli.client import ask
from appliance.cli.common import Output, Session, print_json, print_lines
from appliance.paths import Paths

_SECONDS = 30.0  # the daemon gives up before


def register(app: typer.Typer) -> None:
    """Add `webhook …`."""
    webhook = typer.Typer(help="Who is told what happens.", no_args_is_help=True)
    webhook.command("test")(send_test)
    app.add_typer(webhook, name="webhook")


def send_test(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name in appliance.toml.")],
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print it.")] = Output.TABLE,
) -> None:
    """Send a signed test delivery, once, and print what the receiver answered."""
    session = context.obj
    assert isinstance(session, Session)
    test_webhook(session.paths, name, output=output)


def test_webhook(paths: Paths, name: str, *, output: Output) -> None:
    """Have the daemon deliver a test; print the answer.

    Raises:
        Refused: the daemon knows no such webhook.
        SurroundingsError: it does not run, or the delivery did not arrive.
    """
    answer = ask(paths, "POST", f"/v1/webhooks/{quote(name, safe='')}/test", timeout=_SECONDS)
    facts = answer if isinstance(answer, dict) else {}
    if output is Output.JSON:
        print_json(facts)
        return
    said = f": {facts['body']}" if facts.get("body") else ""
    print_lines(
        [
            f"{name}: delivered to {facts.get('place')} as {facts.get('id')}",
            f"it answered {facts.get('status')} after {facts.get('seconds')} s{said}",
        ]
    )
