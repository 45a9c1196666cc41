"""Opening files that lie beneath a directory, whatever their names and links say. The only door to both the
operator's data and the assets."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class OutOfBounds(ValueError):
    """The name leads out of the directory, or to what is neither a regular file nor a directory."""


def open_beneath(root: Path, relative: str) -> int:
    """A descriptor of the regular file or directory `relative` (parts joined by `/`) beneath `root`.

    Symbolic links are followed as long as they stay inside. What was opened is judged, not what the name
    meant a moment before, so a link that changes meanwhile gains nothing. Never waits on a FIFO.

    Raises:
        OutOfBounds: outside of `root`, or a special file; the message says which.
        OSError: as from open(2).
    """
    parts = [part for part in relative.split("/") if part]
    if "\0" in relative or any(part in {".", ".."} for part in parts):
        raise OutOfBounds("the name is not clean")
    real_root = os.path.realpath(root, strict=True)
    name = os.path.join(real_root, *parts)  # noqa: PTH118 - pathlib would not take surrogates faster, nor safer
    _check_kind(os.stat(name).st_mode)  # noqa: PTH116 - before opening: opening a device can have effects
    fd = os.open(name, _FLAGS)
    try:
        real = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
        if real != real_root and not real.startswith(f"{real_root.rstrip('/')}/"):
            raise OutOfBounds("a symbolic link leads out of the directory")
        _check_kind(os.fstat(fd).st_mode)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_kind(mode: int) -> None:
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OutOfBounds("it is neither a regular file nor a directory")
