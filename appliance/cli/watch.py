"""`status --watch`: the board, following the daemon for as long as somebody looks.

A terminal that can move its cursor shows one picture that changes. A pipe, or a terminal that cannot
(TERM=dumb), gets a block of plain text a second, with an empty line after each.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from rich.console import Console, Group
from rich.live import Live

from appliance.cli.board_text import Paper, Seen, draw
from appliance.cli.client import stream
from appliance.cli.common import stdout_console
from appliance.errors import ApplianceError
from appliance.paths import Paths
from appliance.system.clock import now

_EVERY: Final = 0.25  # seconds between two pictures, at most: a boot climbs faster than an eye
_EVERY_BLOCK: Final = 1.0
_WIDE, _LONG = 160, 200  # columns and lines of a block in a pipe: a screen's worth is no limit there
_AGAIN: Final = 1.0  # seconds between tries to connect

Told = tuple[str, dict[str, object]]


def watch(paths: Paths) -> NoReturn:
    """Show the board until Ctrl-C, or until nobody reads the pipe any more."""
    console = stdout_console()
    plain = not str(console.encoding).lower().startswith("utf")
    told: queue.Queue[Told | ApplianceError | None] = queue.Queue(10_000)
    threading.Thread(target=_follow, args=(paths, told), daemon=True).start()
    seen = Seen()
    if not console.is_terminal or console.is_dumb_terminal:
        _blocks(seen, told, _paper(console, plain=plain))
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            _take(seen, told)
            paper = Paper(console.width, console.height, plain)
            live.update(Group(*draw(seen, paper, now())), refresh=True)
            time.sleep(_EVERY)


def _paper(console: Console, *, plain: bool) -> Paper:
    """What a block is drawn on: a pipe has no edge but what COLUMNS and LINES say."""
    if console.is_terminal:
        return Paper(console.width, console.height, plain)
    return Paper(_number("COLUMNS", _WIDE), _number("LINES", _LONG), plain)


def _number(variable: str, otherwise: int) -> int:
    value = os.environ.get(variable, "")
    return int(value) if value.isascii() and value.isdigit() and 0 < int(value) < 10_000 else otherwise


def _blocks(seen: Seen, told: queue.Queue[Told | ApplianceError | None], paper: Paper) -> NoReturn:
    """One block a second; the first one as soon as something is known."""
    until = time.monotonic() + _EVERY_BLOCK
    while not (seen.connected or seen.complaint) and time.monotonic() < until:
        time.sleep(0.02)
        _take(seen, told)
    while True:
        at = now()
        lines = [f"{at:%Y-%m-%d %H:%M:%SZ}", *(line.plain.rstrip() for line in draw(seen, paper, at)), "", ""]
        sys.stdout.write("\n".join(lines))
        sys.stdout.flush()
        time.sleep(_EVERY_BLOCK)
        _take(seen, told)


def json_lines(look: Callable[[], object]) -> NoReturn:
    """What `look` finds, once a second, each a line of JSON in ASCII."""
    while True:
        sys.stdout.write(json.dumps(look(), separators=(",", ":")) + "\n")
        sys.stdout.flush()
        time.sleep(_EVERY_BLOCK)


def _take(seen: Seen, told: queue.Queue[Told | ApplianceError | None]) -> None:
    while not told.empty():
        match told.get():
            case (event, facts):
                seen.take(event, facts, now())
            case ApplianceError() as error:
                seen.connected, seen.complaint, seen.hint = False, error.message, error.hint
            case None:
                seen.connected, seen.complaint, seen.hint = False, "the daemon has gone", ""


def _follow(paths: Paths, told: queue.Queue[Told | ApplianceError | None]) -> None:
    """Follow, for ever: whoever restarts the daemon wants to see it come back."""
    while True:
        try:
            for message in messages(stream(paths, "/v1/board")):
                told.put(message)
            told.put(None)
        except ApplianceError as error:
            told.put(error)
        time.sleep(_AGAIN)


def messages(lines: Iterator[str]) -> Iterator[Told]:
    """Server-sent events out of the lines of a stream; what makes no sense is left out."""
    event = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            try:
                facts = json.loads(value)
            except (ValueError, RecursionError):
                continue
            if isinstance(facts, dict):
                yield event, facts
