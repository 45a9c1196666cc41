"""That a change is asked for which has to be confirmed, from before it is planned until a generation says so.

A daemon that dies in between comes back to files that ask for the change, and to no generation that would say
that nobody wants it without a way back. This mark says it: an empty file, durable before anything is read.
"""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath

from appliance.paths import Paths
from appliance.system.files import make_directory, write_atomic


def begin(paths: Paths) -> None:
    """Mark it, durable when this returns.

    Raises:
        SurroundingsError: the disk does not take it; nothing may be begun.
    """
    make_directory(Path(paths.state))
    if not lasts(paths):
        write_atomic(Path(_mark(paths)), b"")


def lasts(paths: Paths) -> bool:
    """Whether it is marked."""
    return Path(_mark(paths)).exists()


def end(paths: Paths) -> None:
    """A sync has done what is asked for, or a generation says itself that it has to be confirmed."""
    with contextlib.suppress(OSError):  # a start is then more careful than it has to be
        Path(_mark(paths)).unlink(missing_ok=True)


def _mark(paths: Paths) -> PurePosixPath:
    return paths.state / "to-be-confirmed"
