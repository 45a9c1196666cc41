"""Pointers moved and releases removed: `use`, `rollback`, `prune`. Nothing here touches a file of a release
that anything leads to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from appliance.errors import Refused, SurroundingsError
from appliance.images.health import release_damage
from appliance.images.model import Stream, version_key
from appliance.images.publish import changing, point, write_lock
from appliance.images.seals import Seals
from appliance.images.store import Pointers, Store, render_pointers
from appliance.system.acting import way_out
from appliance.system.files import fsync_directory, remove_tree, write_atomic

_REMEMBERED: Final = 20  # versions that were current before


def use(store: Store, seals: Seals, stream: Stream, version: str, machines: Collection[str] = ()) -> None:
    """Make a version current, or give it to some machines only.

    Raises:
        Refused: it is not in the store, not pinned, or damaged.
    """
    with changing(store.paths):
        damage = release_damage(store, seals, stream, version)
        seals.keep()
        if damage:
            raise Refused(
                f"cannot use {stream}@{version}: {damage[0]}",
                hint=f"pxe-appliance images fetch {stream.image}@{version}",
            )
        pointers = store.pointers(stream)
        if machines:
            given = {**pointers.machines, **dict.fromkeys(machines, version)}
            _write(store, stream, replace(pointers, machines=MappingProxyType(given)))
            return
        before = store.current(stream)
        # A canary of what everybody gets is none.
        others = {m: v for m, v in pointers.machines.items() if v != version}
        past = pointers.before
        if before is not None and before != version:
            past = (*(v for v in past if v != before), before)[-_REMEMBERED:]
        _write(store, stream, Pointers(past, MappingProxyType(others)))
        if before != version:
            point(store, stream, version)


def rollback(store: Store, seals: Seals, stream: Stream) -> tuple[str | None, str]:
    """Go back to what was current before; from which version to which.

    Raises:
        Refused: nothing was, or it cannot be served.
    """
    with changing(store.paths):
        current, pointers = store.current(stream), store.pointers(stream)
        past = [v for v in pointers.before if v != current]
        if not past:
            raise Refused(
                f"cannot roll back {stream}: nothing was current before",
                hint=f"pxe-appliance images lists what there is; then: images use {stream.image}@VERSION",
            )
        target = past[-1]
        damage = release_damage(store, seals, stream, target)
        seals.keep()
        if damage:
            raise Refused(
                f"cannot roll back {stream} to {target}: {damage[0]}",
                hint=f"pxe-appliance images fetch {stream.image}@{target}",
            )
        point(store, stream, target)
        _write(store, stream, replace(pointers, before=tuple(past[:-1])))
    return current, target


def release_canaries(store: Store, stream: Stream, machines: Collection[str]) -> None:
    """Machines that got a version of their own get the current one again.

    Raises:
        Refused: one of them has none.
    """
    with changing(store.paths):
        pointers = store.pointers(stream)
        if strange := sorted(set(machines) - set(pointers.machines)):
            raise Refused(f"{', '.join(strange)} has no version of {stream} of its own")
        kept = {m: v for m, v in pointers.machines.items() if m not in machines}
        _write(store, stream, replace(pointers, machines=MappingProxyType(kept)))


def prune(
    store: Store, keep: int, needed: Mapping[tuple[Stream, str], str], streams: Collection[Stream]
) -> list[tuple[Stream, str]]:
    """Remove all but the newest `keep` releases of each stream, and of those none that is needed.

    `needed` says of a release why it has to stay (a profile, a booting machine). What is current, a canary's,
    and what a rollback would go to stays anyway.

    Raises:
        SurroundingsError: the disk did not do its part; what is pinned is what is there.
    """
    removed = []
    with changing(store.paths):
        pinned = store.lock()
        for stream in streams:
            pointers, current = store.pointers(stream), store.current(stream)
            there = store.versions(stream)
            newest = sorted(there, key=version_key)[-keep:]
            last = [v for v in pointers.before if v != current][-1:]
            kept = {current, *pointers.machines.values(), *newest, *last}
            removed += [(stream, v) for v in there if v not in kept and (stream, v) not in needed]
        if removed:
            # Pins first: a file that is half removed must not be one that may be served.
            write_lock(store.paths, pinned.without(removed))
        for stream, version in removed:
            _remove(store.folder(stream) / version)
        _forget(store, removed)  # last: on a full disk there is room for it only now
    return removed


def _forget(store: Store, removed: Collection[tuple[Stream, str]]) -> None:
    """A rollback that follows another must not lead to what is gone."""
    for stream in {stream for stream, _ in removed}:
        pointers = store.pointers(stream)
        before = tuple(v for v in pointers.before if (stream, v) not in removed)
        if before != pointers.before:
            _write(store, stream, replace(pointers, before=before))


def _write(store: Store, stream: Stream, pointers: Pointers) -> None:
    everything = {**store.all_pointers(), str(stream.folder): pointers}
    write_atomic(Path(store.paths.image_pointers), render_pointers(everything))


def _remove(folder: Path) -> None:
    try:
        remove_tree(folder)
        fsync_directory(folder.parent)
    except OSError as error:
        hint = way_out(error, folder)
        raise SurroundingsError(f"cannot remove {folder}: {error.strerror}", hint=hint) from error
