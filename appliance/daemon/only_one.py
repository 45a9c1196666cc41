"""One daemon for each root: the file that it locks, and the state directory, which keeps its lock without it.

Whoever clears /run removes the file, and a lock is on a file, not on its name. The directory with the
generations is the same for every daemon that would serve them, whatever its network namespace.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from appliance.paths import Paths
from appliance.system.clock import monotonic, pause
from appliance.system.files import LockHeld, exclusive_lock, is_locked, make_directory
from appliance.system.inherited import is_open_on

_MOMENT: Final = 1.0  # seconds: what ages directories (systemd-tmpfiles) locks them for less than that
_STEP: Final = 0.05
_log = logging.getLogger("pxe-appliance")


@contextlib.contextmanager
def daemon_lock(paths: Paths, taken: int | None = None) -> Iterator[int]:
    """Hold the locks of which there is one for each root; gives the open lock file.

    `taken`: that of the program before us in this process, to be held on to.

    Raises:
        LockHeld: another daemon has one of them.
    """
    path = Path(paths.daemon_lock)
    with contextlib.ExitStack() as held:
        if taken is None or not is_open_on(taken, path):
            fd = held.enter_context(exclusive_lock(path, wait=False, purpose="pxe-appliance serve"))
        else:
            fd = taken
            held.callback(os.close, fd)
        make_directory(Path(paths.state))
        try:
            held.enter_context(_root_lock(paths, _MOMENT))
        except LockHeld as error:
            if taken is None:
                raise
            _log.error("%s", error.message)  # we have served it before whoever came meanwhile
        yield fd


@contextlib.contextmanager
def instead_of_daemon(paths: Paths) -> Iterator[None]:
    """Keep every daemon from this root while it is changed without one.

    Raises:
        LockHeld: one serves it, or starts.
    """
    with exclusive_lock(Path(paths.daemon_lock), wait=False, purpose="the daemon"), _root_lock(paths):
        yield


def is_served(paths: Paths) -> bool:
    """Whether a daemon has this root, as far as we may look."""
    return is_locked(Path(paths.daemon_lock)) or is_locked(Path(paths.state))


@contextlib.contextmanager
def _root_lock(paths: Paths, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock on the state directory; where there is none, or it knows no locks, the file has to do."""
    fd, deadline = -1, monotonic() + patience
    with contextlib.suppress(OSError):
        fd = os.open(paths.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while fd >= 0:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if monotonic() >= deadline:
                    raise LockHeld(
                        "a daemon serves this root already, although its lock file was removed",
                        hint=f"pgrep -af 'pxe-appliance.* serve'; its lock is on {paths.state}",
                    ) from error
            except OSError:
                break
            pause(_STEP)
        yield
    finally:
        if fd >= 0:
            os.close(fd)
