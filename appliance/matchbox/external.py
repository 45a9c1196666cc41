"""The hand-off to an external Matchbox, from beginning to end: push what is ours, then ask for every machine.

Whatever the endpoint does is in the `Report`; DHCP goes on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final, Protocol, TypeVar

from appliance.errors import SurroundingsError
from appliance.matchbox.ask import Finding, FindingKind, summed_up
from appliance.matchbox.asking import ask_all
from appliance.matchbox.model import MachineBoot
from appliance.matchbox.push_directory import DirectoryTarget
from appliance.matchbox.push_plan import PREFIX, Delete, Found, Objects, Put, diff, objects_of
from appliance.paths import Paths
from appliance.settings import MatchboxSettings, Push
from appliance.system.clock import monotonic
from appliance.system.credentials import given

_TOLD: Final = 10  # problems of a kind; a rack that is wrong altogether is not a thousand sentences

Progress = Callable[[str], None]
T = TypeVar("T", Put, Delete)


class Target(Protocol):
    """Where objects are pushed to. Its calls block, and raise SurroundingsError."""

    @property
    def parallel(self) -> int:
        """How many calls may be under way at once."""

    def find(self, wanted: Objects, /) -> Found:
        """What is there."""

    def put(self, put: Put, /) -> None:
        """Write one object."""

    def delete(self, delete: Delete, /) -> None:
        """Remove one object."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a hand-off did and saw.

    `written` and `deleted` name objects (`group pxe-appliance-node1`). `conflicts` are sentences about what
    is there and not ours, `refused` about machines that cannot be pushed, `failure` about a push that did not
    come to its end (empty: it did). `reachable`: whether the endpoint's HTTP side answers.
    """

    written: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    failure: str = ""
    findings: tuple[Finding, ...] = ()
    reachable: bool = True

    def problems(self) -> tuple[str, ...]:
        """What somebody has to look at, a sentence each; many of a kind are counted."""
        return (
            *([self.failure] if self.failure else []),
            *_first(self.refused),
            *_first(self.conflicts),
            *summed_up(self.findings, _TOLD),
        )

    def summary(self) -> tuple[str, ...]:
        """What was done, in a line; nothing when nothing was."""
        if not self.written and not self.deleted:
            return ()
        return (f"{len(self.written)} objects written, {len(self.deleted)} deleted",)


async def hand_over(
    settings: MatchboxSettings,
    paths: Paths,
    machines: Sequence[MachineBoot],
    progress: Progress | None = None,
    *,
    within: float = 600.0,
) -> Report:
    """Bring the machines to the external Matchbox as `settings` say, and compare what it answers.

    `paths` say where the data directory and the certificates are. A push that takes longer than `within`
    seconds, or is cancelled, stops after the call that is under way; what it wrote stays, and the next one
    goes on from there.
    """
    say = progress or _silence
    pushing = _Pushing(settings, paths, say, within)
    if settings.push is not Push.NONE:
        await _in_thread(pushing, machines)
    say(f"asking {settings.endpoint} for {len(machines)} machines")
    findings = await ask_all(
        settings.endpoint, pushing.in_order(machines), ignition=settings.push is not Push.NONE
    )
    place = {machine.name: number for number, machine in enumerate(machines)}
    return replace(
        pushing.report,
        findings=tuple(sorted(findings, key=lambda finding: place.get(finding.machine, -1))),
        reachable=not any(finding.kind is FindingKind.DOWN for finding in findings),
    )


async def _in_thread(pushing: _Pushing, machines: Sequence[MachineBoot]) -> None:
    """Push in a thread; do not leave before it has ended, for two must never push at once."""
    work = asyncio.get_running_loop().run_in_executor(None, pushing.push, tuple(machines))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        pushing.stop.set()
        await asyncio.wait([work])
        raise


class _Pushing:
    """One push, and what it has done so far."""

    def __init__(self, settings: MatchboxSettings, paths: Paths, say: Progress, within: float) -> None:
        self.stop = threading.Event()
        self.report = Report()
        self._settings = settings
        self._paths = paths
        self._say = say
        self._until = monotonic() + within
        self._written: list[str] = []
        self._deleted: list[str] = []

    def push(self, machines: Sequence[MachineBoot]) -> None:
        """Do it; blocks. What went wrong is in the report."""
        wanted = objects_of(machines)
        refused = tuple(f"{name} is not pushed: {reason}" for name, reason in wanted.refused.items())
        conflicts: tuple[str, ...] = ()
        failure = ""
        try:
            with self._target() as target:
                plan = diff(wanted, target.find(wanted))
                conflicts = plan.conflicts
                self._say(f"pushing {len(plan.puts)} objects, deleting {len(plan.deletions)}")
                for _, puts in groupby(plan.puts, lambda put: put.kind):
                    self._each(target, target.put, tuple(puts), self._written)
                for _, deletions in groupby(plan.deletions, lambda delete: delete.kind):
                    self._each(target, target.delete, tuple(deletions), self._deleted)
        except SurroundingsError as error:
            failure = f"{error.message} ({error.hint})" if error.hint else error.message
        self.report = Report(tuple(self._written), tuple(self._deleted), conflicts, refused, failure)

    def in_order(self, machines: Sequence[MachineBoot]) -> list[MachineBoot]:
        """Those first that were just written, the others in any order: where there is no time for all of
        them, they have their turn with the next ones."""
        others = list(machines)
        random.shuffle(others)
        fresh = {name.partition(f" {PREFIX}")[2].removesuffix(".ign") for name in self._written}
        return sorted(others, key=lambda machine: machine.name not in fresh)

    @contextlib.contextmanager
    def _target(self) -> Iterator[Target]:
        settings, paths = self._settings, self._paths
        if settings.push is Push.DIRECTORY:
            yield DirectoryTarget(Path(paths.settle(settings.data)))
            return
        from appliance.matchbox.push_grpc import connected  # tens of megabytes that others do not need
        from appliance.matchbox.push_tls import TlsFiles

        ca, cert, key = (Path(paths.in_keys(raw)) for raw in (settings.ca, settings.cert, settings.key))
        files = TlsFiles(ca, cert, given(key, Path(paths.secrets)))
        with connected(settings.grpc, files, halt=self._halt) as target:
            yield target

    def _halt(self) -> None:
        """Raise where nothing more is to be done."""
        if self.stop.is_set() or monotonic() > self._until:
            raise SurroundingsError("the push is not done yet", hint="the next one goes on from there")

    def _each(self, target: Target, work: Callable[[T], None], items: Sequence[T], done: list[str]) -> None:
        """Do all of one kind before the next kind begins; the first failure ends it."""

        def one(item: T) -> None:
            self._halt()
            work(item)
            done.append(f"{item.kind.value} {item.id}")

        with ThreadPoolExecutor(target.parallel, thread_name_prefix="push") as pool:
            tasks = [pool.submit(one, item) for item in items]
            try:
                for task in tasks:
                    task.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _silence(_words: str) -> None:
    """Nobody watches."""


def _first(sentences: Sequence[str]) -> Iterator[str]:
    yield from sentences[:_TOLD]
    if len(sentences) > _TOLD:
        yield f"and {len(sentences) - _TOLD} more of these"
