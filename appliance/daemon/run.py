"""The daemon, wired: one queue, one decider, tasks that only report. The only place where all of it meets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from appliance.addresses import Mac
from appliance.boot.policy import Cue, Impossible, way_out
from appliance.daemon import signals as s
from appliance.daemon import unapplied
from appliance.daemon.activate import Activator
from appliance.daemon.adopt import generation_to_serve
from appliance.daemon.changes import Changes
from appliance.daemon.children import Children
from appliance.daemon.control import control_app, unknown_machine
from appliance.daemon.control_door import ControlDoor
from appliance.daemon.desk import Desk
from appliance.daemon.first_look import look_first
from appliance.daemon.guard import Guard
from appliance.daemon.handed_over import HandedOver
from appliance.daemon.handoff import Handoff
from appliance.daemon.history import TOKENS, History
from appliance.daemon.keeper import Keeper
from appliance.daemon.known import Now, State
from appliance.daemon.logs import Logs, start_logging
from appliance.daemon.lookout import Lookout
from appliance.daemon.only_one import daemon_lock
from appliance.daemon.premises import prepare
from appliance.daemon.prove import Prover
from appliance.daemon.prove_change import ChangeProver
from appliance.daemon.prove_door import add_proof
from appliance.daemon.pulse import Pulse
from appliance.daemon.question import Rhythm
from appliance.daemon.recorder import Recorder
from appliance.daemon.remember import once_machines, remembered
from appliance.daemon.stand_in import standing_in
from appliance.daemon.state import step
from appliance.daemon.taken_up import taken_up
from appliance.daemon.takeover import TakeOver, go_on, let_go, own_program, taken_over
from appliance.daemon.tasks import first_failure
from appliance.dnsmasq.lifecycle import Phase
from appliance.errors import ApplianceError, ExitCode, NotProven, Refused, SurroundingsError
from appliance.paths import Paths
from appliance.sync import confirm
from appliance.sync import run as route
from appliance.sync.documents import shown_document
from appliance.system.clock import monotonic, now
from appliance.system.notify import notify

_log = logging.getLogger("pxe-appliance")
_STOP_SECONDS = 9.0  # for a change that is under way, and again for the children
_PAST = 20_000  # events that are read at start for who holds what
_TURN = 100  # signals
_START_SECONDS = 5.0
_THREADS = 32  # four more than cores would all wait for a disk that hangs, and nobody could go back
_RHYTHM = Rhythm()


def run_daemon(paths: Paths, *, verbose: bool, rhythm: Rhythm = _RHYTHM) -> int:
    """Serve until SIGTERM or SIGINT; the exit code.

    Raises:
        Refused: another daemon serves this root already, or another DHCP server a network of ours.
        OperatorError: nothing was ever applied and the inventory cannot be used.
    """
    program = own_program()
    taken, why_not = taken_over()
    prepare()
    with (
        contextlib.closing(start_logging(paths, verbose=verbose)) as logs,
        daemon_lock(paths, taken.lock if taken else None) as lock,
    ):
        if why_not:
            _log.error(
                "cannot go on where the program before stopped, everything is started anew: %s", why_not
            )
        daemon = Daemon(paths, rhythm, logs, program=program, lock=lock, taken=taken)
        return asyncio.run(daemon.serve())


class Daemon:
    """One running appliance."""

    def __init__(
        self,
        paths: Paths,
        rhythm: Rhythm = _RHYTHM,
        logs: Logs | None = None,
        *,
        program: Sequence[str] = (),
        lock: int = -1,
        taken: HandedOver | None = None,
    ) -> None:
        """`rhythm` is that of the questions for other DHCP servers.

        `program` takes our place when that is asked for; `lock` is the open file of the lock that is held;
        `taken` what the program before us had.
        """
        self.paths = paths
        self.rhythm = rhythm
        self.lock = lock
        self.taken = taken
        self.state = State()
        self.queue: asyncio.Queue[s.Signal] = asyncio.Queue()
        self.children = Children(paths, self.queue.put_nowait, self.queue.qsize)
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
        self.serving = asyncio.Event()
        self.pulse = Pulse(self.children, self.queue.put_nowait, lambda: self.state)
        self.prover = Prover(
            paths, self.children, self.web, lambda: self.state, self.sync_lock.locked, self.queue.join
        )
        change = ChangeProver(self.prover, self.queue.put_nowait, lambda: self.state)
        self.guard = Guard(self.queue.put_nowait, lambda: self.state)
        self.activator = activator = Activator(
            self.children, self.queue.put_nowait, lambda: self.state, change.ask, self.guard.follow
        )
        self.changes = Changes(
            paths, self.desk, self.children, activator, self.handoff, lambda: self.state, self.sync_lock
        )
        self.sync, self.confirm = self.changes.sync, self.changes.confirm
        self.keeper = Keeper(paths, self.desk, self.children, activator, lambda: self.state, self.changes)
        self.asked_to_stop = self.changes.stopping
        self.lookout = Lookout(paths, self.queue.put_nowait, lambda: self.state, self.children.expect, rhythm)
        self.control = ControlDoor(paths, taken.control if taken else None)
        self.takeover = TakeOver(self, program)
        watches = (self.takeover, self.lookout, self.guard, self.children.footing, change)
        self.desk.watch_problems = lambda: tuple(found for watch in watches for found in watch.problems)

    # ---- the one decider ----

    async def decide(self) -> None:
        """Take signals one by one until a requested stop is complete."""
        taken = 0
        while not self.state.stopped:
            taken += 1
            if taken % _TURN == 0:
                await asyncio.sleep(0)  # a full queue is taken from without a pause: let others work
            self._decide(await self.queue.get())

    def decide_all(self) -> None:
        """Take all that was reported, at once; then, what is to be kept is the recorder's."""
        self.queue.put_nowait(s.Leaving())
        while not self.queue.empty():
            self._decide(self.queue.get_nowait())

    def _decide(self, signal_seen: s.Signal) -> None:
        before = self.state
        self.state, commands = step(before, signal_seen, Now(now(), monotonic()))
        self.observer.saw(before, signal_seen, self.state, commands)
        for command in commands:
            self.obey(command)
        if isinstance(signal_seen, s.Ticked):
            self.pulse.decided()
        if isinstance(signal_seen, s.Adopted):
            self.web.refresh()
            self.pulse.look()
            self.changes.adopted.set()
        self.queue.task_done()
        if {child.phase for child in self.state.children.values()} == {Phase.SERVING}:
            self.serving.set()

    def obey(self, command: s.Command) -> None:
        """The hands of the decider."""
        match command:
            case s.Spawn(name, macs):
                self.children.start(name, macs)
            case s.Relieve(name, macs):
                task = asyncio.create_task(self._relieve(name, macs), name=f"relieve {name}")
                self.relieving.add(task)
                task.add_done_callback(self.relieving.discard)
            case s.Terminate(name):
                self.children.signal(name, signal.SIGTERM)
            case s.Kill(name):
                self.children.signal(name, signal.SIGKILL)
            case s.Reload(name):
                self.children.reload(name, self.state.served)
            case s.Probe(name):
                self.pulse.probe(name)
            case s.Record(event):
                self.recorder.record(event)
            case s.CloseTokens(machine):
                self.web.arming.close(machine)
            case _:
                self.recorder.keep(command)

    async def _relieve(self, name: str, macs: frozenset[Mac]) -> None:
        """Not while a sync watches its children."""
        done = False
        try:
            async with self.sync_lock:
                done = not self.changes.leaving and await self.children.relieve(name, macs)
        finally:
            self.queue.put_nowait(s.Marked(name, macs if done else None))

    # ---- the whole life ----

    async def serve(self) -> int:
        """From start to stop."""
        self.changes.loop = asyncio.get_running_loop()
        self.changes.loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="asyncio"))
        self.heed_signals()
        self.take_up()
        if self.taken is not None:
            self.web.expect(self.taken.listeners, self.taken.guests)
        elif not await look_first(self.paths, self.rhythm, self.asked_to_stop):
            return ExitCode.FINE
        decider = asyncio.create_task(self.decide(), name="decider")
        tasks = [
            asyncio.create_task(coroutine, name=name)
            for name, coroutine in (
                ("pulse", self.pulse.beat()),
                ("recorder", self.recorder.write_behind()),
                ("endpoint", self.pulse.watch_endpoint()),
                ("web", self.web.serve()),
                ("keeper", self.keeper.watch()),
                ("confirmation", self.changes.watch()),
                ("activation", self.activator.end_with(self.asked_to_stop)),
                ("hand-off", self.handoff.follow()),
                ("observer", self.observer.watch()),
                ("guard", self.guard.keep()),
                ("images", self.web.images.watch(lambda: self.state.served, now)),
            )
        ]
        if self.taken is None:
            await self._open_control()
        self.lookout.start()
        try:
            await self._first_generation()
            await self._settled()
            notify("READY=1", "STATUS=serving")
            tasks.append(asyncio.create_task(self.takeover.watch(), name="take-over"))
            failed = asyncio.create_task(first_failure([decider, *tasks]), name="failures")
            asked = asyncio.create_task(self.asked_to_stop.wait(), name="asked to stop")
            await asyncio.wait({failed, asked}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
            return ExitCode.FINE
        finally:
            notify("STOPPING=1")
            await self._close(decider, tasks)

    async def _first_generation(self) -> None:
        """Serve what was proven at once, then bring it up to date."""
        awaited = await asyncio.to_thread(confirm.unconfirmed, self.paths)
        before_us = self.taken.generation if self.taken is not None else None
        adopted, left = await asyncio.to_thread(generation_to_serve, self.paths, before_us)
        self.children.stands_in, stays = standing_in(self.paths), False
        if adopted is not None:
            await self.guard.follow(adopted.served)
            self.children.follow(adopted.served)
            anew: list[s.Signal] = []
            if self.taken is not None:
                before, anew = go_on(self.taken, self.children, adopted.served.id)
                self.queue.put_nowait(before)
            past = await asyncio.to_thread(self.recorder.past, _PAST, None)
            leases = remembered(past, adopted.served)
            assumed = once_machines(adopted.served) if self.history.lost_installs else ()
            for told in (s.Remembered(leases, assumed), adopted, *anew):
                self.queue.put_nowait(told)
            await self._settled()
            dropped = awaited is not None and not awaited.rejected
            stands_in, number = self.children.stands_in is not None, adopted.served.id or 0
            stays = await unapplied.stays(self.paths, self.desk, number, stands_in=stands_in, dropped=dropped)
        elif self.taken is not None:
            await asyncio.to_thread(let_go, self.taken)
        await self._open_control()
        if adopted is not None:
            notify("READY=1", "STATUS=serving")  # what follows may take its time
        upgraded = adopted is not None and self.taken is not None and left is None
        if stays or (upgraded and await unapplied.left_alone(self.paths, self.desk)):
            return
        request = route.Request(why="daemon start", who="pxe-appliance serve")
        if left is not None:
            to = left.id if left.pinned else None
            request = route.Request(why=left.why, who=left.who, allow_mass_change=left.pinned, to=to)
        try:
            await self.sync(request)
        except ApplianceError as error:
            if adopted is None and not isinstance(error, NotProven):
                raise
            _log.error("the last good generation is served: %s", error.message)

    async def _settled(self) -> None:
        """Wait until the children serve, or it is clear that one of them does not come up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await self.serving.wait()
                await self.web.listening.wait()

    async def _open_control(self) -> None:
        """Let others ask and tell; whoever takes over, not before there is something to say."""
        if self.control.fd is None:
            app = control_app(self.desk, self)
            add_proof(app, self.prover)
            await self.control.open(app)

    def heed_signals(self) -> None:
        """Stop, and let another program take our place, when we are told to."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.asked_to_stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.takeover.asked.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # the program before us blocked it

    async def _close(self, decider: asyncio.Task[None], tasks: list[asyncio.Task[None]]) -> None:
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
        await self.control.close()
        self.queue.put_nowait(s.StopRequested())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(decider), _STOP_SECONDS)
        for task in (pulse, decider):
            task.cancel()
        await asyncio.gather(pulse, decider, return_exceptions=True)
        await self.guard.take_down()
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
