"""From the current generation on disk to what the daemon serves."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path
from types import MappingProxyType

from appliance.daemon.kept_documents import KeptDocuments
from appliance.daemon.served import Served
from appliance.daemon.signals import Adopted
from appliance.daemon.stand_in import clear, for_children, restore, stand_in
from appliance.errors import ApplianceError, SurroundingsError
from appliance.paths import Paths
from appliance.sync import confirm, generations
from appliance.sync.generations import Manifest
from appliance.sync.plan import Desired
from appliance.system.files import LockHeld, exclusive_lock
from appliance.tree import Tree

_PATIENCE = 20.0  # seconds that a start waits for a sync to end
_MOMENT = 2.0
_log = logging.getLogger("pxe-appliance")


def generation_to_serve(paths: Paths, going_on: int | None = None) -> tuple[Adopted | None, Manifest | None]:
    """What a daemon that starts has to serve; makes it the current one.

    The current generation where it is proven and intact. Where it is not (a crash between the change and
    its proof, a sync without a daemon, a damaged disk), the newest one that is; the sync that follows
    brings the change again and proves it, but for one that nobody has confirmed. With none proven yet, the
    current one. `going_on` is what the children of the program before us serve: an upgrade is no reason to
    leave what a person has applied, though not every network could be asked yet.

    Where the disk does not let it become the current one, or somebody holds the lock on and on, a copy of it
    stands in (`stand_in`).

    Returns:
        the generation, None when there is none that can be read; and the manifest of an unproven one that
        was left for it, whose words belong to the change.
    """
    clear(paths)
    try:
        with exclusive_lock(Path(paths.lock), patience=_PATIENCE, purpose="sync"):
            return _to_serve(paths, going_on)
    except LockHeld as held:
        proven = generations.newest_proven(paths)
        if proven is None:
            raise
        _log.error("%s: what was proven is served without it", held.message)
        stand_in(paths, proven[0])
        return adopted_generation(paths, proven[0]), None


def _to_serve(paths: Paths, going_on: int | None) -> tuple[Adopted | None, Manifest | None]:
    left = None
    with contextlib.suppress(ApplianceError):
        current = generations.current_id(paths)
        if current is not None:
            adopted, left = adopted_generation(paths), generations.read_manifest(paths, current)
            if left.proven or (current == going_on and not left.waits):
                confirm.give_up(paths)
                return adopted, None
    proven = generations.newest_proven(paths)
    if proven is not None:
        try:
            generations.make_current(paths, proven[0])
        except SurroundingsError:  # a disk that is full or read-only: we serve all the same
            stand_in(paths, proven[0])
            return adopted_generation(paths, proven[0]), left
        confirm.give_up(paths)
        return adopted_generation(paths), left
    with contextlib.suppress(ApplianceError):
        return adopted_generation(paths), None
    return None, None


def settle(paths: Paths, number: int, files: Tree) -> bool:
    """Point `current` at a generation that a copy has stood in for, now that the disk takes it.

    `files` are those of it that dnsmasq reads: what the disk has lost of them is written anew.

    Returns:
        whether the generation is whole now.

    Raises:
        SurroundingsError: the disk still does not let it be the current one.
        LockHeld: somebody is at it.
    """
    with exclusive_lock(Path(paths.lock), patience=_MOMENT, purpose="sync"):
        current = None
        with contextlib.suppress(SurroundingsError):  # what is no link of ours gives way
            current = generations.current_id(paths)
        if current != number:
            generations.make_current(paths, number)
            left = confirm.unconfirmed(paths)
            if left is not None and left.id != number:
                confirm.give_up(paths, "it was taken back while the disk could not be written")
            _refuse_late(paths, current)
        return restore(paths, number, files)


def _refuse_late(paths: Paths, number: int | None) -> None:
    """Whoever confirmed it was told that the disk hung; the disk has taken that after it was taken back."""
    with contextlib.suppress(SurroundingsError, OSError):
        late = generations.read_manifest(paths, number or 0)
        if late.confirm_within and late.proven:
            generations.mark_rejected(paths, late.id, f"{confirm.NOT_CONFIRMED}: the disk took it too late")


InMemory = tuple[int, Desired, Adopted]


def in_memory(paths: Paths) -> InMemory | None:
    """Copy the newest proven generation to where it can stand in; its number, and what is to be served.

    Raises:
        SurroundingsError: there is no room in the run directory.
    """
    found = generations.newest_proven(paths)
    if found is None:
        return None
    stand_in(paths, found[0])
    adopted = adopted_generation(paths, found[0])
    assert adopted is not None, "it was asked for by its number"
    return *found, adopted


def adopted_generation(paths: Paths, number: int | None = None) -> Adopted | None:
    """A generation, every file held against its digest: the current one, None when there is none yet.

    Raises:
        SurroundingsError: it is damaged.
    """
    number = generations.current_id(paths) if number is None else number
    if number is None:
        return None
    manifest = generations.read_manifest(paths, number)
    desired = generations.load_generation(paths, number)
    boot = desired.tree.get("boot.json")
    try:
        facts = json.loads(boot.content) if boot is not None else {}
        refused = {int(arch): str(text) for arch, text in facts["refused"].items()}
        digests = {str(name): str(file["sha256"]) for name, file in facts["files"].items()}
        # Generations of earlier versions do not say which class gets which file.
        stages = {int(arch): str(name) for arch, name in facts.get("classes", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SurroundingsError(f"cannot understand boot.json of generation {number}: {error}") from error
    directory = generations.generation_directory(paths, number)
    return Adopted(
        Served.of(
            desired.settings,
            desired.inventory,
            number=number,
            at=manifest.at,
            proven=manifest.proven,
            boot_files=tuple(digests),
            refused_classes=MappingProxyType(refused),
            first_stages=MappingProxyType(stages),
            digests=MappingProxyType(digests),
            ignition=KeptDocuments(directory, desired.tree),
            files=for_children(desired.tree),
        )
    )
