"""`why` and `explain`: the reason a boot stopped, on one screen, and what that reason means at length."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated
from urllib.parse import quote

import typer

from appliance.cli.client import ask
from appliance.cli.common import Output, Session, print_json, print_lines, print_table
from appliance.cli.known_names import MachineName
from appliance.cli.listings import event_line
from appliance.errors import Refused
from appliance.paths import Paths
from appliance.system.shipped import explained_ids, explanation

_SHOWN = 24  # events on one screen


def register(app: typer.Typer) -> None:
    """Add both commands."""

    @app.command()
    def why(
        context: typer.Context,
        name: MachineName,
        output: Annotated[Output, typer.Option("--output", "-o", help="How to print it.")] = Output.TABLE,
    ) -> None:
        """Why a machine does not go on: the reason, what to do, and what was seen."""
        session = context.obj
        assert isinstance(session, Session)
        print_why(session.paths, name, output=output)

    @app.command()
    def explain(
        identity: Annotated[
            str | None, typer.Argument(metavar="ID", help="From why, status or doctor; default: list all.")
        ] = None,
    ) -> None:
        """What a reason, a problem or a check means at length, and what to do about it."""
        if identity is None:
            list_explanations()
        else:
            print_explanation(identity)


def print_why(paths: Paths, name: str, *, output: Output) -> None:
    """Print one machine's verdict.

    Raises:
        Refused: nobody knows the machine; names the nearest.
    """
    facts = ask(paths, "GET", f"/v1/machines/{quote(name, safe='')}/why")
    if output is Output.JSON:
        print_json(facts)
    else:
        print_lines(why_lines(facts if isinstance(facts, dict) else {}))


def why_lines(facts: Mapping[str, object]) -> Iterator[str]:
    """One screen about one machine: where it stands, why, what to do, what was seen (newest last)."""
    machine, rung, expected = facts.get("machine"), facts.get("rung"), facts.get("expected")
    state = facts.get("state")
    stands = f"on {rung} since {facts.get('since')}" if rung else "nothing was heard of it"
    yield f"{machine}: {state}, {stands}"
    if expected:
        deadline = facts.get("deadline")
        yield f"expected    {expected}" + (f" by {deadline}" if deadline else ", when its download is over")
    verdict = facts.get("verdict")
    if isinstance(verdict, dict):
        yield f"why         {verdict.get('message')}"
        yield f"do          {verdict.get('remedy')}"
        yield f"more        pxe-appliance explain {verdict.get('id')}"
    else:
        yield "why         nothing is wrong, as far as can be seen"
    evidence = facts.get("evidence")
    events = [e for e in evidence if isinstance(e, dict)] if isinstance(evidence, list) else []
    if len(events) > _SHOWN:
        yield f"seen        the last {_SHOWN} of {len(events)} (pxe-appliance events --machine {machine})"
    elif events:
        yield "seen"
    for event in events[-_SHOWN:]:
        yield f"  {event_line(event)}"


def list_explanations() -> None:
    """Print every id that can be explained, with its title."""
    rows = [(identity, _title(explanation(identity))) for identity in explained_ids()]
    print_table(("ID", "WHAT IT SAYS"), rows, empty="No explanations are installed.")


def print_explanation(identity: str) -> None:
    """Print one page.

    Raises:
        Refused: there is no such page; names the nearest.
    """
    known = explained_ids()
    if identity not in known:
        near = difflib.get_close_matches(identity, known, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else "pxe-appliance explain lists them"
        raise Refused(f"nothing is called {identity[:64]!r}", hint=hint)
    sys.stdout.write(explanation(identity))


def _title(page: str) -> str:
    return page.partition("\n")[0].partition(": ")[2]
