"""What the store is worth: each release held against its pins, and what is wrong in words for an operator."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from appliance.errors import OperatorError, SurroundingsError
from appliance.image_ref import ImageRef
from appliance.images.catalogue import OSES, SOURCES
from appliance.images.keys import known_keys
from appliance.images.lock import Lock, Pin
from appliance.images.model import RECORD, Stream, is_version, version_key
from appliance.images.seals import Damage, Seals
from appliance.images.store import CURRENT, Store
from appliance.settings import ImageSettings, Settings

WARN_BEFORE: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Row:
    """One release, for `images`. `state` is ok, damaged, unpinned or absent (pinned, and not here)."""

    stream: Stream
    version: str
    current: bool
    pinned: bool
    size: int
    signer: str | None
    fetched_at: datetime | None
    state: str
    damage: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()  # whose canary it is

    def as_json(self) -> dict[str, object]:
        """The public shape."""
        return {
            "image": self.stream.image,
            "version": self.version,
            "arch": self.stream.arch,
            "current": self.current,
            "pinned": self.pinned,
            "size": self.size,
            "signer": self.signer,
            "fetched_at": self.fetched_at.isoformat() if self.fetched_at else None,
            "state": self.state,
            "damage": list(self.damage),
            "machines": list(self.machines),
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with the store. `id` is stable; `fix` is a command."""

    id: str
    severity: str  # error, warning
    message: str
    fix: str
    evidence: tuple[str, ...] = ()


def release_damage(
    store: Store, seals: Seals, stream: Stream, version: str, *, believe: bool = True
) -> list[Damage]:
    """Why a release must not be served, file by file; empty when it may be. Hashes what has no seal."""
    folder = store.folder(stream) / version
    if not folder.is_dir():
        return [Damage(f"{stream}@{version}", "it is not in the store")]
    lock, _ = store.lock_as_it_is()
    pinned = lock.get(stream, version)
    if pinned is None:
        return [Damage(f"{stream}@{version}", "images.lock does not pin it")]
    found = [seals.check(folder / name, pin, believe=believe) for name, pin in pinned.files.items()]
    damage = [d for d in found if d is not None]
    record = store.release(stream, version)
    if record is None:
        damage.append(Damage(str(folder / RECORD), "it cannot be understood"))
    elif {f.name: Pin(f.size, f.sha512) for f in record.files} != dict(pinned.files):
        damage.append(Damage(str(folder / RECORD), "it is not of the files that are pinned"))
    return damage


def rows(store: Store, seals: Seals, *, believe: bool = True) -> list[Row]:
    """Every release that is there or pinned, by stream, oldest first."""
    lock, _ = store.lock_as_it_is()
    pinned = {(r.stream, r.version) for r in lock.releases}
    streams = sorted({*store.streams(), *(stream for stream, _ in pinned)})
    found = []
    for stream in streams:
        there = store.versions(stream)
        absent = [r.version for r in lock.releases if r.stream == stream and r.version not in there]
        found += [
            _absent(lock, stream, version, store)
            if version in absent
            else _row(store, seals, lock, stream, version, believe=believe)
            for version in sorted((*there, *absent), key=version_key)
        ]
    return found


def _absent(lock: Lock, stream: Stream, version: str, store: Store) -> Row:
    pinned = lock.get(stream, version)
    assert pinned is not None
    size = sum(pin.size for pin in pinned.files.values())
    current = store.current(stream) == version
    machines = _canaries(store, stream, version)
    return Row(stream, version, current, True, size, pinned.signer, None, "absent", machines=machines)


def _canaries(store: Store, stream: Stream, version: str) -> tuple[str, ...]:
    return tuple(sorted(m for m, v in store.pointers(stream).machines.items() if v == version))


def _row(store: Store, seals: Seals, lock: Lock, stream: Stream, version: str, *, believe: bool) -> Row:
    release, pinned = store.release(stream, version), lock.get(stream, version)
    damage = release_damage(store, seals, stream, version, believe=believe) if pinned else []
    state = "unpinned" if pinned is None else "damaged" if damage else "ok"
    return Row(
        stream,
        version,
        store.current(stream) == version,
        pinned is not None,
        release.size if release else 0,
        release.signer if release else None,
        release.fetched_at if release else None,
        state,
        tuple(str(d) for d in damage),
        _canaries(store, stream, version),
    )


def findings(store: Store, seals: Seals, settings: Settings | None, now: datetime) -> list[Finding]:
    """Everything that is wrong, worst first: what status and doctor say of images."""
    found = list(_lock_findings(store))
    try:
        found += [*_release_findings(store, seals), *_pointer_findings(store), *_stray_findings(store)]
        if settings is not None:
            found += key_findings(store, settings, now)
    except (SurroundingsError, OSError) as error:
        message, hint = (
            (error.message, error.hint) if isinstance(error, SurroundingsError) else (str(error), "")
        )
        found.append(Finding("images-store", "error", message, hint or f"ls -lR {store.paths.images}"))
    return sorted(found, key=lambda f: f.severity != "error")


def _lock_findings(store: Store) -> Iterator[Finding]:
    _, problems = store.lock_as_it_is()
    if problems:
        message = "images.lock cannot be used as it is: releases that it does not pin are not served"
        fix = f"mend {store.paths.image_lock}, or take the newest good copy back"
        yield Finding("images-lock", "error", message, fix, tuple(str(p) for p in problems))


