"""A process with a mount, a PID and a network namespace of its own that carries cases out, one at a time.

`python -m tests.crash.worker FOLDER` reads a case a line (JSON) and answers each with a line. Its file
systems are mounted where nobody else sees them, and with the process they are gone, loop devices and all.
`python -m tests.crash.worker sync fsync:12 EIO` carries out one case and says what was wrong.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from appliance.errors import ApplianceError
from tests.crash import disk, images, judge, serving, traced
from tests.crash.operations import CARELESS, OPERATIONS, Operation, places
from tests.crash.traced import Bench, Call, Run

PROJECT: Final = Path(__file__).parents[2]
COMMAND: Final = str(Path(sys.executable).parent / "pxe-appliance")
CUTS: Final = {"lost": disk.LOST, "journal": disk.JOURNAL}
GRACE: Final = 1.0  # seconds in which a child of a killed command comes to its own end


def argv(folder: Path) -> list[str]:
    """The command line of a worker, from the host's namespaces into its own."""
    inside = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    # Whoever started us may be killed: then nobody is left to read the answers, and all of it goes.
    return [
        "setpriv",
        "--pdeathsig",
        "KILL",
        *inside,
        sys.executable,
        "-m",
        "tests.crash.worker",
        str(folder),
    ]


def words(operation: str, call: Call | None, kind: str) -> list[str]:
    """A case as arguments."""
    return [operation, str(call) if call else "end", kind]


@dataclass(frozen=True)
class Laid:
    """An operation that is ready to be run: a copy of its state before, and its run without a fault."""

    operation: Operation
    copy: Path
    clean: judge.Clean
    calls: tuple[Call, ...]


