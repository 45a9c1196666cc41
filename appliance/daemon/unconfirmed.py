"""What `status` says of a change that nobody has confirmed, and what is written of it in the history."""

from __future__ import annotations

import logging
from typing import Final

from appliance.boot.events import Event, EventKind
from appliance.daemon import signals as s
from appliance.daemon.desk import Desk
from appliance.daemon.status import problem
from appliance.paths import Paths
from appliance.sync.back import NEITHER
from appliance.system.clock import now

_DECIDE: Final = "pxe-appliance confirm keeps it, pxe-appliance sync replaces it"
_log = logging.getLogger("pxe-appliance")


def waits(desk: Desk, number: int, until: str) -> None:
    """A change has its time."""
    words = f"generation {number} waits until {until} for its confirmation"
    desk.sync_problem = problem("unconfirmed", "warning", words, "pxe-appliance confirm")


def calm(desk: Desk) -> None:
    """A way back that had ended in doubt is proven now: what is left to say is why it was taken."""
    said = desk.sync_problem
    if said is not None and NEITHER in said["message"]:
        begin, _, rest = said["message"].partition(NEITHER)
        _, served, more = rest.partition("; generation ")
        desk.sync_problem = {**said, "message": begin + served + more}


def nothing_else(desk: Desk, number: int) -> None:
    """A start serves a change that waits, because nothing that was proven is intact."""
    words = f"generation {number} is served although nobody has confirmed it: none that was proven is intact"
    desk.sync_problem = problem("unconfirmed", "error", words, _DECIDE)


def cut_short(desk: Desk, words: str, served: int) -> None:
    """A change that was to be confirmed never came to a generation; `words`: what is asked for since."""
    message = f"a change that was to be confirmed was cut short: {words}"
    _log.warning("%s", message)
    message += f"; generation {served} is served until the next sync"
    desk.sync_problem = problem("unconfirmed", "warning", message, "pxe-appliance sync --confirm-within 120s")


def given_up(desk: Desk, number: int, reason: str, served: int, *, now_first: bool) -> None:
    """A start has not taken up a change that nobody had confirmed: say so, and what to do.

    `now_first`: no start before this one has.
    """
    taken_back(desk, number, reason, served)
    if now_first:
        rolled_back(desk, number, reason, served)


def taken_back(desk: Desk, number: int, reason: str, served: int) -> None:
    """Generation `number` is left for `served`."""
    words = f"generation {number} was {reason}; generation {served} is served until the next sync"
    desk.sync_problem = problem("unconfirmed", "warning", words, "pxe-appliance sync")


def stood_in(desk: Desk, paths: Paths, number: int, why: str, fix: str = "") -> None:
    """Say that the disk does not let us point at what is served."""
    words = f"generation {number} is served from a copy in memory: {why}"
    _log.error("%s", words)
    desk.sync_problem = problem("unconfirmed", "error", words, fix or f"df -h {paths.state}")


def stuck(desk: Desk, number: int, why: str, fix: str) -> None:
    """The time of a change is over, and it is still on the wire; an empty `fix`: a person has to decide."""
    words = f"generation {number} cannot be taken back: {why}"
    told = problem("unconfirmed", "error", words, fix or _DECIDE)
    if told != desk.sync_problem:
        _log.error("%s", words)
    desk.sync_problem = told


def rolled_back(desk: Desk, number: int, reason: str, served: int, proof: str | None = None) -> None:
    """Write down that generation `number` was left for `served`; `proof`: what was seen of that one."""
    facts = {"generation": str(number), "to": str(served)}
    if proof is not None:
        facts["proof"] = proof[:1000]
    detail = {"reason": f"generation {number} was {reason}", **facts}
    desk.report(s.Happened(Event(now(), EventKind.ROLLBACK, detail=detail)))
