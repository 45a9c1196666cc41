"""What a program that replaced itself by exec(3) still has: its children, and open file descriptors.

The process stays the same one, so a child stays its child: it can be waited for, and its number is taken
until that was done. Python knows nothing of such a child, hence `InheritedProcess`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from appliance.system.clock import monotonic, pause

_PARENT: Final = 1  # fields of /proc/PID/stat that follow the name (proc(5)): 4 and 22
_STARTED: Final = 19
_STEP: Final = 0.02
_END_SECONDS: Final = 2.0


class Process(Protocol):
    """A child, started by us or inherited: what `subprocess.Popen` can, as far as it is needed."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class InheritedProcess:
    """A child of the program that this process was before."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self._reap(os.WNOHANG)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit code.

        Raises:
            TimeoutError: it runs on after `timeout` seconds.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} has not ended")
            pause(_STEP)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended: its number may be somebody else's by then."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _reap(self, options: int) -> None:
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:  # not ours, or waited for by somebody else
            self.returncode = 0
            return
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)


def started_at(pid: int) -> int | None:
    """When a process was started, in clock ticks since the host was; None when there is none.

    It stays the same across exec, and tells a process from another one with its number.
    """
    fields = _stat(pid)
    return None if fields is None else int(fields[_STARTED])


def is_own_child(pid: int, started: int) -> bool:
    """Whether `pid` is a child of this process and was started at that time."""
    fields = _stat(pid)
    return fields is not None and (int(fields[_PARENT]), int(fields[_STARTED])) == (os.getpid(), started)


def own_children() -> Iterator[int]:
    """The process ids of all children of this process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            fields = _stat(int(entry.name))
            if fields is not None and int(fields[_PARENT]) == os.getpid():
                yield int(entry.name)


def end_children(pids: Iterable[int]) -> None:
    """Kill children and wait for them, but not for long: one that waits for a disk ends when that answers."""
    left = [InheritedProcess(pid) for pid in pids]
    for process in left:
        process.kill()
    deadline = monotonic() + _END_SECONDS
    for process in left:
        with contextlib.suppress(TimeoutError):
            process.wait(max(0.0, deadline - monotonic()))


def is_socket(fd: int) -> bool:
    """Whether a file descriptor is open on a socket."""
    return _kind(fd, stat.S_IFSOCK)


def is_file(fd: int) -> bool:
    """Whether a file descriptor is open on a regular file."""
    return _kind(fd, stat.S_IFREG)


def is_open_on(fd: int, path: Path) -> bool:
    """Whether a file descriptor is open on the file that has the name `path` at this moment."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat(follow_symlinks=False))
    except OSError:
        return False


def _kind(fd: int, wanted: int) -> bool:
    try:
        return stat.S_IFMT(os.fstat(fd).st_mode) == wanted
    except OSError:
        return False


def _stat(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat after the name, which may hold anything."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
        fields = raw.rpartition(b")")[2].split()
        return fields if len(fields) > _STARTED else None
    except OSError:
        return None
