"""What the operator's files ask for and nobody has applied: what a start, or a new program, leaves alone.

Somebody may be in the middle of an edit that he wants to look at, or to bring with a way back; an upgrade of
the package is no reason to bring it for him. What the new version itself writes otherwise is brought.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime
from pathlib import Path
from typing import Final

from appliance.daemon import unconfirmed
from appliance.daemon.desk import Desk
from appliance.daemon.status import problem
from appliance.errors import ApplianceError
from appliance.paths import Paths
from appliance.sync import asked, confirm, generations
from appliance.sync import run as route
from appliance.sync.apply import summary

_LOOK: Final = "pxe-appliance plan"
_log = logging.getLogger("pxe-appliance")


async def left_alone(paths: Paths, desk: Desk) -> bool:
    """Whether there are such changes; then `status` says so, and no sync brings them."""
    words = await asyncio.to_thread(unapplied, paths)
    if words:
        _log.warning("%s", words)
        desk.sync_problem = problem("sync", "warning", f"not in sync: {words}", _LOOK)
    return bool(words)


async def stays(paths: Paths, desk: Desk, number: int, *, stands_in: bool, dropped: bool) -> bool:
    """Whether generation `number`, which a start serves, is not brought up to date: a person has decided so,
    or has to; then `status` says why.

    `stands_in`: from a copy in memory. `dropped`: this very start has not taken up a change that waited for
    its confirmation.
    """
    given_up = await asyncio.to_thread(confirm.unconfirmed, paths)
    cut_short = await asyncio.to_thread(_cut_short, paths)
    if stands_in:
        unconfirmed.stood_in(desk, paths, number, "a start could not make it the current one")
    elif given_up is not None and given_up.id != number:
        reason = given_up.rejected or confirm.NOT_CONFIRMED
        unconfirmed.given_up(desk, given_up.id, reason, number, now_first=dropped)
    elif given_up is not None and given_up.waits:
        unconfirmed.nothing_else(desk, number)
    elif cut_short:
        unconfirmed.cut_short(desk, cut_short, number)
    elif generations.read_manifest(paths, number).pinned:
        words = "a rolled-back generation is served; it stays until the next sync"
        desk.sync_problem = problem("rolled-back", "warning", words, _LOOK)
    else:
        return False
    return True


def _cut_short(paths: Paths) -> str:
    """What is asked for since somebody asked for it with a confirmation and got none; empty for nothing."""
    return unapplied(paths) if asked.lasts(paths) else ""


def unapplied(paths: Paths) -> str:
    """The changes that settings and inventory ask for, in words; empty where none is an operator's."""
    try:
        plan = route.plan(paths, route.Request())
    except ApplianceError as error:
        return error.message
    ours = all(c.kind == "file" and not c.name.startswith("ignition/") for c in plan.changes)
    if plan.empty or (ours and not _touched(paths, plan.base)):
        return ""
    return f"this is asked for and was not applied yet: {summary(plan)}"


def _touched(paths: Paths, number: int | None) -> bool:
    """Whether dnsmasq.d, which stands in the same files as our own lines, was changed since a generation."""
    folder = Path(paths.dnsmasq_extra)
    with contextlib.suppress(ApplianceError, OSError, ValueError):
        at = datetime.fromisoformat(generations.read_manifest(paths, number or 0).at).timestamp()
        return any(place.stat().st_ctime > at for place in (folder, *folder.iterdir()))
    return folder.exists()
