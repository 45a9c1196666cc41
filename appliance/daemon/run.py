"""The daemon, wired: one queue, one decider, tasks that only report. The only place where all of it meets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from pathlib import Path

from aiohttp import web

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind
from appliance.boot.policy import Cue, Impossible, way_out
from appliance.daemon import signals as s
from appliance.daemon.activate import Activator
from appliance.daemon.adopt import adopted_generation, generation_to_serve
from appliance.daemon.children import Children
from appliance.daemon.control import control_app, unknown_machine
from appliance.daemon.desk import Desk
from appliance.daemon.first_look import look_first
from appliance.daemon.handoff import Handoff
from appliance.daemon.history import LADDER, LIFE, SEEN, STRAY, TOKENS, History
from appliance.daemon.known import Now, State
from appliance.daemon.logs import Logs, start_logging
from appliance.daemon.lookout import Lookout
from appliance.daemon.premises import clear_socket, open_to_group, prepare
from appliance.daemon.prove import Prover
from appliance.daemon.prove_change import ChangeProver
from appliance.daemon.prove_door import add_proof
from appliance.daemon.pulse import Pulse
from appliance.daemon.question import Rhythm
from appliance.daemon.recorder import Recorder
from appliance.daemon.remember import once_machines, remembered
from appliance.daemon.state import step
from appliance.daemon.status import problem
from appliance.daemon.taken_up import taken_up
from appliance.dnsmasq.lifecycle import Phase
from appliance.errors import ApplianceError, ExitCode, NotProven, OperatorError, Refused, SurroundingsError
from appliance.paths import Paths
from appliance.sync import generations
from appliance.sync import run as route
from appliance.sync.apply import AppliedPlan, ProvenPlan
from appliance.sync.documents import shown_document
from appliance.system.clock import monotonic, now
from appliance.system.files import exclusive_lock
from appliance.system.notify import notify

_log = logging.getLogger("pxe-appliance")
_STOP_SECONDS = 15.0
_PROVE_EVERY = 10.0
_PAST = 20_000  # events that are read at start for who holds what
_TURN = 100  # signals
_START_SECONDS = 5.0
_RHYTHM = Rhythm()


def run_daemon(paths: Paths, *, verbose: bool, rhythm: Rhythm = _RHYTHM) -> int:
    """Serve until SIGTERM or SIGINT; the exit code.

    Raises:
        Refused: another daemon serves this root already, or another DHCP server a network of ours.
        OperatorError: nothing was ever applied and the inventory cannot be used.
    """
    prepare()
    with (
        contextlib.closing(start_logging(paths, verbose=verbose)) as logs,
        exclusive_lock(Path(paths.daemon_lock), wait=False, purpose="pxe-appliance serve"),
    ):
        return asyncio.run(Daemon(paths, rhythm, logs).serve())


class Daemon:
    """One running appliance."""

    def __init__(self, paths: Paths, rhythm: Rhythm = _RHYTHM, logs: Logs | None = None) -> None:
        """`rhythm` is that of the questions for other DHCP servers."""
        self.paths = paths
        self.rhythm = rhythm
        self.state = State()
        self.queue: asyncio.Queue[s.Signal] = asyncio.Queue()
        self.children = Children(paths, self.queue.put_nowait)
        self.history = History(Path(paths.history))
        self.recorder = Recorder(self.history)
        self.desk = Desk(paths, lambda: self.state, self.queue, self.recorder, self.children)
        self.web = self.desk.web
        self.observer = self.desk.observer
        self.observer.logs = logs
        self.handoff = Handoff(
            paths, self.desk.served, self.web.images, self.desk.take_handoff_problems, self.queue.put_nowait
        )
        self.relieving: set[asyncio.Task[None]] = set()
        self.sync_lock = asyncio.Lock()
        self.adopted = asyncio.Event()
        self.serving = asyncio.Event()
        self.asked_to_stop = asyncio.Event()
        self.pulse = Pulse(self.children, self.queue.put_nowait, lambda: self.state)
        self.prover = Prover(
            paths, self.children, self.web, lambda: self.state, self.sync_lock.locked, self.queue.join
        )
        change = ChangeProver(self.prover, self.queue.put_nowait, lambda: self.state)
        self.activator = Activator(self.children, self.queue.put_nowait, lambda: self.state, change.ask)
        self.lookout = Lookout(paths, self.queue.put_nowait, lambda: self.state, self.children.expect, rhythm)
        self.desk.watch_problems = lambda: self.lookout.problems
        self.loop: asyncio.AbstractEventLoop | None = None

    # ---- the one decider ----

    async def decide(self) -> None:
        """Take signals one by one until a requested stop is complete."""
        taken = 0
        while not self.state.stopped:
            signal_seen = await self.queue.get()
            taken += 1
            if taken % _TURN == 0:
                await asyncio.sleep(0)  # a full queue is taken from without a pause: let others work
            before = self.state
            self.state, commands = step(before, signal_seen, Now(now(), monotonic()))
            self.observer.saw(before, signal_seen, self.state, commands)
            for command in commands:
                self.obey(command)
            if isinstance(signal_seen, s.Adopted):
                self.web.refresh()
                self.pulse.look()
                self.adopted.set()
            self.queue.task_done()
            phases = [child.phase for child in self.state.children.values()]
            if phases and all(phase is Phase.SERVING for phase in phases):
                self.serving.set()

    def obey(self, command: s.Command) -> None:
        """The hands of the decider."""
        match command:
            case s.Spawn(name, macs):
                self.children.start(name, self.state.served, macs)
            case s.Relieve(name, macs):
                task = asyncio.create_task(self._relieve(name, macs), name=f"relieve {name}")
                self.relieving.add(task)
                task.add_done_callback(self.relieving.discard)
            case s.Terminate(name):
                self.children.signal(name, signal.SIGTERM)
            case s.Kill(name):
                self.children.signal(name, signal.SIGKILL)
            case s.Reload(name):
                self.children.signal(name, signal.SIGHUP)
            case s.Probe(name):
                self.pulse.probe(name)
            case s.Record(event):
                self.recorder.record(event)
            case s.CloseTokens(machine):
                self.web.arming.close(machine)
            case _:
                self._save(command)

    def _save(self, command: s.Saving) -> None:
        match command:
            case s.SaveLadder(machine, ladder):
                self.recorder.save(LADDER, machine, ladder.as_json())
            case s.SaveLife(machine, life):
                self.recorder.save(LIFE, machine, life.as_json())
            case s.SaveSighting(machine, sighting):
                self.recorder.save(SEEN, machine, sighting.as_json())
            case s.SaveStrays(rows):
                for mac, row in rows.items():
                    self.recorder.save(STRAY, mac.text, row.as_json() if row else None)
            case s.SaveTokens(machine, tokens):
                self.recorder.save(TOKENS, machine, [token.as_json() for token in tokens])

    async def _relieve(self, name: str, macs: frozenset[Mac]) -> None:
        """Not while a sync watches its children."""
        done = False
        try:
            async with self.sync_lock:
                done = await self.children.relieve(name, macs)
        finally:
            self.queue.put_nowait(s.Marked(name, macs if done else None))

    # ---- the whole life ----

    async def serve(self) -> int:
        """From start to stop."""
        self.loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.asked_to_stop.set)
        self.take_up()
        if not await look_first(self.paths, self.rhythm, self.asked_to_stop):
            return ExitCode.FINE
        decider = asyncio.create_task(self.decide(), name="decider")
        tasks = [
            asyncio.create_task(coroutine, name=name)
            for name, coroutine in (
                ("pulse", self.pulse.beat()),
                ("recorder", self.recorder.write_behind()),
                ("endpoint", self.pulse.watch_endpoint()),
                ("web", self.web.serve()),
                ("keeper", self._keep_proven()),
                ("hand-off", self.handoff.follow()),
                ("observer", self.observer.watch()),
                ("images", self.web.images.watch(lambda: self.state.served.settings, now)),
            )
        ]
        control = await self._open_control()
        self.lookout.start()
        try:
            await self._first_generation()
            await self._settled()
            notify("READY=1", "STATUS=serving")
            failed = asyncio.create_task(_first_failure([decider, *tasks]), name="failures")
            asked = asyncio.create_task(self.asked_to_stop.wait(), name="asked to stop")
            await asyncio.wait({failed, asked}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
            return ExitCode.FINE
        finally:
            notify("STOPPING=1")
            await self._close(decider, tasks, control)

    async def _first_generation(self) -> None:
        """Serve what was proven at once, then bring it up to date."""
        adopted, left = await asyncio.to_thread(generation_to_serve, self.paths)
        if adopted is not None:
            self.children.follow(adopted.served)
            past = await asyncio.to_thread(self.recorder.past, _PAST, None)
            leases = remembered(past, adopted.served)
            assumed = once_machines(adopted.served) if self.history.lost_installs else ()
            self.queue.put_nowait(s.Remembered(leases, assumed))
            self.queue.put_nowait(adopted)
            await self._settled()
            if generations.read_manifest(self.paths, adopted.served.id or 0).pinned:
                words = "a rolled-back generation is served; it stays until the next sync"
                self.desk.sync_problem = problem("rolled-back", "warning", words, "pxe-appliance plan")
                return
        why, who = (left.why, left.who) if left else ("daemon start", "pxe-appliance serve")
        try:
            await self.sync(route.Request(why=why, who=who))
        except ApplianceError as error:
            if adopted is None and not isinstance(error, NotProven):
                raise
            _log.error("the last good generation is served: %s", error.message)

    async def _keep_proven(self) -> None:
        """Prove a generation again that could not be proven, once all children serve; for ever."""
        while True:
            await asyncio.sleep(_PROVE_EVERY)
            served = self.state.served
            if served.id is None or served.proven or self.sync_lock.locked() or not self._runs(served.id):
                continue
            async with self.sync_lock:
                with contextlib.suppress(ApplianceError):  # the next round, or status, says it again
                    await asyncio.to_thread(route.prove_current, self.paths, self._activate)
                    await self._readopt()
                    self.desk.sync_problem = None

    async def _settled(self) -> None:
        """Wait until the children serve, or it is clear that one of them does not come up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await self.serving.wait()
                await self.web.listening.wait()

    async def _open_control(self) -> web.AppRunner:
        clear_socket(self.paths)
        app = control_app(self.desk, self)
        add_proof(app, self.prover)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.UnixSite(runner, str(self.paths.control)).start()
        open_to_group(self.paths)
        return runner

    async def _close(
        self, decider: asyncio.Task[None], tasks: list[asyncio.Task[None]], control: web.AppRunner
    ) -> None:
        """Let a sync finish, shut the doors, end the children, write what is left."""
        self.asked_to_stop.set()  # from here on, a new sync is refused
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS), self.sync_lock:
                pass
        pulse, *others = tasks
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.lookout.stop()
        await control.cleanup()
        clear_socket(self.paths)
        self.queue.put_nowait(s.StopRequested())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(decider), _STOP_SECONDS)
        for task in (pulse, decider):
            task.cancel()
        await asyncio.gather(pulse, decider, return_exceptions=True)
        await asyncio.to_thread(self.recorder.flush)
        self.history.close()

    def take_up(self) -> None:
        """How far machines had come before we were started, and what became of them."""
        self.state = taken_up(self.state, self.history.kept, now())
        self.web.arming.remember(self.history.kept(TOKENS))

    # ---- what can be told (control.Actions) ----

    def ignition(self, name: str) -> bytes | None:
        """The document of a machine, with a word where a boot's token goes; None when it has none."""
        served = self.state.served
        if name not in served.machines:
            raise unknown_machine(name, self.desk.names())
        return shown_document(served.settings, served.inventory, served.ignition, name)

    async def turn(self, name: str, cue: Cue, reason: str = "") -> dict[str, object]:
        """Have a machine installed again, held or released; its life afterwards.

        Raises:
            Refused: nobody knows it, or its state knows no such turn.
            SurroundingsError: it is so, and could not be kept: a power cut would forget it.
        """
        if name not in self.state.served.machines:
            raise unknown_machine(name, self.desk.names())
        try:
            self.desk.life(name).after(cue, now(), reason=reason)
        except Impossible as error:
            hint = way_out(name) if cue is not Cue.RELEASE else ""
            raise Refused(f"cannot {cue.value} {name}: {error}", hint=hint) from error
        self.queue.put_nowait(s.LifeWanted(name, cue, reason))
        if not await self.desk.kept():
            hint = f"df -h {self.paths.state}"
            raise SurroundingsError(f"{name}: done, but it cannot be kept now", hint=hint)
        return self.desk.life(name).as_json()

    async def test_webhook(self, name: str) -> dict[str, object]:
        """Deliver a test to a webhook; what its receiver answered."""
        return await self.observer.hooks.test(name)

    async def note_stray(self, mac: str, note: str | None) -> dict[str, object]:
        """Have a stray ignored, or counted again."""
        return await self.desk.note_stray(mac, note)

    async def sync(self, request: route.Request) -> dict[str, object]:
        """Carry a change through on the running children."""
        if self.asked_to_stop.is_set():
            raise Refused("the daemon is stopping")
        if self.children.log_is_full and self.state.served.id is not None:
            raise SurroundingsError(
                "cannot verify a change: there is no room for dnsmasq's log", hint=f"df -h {self.paths.run}"
            )
        async with self.sync_lock:
            try:
                outcome = await asyncio.to_thread(route.sync, self.paths, request, self._activate, self._runs)
            except ApplianceError as error:
                kind = EventKind.ROLLBACK if isinstance(error, NotProven) else EventKind.SYNC
                self._happened(kind, {"reason": error.message, "why": request.why})
                fix = "pxe-appliance check" if isinstance(error, OperatorError) else "pxe-appliance sync"
                self.desk.sync_problem = problem("sync", "error", f"not in sync: {error.message}", fix)
                raise
            self.desk.sync_problem = None
            if outcome.number != self.state.served.id or not self.state.served.proven:
                await self._readopt()
            if outcome.plan.empty:
                self.observer.unchanged()
            else:
                self._happened(EventKind.SYNC, {"generation": str(outcome.number), "why": request.why})
            told = outcome.as_json()
            return {**told, "evidence": [*outcome.evidence, *await self.handoff.within_sync()]}

    def _runs(self, number: int) -> bool:
        """Whether all children run a generation."""
        phases = {child.phase for child in self.state.children.values()}
        return self.state.served.id == number and phases == {Phase.SERVING}

    def _activate(self, applied: AppliedPlan) -> ProvenPlan:
        """Called from the sync's thread; the activation itself runs on the loop."""
        assert self.loop is not None
        adopted = adopted_generation(self.paths)
        assert adopted is not None
        return asyncio.run_coroutine_threadsafe(self.activator.activate(applied, adopted), self.loop).result()

    async def _readopt(self) -> None:
        """Serve the proven generation everywhere before a sync is said to be done."""
        adopted = await asyncio.to_thread(adopted_generation, self.paths)
        if adopted is not None:
            self.adopted.clear()
            self.queue.put_nowait(adopted)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.adopted.wait(), _STOP_SECONDS)

    def _happened(self, kind: EventKind, detail: dict[str, str]) -> None:
        self.queue.put_nowait(s.Happened(Event(now(), kind, detail=detail)))


async def _first_failure(tasks: list[asyncio.Task[None]]) -> None:
    """Wait until a task that should live for ever ends; raise what ended it."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
