"""What has to hold after every fault, whatever it was: one judge for kills, errors and power cuts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError
from appliance.paths import Paths
from appliance.sync import generations
from appliance.sync.inputs import examine
from tests.crash.operations import Operation
from tests.crash.traced import ERRORS, Call, Run

_NUMBERED: Final = re.compile(r"(var/lib/pxe-appliance/generations)/(\d+)(/|$)")
_TRANSIENT: Final = re.compile(r"history\.db-(wal|shm)$|^lost\+found")
_MARK: Final = re.compile(r"generations/\d+/(proven|rejected|pending|settled)$")
_RENAMES: Final = frozenset({"rename", "renameat", "renameat2"})
# What a fault may leave, though no run without a fault makes it: the next sync's look at it is not a change.
_EXPECTED_LATER: Final = re.compile(r"run/pxe-appliance(/lock|/daemon\.lock)?$")


@dataclass(frozen=True, slots=True)
class Essence:
    """What a reader of the state gets: the current generation's files by digest, whether it is proven, and
    every file that the operator owns."""

    current: Mapping[str, str] | None
    proven: bool
    operators: Mapping[str, bytes]

    def short(self) -> str:
        """For a message."""
        now = hashlib.sha256(repr(sorted((self.current or {}).items())).encode()).hexdigest()[:8]
        mine = hashlib.sha256(repr(sorted(self.operators.items())).encode()).hexdigest()[:8]
        return f"current {now if self.current is not None else None}, operator's files {mine}"


@dataclass(frozen=True, slots=True)
class Clean:
    """A run without a fault: the state before and after it, and every name that was there at either time.

    `between` is a state that it passes through on its way, where it does.
    """

    old: Essence
    new: Essence
    names: frozenset[str]
    rc: int
    passing: frozenset[tuple[str, int, str]]  # the calls whose failure may pass in silence
    between: Essence | None = None


def essence(paths: Paths) -> Essence:
    """Read the state as the product does.

    Raises:
        ApplianceError: it cannot be read.
    """
    number = generations.current_id(paths)
    current, proven = None, False
    if number is not None:
        tree = generations.load_generation(paths, number).tree
        current = {file.path: file.digest for file in tree}
        proven = generations.read_manifest(paths, number).proven
    etc = Path(paths.etc)
    files = [p for p in etc.rglob("*") if p.is_file() and not p.name.startswith(".")]
    mine = {str(p.relative_to(etc)): p.read_bytes() for p in files}
    note = Path(paths.state) / "note"
    if note.exists():
        mine["note"] = note.read_bytes()
    return Essence(current, proven, mine)


def names(paths: Paths) -> frozenset[str]:
    """Every name below the root; generations by whether they are current, not by number."""
    root, current = Path(paths.root), generations.current_id(paths)
    found = set()
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if _TRANSIENT.search(name) or _MARK.search(name):
            continue
        number = _NUMBERED.match(name)
        if number:
            which = "current" if number[2] == str(current) else "other"
            name = f"{number[1]}/{which}{number[3]}{name[number.end() :]}"
        found.add(name)
    return frozenset(found)


def as_others(found: frozenset[str]) -> frozenset[str]:
    """A generation that was current may be another one afterwards."""
    return found | {name.replace("generations/current", "generations/other") for name in found}


def after_fault(operation: Operation, clean: Clean, paths: Paths, run: Run, kind: str) -> Iterator[str]:
    """What is wrong with how the run ended, and with the state that it left."""
    if "Traceback" in run.said or "internal error" in run.said or run.rc in {1, 99}:
        yield f"it ended like a bug: exit {run.rc}, {run.said[-300:]!r}"
    if not run.killed and run.hit is not None and kind in ERRORS:
        yield from _honest(operation, clean, run, run.hit)
    try:
        now = essence(paths)
    except (ApplianceError, OSError) as error:
        yield f"the state cannot be read: {error}"
        return
    if run.rc == clean.rc and now != clean.new:
        yield f"it was acknowledged and is not there: {now.short()}, not {clean.new.short()}"
    allowed = [clean.old, clean.new, *([clean.between] if clean.between else [])]
    # Between the pointer's move and the mark, a generation is current and not proven yet: that is known.
    if not any((now.current, now.operators) == (e.current, e.operators) for e in allowed):
        yield f"it is neither the old nor the new: {now.short()}"
    yield from _sound(operation, paths)
    if operation.extra is not None:
        yield from operation.extra(paths, run)


def after_repair(operation: Operation, clean: Clean, paths: Paths, run: Run, was: Essence) -> Iterator[str]:
    """What is wrong after the operation was run again without a fault; `was` is the state before that."""
    untouched = (was.current, was.operators) == (clean.old.current, clean.old.operators)
    allowed = {clean.rc} if untouched and clean.old != clean.new else {clean.rc, *operation.retold}
    if run.rc not in allowed:
        yield f"the next run ends with {run.rc}: {run.said[-300:]!r}"
        return
    if run.rc in operation.refused:
        return
    try:
        now = essence(paths)
    except (ApplianceError, OSError) as error:
        yield f"after the next run the state cannot be read: {error}"
        return
    if run.rc == clean.rc and untouched and now != clean.new:
        yield f"after the next run it is not what a clean run makes: {now.short()}"
    if operation.extra is not None:
        yield from operation.extra(paths, run)
    left = {n for n in names(paths) - as_others(clean.names) if not _EXPECTED_LATER.search(n)}
    if left:
        yield f"left behind for ever: {sorted(left)[:4]}"
    yield from _sound(operation, paths)


def passing(operation: Operation, calls: Sequence[Call]) -> Iterator[tuple[str, int, str]]:
    """The calls whose failure may pass in silence; with a rename, the directory's fsync after it."""
    renamed = False
    for call in calls:
        courtesy = re.search(operation.courtesy, f"{call.place} {call.name}") is not None
        if courtesy or (renamed and call.name == "fsync"):
            yield call.name, call.n, call.path
        renamed = courtesy and call.name in _RENAMES


def _honest(operation: Operation, clean: Clean, run: Run, hit: Call) -> Iterator[str]:
    """An error that the disk gave is told, with what it was about; nothing is called done that may not be."""
    if run.rc == clean.rc:
        courtesy = re.search(operation.courtesy, f"{hit.place} {hit.name}")
        if not courtesy and (hit.name, hit.n, hit.path) not in clean.passing:
            yield f"an error at {hit} of {hit.place} was called a success"
    elif run.rc not in operation.failing:
        yield f"an error of the disk is exit {run.rc}: {run.said[-300:]!r}"
    elif not re.search(r"(?m)^error: .*/", run.said):
        yield f"the message names no path: {run.said[-300:]!r}"


def _sound(operation: Operation, paths: Paths) -> Iterator[str]:
    """`check` has nothing to say, and every generation that has a number is intact."""
    if not operation.serves:
        return
    try:
        problems, _, _ = examine(paths)
        yield from (f"check says: {problem}" for problem in problems)
        folder = Path(paths.generations)
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if entry.name.isdecimal():
                generations.load_generation(paths, int(entry.name))
        number = generations.current_id(paths)
        if number is not None and generations.read_manifest(paths, number).rejected:
            yield f"generation {number} is current, though it was taken back"
    except (ApplianceError, OSError) as error:
        yield f"a generation is damaged: {error}"


def serving_state(paths: Paths) -> str:
    """A digest of everything that dnsmasq is given: equal ones need to be started once."""
    current = Path(paths.current)
    parts = [
        f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for folder in (current / "network", current / "tftp", Path(paths.tftp))
        for path in sorted(p for p in folder.rglob("*") if p.is_file())
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""
