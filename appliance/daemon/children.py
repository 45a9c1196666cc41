"""The hands on the dnsmasq children: start, signal, watch, read their logs. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from appliance.addresses import Mac
from appliance.boot.events import Event
from appliance.daemon import signals as s
from appliance.daemon.crowd import BEHIND, CROWDED, FULL, Crowd
from appliance.daemon.follow import CHUNK, LogFollower
from appliance.daemon.footing import Footing, damage, start_on
from appliance.daemon.handed_over import Log, Runner
from appliance.daemon.overlap import Overlap
from appliance.daemon.running import Names, Running
from appliance.daemon.served import Served
from appliance.dnsmasq import records as r
from appliance.dnsmasq.correlate import Correlator
from appliance.dnsmasq.log import parse
from appliance.dnsmasq.speak import TFTP_PROBE
from appliance.errors import SurroundingsError
from appliance.paths import Paths
from appliance.sync.compose import log_path
from appliance.system.acting import acting_for
from appliance.system.clock import monotonic, now
from appliance.system.files import make_directory
from appliance.system.inherited import InheritedProcess, Process, started_at

POLL = 0.05  # seconds between looks at a log
_QUIET = 6  # looks without a line after which an open exchange is closed
_LOG_ROOM = 64 << 10  # bytes
_ALIVE_SECONDS = 1.0
_CATCH_UP = 16  # readings of a log that a machine's question waits for
_RELIEF_SECONDS = 30.0  # a hundred thousand hosts take that long to read
_END_SECONDS = 3.0
_log = logging.getLogger("pxe-appliance")
_XIDS = 4096  # questions of our own that are remembered; an answer comes within seconds

Report = Callable[[s.Signal], None]
Watcher = Callable[[r.Record, int], None]  # with the process id of the child that said it


class Children:
    """All children by name. Reports what it sees; is told what to do."""

    def __init__(self, paths: Paths, report: Report, waiting: Callable[[], int] = lambda: 0) -> None:
        """`waiting`: how many reports have not been taken yet."""
        self._paths = paths
        self._report = report
        self._waiting = waiting
        self.crowd = Crowd()
        self._lookup = Names(Served.nothing())
        self._running: dict[str, Running] = {}
        self._watchers: dict[str, list[Watcher]] = {}
        self._own_xids: OrderedDict[int, None] = OrderedDict()
        self.footing = Footing(paths)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the children that run."""
        return {name: child.process.pid for name, child in self._running.items()}

    @property
    def stands_in(self) -> int | None:
        """The generation whose copy they read instead of `current`."""
        return self.footing.stands_in

    @stands_in.setter
    def stands_in(self, number: int | None) -> None:
        self.footing.stands_in = number

    @property
    def skipped(self) -> int:
        """Bytes of log that were passed over since the children were started."""
        return sum(child.follower.skipped for child in self._running.values())

    @property
    def log_is_full(self) -> bool:
        """Whether the children's logs have no room left: silence in them says nothing then."""
        try:
            room = os.statvfs(self._paths.run)
        except OSError:
            return False
        return room.f_bavail * room.f_frsize < _LOG_ROOM

    def expect(self, xid: int) -> None:
        """A transaction id of our own questions: what it brings is a sign of life, no event."""
        self._own_xids[xid] = None
        if len(self._own_xids) > _XIDS:
            self._own_xids.popitem(last=False)

    def forget(self, xids: Iterable[int]) -> None:
        """Questions of our own whose lines were read: whoever uses such an id from now on is another."""
        for xid in xids:
            self._own_xids.pop(xid, None)

    @contextlib.contextmanager
    def watching(self, name: str, watcher: Watcher) -> Iterator[None]:
        """Show every record of a child to `watcher` as well, for as long as the block runs."""
        watchers = self._watchers.setdefault(name, [])
        watchers.append(watcher)
        try:
            yield
        finally:
            watchers.remove(watcher)

    def start(self, name: str, macs: frozenset[Mac] = frozenset()) -> None:
        """Start a child on the current generation. A child that cannot be started reports its end.

        `macs` are those of the machines that a DHCP child gives their address alone. Names stay those of the
        generation that is followed: in the middle of a change, that is what the child reads already.
        """
        log = Path(log_path(self._paths, name))
        try:
            make_directory(log.parent, 0o750)
            with acting_for(log.parent):
                if log.exists():
                    log.replace(log.with_name(log.name + ".1"))
            process = start_on(self.footing.under(name, self._lookup.served), name, _errors(log), macs)
        except (OSError, SurroundingsError) as error:
            self._report(s.ChildExited(name, 127, str(error)))
            return
        child = Running(process, LogFollower(log), self._correlator(name), _errors(log))
        child.stands_in = self.stands_in
        self._take_on(name, child)

    def runners(self, marked: Mapping[str, frozenset[Mac]]) -> dict[str, Runner]:
        """The processes that run, for the program that takes our place; `marked` is what they run with."""
        found: dict[str, Runner] = {}
        for name, child in self._running.items():
            started = started_at(child.process.pid)
            if child.process.poll() is None and started is not None:
                place = child.follower.place
                log = Log(*place, open=child.correlator.waits) if place is not None else None
                marks = marked.get(name, frozenset())
                found[name] = Runner(child.process.pid, started, child.ready, log, marks)
        return found

    @property
    def own_xids(self) -> tuple[int, ...]:
        """What `expect` was told and `forget` was not."""
        return tuple(self._own_xids)

    def go_on(self, name: str, runner: Runner) -> None:
        """Take in a child of the program before us, and read its log from where that left it."""
        log = Path(log_path(self._paths, name))
        child = Running(InheritedProcess(runner.pid), LogFollower(log), self._correlator(name), _errors(log))
        child.ready = runner.ready
        if runner.log is not None:
            before = child.follower.go_on(runner.log.fd, runner.log.position, torn=runner.log.torn)
            for record in map(parse, before):  # told already: for what belongs to the lines that come
                if not self._is_own(record):
                    child.correlator.step(record, now())
            if not runner.log.open:
                child.correlator.flush(now())
        self._take_on(name, child)

    def read_all(self) -> None:
        """Read what is in the logs, at once."""
        for _ in range(_CATCH_UP):
            if not sum(self._read(name, child) for name, child in list(self._running.items())):
                return

    async def relieve(self, name: str, macs: frozenset[Mac]) -> bool:
        """Start a second process for a DHCP child and end the first when the second is ready.

        Both answer alike in between (they have the same reservations), so no client loses an exchange: a
        restart would cost those that speak within its tens of milliseconds (measured on 2.90). Whether it
        went well; if not, the first one serves on.
        """
        old = self._running.get(name)
        if old is None or not old.ready:
            return False
        try:
            place = self.footing.under(name, self._lookup.served)
            process = start_on(place, name, old.errors, macs)
        except (OSError, SurroundingsError) as error:
            _log.error("cannot start a second %s: %s", name, error)
            return False
        ready = asyncio.Event()
        young = Running(process, old.follower, self._correlator(name), old.errors, ready=True)
        young.stands_in = self.stands_in
        overlap = Overlap({old.process.pid: old.correlator, process.pid: young.correlator})
        old.overlap, young.overlap, old.successor = overlap, overlap, ready
        try:
            await _until(ready, lambda: old.process.poll() is None and process.poll() is None)
            if not ready.is_set() or self._running.get(name) is not old:
                _log.error("a second %s did not come up: %s", name, _last_words(old))
                return False
            old.relieved = True
            self._take_on(name, young)
            if old.declined:
                self._report(s.AddressDisabled(name))
            return True
        finally:
            old.successor = None
            await self._part(name, *((young, old) if old.relieved else (old, young)))

    async def _part(self, name: str, stays: Running, goes: Running) -> None:
        """End one of two processes; what it wrote last belongs to the other's reading."""
        goes.process.terminate()
        await _ended(goes.process)
        for _ in range(stays.follower.unread // CHUNK + 2):
            if self._running.get(name) is not stays or not self._read(name, stays):
                break
            await asyncio.sleep(0)
        self._tell(stays, goes.process.pid, goes.correlator.flush(now()))
        stays.overlap = None
        stays.begin_log()  # it heeds no signal while it starts

    async def catch_up(self) -> None:
        """Read at once what the DHCP children have logged: it is written before an answer leaves.

        A rack that is switched on at once logs more than one reading takes in.
        """
        for name in [name for name in self._running if name.startswith("dhcp:")]:
            for _ in range(_CATCH_UP):
                child = self._running.get(name)  # another one may have taken over in between
                if child is None or self._waiting() > FULL or not self._read(name, child):
                    break
                await asyncio.sleep(0)

    def reload(self, name: str, served: Served) -> None:
        """Have a child read its files again; where they are damaged, it starts anew on a copy of them."""
        child = self._running.get(name)
        if child is not None and damage(self._paths, child.stands_in, name, served):
            self._report(s.RestartChild(name))
        else:
            self.signal(name, signal.SIGHUP)

    def _correlator(self, name: str) -> Correlator:
        served = self._lookup.served
        return Correlator(
            name.partition(":")[2],
            self._lookup,
            first_stage=frozenset(served.boot_files),
            refused=served.refused_classes,
        )

    def _take_on(self, name: str, child: Running) -> None:
        self._running[name] = child
        child.task = asyncio.create_task(self._attend(name, child), name=f"child {name}")
        child.task.add_done_callback(lambda task: self._unattended(name, child, task))

    def follow(self, served: Served) -> None:
        """From now on, names come from this generation's machines."""
        self._lookup.served = served

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a child; one that is gone already reports that by itself."""
        child = self._running.get(name)
        if child is not None:
            child.process.send_signal(number)
            if number is signal.SIGKILL:
                child.process.send_signal(signal.SIGCONT)  # a stopped process dies all the same, but sooner

    def _unattended(self, name: str, child: Running, task: asyncio.Task[None]) -> None:
        """A reader that failed is a bug of ours; its child must not live on unwatched."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        _log.error("the reader of %s failed: %r", name, error)
        child.process.kill()
        child.follower.close()
        if self._running.get(name) is child:
            del self._running[name]
        self._report(s.ChildExited(name, child.process.wait(), f"its log could not be read: {error!r}"))

    async def _attend(self, name: str, child: Running) -> None:
        """Read a child's log until it is gone and read to its end, or relieved."""
        quiet = 0
        while not child.relieved:
            full = self.log_is_full
            child.keep_log(name, full=full)
            if self._waiting() > FULL:
                await asyncio.sleep(POLL / 10)
                continue
            ended = child.process.poll() is not None
            lines = self._read(name, child)
            quiet = 0 if lines else quiet + 1
            if quiet == _QUIET:
                self._tell(child, child.process.pid, child.correlator.flush(now()))
            if ended and not lines:
                break
            if not child.ready and full and monotonic() - child.started > _ALIVE_SECONDS:
                child.ready = True  # it cannot say so: it lives, and its probes count its work
                self._report(s.ChildReady(name))
            await asyncio.sleep(0 if lines else POLL)
        if child.relieved:
            return
        self._tell(child, child.process.pid, child.correlator.flush(now()))
        child.follower.close()
        if self._running.get(name) is child:
            del self._running[name]
        self._report(s.ChildExited(name, child.process.wait(), _last_words(child)))

    def _read(self, name: str, child: Running) -> int:
        """Take in what is new in a child's log; how many lines it was."""
        lines = child.follower.read()
        child.behind = child.follower.unread > BEHIND
        answered = [self._line(name, child, line) for line in lines]
        if any(answered):
            self._report(s.ChildAlive(name))
        return len(lines)

    def _line(self, name: str, child: Running, line: str) -> bool:
        """Take in one line; whether it shows that the child deals with packets."""
        record = parse(line)
        writer = child.overlap.writer(line) if child.overlap is not None else None
        if child.overlap is not None and writer not in {None, child.process.pid}:
            self._other_line(child, child.overlap, writer or 0, record)
            return False
        for watcher in self._watchers.get(name, ()):
            watcher(record, child.process.pid)
        match record:
            case r.HostsRead():
                child.ready = True
                self._report(s.ChildReady(name))
            case r.Started() if name == "tftp":
                child.ready = True
                self._report(s.ChildReady(name))
            case r.AddressDisabled():
                self._report(s.AddressDisabled(name))
            case r.StartFailed() | r.Unrecognised() | r.HostsRejected() | r.CannotRead():
                child.last.append(line)
        if not self._is_own(record):
            self._tell(child, child.process.pid, child.correlator.step(record, now()))
        return getattr(record, "xid", None) is not None

    def _other_line(self, child: Running, overlap: Overlap, writer: int, record: r.Record) -> None:
        """Take in a line of the process that comes or goes beside a child."""
        if child.successor is not None:
            match record:
                case r.HostsRead():
                    child.successor.set()
                case r.AddressDisabled():
                    child.declined = True
        if not self._is_own(record):
            events = overlap.correlators[writer].step(record, now())
            self._tell(child, writer, [event for event in events if "xid" in event.detail])

    def _is_own(self, record: r.Record) -> bool:
        """Whether a line is about a question of our own."""
        xid = getattr(record, "xid", None)
        if xid is not None:
            return xid in self._own_xids
        probe = isinstance(record, r.TftpError) and record.path.endswith(TFTP_PROBE)
        return probe or self._from_here(record)

    def _from_here(self, record: r.Record) -> bool:
        """Whether this host asked for a file: a proof, or somebody who looks, and no machine's boot."""
        if not isinstance(record, r.TftpSent | r.TftpError | r.TftpAborted) or record.ip is None:
            return False
        networks = self._lookup.served.settings.networks.values()
        return any(network.address == record.ip for network in networks)

    def _tell(self, child: Running, writer: int, events: list[Event]) -> None:
        for event in child.overlap.merged(writer, events) if child.overlap is not None else events:
            crowded = child.behind or self._waiting() > CROWDED
            if not crowded or self.crowd.lets(event, monotonic()):
                self._report(s.Happened(event))


async def _until(ready: asyncio.Event, both_live: Callable[[], bool]) -> None:
    """Wait until the second process is ready, or one of the two is gone, or it takes too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_RELIEF_SECONDS):
            while not ready.is_set() and both_live():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ready.wait(), POLL)


async def _ended(process: Process) -> None:
    """Wait for a process that was told to end; one that does not listen is killed."""
    deadline = monotonic() + _END_SECONDS
    while process.poll() is None:
        if monotonic() > deadline:
            process.kill()
        await asyncio.sleep(POLL)


def _errors(log: Path) -> Path:
    return log.with_suffix(".err")


def _last_words(child: Running) -> str:
    """Why it ended, in its own words: standard error first, then the last complaint in its log."""
    with contextlib.suppress(OSError):
        said = child.errors.read_text(errors="replace").strip().splitlines()
        if said:
            return said[-1][:400]
    return child.last[-1][:400] if child.last else ""
