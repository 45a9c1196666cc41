"""The host fails at every system call: killed, refused by its disk, cut off from its power.

After each fault one judge (`judge.py`) looks at what is left, runs the same thing again without a fault, and
starts real dnsmasq on every distinct state that was found.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.crash.campaign import Case, Team, by_operation, cuts, faults, shuffled, spread, timed, waits, wrong
from tests.crash.traced import KILL
from tests.crash.worker import PROJECT
from tests.figures import Figures
from tests.netns.wire import wait_until

pytestmark = [pytest.mark.netns, pytest.mark.timeout(7200)]

# Cases of each operation in a usual run; a nightly one has them all.
FAULTS: Final = {
    "sync": 200, "sync-first": 180, "rollback": 120, "sync-proven": 100, "sync-refused": 100,
    "sync-prunes": 60,
    "machine-add": 30, "machine-add-file": 30, "machine-remove": 30, "machine-replace-mac": 30,
    "lifecycle-first": 80, "lifecycle": 80, "served-lately": 24,
    "sync-confirm-within": 40, "confirm": 20, "not-confirmed": 24, "fetch-first": 24, "fetch": 24,
}  # fmt: skip
CUTS: Final = {
    "sync": 50, "sync-first": 40, "rollback": 30, "sync-proven": 20, "sync-refused": 20,
    "machine-add": 14, "machine-add-file": 14, "machine-replace-mac": 8, "lifecycle-first": 20,
    "lifecycle": 20, "sync-confirm-within": 8, "confirm": 8, "not-confirmed": 8, "fetch-first": 8, "fetch": 8,
}  # fmt: skip
INSTALLED: Final = {"sync": 14, "rollback": 8, "machine-add": 8}
Sized = Callable[[int, int], int]


def test_a_fault_at_each_system_call(workers: Team, figures: Figures, sized: Sized) -> None:
    every = {name: faults(name, workers.calls(name)) for name in FAULTS}
    chosen = [
        case for name, cases in every.items() for case in spread(cases, sized(FAULTS[name], len(cases)))
    ]
    # How often a run waits depends on who is faster: not every one of these is reached.
    waiting = [case for name in FAULTS for case in waits(name, workers.calls(name), sized(3, 10_000))]
    results, seconds = timed(lambda: workers.carry_out(shuffled(chosen)))
    lasting = workers.carry_out(waiting)
    reached = [r for r in results if r.reached]
    ended = sum(r.reached for r in lasting)
    figures.tell("crash", "faults put into system calls", f"{len(reached):,}", ">= 1,000")
    figures.tell("crash", "killed while it waits for others", f"{ended:,}", "")
    figures.tell("crash", "of all there are", f"{sum(map(len, every.values())):,}", "nightly: all")
    figures.tell(
        "crash", "violations after faults", str(sum(bool(r.problems) for r in (*results, *lasting))), "0"
    )
    figures.tell("crash", "time for the faults", f"{seconds:.0f} s", "")
    figures.tell("crash", "distinct states that dnsmasq was started on", str(len(workers.states)), "")
    assert not wrong([*results, *lasting]), wrong([*results, *lasting])
    assert ended >= len(lasting) // 3
    assert len(reached) >= 1000, by_operation(reached)
    assert len(results) - len(reached) <= len(results) // 50, "the calls of a run are those of the next"


def test_a_power_cut_after_each_system_call(workers: Team, figures: Figures, sized: Sized) -> None:
    every = {name: cuts(name, workers.calls(name)) for name in CUTS}
    chosen = [case for name, cases in every.items() for case in spread(cases, sized(CUTS[name], len(cases)))]
    # That which was said to be done is the first thing to be looked for.
    ends = [case for cases in every.values() for case in cases if case.call is None]
    results, seconds = timed(lambda: workers.carry_out(shuffled(list(dict.fromkeys([*chosen, *ends])))))
    reached = [r for r in results if r.reached]
    figures.tell("crash", "power cuts", f"{len(reached):,}", ">= 200")
    figures.tell("crash", "violations after power cuts", str(sum(bool(r.problems) for r in results)), "0")
    figures.tell("crash", "time for the power cuts", f"{seconds:.0f} s", "")
    assert not wrong(results), wrong(results)
    assert len(reached) >= 200, by_operation(reached)


def test_the_installed_command_from_its_start_to_its_end(
    workers: Team, figures: Figures, sized: Sized
) -> None:
    chosen = []
    for name, count in INSTALLED.items():
        calls = workers.calls(name, installed=True)
        cases = [Case(c.operation, c.call, c.kind, installed=True) for c in faults(name, calls) if c.call]
        cases = [c for c in cases if c.kind != KILL or (c.call and c.call.place)]
        chosen += spread(cases, sized(count, len(cases)))
    results = workers.carry_out(shuffled(chosen))
    reached = [r for r in results if r.reached]
    figures.tell("crash", "faults in the installed command itself", str(len(reached)), "")
    assert not wrong(results), wrong(results)
    assert len(reached) >= sum(INSTALLED.values()) * 9 // 10


def test_the_judge_finds_fault_with_careless_programs(workers: Team, figures: Figures) -> None:
    """The harness itself can fail: what does not synchronise loses what it acknowledged."""
    found = {}
    for name in ("durable", "nothing-synced", "swallowed"):
        calls = workers.calls(name)
        results = workers.carry_out([*cuts(name, calls), *faults(name, calls)])
        found[name] = [r for r in results if r.problems]
    words = [p for r in found["nothing-synced"] for p in r.problems]
    lost = [p for p in words if "acknowledged and is not there" in p]
    torn = [p for p in words if "neither the old nor the new" in p]
    swallowed = [p for r in found["swallowed"] for p in r.problems if "called a success" in p]
    figures.tell("crash", "violations of a program without fsync (control)", str(len(words)), "> 0")
    assert not found["durable"], wrong(found["durable"])
    assert lost, "an acknowledged write that was never synchronised outlives a power cut"
    assert torn, "a name without its content is noticed"
    assert swallowed, "an error that nobody is told of is noticed"


def test_a_run_that_is_killed_leaves_no_mount_and_no_loop_device(tmp_path: Path) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", _CUTTING, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: _loops(tmp_path), "a disk on a loop device", 60)
    finally:
        runner.kill()
        runner.wait()
    wait_until(lambda: not _loops(tmp_path), "the end of the loop devices", 20)
    wait_until(lambda: not _processes_of(tmp_path), "the end of the workers", 20)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


_CUTTING: Final = """
import sys
from pathlib import Path
from tests.crash.campaign import cuts, team
with team(Path(sys.argv[1])) as workers:
    while True:
        workers.carry_out(cuts("durable", workers.calls("durable")))
"""


def _loops(folder: Path) -> list[str]:
    """The loop devices whose file lies in a folder, or in a file system that was mounted there."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            found.append(path.read_text())
    return [text for text in found if str(folder) in text]


def _processes_of(folder: Path) -> list[int]:
    """Processes whose command line names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found
