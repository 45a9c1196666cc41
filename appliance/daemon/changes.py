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
from appliance.daemon import unconfirmed
from appliance.daemon.activate import Activator
from appliance.daemon.adopt import adopted_generation, in_memory, settle
from appliance.daemon.children import Children
from appliance.daemon.desk import Desk
from appliance.daemon.handoff import Handoff
from appliance.daemon.hanging import Disk, Hangs
from appliance.daemon.known import State
from appliance.daemon.status import problem
from appliance.dnsmasq.lifecycle import Phase
from appliance.errors import ApplianceError, NotProven, OperatorError, Refused, SurroundingsError
from appliance.paths import Paths
from appliance.sync import asked, confirm
from appliance.sync import run as route
from appliance.sync.apply import Activate, AppliedPlan, ProvenPlan
from appliance.sync.back import Returned
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
        self._asked = 0  # requests under way whose change has to be confirmed
        self._disk = Disk(paths.state)
        self._memory = Disk(paths.state)  # for what only reads there
        self._marks = Disk(paths.state)

    # ---- what can be told ----

    async def sync(self, request: route.Request) -> dict[str, object]:
        """Carry a change through; take back the one that waits, when that is what is asked for.

        One that has to be confirmed is never brought without that: should we die, a start knows of it.

        Raises:
            Refused, OperatorError, SurroundingsError, NotProven: as `sync.run.sync`.
        """
        if self.stopping.is_set():
            raise Refused("the daemon is stopping")
        if self._children.log_is_full and self._state().served.id is not None:
            raise SurroundingsError(
                "cannot verify a change: there is no room for dnsmasq's log", hint=f"df -h {self._paths.run}"
            )
        to_be_confirmed = bool(request.confirm_within) and request.to is None
        self._asked += to_be_confirmed
        try:
            if to_be_confirmed:
                await self._marked(asked.begin)
            async with self.lock:
                return await self._in_turn(request)
        finally:
            self._asked -= to_be_confirmed

    async def confirm(self, named: int | None = None) -> dict[str, object]:
        """Keep the change that waits; it is durable when this returns.

        `named`: the generation that is meant, where somebody said which.

        Raises:
            Refused: nothing waits, another generation than the named one does, or its time is over.
            SurroundingsError: the disk does not take it; it waits on.
            NotProven: nobody could be asked before, and now it does not work: it was taken back.
        """
        heard = monotonic()
        async with self.lock:
            await self._arm()
            awaited = self.awaited
            if awaited is not None and heard >= awaited.deadline:
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
                seen = await self._disk.carried(
                    lambda activate: confirm.keep(self._paths, pending, activate),
                    self.activate,
                    self._machines,
                )
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

    # ---- the rest ----

    async def _settled(self) -> bool:
        """Have the disk say what the children serve, where a copy stands in for that; whether it does."""
        copied = self._children.stands_in
        if copied is None:
            return True
        return await asyncio.to_thread(settle, self._paths, copied, self._state().served.files)

    async def _in_turn(self, request: route.Request) -> dict[str, object]:
        """Carry a change through. Hold the lock."""
        if self.leaving:
            raise Refused("a new program takes over at this moment", hint="ask again in a moment")
        self._disk.refuse()
        await self._settled()  # where not all of it is whole then, a sync writes it anew
        on_disk = await asyncio.to_thread(confirm.on_disk, self._paths)
        pending = self.awaited.pending if self.awaited else on_disk
        if pending is not None:
            return await self._instead(pending, request)
        try:
            outcome = await self._carried(request)
            if outcome.pending is not None:
                self._wait_for(outcome.pending)
        except Hangs:  # said already
            raise
        except ApplianceError as error:
            self.failed(request, error)
            raise
        finally:
            await self._arm()  # whatever failed, what waits has its time
        way_back_only = request.to is not None and outcome.plan.empty
        if outcome.pending is None and not way_back_only:
            self._desk.sync_problem = None
        if not way_back_only and self._asked == bool(request.confirm_within and request.to is None):
            with contextlib.suppress(Hangs):
                await self._marked(asked.end)  # nobody else has asked meanwhile
        if outcome.number != self._state().served.id or not self._state().served.proven:
            await self.readopt()
        if outcome.plan.empty:
            self._desk.observer.unchanged()
        else:
            self._applied(request, outcome)
        told = outcome.as_json()
        return {**told, "evidence": [*outcome.evidence, *await self._handoff.within_sync()]}

    async def _carried(self, request: route.Request) -> route.Outcome:
        """As `sync.run.sync`; what has to be confirmed does not stay on the wire of a disk that hangs.

        Raises:
            Hangs: the disk does not note until when it could be confirmed.
        """

        def work(activate: Activate) -> route.Outcome:
            return route.sync(self._paths, request, activate, self._runs)

        if not request.confirm_within:
            return await asyncio.to_thread(work, self.activate)
        try:
            return await self._disk.carried(work, self.activate, self._machines, at_once=False)
        except Hangs as error:
            if error.applied is not None:
                pending = Pending(error.applied.number, error.applied.previous or 0, "")
                await self._stand_in(pending, confirm.NOT_CONFIRMED, error)
            raise

    async def _marked(self, work: Callable[[Paths], None]) -> None:
        await self._marks.carried(lambda _: work(self._paths), self.activate, 0)

    @property
    def _machines(self) -> int:
        return len(self._state().served.machines)

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
        reason = f"{confirm.NOT_CONFIRMED} until {pending.until}"
        try:
            await self._back(pending, reason)
        except ApplianceError as error:
            if await self._stand_in(pending, reason, error):
                return
            fix = error.hint or f"df -h {self._paths.state}"
            if await asyncio.to_thread(confirm.without_return, self._paths) is not None:
                self._await(None)  # there is nothing left to go back to: it is a person's to decide
                fix = ""
            unconfirmed.stuck(self._desk, pending.generation, error.message, fix)

    async def _stand_in(self, pending: Pending, reason: str, error: ApplianceError) -> bool:
        """Take a change back on the wire alone, for the disk does not take it; whether that was done."""
        try:
            copied = await self._memory.carried(
                lambda _: in_memory(self._paths), self.activate, self._machines
            )
            if copied is None:
                return False
            number, desired, adopted = copied
            plan = make_plan(pending.generation, None, desired)
            applied = AppliedPlan(plan, number, None, (), again=True)
            trouble = ""
            try:
                await self._activator.activate(applied, adopted, number)
            except NotProven as unproven:
                trouble = f"; that one does not prove itself either: {unproven.message}"
        except (ApplianceError, OSError):
            return False
        self._await(None)
        reason += trouble
        why = f"generation {pending.generation} was {reason}: {error.message}"
        unconfirmed.stood_in(self._desk, self._paths, number, why, error.hint)
        unconfirmed.rolled_back(self._desk, pending.generation, reason, number)
        return True

    async def _back(self, pending: Pending, reason: str) -> Returned:
        """Serve what was before the change that waits, everywhere, and say why."""
        back = await self._disk.carried(
            lambda activate: confirm.take_back(self._paths, pending, reason, activate),
            self.activate,
            self._machines,
        )
        self._await(None)
        if back.trouble:
            self._activator.troubled = True  # the keeper goes on with it, until it is proven
        else:
            with contextlib.suppress(ApplianceError):  # on disk it is done
                await self.readopt()
        unconfirmed.taken_back(self._desk, pending.generation, reason + back.words, back.number)
        proof = "; ".join(back.evidence) or back.trouble
        unconfirmed.rolled_back(self._desk, pending.generation, reason, back.number, proof)
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
        unconfirmed.waits(self._desk, pending.generation, pending.until)

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
