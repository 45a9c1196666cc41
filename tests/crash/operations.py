"""What is run under faults: the product's own code, as its commands and its daemon call it.

Each operation lays a root out, works on it, and says what of it has to be the old or the new afterwards.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from appliance.boot.events import Event, EventKind
from appliance.cli.common import report_error
from appliance.cli.main import main
from appliance.daemon.history import LADDER, LIFE, TOKENS, History
from appliance.daemon.recorder import Recorder
from appliance.daemon.served_lately import ServedLately
from appliance.errors import ApplianceError, NotProven
from appliance.inventory.load import load_settings
from appliance.paths import Paths
from appliance.sync import asked, confirm, generations
from appliance.sync import run as route
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.system.files import write_atomic
from tests.crash.traced import Run
from tests.unit.sync.rooms import RACK, Site

_NODE3: Final = '\n[machine.node3]\nmac = "52:54:00:aa:00:21"\nip = "172.0.1.23"\n'
WANTED: Final = RACK.replace("172.0.1.22", "172.0.1.32") + _NODE3
_NODE9: Final = ("machine", "add", "node9", "--mac", "52:54:00:aa:00:91", "--ip", "172.0.1.91")
COURTESY: Final = (
    r"lock (ftruncate|pwrite64)$|ignition-verdicts\.json|^tmp/.* (unlinkat|rmdir)$"
    r"|\.edit\.tmp unlink$|\.tmp (flock|unlink)$"
    r"|^tmp/\w{8} unlink$"  # tempfile tries a directory, and takes another one where that fails
    r"|root/var/lib/pxe-appliance flock$"  # the second lock of a root; the first is held already
    r"|to-be-confirmed unlink$"  # a start is then more careful than it has to be
)
# That a generation was taken back is noted where it can be; no start serves it without that either.
_MARKS_OF_2: Final = rf"{COURTESY}|generations/2/(proven|\.?rejected)"
BATCHES, EACH = 4, 3  # writes of the history, and events in each


@dataclass(frozen=True, slots=True)
class Operation:
    """Something to be run under faults.

    `command` is what an operator would type, where there is one. `work` does it in this process and answers
    the exit code. `rc` is how it ends where nothing fails. `again` does it once more after a fault; `retold`
    are the exit codes of that when it had been done already, `refused` those of one that does not even begin.
    `failing` are the exit codes for an error of the disk. `courtesy` are places and calls (a regular
    expression) whose failure may pass in silence: caches, and who holds a lock.
    """

    name: str
    lay: Callable[[Paths], None]
    work: Callable[[Paths], int]
    command: Sequence[str] = ()
    rc: int = 0
    retold: frozenset[int] = frozenset({0})
    failing: frozenset[int] = frozenset({5})
    refused: frozenset[int] = frozenset()
    courtesy: str = COURTESY
    serves: bool = True  # a generation is current before or after it
    between: str = ""  # the operation whose end it passes through on its way
    threads: bool = False
    extra: Callable[[Paths, Run], Iterator[str]] | None = None  # what else has to hold


def places(ground: Path) -> Paths:
    """Where an operation finds everything."""
    return Paths(PurePosixPath(ground / "root"))


def call(paths: Paths, *words: str) -> int:
    """`pxe-appliance WORDS` in this process; its exit code."""
    sys.argv = ["pxe-appliance", "--root", str(paths.root), *words]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _commanded(name: str, lay: Callable[[Paths], None], *words: str, **more: object) -> Operation:
    return Operation(name, lay, lambda paths: call(paths, *words), words, **more)  # type: ignore[arg-type]


def nothing(paths: Paths) -> None:
    """Only what the operator wrote."""
    Site(Path(paths.root)).write()
    (Path(paths.etc) / "inventory.d/more.yaml").write_text(
        "# kept\nmachine:\n  node7:\n    mac: 52:54:00:aa:00:71\n    ip: 172.0.1.71\n"
    )


def first(paths: Paths) -> None:
    """One generation, proven, and nothing to be done."""
    nothing(paths)
    outcome = route.sync(paths, route.Request(), Prover())
    assert outcome.proven


def edited(paths: Paths) -> None:
    """One generation, proven, and an inventory that says something else by now."""
    first(paths)
    (Path(paths.inventory) / "rack.toml").write_text(WANTED)


def second(paths: Paths) -> None:
    """Two proven generations."""
    edited(paths)
    assert route.sync(paths, route.Request(), Prover()).proven


def many(paths: Paths) -> None:
    """One generation more than is kept, and one to be made."""
    first(paths)
    for number in range(2, generations.KEEP + 2):
        new = generations.generation_directory(paths, number)
        shutil.copytree(generations.generation_directory(paths, 1), new)
    generations.make_current(paths, generations.KEEP + 1)
    (Path(paths.inventory) / "rack.toml").write_text(WANTED)


@dataclass
class Prover:
    """Stands where the daemon's `activate` does: proves what it is given, or refuses the first."""

    refusals: int = 0

    def __call__(self, applied: AppliedPlan) -> ProvenPlan:
        if self.refusals:
            self.refusals -= 1
            raise NotProven("dhcp:pxe rejected what it was given")
        return ProvenPlan(applied, ("dhcp:pxe: proven",))


