"""A change that is kept only if somebody confirms it in time: what is on disk of that, and what is refused.

Whoever has cut off his own connection with a change cannot take it back. So it is taken back unless he says,
through the connection that it left him, that it is good. A generation that waits counts as not proven: a
restart, a crash or a power cut meanwhile serves the one before.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from appliance.boot.events import rfc3339
from appliance.errors import ApplianceError, Refused, SurroundingsError
from appliance.paths import Paths
from appliance.settings_fields import parse_duration
from appliance.sync import generations
from appliance.sync.apply import Activate, AppliedPlan
from appliance.sync.back import Returned, go_back
from appliance.sync.generations import Manifest
from appliance.sync.plan import make_plan
from appliance.system.clock import monotonic, now
from appliance.system.files import exclusive_lock

SHORTEST: Final = 5
_PATIENCE: Final = 3.0  # seconds: longer than that, nobody must keep a change on the wire
LONGEST: Final = 24 * 3600
NOT_CONFIRMED: Final = "not confirmed"  # how the reason begins of every change that nobody confirmed
_START: Final = "systemctl start pxe-appliance"
_KEEP: Final = "pxe-appliance confirm keeps it, pxe-appliance rollback takes it back"


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that waits: its generation, the one before it, until when (RFC 3339, UTC).

    `shown` is False where no client could be asked for: it is proven before it is kept. `deadline` is the
    monotonic time of `until`, in this process.
    """

    generation: int
    previous: int
    until: str
    shown: bool = True
    deadline: float | None = field(default=None, compare=False)

    def as_json(self) -> dict[str, object]:
        """The shape of `pending` in `status` and in what a sync says."""
        return {"generation": self.generation, "previous": self.previous, "until": self.until}


def parse_within(raw: str) -> int:
    """A time in which a change has to be confirmed, such as 120s or 10m, in seconds.

    Raises:
        ValueError: it is no duration, or not between five seconds and a day.
    """
    seconds = parse_duration(raw)
    if seconds is None:
        raise ValueError(f"{raw[:40]!r} is not a duration: write a number with s, m, h or d, such as 120s")
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f"{raw} is not between {SHORTEST}s and {LONGEST // 3600}h")
    return seconds


def waiting(paths: Paths) -> Manifest | None:
    """The current generation, if it waits for its confirmation."""
    with contextlib.suppress(ApplianceError):
        number = generations.current_id(paths)
        manifest = generations.read_manifest(paths, number) if number is not None else None
        return manifest if manifest is not None and manifest.waits else None
    return None


def unconfirmed(paths: Paths) -> Manifest | None:
    """The newest generation, if it had to be confirmed and never was: no start applies it by itself."""
    found = generations.list_generations(paths)
    return found[-1] if found and found[-1].unconfirmed else None


def on_disk(paths: Paths) -> Pending | None:
    """The change that waits, as far as the disk knows: for whoever has no clock for it."""
    manifest = waiting(paths)
    before = generations.newest_proven(paths) if manifest is not None else None
    if manifest is None or before is None:
        return None
    left = float(manifest.confirm_within)
    with contextlib.suppress(ValueError, TypeError):  # not a time, or one without a zone
        left = min(left, max(0.0, (datetime.fromisoformat(manifest.pending) - now()).total_seconds()))
    until = manifest.pending or rfc3339(now() + timedelta(seconds=left))
    return Pending(manifest.id, before[0], until, bool(manifest.pending), monotonic() + left)


def without_return(paths: Paths) -> Pending | None:
    """The change that waits, where nothing is left that it could go back to: whoever confirms it keeps it."""
    manifest = waiting(paths)
    if manifest is None or generations.newest_proven(paths) is not None:
        return None
    return Pending(manifest.id, manifest.id, manifest.pending, bool(manifest.pending))


def refuse_while_waiting(paths: Paths, *, daemon: bool) -> None:
    """One change at a time: what waits is decided about first, as long as it can be taken back.

    Raises:
        Refused: the current generation waits for its confirmation.
    """
    manifest = waiting(paths)
    if manifest is not None and generations.newest_proven(paths) is not None:
        raise still_waits(manifest.id, manifest.pending, daemon=daemon)


def still_waits(number: int, until: str, *, daemon: bool = True) -> Refused:
    """The error for a change that is asked for while generation `number` waits for its confirmation."""
    hint = _KEEP if daemon else f"{_START}: the daemon takes it back when it starts"
    when = f" until {until}" if until else ""
    return Refused(f"generation {number} waits{when} for its confirmation", hint=hint)


def refuse_no_way_back(paths: Paths, activate: Activate | None) -> None:
    """What nobody could take back cannot be tried.

    Raises:
        Refused: no daemon would take the change back, or there is nothing that it could go back to.
    """
    if activate is None:
        raise no_daemon()
    if generations.newest_proven(paths) is None:
        hint = "sync without --confirm-within; it is proven by a real exchange all the same"
        raise Refused("an unconfirmed change could not go back: no generation is proven yet", hint=hint)


