"""The route of a sync, one type per step, so that a step cannot be left out.

    read -> parse -> rules -> compose -> observe -> diff = Plan -> stage -> check -> commit -> activate

Synchronous on purpose: it waits for disks and for dnsmasq, and one change at a time is a promise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.boot.firmware import choose, parse_manifest
from appliance.errors import ApplianceError, NotProven, OperatorError, Problem, Refused, SurroundingsError
from appliance.images.seals import Seals
from appliance.images.store import Store
from appliance.inventory.load import ignition_files, load_inventory, load_settings
from appliance.inventory.model import Inventory
from appliance.matchbox.snapshot import default_group_hazard, install_hazards
from appliance.matchbox.store import DataDirectory
from appliance.paths import Paths
from appliance.settings import NetworkSettings, Settings
from appliance.sync import apply, confirm, generations
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.sync.back import FAILURES, go_back, reason_of
from appliance.sync.compose import Ingredients, compose
from appliance.sync.inputs import EXTRA_LIMIT, IGNITION_LIMIT, extra_files
from appliance.sync.plan import Desired, Plan, make_plan
from appliance.sync.publish import (
    found_binaries,
    missing_assets,
    missing_images,
    publish_binaries,
    publish_scripts,
    with_store,
)
from appliance.sync.remembered import Remembered
from appliance.sync.validate import finish_all, judge_finals
from appliance.system.files import exclusive_lock, read_regular
from appliance.system.safety import Danger, dangers
from appliance.system.shipped import shipped_manifest, shipped_scripts, shipped_templates

Activate = apply.Activate


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: why and by whom, a generation to go back to, and what was agreed to before.

    `expected` is the fingerprint of the plan that a person said yes to; empty when nobody was asked.
    `confirm_within`: seconds after which the change is taken back unless it is confirmed; 0: it is kept.
    """

    why: str = "sync"
    who: str = ""
    allow_mass_change: bool = False
    expected: str = ""
    to: int | None = None
    confirm_within: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: the plan, the generation that is current now, and whether the wire follows it.

    `proven`: a real exchange has shown that it works. `pending`: it is kept only if somebody confirms it.
    """

    plan: Plan
    number: int | None
    active: bool
    proven: bool = False
    evidence: tuple[str, ...] = ()
    pending: confirm.Pending | None = None

    def as_json(self) -> dict[str, object]:
        """The shape that the command line gets."""
        return {
            **self.plan.as_json(),
            "generation": self.number,
            "active": self.active,
            "proven": self.proven,
            "evidence": list(self.evidence),
            "pending": self.pending.as_json() if self.pending else None,
        }


def desire(paths: Paths, remembered: Remembered | None = None, inventory: Inventory | None = None) -> Desired:
    """Read settings, inventory and everything they name; what a generation should be.

    `remembered` learns which documents were found good. `inventory` stands for what is in inventory.d/.

    Raises:
        OperatorError: with every problem found.
        SurroundingsError: the boot files that are needed are not on this host.
    """
    settings = load_settings(paths)
    if inventory is None:
        inventory = load_inventory(Path(paths.inventory), settings, ignition_files(Path(paths.ignition)))
    named = sorted({p.ignition for p in inventory.profiles.values() if p.ignition})
    files = _contents([Path(paths.ignition / name) for name in named], IGNITION_LIMIT)
    remembered = remembered or Remembered(paths)
    finished = finish_all(str(paths.ignition), settings, inventory, files, remembered)
    store, seals = Store(paths), Seals(Path(paths.image_seals))
    manifest = with_store(parse_manifest(shipped_manifest()), store, seals)
    desired = compose(
        Ingredients(
            paths=paths,
            settings=settings,
            settings_text=read_regular(Path(paths.settings), 2**20).decode(),
            inventory=inventory,
            bases=finished.bases,
            templates=shipped_templates(),
            extra=_contents(extra_files(Path(paths.dnsmasq_extra)), EXTRA_LIMIT),
            selection=choose(manifest, found_binaries(manifest)),
        )
    )
    judged = judge_finals(finished, desired.inventory, remembered)
    if judged.problems:
        message = "cannot use what machines would be given as Ignition"
        raise OperatorError(message, problems=judged.problems)
    notes = (
        *(*desired.notes, *finished.notes, *judged.notes),
        *_matchbox_notes(paths, settings),
        *missing_assets(paths, desired),
    )
    return replace(desired, notes=notes, missing=missing_images(store, seals, desired))


def _matchbox_notes(paths: Paths, settings: Settings) -> Iterator[str]:
    """What is worth knowing of the operator's Matchbox data.

    Raises:
        OperatorError: by it, machines that nobody knows would be installed.
    """
    if not settings.matchbox.builtin:
        return
    snapshot = DataDirectory(Path(paths.settle(settings.matchbox.data))).refresh()
    problems = install_hazards(snapshot)
    if problems:
        raise OperatorError("cannot serve the Matchbox data as it is", problems=problems)
    hazard = default_group_hazard(snapshot)
    if hazard:
        yield hazard


def observe(paths: Paths) -> tuple[int | None, Desired | None, str]:
    """The current generation: its number, its values, and a note when it is damaged.

    Of a damaged one the newest intact proven generation stands in, so that what would vanish is still seen.
    """
    number = None
    try:
        number = generations.current_id(paths)
        if number is not None:
            return number, generations.load_generation(paths, number), ""
        if not generations.list_generations(paths):
            return None, None, ""  # nothing was ever applied here
        damage = "the link to the current generation is missing"
    except SurroundingsError as error:
        damage = f"generation {number or ''} is damaged: {error.message}"
    intact = generations.newest_proven(paths)
    return number, intact[1] if intact else None, f"{damage}; it is written anew"


def plan(
    paths: Paths,
    request: Request,
    remembered: Remembered | None = None,
    inventory: Inventory | None = None,
) -> Plan:
    """What a sync (or a rollback, when the request names a generation) would change. Changes nothing.

    `inventory` stands for what is in inventory.d/.
    """
    base, before, note = observe(paths)
    after = (
        generations.load_generation(paths, request.to)
        if request.to is not None
        else desire(paths, remembered, inventory)
    )
    if note:
        after = replace(after, notes=(*after.notes, note))
    unsafe = _unsafe(before.settings if before else None, after.settings)
    return replace(make_plan(base, before, after), damaged=bool(note), unsafe=unsafe)


def _unsafe(before: Settings | None, after: Settings) -> tuple[Danger, ...]:
    """The dangers of networks that are new, or whose interface is another now.

    One that was served before and became unsafe is withheld by the daemon, and keeps nobody from a change.
    """
    known = before.networks if before else {}

    def place(network: NetworkSettings) -> tuple[object, ...]:
        return network.interface, network.mac, network.default_route

    fresh = [n for n in after.networks.values() if n.name not in known or place(n) != place(known[n.name])]
    return tuple(dangers(fresh).values())


def sync(
    paths: Paths, request: Request, activate: Activate | None, runs: Callable[[int], bool] | None = None
) -> Outcome:
    """Carry a change through, or leave everything as it was.

    Args:
        paths: where things are.
        request: what is asked for.
        activate: takes the change to the running children and proves it; None when no daemon runs.
        runs: whether the children run a generation; left out when they always run the current one.

    Raises:
        OperatorError: settings or inventory are wrong; nothing was touched.
        Refused: too much would vanish, the plan is not the one that was agreed to, or another change waits
            for its confirmation.
        NotProven: applied, not proven, rolled back.
    """
    with exclusive_lock(Path(paths.lock), purpose="sync"):
        confirm.refuse_while_waiting(paths, daemon=activate is not None)
        if request.confirm_within:
            confirm.refuse_no_way_back(paths, activate)
        remembered = Remembered(paths)
        wanted = plan(paths, request, remembered)
        _agreed(wanted, request)
        store, seals = Store(paths), Seals(Path(paths.image_seals))
        manifest = with_store(parse_manifest(shipped_manifest()), store, seals)
        publish_binaries(paths, choose(manifest, found_binaries(manifest)))
        publish_scripts(paths, shipped_scripts())
        if wanted.empty:
            generations.clear_staging(paths)
            same = _as_it_is(paths, wanted, activate, runs)
            if request.to is None:  # a way back says nothing of what the inventory asks for
                confirm.settle(paths)
            _remember(remembered)
            return same
        staged = apply.stage(
            paths,
            wanted,
            why=request.why,
            who=request.who,
            pinned=request.to is not None,
            confirm_within=request.confirm_within,
        )
        applied = apply.commit(paths, apply.check(staged))
        _remember(remembered)  # after it: an error of the disk must not be passed over before
        if activate is None:
            return Outcome(wanted, applied.number, active=False, evidence=applied.evidence)
        proven, pending = _proven_or_back(paths, applied, activate, request.confirm_within)
        evidence = (*applied.evidence, *proven.evidence)
        return Outcome(wanted, applied.number, True, proven.exchanged, evidence, pending)


def _remember(remembered: Remembered) -> None:
    with contextlib.suppress(SurroundingsError):  # a sync without it asks the programs again
        remembered.save()


def prove_current(paths: Paths, activate: Activate) -> bool:
    """Bring the children up to the current generation and prove it, whatever the inventory says by now.

    Whether it is proven now: not where somebody could not be asked. Nothing is taken back.

    Raises:
        NotProven: it does not prove itself.
    """
    with exclusive_lock(Path(paths.lock), purpose="sync"):
        number, desired, note = observe(paths)
        waits = confirm.waiting(paths) is not None  # for a person, whatever is seen on the wire
        if number is None or desired is None or note or waits:
            return False
        try:
            same = make_plan(number, desired, desired)
            shown = activate(AppliedPlan(same, number, None, (), again=True)).exchanged
        except CancelledError as error:
            raise NotProven("the daemon was stopped") from error
        if shown and not generations.read_manifest(paths, number).proven:
            generations.mark_proven(paths, number)
        return shown


def _as_it_is(
    paths: Paths, wanted: Plan, activate: Activate | None, runs: Callable[[int], bool] | None
) -> Outcome:
    """Nothing changes; but the children may not have it yet, or nobody has shown that it works."""
    assert wanted.base is not None, "a plan without a generation before it is never empty"
    if activate is None:
        return Outcome(wanted, wanted.base, active=False)
    current = AppliedPlan(wanted, wanted.base, _back_to(paths, wanted.base), ())
    if not generations.read_manifest(paths, wanted.base).proven:
        now, _ = _proven_or_back(paths, current, activate)
        return Outcome(wanted, wanted.base, active=True, proven=now.exchanged, evidence=now.evidence)
    # It was proven before: what keeps the children from it now is no reason to leave it.
    idle = runs is None or runs(wanted.base)
    evidence = () if idle else activate(replace(current, again=True)).evidence
    return Outcome(wanted, wanted.base, active=True, proven=True, evidence=evidence)


def _back_to(paths: Paths, number: int) -> int | None:
    found = generations.newest_proven(paths)
    return found[0] if found and found[0] != number else None


def rollback_target(paths: Paths, asked: int | None) -> int:
    """The generation to go back to: the one asked for, else the newest proven one before the current.

    Raises:
        Refused: there is none.
    """
    current = generations.current_id(paths)
    known = [m for m in generations.list_generations(paths) if m.id != current]
    if asked is not None:
        if asked == current:
            raise Refused(f"generation {asked} is the current one already")
        if asked not in {m.id for m in known}:
            there = ", ".join(str(m.id) for m in known) or "none"
            raise Refused(f"there is no generation {asked} to go back to", hint=f"there are: {there}")
        return asked
    older = [m for m in known if (current is None or m.id < current) and not m.rejected]
    best = [m for m in older if m.proven] or older
    if not best:
        raise Refused("there is no earlier generation to go back to", hint="pxe-appliance generations")
    return best[-1].id


def _agreed(wanted: Plan, request: Request) -> None:
    if request.expected and request.expected != wanted.fingerprint and not wanted.empty:
        raise Refused("the plan is not the one that was shown any more", hint="look at it, and sync again")
    if wanted.desired.missing:
        raise Refused(
            f"machines would have nothing to boot: {'; '.join(map(str, wanted.desired.missing))}",
            hint=" && ".join(dict.fromkeys(m.remedy for m in wanted.desired.missing)),
        )
    if wanted.unsafe:
        raise Refused(
            f"it must not be served: {'; '.join(d.message for d in wanted.unsafe)}",
            hint=wanted.unsafe[0].fix,
        )
    if wanted.mass_change and not request.allow_mass_change:
        total = len(wanted.vanished) + wanted.remaining
        raise Refused(
            f"{len(wanted.vanished)} of {total} machines would lose their reservation",
            hint="if this is meant, run it again with --allow-mass-change; an empty or half-copied "
            "inventory looks just like this",
        )


def _proven_or_back(
    paths: Paths, applied: AppliedPlan, activate: Activate, within: int = 0
) -> tuple[ProvenPlan, confirm.Pending | None]:
    """Proven and marked so, or waiting for its confirmation; else the error that says why not."""
    try:
        proven = activate(applied)
        if within and applied.previous is not None:
            shown = proven.exchanged
            return proven, confirm.begin(paths, applied.number, applied.previous, within, shown=shown)
    except FAILURES as error:
        raise _taken_back(paths, applied, activate, error) from error
    if proven.exchanged and not generations.read_manifest(paths, applied.number).proven:
        generations.mark_proven(paths, applied.number)
    return proven, None


def _taken_back(paths: Paths, applied: AppliedPlan, activate: Activate, error: BaseException) -> NotProven:
    """Go back to what was proven before, first on disk, then on the wire; the error that says so."""
    reason = reason_of(error)
    hint = error.hint if isinstance(error, ApplianceError) else ""
    if isinstance(error, CancelledError):
        return NotProven(f"generation {applied.number} is current and not proven: the daemon was stopped")
    if applied.previous is None:
        return NotProven(
            f"generation {applied.number} is current, not proven, and the only one: {reason}",
            hint=hint,
        )
    back = go_back(paths, applied.number, applied.plan.desired, applied.previous, reason, activate)
    return NotProven(
        f"rolled back to generation {back.number}: {reason}{back.words}", hint=hint, evidence=back.evidence
    )


def _contents(files: list[Path], limit: int) -> dict[str, bytes]:
    """What stands in an operator's files, by name."""
    found, problems = {}, []
    for path in files:
        try:
            found[path.name] = read_regular(path, limit)
        except (OSError, ValueError) as error:
            hint = "it has to be a regular file, not too large, that this user may read"
            problems.append(Problem(str(path), 0, "", f"cannot be read: {error}", hint))
    if problems:
        raise OperatorError("cannot read what settings and inventory name", problems=problems)
    return found
