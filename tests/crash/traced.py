"""One run of an operation in a fork, under strace: watched, or with one fault put into it.

An operation of one thread has strace attached to it alone: the n-th call of a name is the same call in every
run, and what it starts itself (dnsmasq, unshare) runs undisturbed. strace counts by thread, and threads take
turns as they like: where there are several, the n-th call is that on one path, which one of them works on.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

DEADLINE: Final = 60.0
# What changes a disk. A question mark: not every architecture has it (strace(1), -e trace).
CHANGING: Final = (
    "openat", "write", "?pwrite64", "fsync", "fdatasync", "?ftruncate", "?fallocate", "flock",
    "?rename", "?renameat", "?renameat2", "?link", "?linkat", "?symlink", "?symlinkat",
    "?unlink", "?unlinkat", "?rmdir", "?mkdir", "?mkdirat",
    "?chmod", "?fchmod", "?fchmodat", "?chown", "?fchown", "?fchownat", "?lchown",
)  # fmt: skip
# Where a command waits: a kill there meets it with its children running.
WAITING: Final = ("?poll", "?pselect6", "?wait4", "?waitid")
KILL, STOP = "KILL", "STOP"
ERRORS: Final = ("EIO", "ENOSPC", "EROFS")
_LINE: Final = re.compile(r"(?:\d+ +)?(\w+)\((.*)")
_TOKEN: Final = re.compile(r'<(/[^>]*)>|"((?:[^"\\]|\\.)*)"')
_ON_FDS: Final = frozenset({"write", "pwrite64", "fsync", "fdatasync", "ftruncate", "fallocate", "flock"})
_PASSING: Final = ((r"\.\d+\.tmp", ".PID.tmp"), (r"(pxe-[a-z]+-)\w+", r"\1X"))


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """The `n`-th call of a name (from 1) in a run, and the place below the ground that it changes.

    With a `path` (relative to the ground), the n-th of those on that path.
    """

    name: str
    n: int
    place: str = ""
    path: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.n}" + (f":{self.path}" if self.path else "")


@dataclass(frozen=True, slots=True)
class Run:
    """How a run went: its exit code (negative: the signal that ended it), what it said, what it called."""

    rc: int
    said: str
    calls: tuple[Call, ...] = ()
    hit: Call | None = None  # the call that the fault met

    @property
    def killed(self) -> bool:
        """Whether nobody heard how it ended."""
        return self.rc < 0


Work = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where runs happen: below `ground` what they change counts; `notes` is ours, and survives them."""

    ground: Path
    notes: Path
    threads: bool = False  # what runs has several

    @property
    def said(self) -> Path:
        """What the run prints: outside of every file system that is cut off or fails."""
        return self.notes / "said"

    @property
    def log(self) -> Path:
        """What strace saw."""
        return self.notes / "trace"


def plain(bench: Bench, work: Work) -> Run:
    """Run it, and nothing else."""
    pid, gate = _forked(bench, work)
    os.close(gate)
    return Run(_waited(pid), bench.said.read_text(errors="replace"))


def watched(bench: Bench, work: Work) -> Run:
    """Run it and keep what it calls."""
    run = _traced(bench, work, lambda _: [])
    return Run(run.rc, run.said, tuple(changes(bench)))


def faulted(bench: Bench, work: Work, call: Call, kind: str) -> Run:
    """Run it with one call killed before it is made, or refused with an error."""
    run = _traced(bench, work, lambda pid: injection(bench, call, kind, pid))
    return Run(run.rc, run.said, hit=struck(bench, call, kind, run.rc))


def cut(bench: Bench, work: Work, call: Call | None, power: Callable[[], None]) -> Run:
    """Run it until it has made a call (None: until it has ended), call `power`, kill what is left of it."""
    if call is None:
        run = plain(bench, work)
        power()
        return run
    pid, gate = _forked(bench, work)
    tracer = _attached(bench, pid, injection(bench, call, STOP, pid))
    try:
        os.close(gate)
        rc = _stopped(pid)
        power()
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        tracer.wait(DEADLINE)
    if rc is None:
        _waited(pid)
    said = bench.said.read_text(errors="replace")
    return Run(-int(signal.SIGKILL), said, hit=call) if rc is None else Run(rc, said)


def injection(bench: Bench, call: Call, kind: str, pid: int = 0) -> list[str]:
    """strace's words for a fault in the process `pid`."""
    what = f"signal={kind}" if kind in {KILL, STOP} else f"error={kind}"
    where = ["-P", str(bench.ground / call.path.replace("PID", str(pid)))] if call.path else []
    return [*where, f"--inject={call.name}:{what}:when={call.n}"]