def _as_daemon(paths: Paths, refusals: int) -> int:
    """A sync as the daemon carries it out for a command, which prints the answer."""
    return _told(lambda: route.sync(paths, route.Request(), Prover(refusals)))


def _told(work: Callable[[], object]) -> int:
    """What the daemon does for a command; the command prints its error and ends with its code."""
    try:
        work()
    except ApplianceError as error:
        return report_error(error)
    print("done")  # noqa: T201
    return 0


def tried(paths: Paths) -> None:
    """A change that waits for its confirmation."""
    edited(paths)
    assert _tried(paths) == 0


def _tried(paths: Paths) -> int:
    def work() -> None:
        asked.begin(paths)
        route.sync(paths, route.Request(confirm_within=600), Prover())
        asked.end(paths)

    return _told(work)


def _known_to_be_confirmed(paths: Paths, run: Run) -> Iterator[str]:
    """As soon as there is anything of the change, a start knows that nobody wants it without a way back."""
    folder = Path(paths.generations)
    begun = {"2", ".staging-2"} & {entry.name for entry in folder.iterdir()}
    if begun and not asked.lasts(paths) and confirm.unconfirmed(paths) is None:
        yield f"{begun} is there, and nothing says that it has to be confirmed"


def _confirmed(paths: Paths) -> int:
    return _told(lambda: confirm.keep(paths, _pending(paths), Prover()))


def _taken_back(paths: Paths) -> int:
    return _told(lambda: confirm.take_back(paths, _pending(paths), confirm.NOT_CONFIRMED, Prover()))


def _pending(paths: Paths) -> confirm.Pending:
    """What the daemon knows by heart of the change that was tried."""
    return confirm.Pending(2, 1, "2026-01-01T00:00:00Z")


def _past(paths: Paths) -> None:
    first(paths)
    history = History(Path(paths.history))
    _batch(Recorder(history), 0).flush()
    history.close()


def _batch(recorder: Recorder, number: int) -> Recorder:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(EACH):
        recorder.record(Event(at, EventKind.ACK, machine="node1", detail={"batch": str(number)}))
    for table in (LADDER, LIFE, TOKENS):
        recorder.save(table, "node1", {"state": "installed", "batch": number})
    return recorder


def _lifecycle(paths: Paths) -> int:
    """The daemon's writes: ladders, lives and tokens, each said to be kept or not."""
    history = History(Path(paths.history))
    recorder = Recorder(history)
    for number in range(1, BATCHES + 1):
        done = _batch(recorder, number).flush()
        print(f"kept {number}" if done else f"not kept: {recorder.problem}", flush=True)  # noqa: T201
    history.close()
    return 0


def _kept(paths: Paths, run: Run) -> Iterator[str]:
    """Every write of the history is there whole or not at all, and what was said to be kept is kept."""
    acknowledged = {int(line.split()[1]) for line in run.said.splitlines() if line.startswith("kept ")}
    problem, kept, events = _batches(paths)
    if problem:
        yield f"the history is not well: {problem}"
    numbers = {value.get("batch") if isinstance(value, dict) else None for value in kept.values()}
    if len(numbers) != 1:
        yield f"half of a write is there: {kept}"
        return
    (number,) = numbers
    if (number if isinstance(number, int) else 0) < max(acknowledged, default=0):
        yield f"write {max(acknowledged)} was acknowledged, and {number} is the last one there"
    for batch, count in events.items():
        if count % EACH:
            yield f"{count} events of write {batch} are there: not all of it"
    # A write that failed drops its events and says so; one that was acknowledged has them.
    if lost := acknowledged - set(events):
        yield f"the events of the writes {sorted(lost)} were acknowledged and are gone"


