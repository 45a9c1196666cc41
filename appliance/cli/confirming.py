"""A change that is kept only if somebody confirms it: the command, and the wait on a terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
from collections.abc import Mapping

import typer

from appliance.cli.client import ask, daemon_is_running
from appliance.cli.common import INTERRUPTED, Output, print_json, print_lines, stderr_console
from appliance.errors import ApplianceError, NotProven, Refused, SurroundingsError
from appliance.paths import Paths
from appliance.sync.apply import whoami
from appliance.sync.confirm import NOT_CONFIRMED, no_daemon, parse_within
from appliance.sync.generations import read_manifest
from appliance.system.clock import monotonic

_ASK_SECONDS = 120.0  # a confirmation waits for a change that is under way
_LOOK_SECONDS = 0.5
_AFTER_SECONDS = 60.0  # that a way back may take: it is proven, too
_KEEP, _BACK = {"", "y", "yes"}, {"n", "no"}


def within_option(raw: str | None) -> int:
    """The seconds of `--confirm-within`; 0 when it is not there.

    Raises:
        typer.BadParameter: it is no duration, or out of bounds.
    """
    if raw is None:
        return 0
    try:
        return parse_within(raw)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--confirm-within") from error


def need_daemon(paths: Paths) -> None:
    """Refuse what nobody could take back.

    Raises:
        Refused: no daemon runs.
    """
    if not daemon_is_running(paths):
        raise no_daemon()


def confirm(paths: Paths, generation: int | None, *, output: Output) -> None:
    """Keep the change that waits; only `generation`, where one is named."""
    need_daemon(paths)
    answer = ask(paths, "POST", "/v1/confirm", {"generation": generation}, timeout=_ASK_SECONDS)
    facts = answer if isinstance(answer, dict) else {}
    if output is Output.JSON:
        print_json(facts)
        return
    evidence = facts.get("evidence")
    print_lines(f"  {line}" for line in (evidence if isinstance(evidence, list) else []))
    print_lines([f"Generation {facts.get('generation')} is confirmed and kept."])


def told(pending: Mapping[str, object]) -> str:
    """What to say of a change that waits."""
    number, before, until = (pending.get(key) for key in ("generation", "previous", "until"))
    served = f"generation {before} is served again at {until}"
    return f"Unless it is confirmed, {served}: pxe-appliance confirm {number}"


def wait(paths: Paths, pending: Mapping[str, object], seconds: int) -> None:
    """Ask whoever sits there whether to keep the change, until it is kept or taken back.

    Ctrl-C, or a terminal that is gone, changes nothing: the daemon keeps the time.

    Raises:
        NotProven: it was taken back.
        SurroundingsError: the daemon ended meanwhile.
    """
    number = int(str(pending.get("generation")))
    deadline = monotonic() + seconds
    termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)  # nothing that was typed before is an answer
    try:
        while _waits(paths, number, deadline):
            line = _line(number, deadline - monotonic())
            if line is None:
                continue
            if line in _KEEP:
                _say("")
                with contextlib.suppress(Refused):  # others, or the time, were faster
                    confirm(paths, number, output=Output.TABLE)
                    return
            if line in _BACK:
                body = {"to": pending.get("previous"), "who": whoami(), "why": "not kept"}
                ask(paths, "POST", "/v1/sync", body, timeout=_ASK_SECONDS)
    except (KeyboardInterrupt, EOFError):
        _say("")
        print_lines([f"Generation {number} waits on. {told(pending)}"])
        raise typer.Exit(INTERRUPTED) from None
    _say("")
    _conclude(paths, number, pending)


def _waits(paths: Paths, number: int, deadline: float) -> bool:
    """Whether the daemon still waits for the confirmation of this generation."""
    try:
        status = ask(paths, "GET", "/v1/status")
    except ApplianceError as error:
        if monotonic() < deadline + _AFTER_SECONDS:
            return True  # it may be starting
        words = f"the daemon does not answer any more: {error.message}"
        raise SurroundingsError(words, hint="a start serves what was proven before") from error
    now = status.get("pending") if isinstance(status, dict) else None
    return isinstance(now, dict) and now.get("generation") == number


def _line(number: int, left: float) -> str | None:
    """What was typed within a moment, None for nothing. EOFError at the end of the input."""
    rest = f"{left:.0f} s left" if left > 0 else "time is over, it is taken back"
    _say(f"Keep generation {number}? Enter keeps it, no takes it back; {rest}: ")
    ready, _, _ = select.select([sys.stdin], [], [], _LOOK_SECONDS)
    if not ready:
        return None
    try:
        raw = os.read(sys.stdin.fileno(), 1024)
    except OSError:  # the terminal is gone
        raw = b""
    if not raw:
        raise EOFError
    return raw.decode(errors="replace").strip().lower()


def _conclude(paths: Paths, number: int, pending: Mapping[str, object]) -> None:
    """It waits no more, and not by what was typed here."""
    manifest = read_manifest(paths, number)
    if manifest.proven:
        print_lines([f"Generation {number} was confirmed elsewhere and is kept."])
        return
    reason = manifest.rejected or NOT_CONFIRMED
    raise NotProven(
        f"rolled back to generation {pending.get('previous')}: generation {number} was {reason}",
        hint="pxe-appliance status",
    )


def _say(text: str) -> None:
    """On the terminal, over what was said before: a line that is not part of the output."""
    console = stderr_console()
    console.file.write(f"\r{text:<78}" if text else "\n")
    console.file.flush()
