"""Looks at what the operator wrote and at the current generation; the words of `check` and `plan`."""

from __future__ import annotations

from appliance.doctor.sources import Current, Written
from appliance.errors import ApplianceError, OperatorError, Problem
from appliance.paths import Paths
from appliance.settings import Settings
from appliance.sync import generations
from appliance.sync.inputs import examine
from appliance.sync.run import Request, plan


def look_at_written(paths: Paths, settings_problems: tuple[Problem, ...]) -> Written:
    """What `check` says. `settings_problems` is why the settings cannot be used, when they cannot."""
    if settings_problems:
        return Written(settings=settings_problems)
    problems, doubts, counts = examine(paths)
    mine = str(paths.settings)
    words = f"{counts.machines} machines, {counts.profiles} profiles, {counts.networks} networks"
    return Written(
        settings=tuple(p for p in problems if p.file == mine),
        inventory=tuple(p for p in problems if p.file != mine),
        doubts=tuple(doubts),
        words=words,
    )


def look_at_current(paths: Paths) -> Current:
    """The current generation, held against its digests, and what a sync would change."""
    try:
        number = generations.current_id(paths)
        if number is None:
            return Current()
        manifest = generations.read_manifest(paths, number)
        generations.load_generation(paths, number)
    except ApplianceError as error:
        return Current(damage=error.message)
    pending, why = _pending(paths)
    return Current(
        number,
        manifest.at,
        proven=manifest.proven,
        pinned=manifest.pinned,
        waits=manifest.waits,
        pending=pending,
        why_unknown=why,
    )


def has_generation(paths: Paths) -> bool:
    """Whether anything was ever applied."""
    try:
        return generations.current_id(paths) is not None
    except ApplianceError:
        return True


def settings_served(paths: Paths) -> Settings | None:
    """The settings of the current generation: what is served while the operator's own cannot be used."""
    try:
        number = generations.current_id(paths)
        return generations.load_generation(paths, number).settings if number is not None else None
    except ApplianceError:
        return None


def _pending(paths: Paths) -> tuple[tuple[str, ...] | None, str]:
    try:
        wanted = plan(paths, Request())
    except OperatorError:
        return None, ""  # the checks of settings and inventory say what is wrong
    except ApplianceError as error:
        return None, f"what a sync would change cannot be told: {error.message}"
    return tuple(f"{c.action.value} {c.kind} {c.name}" for c in wanted.changes), ""