def _batches(paths: Paths) -> tuple[str, dict[str, object], dict[int, int]]:
    """What is wrong with the history, what it keeps of node1 by table, and events by batch."""
    history = History(Path(paths.history))
    try:
        kept = {table: history.kept(table).get("node1") for table in (LADDER, LIFE, TOKENS)}
        numbers = [int(json.loads(body)["detail"]["batch"]) for body in history.events(limit=1000)]
        return history.problem or "", kept, {n: numbers.count(n) for n in set(numbers)}
    finally:
        history.close()


def _note(paths: Paths) -> int:
    ServedLately(Path(paths.served_lately)).note(load_settings(paths).networks.values())
    return 0


def _noted(paths: Paths) -> None:
    first(paths)
    assert _note(paths) == 0


def _note_path(paths: Paths) -> Path:
    return Path(paths.state) / "note"


def _old_note(paths: Paths) -> None:
    Path(paths.state).mkdir(parents=True, exist_ok=True)
    _note_path(paths).write_bytes(b"old" * 9000)


def _written(how: Callable[[Path, bytes], None]) -> Callable[[Paths], int]:
    def work(paths: Paths) -> int:
        try:
            how(_note_path(paths), b"new" * 9000)
        except ApplianceError as error:
            return report_error(error)
        print("kept")  # noqa: T201
        return 0

    return work


def _durable(path: Path, content: bytes) -> None:
    write_atomic(path, content)


def _nothing_synced(path: Path, content: bytes) -> None:
    temporary = path.with_name(".note.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _swallowed(path: Path, content: bytes) -> None:
    try:
        write_atomic(path, content)
    except ApplianceError:
        return


OPERATIONS: Final[Mapping[str, Operation]] = {
    operation.name: operation
    for operation in (
        _commanded("sync", edited, "sync", "--yes"),
        _commanded("sync-first", nothing, "sync", "--yes"),
        _commanded("rollback", second, "rollback", "--yes"),
        Operation("sync-proven", edited, lambda paths: _as_daemon(paths, 0)),
        Operation("sync-refused", edited, lambda paths: _as_daemon(paths, 1), rc=6,
                  retold=frozenset({6}), between="sync-proven",
                  courtesy=_MARKS_OF_2),
        Operation("sync-prunes", many, lambda paths: _as_daemon(paths, 0),
                  courtesy=rf"{COURTESY}|generations/\.staging-1"),
        _commanded("machine-add", first, *_NODE9, retold=frozenset({3, 4})),
        _commanded("machine-add-file", first, *_NODE9, "--file", "new.toml", retold=frozenset({3, 4})),
        _commanded("machine-remove", first, "machine", "remove", "node7", retold=frozenset({3, 4})),
        _commanded(
            "machine-replace-mac", first, "machine", "replace-mac", "node1", "52:54:00:aa:00:91",
            retold=frozenset({3, 4}),
        ),
        Operation("sync-confirm-within", edited, _tried, retold=frozenset({4}),
                  failing=frozenset({5, 6}), refused=frozenset({4}), extra=_known_to_be_confirmed,
                  courtesy=rf"{COURTESY}|to-be-confirmed unlink$"),
        Operation("confirm", tried, _confirmed),
        Operation("not-confirmed", tried, _taken_back, courtesy=_MARKS_OF_2),
        Operation("lifecycle-first", first, _lifecycle, courtesy=".", extra=_kept),
        Operation("lifecycle", _past, _lifecycle, courtesy=".", extra=_kept),
        Operation("served-lately", _noted, _note, courtesy="."),
    )
}  # fmt: skip
# Programs that the harness has to find fault with, and one that it must not.
CARELESS: Final[Mapping[str, Operation]] = {
    operation.name: operation
    for operation in (
        Operation("durable", _old_note, _written(_durable), serves=False),
        Operation("nothing-synced", _old_note, _written(_nothing_synced), serves=False),
        Operation("swallowed", _old_note, _written(_swallowed), serves=False),
    )
}
