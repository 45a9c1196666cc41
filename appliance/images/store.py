"""The store on disk, as it is read: releases, which one is current, who gets another one.

    images/OS/STREAM[/ARCH]/VERSION/{files,release.json}     a release, published whole by one rename
    images/OS/STREAM[/ARCH]/current -> VERSION                the pointer that machines follow
    image-pointers.json                                       canaries, and what was current before

`publish` and `change` write it; everything that serves or lists reads it here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from appliance.errors import OperatorError, Problem, SurroundingsError
from appliance.image_ref import ARCHITECTURES
from appliance.images.catalogue import OSES
from appliance.images.lock import Lock, parse_lock
from appliance.images.model import (
    RECORD,
    StoredRelease,
    Stream,
    is_stream_name,
    is_version,
    version_key,
)
from appliance.images.record import parse_record
from appliance.paths import Paths
from appliance.system.files import read_as_owner, read_regular

CURRENT: Final = "current"
_RECORD_LIMIT: Final = 64 * 2**20
_LOCK_LIMIT: Final = 16 * 2**20
_POINTERS_LIMIT: Final = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Pointers:
    """Of one stream: what was current before (oldest first), and which machines get another version."""

    before: tuple[str, ...] = ()
    machines: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class Store:
    """Reads the store below one root. Remembers what cannot change behind its back, or looks again."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._records: dict[Path, tuple[object, StoredRelease]] = {}
        self._pointers: tuple[object, Mapping[str, Pointers]] = (None, {})
        self._lock: tuple[object, Lock, tuple[Problem, ...]] = (None, Lock(), ())

    def folder(self, stream: Stream) -> Path:
        """Where a stream's releases are."""
        return Path(self.paths.images / stream.folder)

    def current(self, stream: Stream) -> str | None:
        """The version that machines get, None when there is none."""
        try:
            target = os.readlink(self.folder(stream) / CURRENT)  # noqa: PTH115 - on the way of every boot
        except OSError:
            return None
        return target if is_version(target) else None

    def version_for(self, stream: Stream, machine: str) -> str | None:
        """The version that a machine gets: its canary's, or the current one."""
        return self.pointers(stream).machines.get(machine) or self.current(stream)

    def release(self, stream: Stream, version: str) -> StoredRelease | None:
        """A release that is there, whatever it is worth; None when it is not, or cannot be understood."""
        path = self.folder(stream) / version / RECORD
        try:
            stamp = _stamp(path)
            kept = self._records.get(path)
            if kept is None or kept[0] != stamp:
                kept = (stamp, parse_record(read_as_owner(path, _RECORD_LIMIT)))
                self._records[path] = kept
        except (OSError, ValueError):
            return None
        found = kept[1]
        return found if (found.stream, found.version) == (stream, version) else None

    def versions(self, stream: Stream) -> tuple[str, ...]:
        """The versions that have a directory, oldest first, whatever is in it."""
        try:
            with os.scandir(self.folder(stream)) as entries:
                names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and is_version(e.name)]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise SurroundingsError(f"cannot read {self.folder(stream)}: {error.strerror}") from error
        return tuple(sorted(names, key=version_key))

    def streams(self) -> tuple[Stream, ...]:
        """Every stream that has a directory, sorted."""
        return tuple(sorted(set(self._streams())))

    def _streams(self) -> Iterator[Stream]:
        root = Path(self.paths.images)
        for os_name in sorted(OSES):
            for folder in _folders(root / os_name):
                if not is_stream_name(folder.name):
                    continue
                yield Stream(os_name, folder.name)
                for arch in ARCHITECTURES[1:]:
                    if (folder / arch).is_dir():
                        yield Stream(os_name, folder.name, arch)

    def pointers(self, stream: Stream) -> Pointers:
        """Canaries and the past of a stream."""
        return self.all_pointers().get(str(stream.folder), Pointers())

    def all_pointers(self) -> Mapping[str, Pointers]:
        """Of every stream, by its folder."""
        path = Path(self.paths.image_pointers)
        try:
            stamp = _stamp(path)
            if stamp != self._pointers[0]:
                self._pointers = (stamp, _parse_pointers(read_as_owner(path, _POINTERS_LIMIT)))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise SurroundingsError(
                f"cannot understand {path}: {error}",
                hint="it holds canaries and what was current before; remove it, and both are forgotten",
            ) from error
        return self._pointers[1]

    def lock(self) -> Lock:
        """What is pinned.

        Raises:
            OperatorError: something in images.lock cannot be used: it must not be written over.
        """
        lock, problems = self.lock_as_it_is()
        if problems:
            raise OperatorError(f"cannot use {self.paths.image_lock}", problems=problems)
        return lock

    def lock_as_it_is(self) -> tuple[Lock, tuple[Problem, ...]]:
        """What is pinned, as far as it can be understood, and what is wrong with the rest."""
        path = Path(self.paths.image_lock)
        try:
            stamp = _stamp(path)
            if stamp != self._lock[0]:
                text = read_regular(path, _LOCK_LIMIT).decode()
                lock, problems = parse_lock(text, str(path))
                self._lock = (stamp, lock, tuple(problems))
        except FileNotFoundError:
            return Lock(), ()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return Lock(), (Problem(str(path), 0, "", f"cannot be read: {why}", "it has to be UTF-8 text"),)
        return self._lock[1], self._lock[2]


def render_pointers(pointers: Mapping[str, Pointers]) -> bytes:
    """The bytes of image-pointers.json."""
    facts = {
        folder: {"before": list(p.before), "machines": dict(sorted(p.machines.items()))}
        for folder, p in sorted(pointers.items())
        if p.before or p.machines
    }
    return (json.dumps(facts, indent=1) + "\n").encode()


def _parse_pointers(raw: bytes) -> Mapping[str, Pointers]:
    try:
        facts = json.loads(raw)
        if not isinstance(facts, dict):
            raise ValueError("it is not an object")
        return {
            str(folder): Pointers(
                tuple(str(v) for v in entry["before"] if is_version(str(v))),
                MappingProxyType(
                    {str(m): str(v) for m, v in entry["machines"].items() if is_version(str(v))}
                ),
            )
            for folder, entry in facts.items()
        }
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it lacks what it should have: {error!r}") from error


def _folders(directory: Path) -> list[Path]:
    try:
        return sorted(p for p in directory.iterdir() if p.is_dir() and not p.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _stamp(path: Path) -> object:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