def no_daemon() -> Refused:
    """The error for a confirmation without a daemon, which is the one that takes changes back."""
    hint = f"{_START}, or pxe-appliance serve in the foreground"
    return Refused("the daemon is not running: nobody would take an unconfirmed change back", hint=hint)


def begin(paths: Paths, number: int, previous: int, within: int, *, shown: bool) -> Pending:
    """Note that a change that was shown to work waits from now on."""
    deadline = monotonic() + within
    pending = Pending(number, previous, rfc3339(now() + timedelta(seconds=within)), shown, deadline)
    generations.mark_pending(paths, number, pending.until)
    return pending


def keep(paths: Paths, pending: Pending, activate: Activate) -> tuple[str, ...]:
    """Make a change that waits the proven one, durable when this returns; what was seen for it.

    Raises:
        Refused: it cannot be shown to work now, as it could not before.
        SurroundingsError: the disk does not take it; it waits on.
        NotProven: it was asked for at last and does not work.
    """
    evidence: tuple[str, ...] = ()
    with exclusive_lock(Path(paths.lock), patience=_PATIENCE, purpose="confirm"):
        if not pending.shown:
            desired = generations.load_generation(paths, pending.generation)
            same = make_plan(pending.generation, desired, desired)
            proven = activate(AppliedPlan(same, pending.generation, pending.previous, (), again=True))
            if not proven.exchanged:
                words = f"cannot keep generation {pending.generation}: nobody could be asked if it works"
                raise Refused(f"{words}; {'; '.join(proven.evidence)}", hint="pxe-appliance status")
            evidence = proven.evidence
        generations.mark_proven(paths, pending.generation)
    return evidence


def take_back(paths: Paths, pending: Pending, reason: str, activate: Activate) -> Returned:
    """Serve the generation before the change again, on disk and wire, proven again.

    Where that one was damaged meanwhile, the newest intact proven one stands in.

    Raises:
        SurroundingsError: there is none, or the disk does not take it; disk and wire are as they were.
        Refused: somebody holds the lock on and on.
    """
    with exclusive_lock(Path(paths.lock), patience=_PATIENCE, purpose="rollback"):
        previous = _intact(paths, pending.previous)
        left = None
        with contextlib.suppress(ApplianceError):  # a damaged one is left all the same
            left = generations.load_generation(paths, pending.generation)
        return go_back(paths, pending.generation, left, previous, reason, activate)


def _intact(paths: Paths, previous: int) -> int:
    try:
        generations.load_generation(paths, previous)
    except ApplianceError as damage:
        found = generations.newest_proven(paths)
        if found is None:
            raise SurroundingsError(f"no generation before it is intact: {damage.message}") from damage
        return found[0]
    return previous


def give_up(paths: Paths, why: str = "the daemon was started anew before that") -> None:
    """At a start: a change that waited for its confirmation is not served again. Hold the lock."""
    manifest = unconfirmed(paths)
    if manifest is None or manifest.rejected:
        return
    reason = f"{NOT_CONFIRMED}: {why}"
    with contextlib.suppress(SurroundingsError, OSError):
        generations.mark_rejected(paths, manifest.id, reason)


def settle(paths: Paths) -> None:
    """A sync has found nothing to do: what was not confirmed is not what anybody asks for any more."""
    manifest = unconfirmed(paths)
    if manifest is not None:
        with contextlib.suppress(
            SurroundingsError, OSError
        ):  # a start is then more careful than it has to be
            generations.mark_settled(paths, manifest.id)


def refusal(paths: Paths) -> Refused:
    """Why there is nothing to confirm, from what became of the newest generation."""
    found = generations.list_generations(paths)
    newest = found[-1] if found else None
    if newest is None or not newest.confirm_within:
        return Refused("there is nothing to confirm", hint="pxe-appliance generations")
    if newest.proven:
        return Refused(f"generation {newest.id} is confirmed already", hint="pxe-appliance generations")
    return Refused(
        f"generation {newest.id} was rolled back: {newest.rejected or NOT_CONFIRMED}",
        hint="pxe-appliance sync --confirm-within 120s applies what the inventory says",
    )


def another(pending: Pending, named: int) -> Refused:
    """The error for a confirmation of generation `named` while another one waits."""
    return Refused(
        f"generation {named} does not wait for a confirmation, generation {pending.generation} does",
        hint=f"pxe-appliance generations; pxe-appliance confirm {pending.generation} keeps that one",
    )


def too_late(pending: Pending) -> Refused:
    """The error for a confirmation that comes while the change is being taken back."""
    return Refused(
        f"generation {pending.generation} could be confirmed until {pending.until}: "
        f"it is being rolled back to generation {pending.previous}",
        hint="pxe-appliance status",
    )
