"""Which cases a run carries out, and two workers that share them."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.crash import worker
from tests.crash.traced import ERRORS, KILL, WAITING, Call
from tests.seeds import seeded

AT_ONCE: Final = 2
LINE: Final = "sudo .venv/bin/python -m tests.crash.worker"
_WAITS: Final = frozenset(name.removeprefix("?") for name in WAITING)


@dataclass(frozen=True, slots=True)
class Case:
    """One fault: what runs, the call it meets (None: the end of the run), and what happens there."""

    operation: str
    call: Call | None
    kind: str
    installed: bool = False

    def asked(self) -> dict[str, object]:
        """For a worker."""
        return {
            "do": "installed" if self.installed else "fault",
            "operation": self.operation,
            "name": self.call.name if self.call else "",
            "n": self.call.n if self.call else 0,
            "path": self.call.path if self.call else "",
            "kind": self.kind,
        }

    @property
    def line(self) -> str:
        """A command that carries out this case alone."""
        kind = f"installed-{self.kind}" if self.installed else self.kind
        return f"{LINE} {shlex.join(worker.words(self.operation, self.call, kind))}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a worker says of a case. `reached` is False where the run was over before its call."""

    case: Case
    problems: tuple[str, ...]
    reached: bool
    place: str

    def words(self) -> str:
        """For a failure: what was wrong, and how to see it again."""
        place = self.place or (self.case.call.place if self.case.call else "the end")
        return "\n".join(
            [f"{self.case.kind} at {place}:", *(f"    {p}" for p in self.problems), f"  {self.case.line}"]
        )


@dataclass
class Team:
    """The workers, and what all of them have seen."""

    processes: Sequence[subprocess.Popen[str]]
    results: list[Result] = field(default_factory=list)
    states: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def calls(self, operation: str, *, installed: bool = False) -> list[Call]:
        """What an operation calls when nothing fails."""
        do = "watch" if installed else "prepare"
        answer = _asked(self.processes[0], {"do": do, "operation": operation})
        return [Call(*each) for each in answer["calls"]]

    def carry_out(self, cases: Sequence[Case]) -> list[Result]:
        """Every case, in whatever order; each worker takes the next."""
        waiting, results, failures = list(reversed(cases)), list[Result](), list[BaseException]()

        def work(process: subprocess.Popen[str]) -> None:
            try:
                while True:
                    with self._lock:
                        if not waiting or failures:
                            return
                        case = waiting.pop()
                    answer = _asked(process, case.asked())
                    with self._lock:
                        self.states.update(answer["states"])
                        found = Result(case, tuple(answer["problems"]), answer["reached"], answer["place"])
                        results.append(found)
            except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
                failures.append(error)

        threads = [threading.Thread(target=work, args=[process]) for process in self.processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        self.results += results
        return results


def _asked(process: subprocess.Popen[str], question: Mapping[str, object]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(question) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, f"the worker died over {question}"
    answer: dict[str, Any] = json.loads(line)
    return answer


@contextmanager
def team(folder: Path) -> Iterator[Team]:
    """Two workers in namespaces of their own; with the block all of it is gone."""
    with ExitStack() as stack:
        processes = []
        for number in range(AT_ONCE):
            place = folder / str(number)
            place.mkdir()
            process = subprocess.Popen(
                worker.argv(place),
                cwd=worker.PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        yield Team(processes)


def spread(cases: Sequence[Case], count: int) -> list[Case]:
    """So many of them, from the first to the last at even distances."""
    if count >= len(cases):
        return list(cases)
    return [cases[number * len(cases) // count] for number in range(count)]


def faults(operation: str, calls: Sequence[Call]) -> list[Case]:
    """A kill and every error at each call that changes the disk."""
    changing = [call for call in calls if call.name not in _WAITS]
    return [Case(operation, call, kind) for call in changing for kind in (KILL, *ERRORS)]


def waits(operation: str, calls: Sequence[Call], count: int) -> list[Case]:
    """A kill where it waits, `count` times for each name at most: in the middle of what others do for it."""
    found = [call for call in calls if call.name in _WAITS]
    by_name = [[Case(operation, call, KILL) for call in found if call.name == name] for name in _WAITS]
    return [case for cases in by_name for case in spread(cases, count)]


def cuts(operation: str, calls: Sequence[Call]) -> list[Case]:
    """A power cut after each call that changes the disk, and one when the work is said to be done."""
    changing = [call for call in calls if call.name not in _WAITS and call.place.startswith("root/")]
    return [Case(operation, call, kind) for kind in worker.CUTS for call in (*changing, None)]


def shuffled(cases: Sequence[Case]) -> list[Case]:
    """In an order that is the same in every run and mixes what is slow with what is quick."""
    return seeded("crash").sample(cases, len(cases))


def wrong(results: Sequence[Result]) -> str:
    """All that is wrong, for an assertion; empty when nothing is."""
    bad = [result.words() for result in results if result.problems]
    more = f"\n... and {len(bad) - 20} more" if len(bad) > 20 else ""
    return "\n".join(bad[:20]) + more


def by_operation(results: Sequence[Result]) -> str:
    """How many cases each operation had."""
    return ", ".join(f"{name} {n}" for name, n in sorted(Counter(r.case.operation for r in results).items()))


def timed(work: Callable[[], list[Result]]) -> tuple[list[Result], float]:
    """The results, and how long they took."""
    begun = time.monotonic()
    return work(), time.monotonic() - begun
