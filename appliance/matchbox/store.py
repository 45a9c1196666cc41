"""Reading an operator's Matchbox data directory into a `Snapshot`, again and again.

Only what groups name is read: profiles, and the files that those name. A file that is being rewritten in
place, or was left half-written, keeps its previous version in force until it is whole; Matchbox serves the
wrong group meanwhile (measured: one request in four under constant writes). A file is whole when it was left
alone for a moment, for longer when it was rewritten in place, and did not change while it was read.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from appliance.errors import Problem
from appliance.matchbox.errors import DataError
from appliance.matchbox.jail import OutOfBounds, open_beneath
from appliance.matchbox.model import Group, Profile
from appliance.matchbox.parse import parse_group, parse_profile
from appliance.matchbox.snapshot import FOLDERS, Document, Snapshot, Unusable, problem_of, read_document

MAX_JSON: Final = 1 << 20  # octets of one group or profile
MAX_DOCUMENT: Final = 4 << 20  # of one template or Ignition file
MAX_GROUPS: Final = 200_000
# How long a file has to look the same before it is read, by our own clock: the kernel shows the size of a
# file that is being truncated before its new time (measured with ext4). Longer for one that is rewritten in
# place: its writer may be slow, and there is a version of it to go on with.
_QUIET: Final = 0.03  # seconds; more than two ticks of the clock that stamps files (10 ms with HZ=100)
_SETTLED: Final = 0.5  # seconds
_LOOKS: Final = 4  # at most: groups name profiles, those name documents, and then everything was seen before
_EFFORT: Final = 20  # looking for changes takes at most one part in so many of our time

_Signature = tuple[int, int, int, int]
_T = TypeVar("_T")


class DataDirectory:
    """A data directory and what it said last. `refresh` blocks on the disk; one call at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._groups = _Shelf(directory, MAX_JSON, lambda file, raw: parse_group(raw, file))
        self._profiles = _Shelf(directory, MAX_JSON, lambda _, raw: parse_profile(raw))
        self._documents = _Shelf(directory, MAX_DOCUMENT, _document)
        self._parts: object = None
        self._last = Snapshot()

    def refresh(self) -> Snapshot:
        """The directory as it is now; the very same object as before when nothing changed.

        Mistakes never raise: they are the snapshot's `problems`.
        """
        shelves: tuple[_Shelf[Group] | _Shelf[Profile] | _Shelf[Document], ...]
        shelves = (self._groups, self._profiles, self._documents)
        for look in range(_LOOKS):
            for shelf in shelves:
                shelf.begin(patient=look == 0)
            problems: list[Problem] = []
            groups = [group for file in self._group_files(problems) if (group := self._groups.get(file))]
            profiles = self._named_profiles(groups, problems)
            documents = self._named_documents(profiles, problems)
            if look == _LOOKS - 1 or not any(shelf.waits for shelf in shelves):
                break
            time.sleep(_QUIET)
        for shelf in shelves:
            problems.extend(shelf.sweep())
        parts = (groups, profiles, documents, problems)
        if parts != self._parts:
            self._parts = parts
            self._last = Snapshot.of(*parts)
        return self._last

    def _group_files(self, problems: list[Problem]) -> list[str]:
        """Matchbox tries every entry `X.anything` as `X.json`, so the .json files are all there is."""
        try:
            with os.scandir(self._directory / "groups") as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            problems.append(
                Problem("groups", 0, "", f"cannot be read, so it stays as it was: {error.strerror}")
            )
            return self._groups.known()
        if len(names) > MAX_GROUPS:
            problems.append(
                Problem("groups", 0, "", f"only the first {MAX_GROUPS} of {len(names)} files are read")
            )
        return self._groups.without_gaps([f"groups/{name}" for name in names[:MAX_GROUPS]])

    def _named_profiles(self, groups: list[Group], problems: list[Problem]) -> dict[str, Profile]:
        found: dict[str, Profile] = {}
        missing: set[str] = set()
        for group in groups:
            name = group.profile
            if name in found:
                continue
            file = _beneath("profiles", f"{name}.json") if name else None
            profile = self._profiles.get(file) if file and name not in missing else None
            if profile is not None:
                found[name] = profile
                continue
            missing.add(name)
            what = f"{file} does not exist or cannot be used" if file else f"{name!r} is no profile's name"
            problems.append(Problem(group.file, 0, "profile", what, "its machines get a 404"))
        return found

    def _named_documents(
        self, profiles: Mapping[str, Profile], problems: list[Problem]
    ) -> dict[str, Document]:
        found: dict[str, Document] = {}
        for name, profile in profiles.items():
            for folder, reference in zip(
                FOLDERS, (profile.ignition_id, profile.generic_id, profile.cloud_id), strict=True
            ):
                key = f"{folder}/{reference}"
                if not reference or key in found:
                    continue
                file = _beneath(folder, reference)
                document = self._documents.get(file) if file else None
                if document is not None:
                    found[key] = document
                elif file and (reason := self._documents.complained(file)):
                    found[key] = Unusable(f"{file}: {reason}")
                else:
                    where = f"profiles/{name}.json"
                    problems.append(Problem(where, 0, f"{folder}_id", f"{key} does not exist"))
        return found