def _release_findings(store: Store, seals: Seals) -> Iterator[Finding]:
    for row in rows(store, seals):
        name = f"{row.stream.image}@{row.version}"
        arch = f" --arch {row.stream.arch}" if row.stream.arch != "amd64" else ""
        fix = f"pxe-appliance images fetch {name}{arch}"
        if row.state == "damaged":
            message = f"{row.stream}@{row.version} is damaged and not served: {row.damage[0]}"
            yield Finding("images-damaged", "error", message, fix, row.damage)
        elif row.state == "unpinned":
            severity = "error" if row.current or row.machines else "warning"
            message = f"{row.stream}@{row.version} is not pinned in images.lock, and not served"
            yield Finding("images-unpinned", severity, message, fix)


def _pointer_findings(store: Store) -> Iterator[Finding]:
    for stream in store.streams():
        there = store.versions(stream)
        current = store.current(stream)
        if current is None and there:
            message, fix = (
                f"{stream} has no current release",
                f"pxe-appliance images use {stream.image}@{there[-1]}",
            )
            yield Finding("images-current", "error", message, fix)
        for version, whose in _led_to(store, stream, current).items():
            if version not in there:
                message = f"{stream}@{version} is {whose}, and is not in the store"
                fix = f"pxe-appliance images fetch {stream.image}@{version}"
                yield Finding("images-missing", "error", message, fix)


def _led_to(store: Store, stream: Stream, current: str | None) -> dict[str, str]:
    canaries = {v: f"given to {m}" for m, v in store.pointers(stream).machines.items()}
    return canaries | ({current: "current"} if current else {})


def _stray_findings(store: Store) -> Iterator[Finding]:
    """Files that nobody pinned: never served, and a sign that somebody was at work by hand."""
    strays = sorted(_strays(store))
    if strays:
        message = f"{len(strays)} unpinned files lie in {store.paths.images}; none is served: {strays[0]}"
        fix = f"look at them, and remove them: ls -l {Path(strays[0]).parent}"
        yield Finding("images-unpinned", "warning", message, fix, tuple(strays[:20]))


def _strays(store: Store) -> Iterator[str]:
    lock, _ = store.lock_as_it_is()
    root = Path(store.paths.images)
    streams = {store.folder(s): s for s in store.streams()}
    above = {parent for folder in streams for parent in folder.parents} | {root / os for os in OSES}
    for path in _below(root):
        stream = streams.get(path.parent)
        owner = streams.get(path.parent.parent)
        if path in streams or path in above or (stream and path.name == CURRENT and path.is_symlink()):
            continue
        if stream and is_version(path.name) and path.is_dir() and not path.is_symlink():
            continue
        pinned = lock.get(owner, path.parent.name) if owner else None
        if owner and (path.name == RECORD or pinned is None or path.name in pinned.files):
            continue  # of an unpinned release, the release is named, not each of its files
        yield str(path)


def _below(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        yield from (Path(folder, name) for name in (*names, *files))


def key_findings(store: Store, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Keys that end soon, or have ended, of the systems that images are kept of."""
    for os_name in sorted({stream.os for stream in store.streams()} & set(SOURCES)):
        of_os = settings.images.get(os_name, ImageSettings())
        try:
            keys = list(known_keys(store.paths, os_name, SOURCES[os_name], of_os))
        except OperatorError as error:
            yield Finding("images-keys", "error", error.message, error.hint, tuple(map(str, error.problems)))
            continue
        ends = [key.certificate.expires for key in keys if key.certificate.signs]
        if keys and not ends:
            message = f"no key at hand can sign {os_name} any more: all are revoked"
            yield Finding("images-keys", "error", message, "pxe-appliance images keys --refresh")
        if not ends or None in ends:
            continue
        last = max(end for end in ends if end)
        if last - now < WARN_BEFORE:
            verb = "ended" if last < now else "ends"
            message = f"the last key that signs {os_name} {verb} on {last:%Y-%m-%d}"
            fix = (
                f"put the prolonged key into {store.paths.keys}"
                if of_os.keys
                else "pxe-appliance images keys --refresh"
            )
            yield Finding("images-keys", "error" if last < now else "warning", message, fix)


def why_not(store: Store, seals: Seals, ref: ImageRef, arch: str | None, machine: str) -> str:
    """Why a machine cannot boot an image now; empty when it can."""
    stream = Stream.of(ref, arch)
    version = ref.version or store.version_for(stream, machine)
    if version is None:
        return f"{stream} is not in the store"
    damage = release_damage(store, seals, stream, version)
    if not damage:
        return ""
    return str(damage[0]) if damage[0].file.startswith(stream.image) else f"{stream}@{version}: {damage[0]}"


def why_not_each(
    store: Store, seals: Seals, wanted: Mapping[str, tuple[ImageRef, str | None]]
) -> dict[str, str]:
    """`why_not` for many machines, each by its name; each release is looked at once."""
    known: dict[tuple[Stream, str | None], str] = {}
    reasons = {}
    for machine, (ref, arch) in wanted.items():
        stream = Stream.of(ref, arch)
        key = (stream, ref.version or store.version_for(stream, machine))
        if key not in known:
            known[key] = why_not(store, seals, ref, arch, machine)
        if known[key]:
            reasons[machine] = known[key]
    return reasons