@dataclass
class Worker:
    """One set of namespaces."""

    base: Path
    laid: dict[str, Laid] = field(default_factory=dict)
    served: dict[str, list[str]] = field(default_factory=dict)
    images: dict[str, Operation] = field(default_factory=dict)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    lasting: frozenset[int] = frozenset()  # processes that are here for longer than a case

    def __post_init__(self) -> None:
        disk.run("mount", "-t", "tmpfs", "-o", "size=2g,mode=755", "crash", str(self.base))
        for name in ("ground/root", "ground/tmp", "notes", "laid"):
            (self.base / name).mkdir(parents=True)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.base / "ground/tmp")
        os.environ.update(NO_COLOR="1", PYTHONDONTWRITEBYTECODE="1", COLUMNS="200")
        for name in [n for n in os.environ if n == "SUDO_USER" or n.lower().endswith("_proxy")]:
            del os.environ[name]
        self.bench = Bench(self.base / "ground", self.base / "notes")
        self.paths = places(self.bench.ground)
        self.root = Path(self.paths.root)
        serving.lay_wire()

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out what a line asks for."""
        laid = self.prepared(asked["operation"])
        if asked["do"] == "prepare":
            return {"calls": [astuple(c) for c in laid.calls]}
        if asked["do"] == "watch":
            return {"calls": [astuple(c) for c in self._installed(laid, None, "").calls]}
        call = Call(asked["name"], asked["n"], path=asked["path"]) if asked["name"] else None
        before = time.monotonic()
        run, wrong = self._case(laid, call, asked["kind"], installed=asked["do"] == "installed")
        return {
            "problems": wrong,
            "rc": run.rc,
            "said": run.said,
            "place": run.hit.place if run.hit else "",
            "reached": run.hit is not None or call is None,
            "states": sorted(self.served),
            "seconds": time.monotonic() - before,
        }

    def prepared(self, name: str) -> Laid:
        """The operation, laid out and run once without a fault."""
        if name not in self.laid:
            operation = self._operation(name)
            between = None
            if operation.between:
                between = self.prepared(operation.between).clean.new
            self.laid[name] = self._lay(operation, between)
        return self.laid[name]

    def _operation(self, name: str) -> Operation:
        if name in images.NAMES and not self.images:
            lasting, tempfile.tempdir = tempfile.tempdir, str(self.bench.notes)
            (self.base / "mirror").mkdir()
            self.images.update(images.operations(self.stack, self.base / "mirror"))
            tempfile.tempdir = lasting
        return {**OPERATIONS, **CARELESS, **self.images}[name]

    def _lay(self, operation: Operation, between: judge.Essence | None) -> Laid:
        copy = self.base / "laid" / operation.name
        self._emptied()
        with self._quiet():
            operation.lay(self.paths)
        shutil.copytree(self.root, copy, symlinks=True)
        old, names = judge.essence(self.paths), judge.names(self.paths)
        with self._quiet():
            operation.work(self.paths)  # once in here, so that forks find everything imported
        gc.collect()
        gc.freeze()
        self._reset(copy)
        run = traced.watched(self._bench(operation), lambda: operation.work(self.paths))
        assert run.rc == operation.rc, f"{operation.name} ends with {run.rc}: {run.said}"
        new, names = judge.essence(self.paths), names | judge.names(self.paths)
        self.lasting = frozenset(_processes())
        passing = frozenset(judge.passing(operation, run.calls))
        return Laid(operation, copy, judge.Clean(old, new, names, run.rc, passing, between), run.calls)

    def _bench(self, operation: Operation) -> Bench:
        return replace(self.bench, threads=operation.threads)

    def _case(self, laid: Laid, call: Call | None, kind: str, *, installed: bool) -> tuple[Run, list[str]]:
        def work() -> int:
            return laid.operation.work(self.paths)

        if kind in CUTS:
            with self._mounted(laid) as there:
                run = traced.cut(self._bench(laid.operation), work, call, lambda: there.cut(CUTS[kind]))
                there.come_back()
                return run, [*self._judged(laid, run, kind, work), *self._strays()]
        assert call is not None
        self._reset(laid.copy)
        run = (
            self._installed(laid, call, kind)
            if installed
            else traced.faulted(self._bench(laid.operation), work, call, kind)
        )
        strays = self._strays()
        return run, [*self._judged(laid, run, kind, work), *strays]

    def _judged(self, laid: Laid, run: Run, kind: str, work: Callable[[], int]) -> list[str]:
        operation, clean = laid.operation, laid.clean
        self._aged()
        wrong = list(judge.after_fault(operation, clean, self.paths, run, kind))
        wrong += self._unserved(operation)
        try:
            was = judge.essence(self.paths)
        except (ApplianceError, OSError):
            return wrong
        again = traced.plain(self.bench, work)
        self._aged()
        wrong += judge.after_repair(operation, clean, self.paths, again, was)
        return [*wrong, *self._unserved(operation)]

    def _unserved(self, operation: Operation) -> list[str]:
        """What dnsmasq does not serve; each distinct state is started once."""
        if not operation.serves:
            return []
        try:
            state = judge.serving_state(self.paths)
            if state not in self.served:
                self.served[state] = serving.unserved(self.paths)
        except (ApplianceError, OSError) as error:
            return [f"nothing can be served: {error}"]
        return self.served[state]

    def _installed(self, laid: Laid, call: Call | None, kind: str) -> Run:
        """The installed command from its start to its end."""
        self._reset(laid.copy)
        faults = traced.injection(self.bench, call, kind) if call else []
        command = [COMMAND, "--root", str(self.root), *laid.operation.command]
        with self.bench.said.open("wb") as said:
            done = subprocess.run(
                [*traced.options(self.bench, faults), *command],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False, timeout=traced.DEADLINE,
            )  # fmt: skip
        said_text = self.bench.said.read_text(errors="replace")
        if call is None:
            return Run(done.returncode, said_text, tuple(traced.changes(self.bench)))
        return Run(done.returncode, said_text, hit=traced.struck(self.bench, call, kind, done.returncode))

    @contextlib.contextmanager
    def _mounted(self, laid: Laid) -> Iterator[disk.Disk]:
        # A fetch leaves room for the appliance itself.
        size = 160 if laid.operation.threads else 16
        template = disk.Disk(self.base / "laid" / f"{laid.operation.name}.img", self.root, size)
        self._emptied()
        if not template.image.exists():
            template.make(lambda: self._copied(laid.copy))
        there = disk.Disk(self.base / "disk.img", self.root)
        there.begin_as(template)
        try:
            yield there
        finally:
            there.unmount()

    def _copied(self, copy: Path) -> None:
        shutil.copytree(copy, self.root, symlinks=True, dirs_exist_ok=True)

    def _reset(self, copy: Path) -> None:
        self._emptied()
        self._copied(copy)

    def _aged(self) -> None:
        """A minute later: a file that was written to a moment ago is not read before it is at rest."""
        for path in Path(self.paths.inventory).glob("*"):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60))

    def _emptied(self) -> None:
        for folder in (self.root, self.bench.ground / "tmp"):
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def _strays(self) -> list[str]:
        """Children of a killed command that go on without it; here they become ours."""
        limit = time.monotonic() + GRACE
        while strays := _processes() - self.lasting:
            for pid in strays:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > limit:
                break
            time.sleep(0.001)
        found = []
        for pid in strays:
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                os.kill(pid, signal.SIGKILL)
                found.append(command.decode(errors="replace"))
                os.waitpid(pid, 0)
        return [f"it goes on without its parent: {command}" for command in found if command]

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        kept = [os.dup(stream) for stream in (1, 2)]
        silence = os.open(os.devnull, os.O_WRONLY)
        try:
            for stream in (1, 2):
                os.dup2(silence, stream)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, fd in zip((1, 2), kept, strict=True):
                os.dup2(fd, stream)
                os.close(fd)
            os.close(silence)


def _processes() -> set[int]:
    """Everybody in our namespace but us."""
    return {int(name) for name in os.listdir("/proc") if name.isdecimal()} - {os.getpid()}  # noqa: PTH208


def _one(folder: Path, operation: str, place: str, kind: str) -> int:
    """Carry out one case, as a failure's message names it; 1 when something is wrong."""
    name, number, path = (*place.split(":", 2), "", "")[:3]
    do = "fault"
    if kind.startswith("installed-"):
        do, kind = "installed", kind.removeprefix("installed-")
    worker = Worker(folder)
    asked = {
        "do": do,
        "operation": operation,
        "name": name if number else "",
        "n": int(number or 0),
        "path": path,
        "kind": kind,
    }
    answer = worker.answer(asked)
    print(json.dumps({key: answer[key] for key in ("problems", "rc", "place", "reached")}, indent=1))  # noqa: T201
    print(f"--- said ---\n{answer['said']}")  # noqa: T201
    return 1 if answer["problems"] else 0


def main() -> None:
    """Answer lines until there are no more."""
    if os.getpid() != 1:
        folder = Path(tempfile.mkdtemp(prefix="crash-"))
        try:
            sys.exit(subprocess.run([*argv(folder), *sys.argv[1:]], cwd=PROJECT, check=False).returncode)
        finally:
            folder.rmdir()
    folder, case = Path(sys.argv[1]), sys.argv[2:]
    if case:
        sys.exit(_one(folder, *case))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(folder)
    for line in sys.stdin:
        answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")


if __name__ == "__main__":
    main()