async def follow(data: DataDirectory, use: Callable[[Snapshot], None], interval: float = 1.0) -> None:
    """Hand every new snapshot to `use`, looking about every `interval` seconds, until cancelled."""
    loop = asyncio.get_running_loop()
    last: Snapshot | None = None
    while True:
        started = loop.time()
        snapshot = await asyncio.to_thread(data.refresh)
        if snapshot is not last:
            last = snapshot
            use(snapshot)
        await asyncio.sleep(max(interval, _EFFORT * (loop.time() - started)))


@dataclass(frozen=True, slots=True)
class _Kept(Generic[_T]):
    """What a file said when it looked like `signature`; with a problem, `value` is from before or absent."""

    signature: _Signature
    value: _T | None
    problem: Problem | None = None


class _Shelf(Generic[_T]):
    """The files of one kind, each read again only when it looks different."""

    def __init__(self, root: Path, limit: int, parse: Callable[[str, bytes], _T]) -> None:
        self._root = root
        self._limit = limit
        self._parse = parse
        self._kept: dict[str, _Kept[_T]] = {}
        self._seen: dict[str, tuple[_Signature, float]] = {}  # what looks new, and since when so
        self._asked: set[str] = set()
        self._patient = False
        self.waits = False  # another look, a moment later, will know more

    def begin(self, *, patient: bool) -> None:
        """Start a look; a `patient` one does not believe yet that a file is gone."""
        self._patient, self.waits = patient, False
        self._asked = set()

    def without_gaps(self, files: list[str]) -> list[str]:
        """`files` as listed. One that is gone may be about to come back: editors put a new one there."""
        gone = self._kept.keys() - set(files) if self._patient else ()
        self.waits |= bool(gone)
        return files

    def get(self, file: str) -> _T | None:
        """The value of `file` (relative to the root), or None when it is absent or was never usable."""
        self._asked.add(file)
        kept = self._kept.get(file)
        signature = _signature(f"{self._root}/{file}")
        before = kept.value if kept is not None else None
        if signature is None:
            if kept is not None and self._patient:
                self.waits = True
                return before
            self._kept.pop(file, None)
            return None
        if kept is not None and kept.signature == signature:
            return before
        in_place = kept is not None and _same_inode(kept.signature, signature)
        at = time.monotonic()
        seen, since = self._seen.get(file, (signature, at))
        whole = seen == signature and at - since >= (_SETTLED if in_place else _QUIET)
        now = self._read(file, signature, before) if whole else None
        if now is None:
            self._seen[file] = signature, since if seen == signature else at
            self.waits |= not in_place
            return before
        self._seen.pop(file, None)
        self._kept[file] = now
        return now.value

    def complained(self, file: str) -> str:
        """What is wrong with `file`; empty when nothing is."""
        kept = self._kept.get(file)
        return kept.problem.message if kept is not None and kept.problem is not None else ""

    def known(self) -> list[str]:
        """The files that were there at the last look."""
        return sorted(self._kept)

    def sweep(self) -> Iterator[Problem]:
        """Forget what was not asked for since the last sweep, and give the problems of the rest."""
        for file in self._kept.keys() - self._asked:
            del self._kept[file]
        self._seen = {file: seen for file, seen in self._seen.items() if file in self._asked}
        for kept in self._kept.values():
            if kept.problem is not None:
                yield kept.problem

    def _read(self, file: str, signature: _Signature, previous: _T | None) -> _Kept[_T] | None:
        """What `file` says; None when it was written to meanwhile."""
        try:
            content, then = _content(self._root, file, self._limit)
            if then != signature[:3]:
                return None
            if len(content) > self._limit:
                raise DataError(f"larger than {self._limit} bytes")
            value = self._parse(file, content)
        except DataError as error:
            problem = problem_of(file, error)
        except OutOfBounds as error:
            previous, problem = None, Problem(file, 0, "", str(error))
        except OSError as error:
            problem = Problem(file, 0, "", f"cannot be read: {error.strerror}")
        else:
            return _Kept(signature, value)
        if previous is not None:
            hint = "the version before stays in force"
            problem = Problem(problem.file, problem.line, problem.path, problem.message, hint)
        return _Kept(signature, previous, problem)


def _document(file: str, raw: bytes) -> Document:
    folder, _, name = file.partition("/")
    return read_document(folder, name, raw)


def _content(root: Path, file: str, limit: int) -> tuple[bytes, tuple[int, int, int]]:
    """The file, of which no more than one octet above the limit, and how it looked when that was read."""
    fd = open_beneath(root, file)
    with os.fdopen(fd, "rb") as stream:
        content = stream.read(limit + 1)
        found = os.fstat(stream.fileno())
    return content, (found.st_mtime_ns, found.st_size, found.st_ctime_ns)


def _signature(path: str) -> _Signature | None:
    """What changes when a file does; None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - ten thousand of them a second
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ctime_ns, found.st_ino


def _same_inode(left: _Signature, right: _Signature) -> bool:
    return left[3] == right[3]


def _beneath(folder: str, reference: str) -> str | None:
    """A reference, relative to the root. As in Matchbox it may leave its folder by `..`, but not the root."""
    path = posixpath.normpath(f"{folder}/{reference}")
    return None if path == ".." or path.startswith(("../", "/")) or "\0" in path else path
