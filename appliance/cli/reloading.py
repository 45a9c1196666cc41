"""A running daemon is asked to go on as the program that is installed now; what has become of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from appliance import __version__
from appliance.cli.client import ask
from appliance.errors import ApplianceError
from appliance.paths import Paths
from appliance.service.parts import SERVICE

# The new program is started once to see that it can (60 s), answers under way end (20 s), and it starts.
SECONDS: Final = 100.0
_LOOK: Final = 0.2
_PROBLEM: Final = "upgrade-failed"


@dataclass(frozen=True, slots=True)
class Daemon:
    """What `status` tells of the program that runs: `since` is when it started, and no other has that one.

    `failed` is what became of the last try to take it over; `waits`: a change waits for its confirmation,
    which comes first.
    """

    version: str
    since: str
    failed: str = ""
    waits: bool = False


def running_daemon(paths: Paths) -> Daemon | None:
    """The daemon as it is now; None when it does not answer."""
    told: object = None
    with suppress(ApplianceError):
        told = ask(paths, "GET", "/v1/status", timeout=5)
    return parse_daemon(told)


def parse_daemon(told: object) -> Daemon | None:
    """The daemon of an answer to `/v1/status`; None when it is no such answer."""
    if not isinstance(told, Mapping) or not isinstance(daemon := told.get("daemon"), Mapping):
        return None
    problems = told.get("problems")
    failed = [
        str(x.get("message", ""))
        for x in (problems if isinstance(problems, list) else ())
        if isinstance(x, Mapping) and x.get("id") == _PROBLEM
    ]
    version, since = str(daemon.get("version", "")), str(daemon.get("since", ""))
    return Daemon(version, since, "".join(failed[:1]), told.get("pending") is not None)


def outcome(before: Daemon | None, now: Daemon | None, version: str = __version__) -> str | None:
    """Why the daemon is not the program that is installed: "" when it is, None while that is open.

    Args:
        before: the daemon as it was when it was asked.
        now: as it is.
        version: of the program that is installed.
    """
    if now is None:
        return None
    if before is None:
        return "" if now.version == version else None
    if now.since != before.since:
        return "" if now.version == version else f"the daemon that runs is version {now.version}: {_LOOK_AT}"
    if now.failed and now.failed != before.failed:
        return now.failed
    if now.waits:
        return "a change waits for `pxe-appliance confirm`: the daemon goes on as the new program after it"
    return None


_LOOK_AT: Final = f"systemctl cat {SERVICE} names the program"


def await_outcome(paths: Paths, before: Daemon | None, seconds: float = SECONDS) -> str:
    """Wait until the daemon that was asked has been taken over; why it was not, or nothing.

    Args:
        paths: of the host.
        before: the daemon as it was before it was asked.
        seconds: how long at the most.
    """
    deadline = time.monotonic() + seconds
    while True:
        now = running_daemon(paths)
        found = outcome(before, now)
        if found is not None:
            return found
        if time.monotonic() > deadline:
            said = now.failed if now is not None else "the daemon does not answer"
            return said or f"the daemon was not taken over within {seconds:.0f} s"
        time.sleep(_LOOK)
