"""Judges what the operator wrote, and whether what is served is that. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appliance.doctor.finding import Finding, doubtful, fine, wrong
from appliance.errors import Problem

_NAMED = 10


@dataclass(frozen=True, slots=True)
class Written:
    """Problems and doubts of `check`, and how much there is."""

    settings: Sequence[Problem] = ()
    inventory: Sequence[Problem] = ()
    doubts: Sequence[Problem] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class Current:
    """The current generation as it lies on disk: its number (None: none yet), and what is wrong with it.

    `pending` are changes that a sync would make, in words; None when that could not be told.
    """

    number: int | None = None
    at: str = ""
    damage: str = ""
    proven: bool = False
    pinned: bool = False
    waits: bool = False  # for somebody to confirm it
    pending: Sequence[str] | None = None
    why_unknown: str = ""


def judge_written(written: Written) -> Iterator[Finding]:
    """Settings first; without them there is no inventory to speak of."""
    yield _judge_problems("settings", "the settings cannot be used", written.settings)
    if written.settings:
        return
    yield _judge_problems("inventory", "the inventory cannot be used", written.inventory, written.words)
    if written.doubts:
        words = f"{len(written.doubts)} things look like mistakes: {written.doubts[0].message}"
        yield doubtful(
            "inventory-doubts", words, written.doubts[0].hint or "pxe-appliance check", *_told(written.doubts)
        )
    else:
        yield fine("inventory-doubts", "nothing looks like a mistake")


def _judge_problems(identity: str, words: str, problems: Sequence[Problem], seen: str = "") -> Finding:
    if not problems:
        return fine(identity, f"the {identity} can be used", *([seen] if seen else []))
    first = problems[0]
    place = f"{first.file}:{first.line}" if first.line else first.file
    fix = f"mend {place}, then pxe-appliance check" if first.line or not first.hint else first.hint
    return wrong(identity, f"{words}: {first.message}", fix, *_told(problems))


def _told(problems: Sequence[Problem]) -> tuple[str, ...]:
    more = [f"and {len(problems) - _NAMED} more: pxe-appliance check"] if len(problems) > _NAMED else []
    return (*(str(p) for p in problems[:_NAMED]), *more)


def judge_current(current: Current, daemon_runs: bool) -> Iterator[Finding]:
    """What is served: whole, proven, and what the inventory says."""
    if current.damage:
        fix = "pxe-appliance rollback, or pxe-appliance sync, which writes a new one"
        yield wrong("generation", current.damage, fix)
        return
    if current.number is None:
        words = "nothing was ever applied: there is no generation to serve"
        yield wrong("generation", words, "pxe-appliance plan; pxe-appliance sync")
        return
    whole = f"generation {current.number} of {current.at}"
    yield fine("generation", f"{whole} is what sync wrote")
    if current.proven:
        yield fine("generation-proven", f"{whole} was proven", "pxe-appliance prove walks a whole boot")
    elif daemon_runs and current.waits:
        words = f"{whole} waits for its confirmation, and is taken back without it"
        yield doubtful("generation-proven", words, "pxe-appliance confirm", f"{whole}: not confirmed")
    elif daemon_runs:
        words = f"{whole} was never shown to work"
        yield doubtful(
            "generation-proven", words, "pxe-appliance sync; pxe-appliance prove", f"{whole}: not proven"
        )
    if current.pending is None:
        if current.why_unknown:
            yield doubtful("inventory-synced", current.why_unknown, "pxe-appliance plan")
    elif current.pending:
        why = " (it was rolled back to, and stays until the next sync)" if current.pinned else ""
        words = f"{len(current.pending)} changes of the inventory are not served{why}"
        shown = current.pending[:_NAMED]
        yield doubtful("inventory-synced", words, "pxe-appliance plan; pxe-appliance sync", *shown)
    else:
        yield fine("inventory-synced", "what is served is what the inventory says", whole)