def options(bench: Bench, faults: Sequence[str]) -> list[str]:
    """strace's command line up to whom it traces."""
    names = ",".join((*CHANGING, *WAITING))
    threads = ["-f"] if bench.threads else []
    return ["strace", *threads, "-y", "-s", "0", "-o", str(bench.log), f"--trace={names}", *faults]


def changes(bench: Bench) -> Iterator[Call]:
    """The calls of the log that change something below the ground, and those that wait."""
    counts: Counter[str] = Counter()
    waiting = {name.removeprefix("?") for name in WAITING}
    for line in bench.log.read_text(errors="replace").splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        name, arguments = found[1], found[2]
        place, path = _place(name, arguments, bench.ground)
        key = f"{name} {path}" if bench.threads else name
        counts[key] += 1
        if name in waiting and not bench.threads:
            yield Call(name, counts[key])
            continue
        if name == "openat" and not re.search("O_CREAT|O_WRONLY|O_RDWR|O_TRUNC", arguments):
            continue
        if place and not (bench.threads and path.startswith("tmp/")):  # a path that is never there again
            yield Call(name, counts[key], place, path if bench.threads else "")


def struck(bench: Bench, call: Call, kind: str, rc: int) -> Call | None:
    """The call that a fault met, with the place where it did; None when the run was over before it."""
    lines = bench.log.read_text(errors="replace").splitlines()
    if kind == KILL:
        calls = [text for text in lines if f"{call.name}(" in text]
        line = calls[-1] if rc == -signal.SIGKILL and calls else ""
    else:
        line = next((text for text in lines if "(INJECTED)" in text), "")
        if line and not _LINE.match(line):  # it was interrupted by another thread's line
            return call
    found = _LINE.match(line)
    if found is None:
        return None
    return Call(call.name, call.n, _place(call.name, found[2], bench.ground)[0], call.path)


def _place(name: str, arguments: str, ground: Path) -> tuple[str, str]:
    """What a call changes, relative to the ground, without what differs from run to run; "" elsewhere.

    The second is the path by which strace knows it: of a name in an open directory, the directory.
    """
    base, places = "", list[tuple[str, str]]()
    for opened, text in _TOKEN.findall(arguments):
        if opened:
            base = opened
            places.append((opened, opened))
            if name in _ON_FDS:
                break
        elif text.startswith("/"):
            places.append((text, text))
        elif base and text:
            places.append((f"{base}/{text}", base))
    below = [pair for pair in places if pair[0].startswith(f"{ground}/")]
    if not below:
        return "", ""
    # Of the two names of a rename, strace compares the first alone with a path (-P).
    known = below[0 if name == "rename" else -1][1]
    place, path = (each.removeprefix(f"{ground}/").replace("//deleted", "") for each in (below[-1][0], known))
    for pattern, instead in _PASSING:
        place, path = re.sub(pattern, instead, place), re.sub(pattern, instead, path)
    return place, path


def _traced(bench: Bench, work: Work, faults: Callable[[int], list[str]]) -> Run:
    pid, gate = _forked(bench, work)
    tracer = _attached(bench, pid, faults(pid))
    os.close(gate)
    rc = _waited(pid)
    tracer.wait(DEADLINE)
    return Run(rc, bench.said.read_text(errors="replace"))


def _forked(bench: Bench, work: Work) -> tuple[int, int]:
    """A child that has come to its gate and waits there; it begins when the other end is closed."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_child(bench, work, theirs.detach())
    theirs.close()
    ours.recv(1)  # what it does before that must not be counted
    return pid, ours.detach()


def _be_child(bench: Bench, work: Work, gate: int) -> NoReturn:
    code = 99
    try:
        silence = os.open(os.devnull, os.O_RDONLY)
        said = os.open(bench.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        for fd, stream in ((silence, 0), (said, 1), (said, 2)):
            os.dup2(fd, stream)
        gc.disable()  # else what a collection closes would shift the calls
        os.write(gate, b".")
        os.read(gate, 1)
        os.close(gate)
        code = work()
        sys.stdout.flush()
    finally:
        os._exit(code)


def _attached(bench: Bench, pid: int, faults: Sequence[str]) -> subprocess.Popen[bytes]:
    tracer = subprocess.Popen(
        [*options(bench, faults), "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert tracer.stderr is not None
    said = b""
    while b" attached" not in said:  # before that, how it understood a path
        said = tracer.stderr.readline()
        assert said, "strace does not attach"
    return tracer


def _waited(pid: int) -> int:
    limit = time.monotonic() + DEADLINE
    while time.monotonic() < limit:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise TimeoutError(f"process {pid} did not end")


def _stopped(pid: int) -> int | None:
    """Wait until a process has stopped (None) or ended (its exit code)."""
    limit = time.monotonic() + DEADLINE
    while time.monotonic() < limit:
        done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if done:
            return None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    raise TimeoutError(f"process {pid} neither stopped nor ended")
