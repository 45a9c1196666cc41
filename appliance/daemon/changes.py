"""Carries changes through on the running children, one at a time: syncs, their confirmation, the way back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from appliance.boot.events import Event, EventKind
from appliance.daemon import signals as s
from appliance.daemon.activate import Activator
from appliance.daemon.adopt import adopted_generation, settle
from appliance.daemon.children import Children
from appliance.daemon.desk import Desk
from appliance.daemon.handoff import Handoff
from appliance.daemon.known import State
from appliance.daemon.stand_in import stand_in
from appliance.daemon.status import problem
from appliance.dnsmasq.lifecycle import Phase
from appliance.errors import ApplianceError, NotProven, OperatorError, Refused, SurroundingsError
from appliance.paths import Paths
from appliance.sync import confirm, generations
from appliance.sync import run as route
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.sync.back import NEITHER, Returned
from appliance.sync.confirm import Pending
from appliance.sync.plan import make_plan
from appliance.system.clock import monotonic, now

_ADOPT_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 10.0  # at the disk, for a change that waits there
_AGAIN_SECONDS: Final = 2.0  # after a disk that did not take the way back
_log = logging.getLogger("pxe-appliance")


@dataclass(frozen=True, slots=True)
class Awaited:
    """A change that waits, and the monotonic time at which it is taken back."""

    pending: Pending
    deadline: float


class Changes:
    """One daemon's. Whoever asks for a change and goes away changes nothing: the time is kept here."""

    def __init__(
        self,
        paths: Paths,
        desk: Desk,
        children: Children,
        activator: Activator,
        handoff: Handoff,
        state: Callable[[], State],
        lock: asyncio.Lock,
    ) -> None:
        """`lock` is held while a change is under way.

        Set `loop`, on which the children live, before anything is asked for, and `stopping` when no change
        may begin any more; the decider sets `adopted` whenever it serves a generation.
        """
        self._paths = paths
        self._desk = desk
        self._children = children
        self._activator = activator
        self._handoff = handoff
        self._state = state
        self.lock = lock
        self.stopping = asyncio.Event()
        self.leaving = False  # another program takes our place: what is asked for now is its to do
        self.adopted = asyncio.Event()
        self.awaited: Awaited | None = None
        self._turned = asyncio.Event()  # another change waits, or none any more
        self.loop: asyncio.AbstractEventLoop | None = None

    # ---- what can be told ----

    async def sync(self, request: route.Request) -> dict[str, object]:
        """Carry a change through; take back the one that waits, when that is what is asked for.

        Raises:
            Refused, OperatorError, SurroundingsError, NotProven: as `sync.run.sync`.
        """
        if self.stopping.is_set():
            raise Refused("the daemon is stopping")
        if self._children.log_is_full and self._state().served.id is not None:
            raise SurroundingsError(
                "cannot verify a change: there is no room for dnsmasq's log", hint=f"df -h {self._paths.run}"
            )
        async with self.lock:
            if self.leaving:
                raise Refused("a new program takes over at this moment", hint="ask again in a moment")
            await self._settled()  # where not all of it is whole then, a sync writes it anew
            on_disk = await asyncio.to_thread(confirm.on_disk, self._paths)
            pending = self.awaited.pending if self.awaited else on_disk
            if pending is not None:
                return await self._instead(pending, request)
            try:
                outcome = await asyncio.to_thread(route.sync, self._paths, request, self.activate, self._runs)
                if outcome.pending is not None:
                    self._wait_for(outcome.pending)
            except ApplianceError as error:
                self.failed(request, error)
                raise
            finally:
                await self._arm()  # whatever failed, what waits has its time
            if outcome.pending is None and not (request.to is not None and outcome.plan.empty):
                self._desk.sync_problem = None
            if outcome.number != self._state().served.id or not self._state().served.proven:
                await self.readopt()
            if outcome.plan.empty:
                self._desk.observer.unchanged()
            else:
                self._applied(request, outcome)
            told = outcome.as_json()
            return {**told, "evidence": [*outcome.evidence, *await self._handoff.within_sync()]}

    async def confirm(self, named: int | None = None) -> dict[str, object]:
        """Keep the change that waits; it is durable when this returns.

        `named`: the generation that is meant, where somebody said which.

        Raises:
            Refused: nothing waits, another generation than the named one does, or its time is over.
            SurroundingsError: the disk does not take it; it waits on.
            NotProven: nobody could be asked before, and now it does not work: it was taken back.
        """
        asked = monotonic()
        async with self.lock:
            await self._arm()
            awaited = self.awaited
            if awaited is not None and asked >= awaited.deadline:
                raise confirm.too_late(awaited.pending)
            only = await asyncio.to_thread(confirm.without_return, self._paths) if awaited is None else None
            pending = awaited.pending if awaited else only
            if pending is None:
                raise await asyncio.to_thread(confirm.refusal, self._paths)
            number = pending.generation
            if named not in {None, number}:
                raise confirm.another(pending, named or 0)
            if (lost := self._children.footing.lost) and not await self._settled():
                raise SurroundingsError(f"cannot keep generation {number}: {lost}")
            try:
                seen = await asyncio.to_thread(confirm.keep, self._paths, pending, self.activate)
            except NotProven as error:
                back = await self._back(pending, error.message)
                words = f"rolled back to generation {back.number}: {error.message}{back.words}"
                raise NotProven(words, hint=error.hint, evidence=back.evidence) from error
            self._await(None)
            self._desk.sync_problem = None
            await self.readopt()
            self._happened(EventKind.SYNC, {"generation": str(number), "why": "confirmed"})
            return {"generation": number, "confirmed": True, "evidence": list(seen)}

    # ---- what goes on by itself ----

    async def watch(self) -> None:
        """Take back what nobody confirms in time; for ever."""
        while True:
            self._turned.clear()
            left = max(0.0, self.awaited.deadline - monotonic()) if self.awaited else _LOOK_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._turned.wait(), left)
                continue
            if self.awaited is None:
                if self._state().served.id is None:  # what waits now is the start's to leave
                    continue
                if await asyncio.to_thread(confirm.waiting, self._paths) is None:
                    continue
            async with self.lock:
                await self._arm()
                await self._overdue()
            if self.awaited is not None:
                await asyncio.sleep(_AGAIN_SECONDS)

    def calm(self) -> None:
        """A way back that had ended in doubt is proven now: what is left to say is why it was taken."""
        said = self._desk.sync_problem
        if said is not None and NEITHER in said["message"]:
            begin, _, rest = said["message"].partition(NEITHER)
            _, served, more = rest.partition("; generation ")
            self._desk.sync_problem = {**said, "message": begin + served + more}

    def nothing_else(self, number: int) -> None:
        """A start serves a change that waits, because nothing that was proven is intact."""
        words = (
            f"generation {number} is served although nobody has confirmed it: none that was proven is intact"
        )
        fix = "pxe-appliance confirm keeps it, pxe-appliance sync replaces it"
        self._desk.sync_problem = problem("unconfirmed", "error", words, fix)

    def given_up(self, number: int, reason: str, served: int, *, now_first: bool) -> None:
        """A start has not taken up a change that nobody had confirmed: say so, and what to do.

        `now_first`: no start before this one has.
        """
        self._desk.sync_problem = _unconfirmed(number, reason, served)
        if now_first:
            facts = {"generation": str(number), "to": str(served)}
            self._happened(EventKind.ROLLBACK, {"reason": f"generation {number} was {reason}", **facts})

    # ---- the rest ----

    async def _settled(self) -> bool:
        """Have the disk say what the children serve, where a copy stands in for that; whether it does."""
        copied = self._children.stands_in
        if copied is None:
            return True
        return await asyncio.to_thread(settle, self._paths, copied, self._state().served.files)

    async def _instead(self, pending: Pending, request: route.Request) -> dict[str, object]:
        """What is asked for while a change waits: the way back from it, or what cannot be."""
        if request.to != pending.previous or request.confirm_within:
            raise confirm.still_waits(pending.generation, pending.until)
        plan = await asyncio.to_thread(route.plan, self._paths, request)
        who = f" by {request.who}" if request.who else ""
        back = await self._back(pending, f"{confirm.NOT_CONFIRMED}: taken back{who}")
        if back.trouble:
            raise NotProven(f"rolled back to generation {back.number}{back.words}", evidence=back.evidence)
        evidence = [*back.evidence, *await self._handoff.within_sync()]
        outcome = route.Outcome(plan, back.number, active=True, proven=True, evidence=tuple(evidence))
        return {**outcome.as_json(), "taken_back": pending.generation}

    async def _overdue(self) -> None:
        awaited = self.awaited
        if awaited is None or monotonic() < awaited.deadline or self.stopping.is_set():
            return
        pending = awaited.pending
        try:
            await self._back(pending, f"{confirm.NOT_CONFIRMED} until {pending.until}")
        except ApplianceError as error:
            if await self._stand_in(pending, error):
                return
            words = f"generation {pending.generation} cannot be taken back: {error.message}"
            fix = error.hint or f"df -h {self._paths.state}"
            if await asyncio.to_thread(confirm.without_return, self._paths) is not None:
                self._await(None)  # there is nothing left to go back to: it is a person's to decide
                fix = "pxe-appliance confirm keeps it, pxe-appliance sync replaces it"
            told = problem("unconfirmed", "error", words, fix)
            if told != self._desk.sync_problem:
                _log.error("%s", words)
            self._desk.sync_problem = told

    async def _stand_in(self, pending: Pending, error: ApplianceError) -> bool:
        """Take a change back on the wire alone, for the disk does not take it; whether that was done."""
        try:
            found = await asyncio.to_thread(generations.newest_proven, self._paths)
            if found is None:
                return False
            number, desired = found
            await asyncio.to_thread(stand_in, self._paths, number)
            adopted = await asyncio.to_thread(adopted_generation, self._paths, number)
            assert adopted is not None, "it was asked for by its number"
            plan = make_plan(pending.generation, None, desired)
            applied = AppliedPlan(plan, number, None, (), again=True)
            trouble = ""
            try:
                await self._activator.activate(applied, adopted, number)
            except NotProven as unproven:
                trouble = f"; that one does not prove itself either: {unproven.message}"
        except (SurroundingsError, OSError):
            return False
        self._await(None)
        reason = f"{confirm.NOT_CONFIRMED} until {pending.until}{trouble}"
        self.stood_in(number, f"generation {pending.generation} was {reason}: {error.message}")
        self._happened(
            EventKind.ROLLBACK,
            {
                "reason": f"generation {pending.generation} was {reason}",
                "generation": str(pending.generation),
                "to": str(number),
            },
        )
        return True

    def stood_in(self, number: int, why: str) -> None:
        """Say that the disk does not let us point at what is served."""
        words = f"generation {number} is served from a copy in memory: {why}"
        _log.error("%s", words)
        self._desk.sync_problem = problem("unconfirmed", "error", words, f"df -h {self._paths.state}")

    async def _back(self, pending: Pending, reason: str) -> Returned:
        """Serve what was before the change that waits, everywhere, and say why."""
        back = await asyncio.to_thread(confirm.take_back, self._paths, pending, reason, self.activate)
        self._await(None)
        if back.trouble:
            self._activator.troubled = True  # the keeper goes on with it, until it is proven
        else:
            with contextlib.suppress(ApplianceError):  # on disk it is done
                await self.readopt()
        self._desk.sync_problem = _unconfirmed(pending.generation, reason + back.words, back.number)
        proof = "; ".join(back.evidence) or back.trouble
        facts = {"generation": str(pending.generation), "to": str(back.number), "proof": proof[:1000]}
        self._happened(
            EventKind.ROLLBACK, {"reason": f"generation {pending.generation} was {reason}", **facts}
        )
        return back

    def _applied(self, request: route.Request, outcome: route.Outcome) -> None:
        facts = {"generation": str(outcome.number), "why": request.why}
        if outcome.pending is not None:
            facts["until"] = outcome.pending.until
        self._happened(EventKind.SYNC, facts)

    def failed(self, request: route.Request, error: ApplianceError) -> None:
        """Say that a change, or what is served, came to nothing: an event and a problem."""
        facts = {"reason": error.message, "why": request.why}
        if isinstance(error, NotProven) and error.evidence:
            facts["proof"] = "; ".join(error.evidence)[:1000]
        self._happened(EventKind.ROLLBACK if isinstance(error, NotProven) else EventKind.SYNC, facts)
        fix = "pxe-appliance check" if isinstance(error, OperatorError) else "pxe-appliance sync"
        self._desk.sync_problem = problem("sync", "error", f"not in sync: {_with_reason(error)}", fix)

    async def _arm(self) -> None:
        """Take up a change that waits on disk and that nobody would take back. Hold the lock."""
        with contextlib.suppress(ApplianceError, OSError):  # the next look
            if self.awaited is None and self._children.stands_in is None:
                pending = await asyncio.to_thread(confirm.on_disk, self._paths)
                if pending is not None:
                    self._wait_for(pending)

    def _wait_for(self, pending: Pending) -> None:
        assert pending.deadline is not None, "it was begun, or found, by this process"
        self._await(Awaited(pending, pending.deadline))
        words = f"generation {pending.generation} waits until {pending.until} for its confirmation"
        self._desk.sync_problem = problem("unconfirmed", "warning", words, "pxe-appliance confirm")

    def _await(self, awaited: Awaited | None) -> None:
        self.awaited = awaited
        self._desk.pending = awaited.pending if awaited else None
        self._turned.set()

    def _runs(self, number: int) -> bool:
        """Whether all children run a generation."""
        sure = not self._activator.troubled and self._children.stands_in is None
        return self._state().served.id == number and self.all_serve() and sure

    def all_serve(self) -> bool:
        """Whether every child serves now."""
        return {child.phase for child in self._state().children.values()} == {Phase.SERVING}

    def activate(self, applied: AppliedPlan) -> ProvenPlan:
        """Take a generation to the children (`sync.apply.Activate`): for a thread; it is done on the loop."""
        assert self.loop is not None
        try:
            adopted = adopted_generation(self._paths)
        except ApplianceError:
            self._activator.unsure |= applied.again  # nobody was told of the way back
            self._activator.troubled = True
            raise
        assert adopted is not None
        return asyncio.run_coroutine_threadsafe(
            self._activator.activate(applied, adopted), self.loop
        ).result()

    async def readopt(self) -> None:
        """Serve the proven generation everywhere before a sync is said to be done."""
        adopted = await asyncio.to_thread(adopted_generation, self._paths)
        if adopted is not None:
            self.adopted.clear()
            self._desk.report(adopted)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.adopted.wait(), _ADOPT_SECONDS)

    def _happened(self, kind: EventKind, detail: dict[str, str]) -> None:
        self._desk.report(s.Happened(Event(now(), kind, detail=detail)))


def _with_reason(error: ApplianceError) -> str:
    """Its message, with the first thing that is wrong: who asks may not see what the daemon sees."""
    problems = error.problems if isinstance(error, OperatorError) else ()
    if not problems:
        return error.message
    first, more = problems[0], f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    place = f"{first.file}:{first.line}" if first.line else first.file
    return f"{error.message}: {place}: {first.message}{more}"


def _unconfirmed(number: int, reason: str, served: int) -> dict[str, str]:
    words = f"generation {number} was {reason}; generation {served} is served until the next sync"
    return problem("unconfirmed", "warning", words, "pxe-appliance sync")
