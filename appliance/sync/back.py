"""The way back from a change that is not kept: to the generation before it, on disk and wire, and proven."""

from __future__ import annotations

import contextlib
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError, NotProven, SurroundingsError
from appliance.paths import Paths
from appliance.sync import generations
from appliance.sync.apply import Activate, AppliedPlan
from appliance.sync.plan import Desired, make_plan
from appliance.system.files import exclusive_lock

# What may end an activation: its own verdict, the host, or the daemon's own stop.
FAILURES = (NotProven, SurroundingsError, OSError, CancelledError)
NEITHER: Final = "; that one does not prove itself either: "


@dataclass(frozen=True, slots=True)
class Returned:
    """Where a way back has led: the generation, what its proof has seen, and why it does not prove itself.

    `trouble` is empty where it does.
    """

    number: int
    evidence: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def words(self) -> str:
        """What to add to a sentence that says where things are now."""
        return f"{NEITHER}{self.trouble}" if self.trouble else ""


def go_back(
    paths: Paths, number: int, left: Desired | None, previous: int, reason: str, activate: Activate
) -> Returned:
    """Leave generation `number`, which serves `left`, for `previous`: first on disk, then on the wire.

    Hold the lock. `left` None: it cannot be read; every child is then started anew. The generation before is
    proven again by the same exchange, and what that saw is returned.

    Raises:
        SurroundingsError: the disk does not take it; the wire is as it was.
    """
    generations.make_current(paths, previous)
    with contextlib.suppress(SurroundingsError, OSError):
        # No next start serves it without this mark either, and a full disk must not keep the wire from it.
        generations.mark_rejected(paths, number, reason)
    try:
        back = generations.load_generation(paths, previous)
        plan = make_plan(number, left, back)
        proven = activate(AppliedPlan(plan, previous, None, (), again=True))
    except FAILURES as error:
        return Returned(previous, trouble=reason_of(error))
    return Returned(previous, proven.evidence)


def leave(paths: Paths, number: int, error: ApplianceError, activate: Activate) -> NotProven | None:
    """Go back from generation `number`, which has shown again and again that it does not work.

    Returns the error that says so; None when another one is current, or none proven is there to go back to.

    Raises:
        SurroundingsError: the disk does not take it; the wire is as it was.
    """
    with exclusive_lock(Path(paths.lock), purpose="rollback"):
        before = generations.newest_proven(paths)
        if before is None or before[0] == number or generations.current_id(paths) != number:
            return None
        left = None
        with contextlib.suppress(ApplianceError):  # a damaged one is left all the same
            left = generations.load_generation(paths, number)
        back = go_back(paths, number, left, before[0], error.message, activate)
    words = f"rolled back to generation {back.number}: {error.message}{back.words}"
    return NotProven(words, hint=error.hint, evidence=back.evidence)


def reason_of(error: BaseException) -> str:
    """Why something ended, in words for an operator."""
    return error.message if isinstance(error, ApplianceError) else str(error) or type(error).__name__
