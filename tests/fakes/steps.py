"""Ends a program dead at its n-th change of a disk, or counts how many it makes.

The kernel asks before each system call that changes a file or a name (seccomp_unotify(2)): all threads and
children of the program count together, which a tracer that counts by thread cannot do, and at the n-th call
everything that holds the filter is killed with that call not made. Run as a program it puts itself under the
filter, hands the listener over, and becomes the command: `python -m tests.fakes.steps FD COMMAND...`. Python
code that is imported already starts ten times faster in a fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).parents[2]
DEADLINE = 60.0
# asm/unistd.h. Left out are open(2), since an empty file is the state before its first write, and owners and
# modes, which nobody could tell from the state before.
_NUMBERS: Mapping[str, Mapping[str, int]] = {
    "x86_64": {
        "write": 1, "pwrite64": 18, "fsync": 74, "fdatasync": 75, "ftruncate": 77, "rename": 82, "mkdir": 83,
        "rmdir": 84, "link": 86, "unlink": 87, "symlink": 88, "mkdirat": 258, "unlinkat": 263,
        "renameat": 264, "linkat": 265, "symlinkat": 266, "renameat2": 316,
    },
    "aarch64": {
        "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "ftruncate": 46,
        "write": 64, "pwrite64": 68, "fsync": 82, "fdatasync": 83, "renameat2": 276,
    },
}  # fmt: skip
CALLS = _NUMBERS[platform.machine()]
_SECCOMP = {"x86_64": 317, "aarch64": 277}[platform.machine()]
_SET_MODE_FILTER, _NEW_LISTENER, _NO_NEW_PRIVS = 1, 8, 38
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_ON_FDS = frozenset({"write", "pwrite64", "fsync", "fdatasync", "ftruncate"})
_REMOVES = frozenset({"unlink", "unlinkat", "rmdir"})
_AT_FDCWD = (1 << 32) - 100
# Which argument is the path that a call changes; the directory of an `...at` call stands before it.
_PATHS = {"symlink": 1, "symlinkat": 2}


@dataclass
class Ended:
    """How the program ended: killed or not, and the calls up to then, each with what it changes."""

    killed: bool
    rc: int
    calls: list[str] = field(default_factory=list)


def run_to_step(
    command: Sequence[str], root: Path, step: int | None, env: Mapping[str, str] | None = None
) -> Ended:
    """Run a command; kill it where it is about to make its `step`-th change (from 1) below `root`."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.steps", str(theirs.fileno()), *command],
            cwd=PROJECT,
            env=None if env is None else dict(env),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            killed, calls = _watched(ours, process.pid, root, step)
            return Ended(killed, process.wait(DEADLINE), calls)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def call_to_step(work: Callable[[], int], root: Path, step: int | None) -> Ended:
    """As `run_to_step`, for a function, which runs in a fork and answers the exit code."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            _be_child(theirs, work)
        try:
            killed, calls = _watched(ours, pid, root, step)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        return Ended(killed, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), calls)


def _be_child(channel: socket.socket, work: Callable[[], int]) -> NoReturn:
    code = 99
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silence, stream)
        _filter(channel)
        code = work()
    finally:
        os._exit(code)


def _watched(channel: socket.socket, pid: int, root: Path, step: int | None) -> tuple[bool, list[str]]:
    """Let calls through until the program has ended, or its time has come; whether it was killed then."""
    _, (listener,), _, _ = socket.recv_fds(channel, 1, 1)
    names = {number: name for name, number in CALLS.items()}
    calls: list[str] = []
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    limit = time.monotonic() + DEADLINE
    try:
        while time.monotonic() < limit:
            events = poll.poll(100)
            if any(event & select.POLLHUP for _, event in events):
                return False, calls  # nobody is left under the filter
            if not events:
                continue
            asked = bytearray(80)
            try:
                fcntl.ioctl(listener, _RECEIVE, asked)
            except OSError:  # the thread that asked is gone
                continue
            identity, asker, _flags, number = struct.unpack_from("=QIIi", asked)
            name = names[number]
            target = _target(name, asker, struct.unpack_from("=6Q", asked, 32))
            if target is not None and target.is_relative_to(root):
                calls.append(f"{name} {target.relative_to(root)}")
                if len(calls) == step:
                    os.kill(pid, signal.SIGKILL)
                    return True, calls
            with contextlib.suppress(OSError):
                fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", identity, 0, 0, _CONTINUE))
    finally:
        os.close(listener)
    raise TimeoutError(f"process {pid} is still running")


def _target(name: str, pid: int, arguments: tuple[int, ...]) -> Path | None:
    """The file or the name that a call changes; nothing for a pipe, a socket, or a name that is not there."""
    try:
        if name in _ON_FDS:
            place = Path(f"/proc/{pid}/fd/{arguments[0]}")
            mode = place.stat().st_mode
            return place.readlink() if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else None
        at = "at" in name
        index = _PATHS.get(name, int(at))
        folder = arguments[index - 1] & 0xFFFFFFFF if at else _AT_FDCWD
        base = Path(f"/proc/{pid}/cwd" if folder == _AT_FDCWD else f"/proc/{pid}/fd/{folder}").readlink()
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            memory.seek(arguments[index])
            target = base / memory.read(4096).split(b"\0", 1)[0].decode()
    except OSError:
        return None
    return target if name not in _REMOVES or os.path.lexists(target) else None


def _filters() -> Iterator[tuple[int, int, int, int]]:
    yield (_LOAD, 0, 0, 0)
    for place, number in enumerate(CALLS.values()):
        yield (_JUMP_IF_EQUAL, len(CALLS) - place, 0, number)
    yield (_RETURN, 0, 0, _ALLOW)
    yield (_RETURN, 0, 0, _NOTIFY)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _filter(channel: socket.socket) -> None:
    """Put this process and all that come from it under the filter; its listener goes through the channel."""
    raw = b"".join(struct.pack("=HBBI", *each) for each in _filters())
    program = _Program(len(raw) // 8, raw)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "no listener")
    socket.send_fds(channel, [b"."], [listener])
    os.close(listener)


def main() -> None:
    """Become the command, under the filter."""
    channel, *command = sys.argv[1:]
    with socket.socket(fileno=int(channel)) as link:
        _filter(link)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
