"""The hands on the dnsmasq children: start, signal, watch, read their logs. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from appliance.addresses import Mac
from appliance.boot.events import Event
from appliance.daemon import signals as s
from appliance.daemon.follow import ROTATE_AT, LogFollower
from appliance.daemon.served import Served
from appliance.dnsmasq import records as r
from appliance.dnsmasq.correlate import Correlator
from appliance.dnsmasq.log import parse
from appliance.dnsmasq.process import DHCP_CAPABILITIES, TFTP_CAPABILITIES, child_argv
from appliance.dnsmasq.render import render_marks
from appliance.dnsmasq.speak import TFTP_PROBE
from appliance.errors import SurroundingsError
from appliance.paths import Paths
from appliance.sync.compose import log_path
from appliance.system.clock import monotonic, now
from appliance.system.command import spawn
from appliance.system.files import make_directory, write_atomic

POLL = 0.05  # seconds between looks at a log
_QUIET = 6  # looks without a line after which an open exchange is closed
_LAST_LINES = 40
_LOG_ROOM = 64 << 10  # bytes
_ALIVE_SECONDS = 1.0
_CATCH_UP = 16  # readings of a log that a machine's question waits for
_RELIEF_SECONDS = 30.0  # a hundred thousand hosts take that long to read
_END_SECONDS = 3.0
_HEAD = 44  # characters of a line that dnsmasq wrote itself, whatever a client says: time, name, process id
_log = logging.getLogger("pxe-appliance")
_XIDS = 4096  # questions of our own that are remembered; an answer comes within seconds

Report = Callable[[s.Signal], None]
Watcher = Callable[[r.Record, int], None]  # with the process id of the child that said it


@dataclass(slots=True)
class _Running:
    """One child that has been started."""

    process: subprocess.Popen[bytes]
    follower: LogFollower
    correlator: Correlator
    errors: Path
    ready: bool = False
    started: float = field(default_factory=monotonic)
    task: asyncio.Task[None] | None = None
    deaf_to: int = 0  # a process whose lines stand in the same log and do not count
    successor: asyncio.Event | None = None  # set when the process that shall take over is ready
    relieved: bool = False
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))


@dataclass(slots=True)
class _Names:
    """Whose MAC or address it is, in the generation that is being served right now."""

    served: Served

    def machine_of(self, mac: Mac) -> tuple[str, str] | None:
        machine = self.served.by_mac.get(mac)
        return (str(machine.name), machine.network) if machine else None

    def other_nic(self, mac: Mac) -> tuple[str, str] | None:
        found = self.served.other_nics.get(mac)
        return (str(found[0].name), found[1].name) if found else None

    def machine_at(self, ip: IPv4Address) -> tuple[str, Mac] | None:
        machine = self.served.by_ip.get(ip)
        return (str(machine.name), machine.mac) if machine else None


class Children:
    """All children by name. Reports what it sees; is told what to do."""

    def __init__(self, paths: Paths, report: Report) -> None:
        self._paths = paths
        self._report = report
        self._lookup = _Names(Served.nothing())
        self._running: dict[str, _Running] = {}
        self._watchers: dict[str, list[Watcher]] = {}
        self._own_xids: OrderedDict[int, None] = OrderedDict()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the children that run."""
        return {name: child.process.pid for name, child in self._running.items()}

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

    @contextlib.contextmanager
    def watching(self, name: str, watcher: Watcher) -> Iterator[None]:
        """Show every record of a child to `watcher` as well, for as long as the block runs."""
        watchers = self._watchers.setdefault(name, [])
        watchers.append(watcher)
        try:
            yield
        finally:
            watchers.remove(watcher)

    def start(self, name: str, served: Served, macs: frozenset[Mac] = frozenset()) -> None:
        """Start a child on the current generation. A child that cannot be started reports its end.

        `macs` are those of the machines that a DHCP child gives their address alone.
        """
        log = Path(log_path(self._paths, name))
        try:
            make_directory(log.parent, 0o750)
            if log.exists():
                log.replace(log.with_name(log.name + ".1"))
            process = self._spawn(name, _errors(log), macs)
        except (OSError, SurroundingsError) as error:
            self._report(s.ChildExited(name, 127, str(error)))
            return
        self._lookup.served = served
        self._take_on(name, _Running(process, LogFollower(log), self._correlator(name), _errors(log)))

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
            process = self._spawn(name, old.errors, macs)
        except (OSError, SurroundingsError) as error:
            _log.error("cannot start a second %s: %s", name, error)
            return False
        ready = asyncio.Event()
        old.deaf_to, old.successor = process.pid, ready
        try:
            await _until(ready, lambda: old.process.poll() is None and process.poll() is None)
            if not ready.is_set() or self._running.get(name) is not old:
                _log.error("a second %s did not come up: %s", name, _last_words(old))
                return False
            self._happened(old.correlator.flush(now()))
            young = _Running(process, old.follower, self._correlator(name), old.errors, ready=True)
            young.deaf_to, old.relieved = old.process.pid, True
            self._take_on(name, young)
            old.process.terminate()
            await _ended(old.process)
            young.deaf_to = 0
        finally:
            old.successor, old.deaf_to = None, 0
            if not old.relieved:
                process.kill()
                await _ended(process)
        return True

    async def catch_up(self) -> None:
        """Read at once what the DHCP children have logged: it is written before an answer leaves.

        A rack that is switched on at once logs more than one reading takes in.
        """
        for name in [name for name in self._running if name.startswith("dhcp:")]:
            for _ in range(_CATCH_UP):
                child = self._running.get(name)  # another one may have taken over in between
                if child is None or not self._read(name, child):
                    break
                await asyncio.sleep(0)

    def _spawn(self, name: str, errors: Path, macs: frozenset[Mac]) -> subprocess.Popen[bytes]:
        dhcp, _, network = name.partition(":")
        folder = f"network/{network}" if network else name
        marks = None
        if network:
            marks = Path(self._paths.run) / "marks" / f"{network}.conf"
            make_directory(marks.parent, 0o750)
            write_atomic(marks, render_marks(macs).encode())
        argv = child_argv(
            Path(self._paths.current / folder / "dnsmasq.conf"),
            DHCP_CAPABILITIES if dhcp == "dhcp" else TFTP_CAPABILITIES,
            root=os.geteuid() == 0,
            marks=marks,
        )
        fd = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            return spawn(argv, stdout=fd, stderr=fd)
        finally:
            os.close(fd)

    def _correlator(self, name: str) -> Correlator:
        served = self._lookup.served
        return Correlator(
            name.partition(":")[2],
            self._lookup,
            first_stage=frozenset(served.boot_files),
            refused=served.refused_classes,
        )

    def _take_on(self, name: str, child: _Running) -> None:
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

    def _unattended(self, name: str, child: _Running, task: asyncio.Task[None]) -> None:
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

    async def _attend(self, name: str, child: _Running) -> None:
        """Read a child's log until it is gone and read to its end, or relieved."""
        quiet = 0
        while not child.relieved:
            ended = child.process.poll() is not None
            lines = self._read(name, child)
            quiet = 0 if lines else quiet + 1
            if quiet == _QUIET:
                self._happened(child.correlator.flush(now()))
            if ended and not lines:
                break
            if not child.deaf_to and child.follower.size > ROTATE_AT and child.follower.rotate():
                child.process.send_signal(signal.SIGUSR2)
            if not child.ready and self.log_is_full and monotonic() - child.started > _ALIVE_SECONDS:
                child.ready = True  # it cannot say so: it lives, and its probes count its work
                self._report(s.ChildReady(name))
            await asyncio.sleep(0 if lines else POLL)
        if child.relieved:
            return
        self._happened(child.correlator.flush(now()))
        child.follower.close()
        if self._running.get(name) is child:
            del self._running[name]
        self._report(s.ChildExited(name, child.process.returncode, _last_words(child)))

    def _read(self, name: str, child: _Running) -> int:
        """Take in what is new in a child's log; how many lines it was."""
        lines = child.follower.read()
        answered = [self._line(name, child, line) for line in lines]
        if any(answered):
            self._report(s.ChildAlive(name))
        return len(lines)

    def _line(self, name: str, child: _Running, line: str) -> bool:
        """Take in one line; whether it shows that the child deals with packets."""
        record = parse(line)
        if child.deaf_to and f"[{child.deaf_to}]: " in line[:_HEAD]:
            if isinstance(record, r.HostsRead) and child.successor is not None:
                child.successor.set()
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
        xid = getattr(record, "xid", None)
        own = xid in self._own_xids if xid is not None else _is_probe(record)
        if not own:
            self._happened(child.correlator.step(record, now()))
        return xid is not None

    def _happened(self, events: list[Event]) -> None:
        for event in events:
            self._report(s.Happened(event))


async def _until(ready: asyncio.Event, both_live: Callable[[], bool]) -> None:
    """Wait until the second process is ready, or one of the two is gone, or it takes too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_RELIEF_SECONDS):
            while not ready.is_set() and both_live():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ready.wait(), POLL)


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that was told to end; one that does not listen is killed."""
    deadline = monotonic() + _END_SECONDS
    while process.poll() is None:
        if monotonic() > deadline:
            process.kill()
        await asyncio.sleep(POLL)


def _errors(log: Path) -> Path:
    return log.with_suffix(".err")


def _is_probe(record: r.Record) -> bool:
    return isinstance(record, r.TftpError) and record.path.endswith(TFTP_PROBE)


def _last_words(child: _Running) -> str:
    """Why it ended, in its own words: standard error first, then the last complaint in its log."""
    with contextlib.suppress(OSError):
        said = child.errors.read_text(errors="replace").strip().splitlines()
        if said:
            return said[-1][:400]
    return child.last[-1][:400] if child.last else ""
