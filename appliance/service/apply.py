"""Carries a plan out, step by step; what was done is taken back when a step fails."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from appliance.errors import ApplianceError, SurroundingsError
from appliance.service.parts import SERVICE, UNIT_DIRECTORY, Part
from appliance.service.plan import GUARD, RELOAD_UNITS, Change, Command, Removal, ServicePlan
from appliance.system.command import pasteable, run
from appliance.system.files import make_directory, point_symlink, write_atomic

_SECONDS = 120.0  # a start waits for the interface, a stop for a sync


def carry_out(plan: ServicePlan, say: Callable[[str], None]) -> bool:
    """Do every step; whether those that may fail did not.

    Raises:
        ApplianceError: a step failed; the host is as it was, but for what the message names.
    """
    undo: list[Callable[[], None]] = []
    if any(change.path.startswith(UNIT_DIRECTORY) for change in plan.changes):
        undo.append(lambda: _again(RELOAD_UNITS))  # last of all: systemd reads what stands there again
    well, gone = True, ""
    try:
        for step in plan.steps:
            match step:
                case Change():
                    undo.append(_undoing(step))
                    _put(step.path, step.after)
                case Removal(path):
                    undo.clear()  # what goes now is not brought back, and files for it would be no service
                    gone = f"{path} is gone in part, and what was done before stays done"
                    _remove(Path(path))
                case Command(argv, back, may_fail):
                    done = run(argv, timeout=_SECONDS, check=not may_fail)
                    if done.rc != 0:
                        well = False
                        say(f"{pasteable(argv)} failed: {(done.stderr or done.stdout).strip()}")
                    if back:
                        undo.append(lambda back=back: _again(back))  # type: ignore[misc]
    except ApplianceError as error:
        left = _take_back(undo)
        taken = "what was done before is taken back" if not left else f"not taken back: {'; '.join(left)}"
        said = gone or taken
        raise SurroundingsError(f"{error.message}; {said}", hint=error.hint) from error
    return well


def reload_service() -> None:
    """Ask the running daemon to go on as the program on disk. What becomes of it is told later, by `status`.

    Raises:
        SurroundingsError: it cannot be asked.
    """
    run(("systemctl", "reload", SERVICE), timeout=_SECONDS)


def drop_guard() -> None:
    """Remove the packet filter's table that a daemon put up: one that was killed leaves it behind."""
    with contextlib.suppress(ApplianceError):
        run(GUARD, timeout=10, check=False)


def _undoing(change: Change) -> Callable[[], None]:
    return lambda: _put(change.path, change.before)


def _again(argv: tuple[str, ...]) -> None:
    run(argv, timeout=_SECONDS)


def _take_back(undo: list[Callable[[], None]]) -> list[str]:
    left = []
    for back in reversed(undo):
        try:
            back()
        except ApplianceError as error:
            left.append(error.message)
    return left


def _put(path: str, part: Part | None) -> None:
    file = Path(path)
    if part is None:
        _unlink(file)
        return
    make_directory(file.parent)
    if part.target:
        point_symlink(file, part.target)
    else:
        write_atomic(file, part.content, part.mode)


def _unlink(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
        if file.parent.name == "pxe-appliance":  # a directory of ours; the others are the system's
            with contextlib.suppress(OSError):
                file.parent.rmdir()
    except OSError as error:
        raise SurroundingsError(f"cannot remove {file}: {error.strerror}") from error


def _remove(directory: Path) -> None:
    if directory.is_symlink() or not directory.is_dir():
        return
    try:
        shutil.rmtree(directory)
    except OSError as error:
        raise SurroundingsError(f"cannot remove {directory}: {os.strerror(error.errno or 0)}") from error
