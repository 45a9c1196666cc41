"""The middle of the route: stage, check, commit. Each step takes only what the step before it returns."""

from __future__ import annotations

import contextlib
import os
import pwd
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.boot.events import rfc3339
from appliance.errors import SurroundingsError
from appliance.paths import Paths
from appliance.sync import generations
from appliance.sync.check import check_files
from appliance.sync.plan import Action, Plan
from appliance.system.clock import now
from appliance.system.files import make_directory, remove_tree, write_tree
from appliance.tree import Tree


@dataclass(frozen=True, slots=True)
class StagedPlan:
    """A plan whose files are on disk under a name that nobody reads."""

    plan: Plan
    number: int
    directory: Path


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A staged plan that dnsmasq itself and our own reader agree on. `evidence` says what was checked."""

    staged: StagedPlan
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AppliedPlan:
    """A plan that is current on disk; `previous` is the newest proven one, which a rollback goes back to.

    `again`: it has to be proven on the wire although no child has to be told anything.
    """

    plan: Plan
    number: int
    previous: int | None
    evidence: tuple[str, ...]
    again: bool = False


@dataclass(frozen=True, slots=True)
class ProvenPlan:
    """An applied plan that the running children have taken up without a complaint.

    `exchanged` is False where no client could be asked for (an interface is missing): that is no proof yet.
    """

    applied: AppliedPlan
    evidence: tuple[str, ...]
    exchanged: bool = True


Activate = Callable[[AppliedPlan], ProvenPlan]


def stage(
    paths: Paths, plan: Plan, *, why: str, who: str = "", pinned: bool = False, confirm_within: int = 0
) -> StagedPlan:
    """Write the plan's tree into a new generation that has no name yet. Hold the lock."""
    make_directory(Path(paths.generations))
    generations.clear_staging(paths)
    generations.prune(paths)  # before there is another one: whatever becomes of that, they do not fill a disk
    number = generations.next_id(paths)
    manifest = generations.render_manifest(
        rfc3339(now()),
        who or whoami(),
        why,
        summary(plan),
        plan.desired.tree,
        pinned=pinned,
        confirm_within=confirm_within,
    )
    directory = generations.staging_directory(paths, number)
    write_tree(directory, Tree.of(manifest, *plan.desired.tree))
    return StagedPlan(plan, number, directory)


def check(staged: StagedPlan) -> CheckedPlan:
    """Let dnsmasq and our own reader look at the staged files.

    Raises:
        OperatorError: something would be rejected; nothing was changed and the staging is gone.
        SurroundingsError: the disk did not do its part; likewise.
    """
    try:
        evidence = check_files(staged.plan.desired, staged.directory)
    except OSError as error:
        _drop(staged)
        place = error.filename or tempfile.gettempdir()
        raise SurroundingsError(
            f"cannot check generation {staged.number}: {place}: {error.strerror}"
        ) from error
    except BaseException:
        _drop(staged)
        raise
    return CheckedPlan(staged, tuple(evidence))


def _drop(staged: StagedPlan) -> None:
    with contextlib.suppress(OSError):  # the next sync clears what is left
        remove_tree(staged.directory, ignore_errors=True)


def commit(paths: Paths, checked: CheckedPlan) -> AppliedPlan:
    """Make the checked generation current. When this returns, a power cut cannot take it back."""
    staged = checked.staged
    known = generations.newest_proven(paths)
    generations.commit_directory(paths, staged.number)
    generations.make_current(paths, staged.number)
    return AppliedPlan(staged.plan, staged.number, known[0] if known else None, checked.evidence)


def summary(plan: Plan) -> str:
    """The plan in one line, for the list of generations."""
    signs = {Action.ADD: "+", Action.CHANGE: "~", Action.REMOVE: "-"}
    words = [f"{signs[c.action]}{c.kind} {c.name}" for c in plan.changes]
    more = f" and {len(words) - 6} more" if len(words) > 6 else ""
    return ", ".join(words[:6]) + more


def whoami() -> str:
    """Who runs us: the person behind sudo where there is one."""
    sudo = os.environ.get("SUDO_USER")
    if sudo:
        return sudo
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
