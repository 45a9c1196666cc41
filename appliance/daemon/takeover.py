"""A new program takes our place without anybody noticing: this process replaces itself by exec(3).

It stays the same process, so dnsmasq's processes stay its children and go on serving; listening sockets,
clients' connections and the lock are handed on open. What a restart would lose is in the document
(`handed_over`), everything else is in the history. Asked for by SIGHUP: `systemctl reload`, or a package
that has replaced our files.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from appliance import __version__
from appliance.daemon import signals as s
from appliance.daemon.changes import Changes
from appliance.daemon.children import Children
from appliance.daemon.control_door import ControlDoor
from appliance.daemon.desk import Desk
from appliance.daemon.door import listens
from appliance.daemon.guests import freeze, thaw, unanswered
from appliance.daemon.handed_over import LIMIT, RUNNING, HandedChild, HandedOver, fitting, read, written
from appliance.daemon.known import State
from appliance.daemon.readiness import VARIABLE, check
from appliance.daemon.recorder import Recorder
from appliance.daemon.status import problem
from appliance.daemon.web import WebSide
from appliance.dnsmasq.lifecycle import Phase
from appliance.errors import ApplianceError, SurroundingsError
from appliance.paths import Paths
from appliance.system.clock import monotonic
from appliance.system.inherited import (
    end_children,
    is_file,
    is_own_child,
    is_socket,
    own_children,
    started_at,
)
from appliance.system.notify import notify
from appliance.system.terminal import has_terminal

_ANSWER_SECONDS: Final = 20.0  # that answers under way may take
_LOOK: Final = 0.01
_TURNS: Final = 10  # of the loop
_TRIES: Final = 100
_WAIT: Final = 1.0
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger("pxe-appliance")


class Host(Protocol):
    """The daemon, as seen from here."""

    paths: Paths
    state: State
    children: Children
    recorder: Recorder
    desk: Desk
    web: WebSide
    control: ControlDoor
    changes: Changes
    asked_to_stop: asyncio.Event
    lock: int
    taken: HandedOver | None

    def decide_all(self) -> None: ...
    def heed_signals(self) -> None: ...


# ---- before: the program that goes ----


class TakeOver:
    """Puts the program that is on disk in our place, as often as it is asked for."""

    def __init__(self, host: Host, argv: Sequence[str]) -> None:
        """`argv` is how that program is called."""
        self._host = host
        self._argv = list(argv)
        self._failure = ""
        self._terminal = has_terminal()
        self.asked = asyncio.Event()

    @property
    def problems(self) -> tuple[dict[str, str], ...]:
        """In the public shape of `status`."""
        if not self._failure:
            return ()
        words = f"the program on disk could not take over, the one before it serves on: {self._failure}"
        return (problem("upgrade-failed", "error", words, "systemctl reload pxe-appliance"),)

    async def watch(self) -> None:
        """Hand over whenever it is asked for, for ever; if it succeeds, nothing of this is left."""
        if self._host.taken is not None:
            _log.info("version %s took over from version %s", __version__, self._host.taken.version)
        while True:
            await self.asked.wait()
            if self._terminal and not has_terminal():
                self._host.asked_to_stop.set()  # it was closed: nobody has asked for a new program
                return await asyncio.Future()
            if self._host.changes.awaited is not None:
                await asyncio.sleep(_WAIT)  # a start takes back what nobody has confirmed: not before it is
                continue
            self.asked.clear()
            try:
                await asyncio.to_thread(check, self._argv, self._host.state.served.id)
                await self._hand_over()
            except (ApplianceError, OSError) as error:
                self._failure = error.message if isinstance(error, ApplianceError) else str(error)
                _log.error("a new program could not take over, this one serves on: %s", self._failure)

    async def _hand_over(self) -> None:
        """Let go, and be replaced; whoever returns from here serves on."""
        host = self._host
        async with host.changes.lock:  # no sync and no relief is under way, and none begins any more
            if host.changes.awaited is not None:
                self.asked.set()
                return
            if (copied := host.children.stands_in) is not None:  # a start clears the copy that they read
                words = f"generation {copied} is served from a copy in memory until the disk has it"
                raise SurroundingsError(words)
            host.changes.leaving = True
        try:
            words = "STATUS=a new program takes over"
            notify("RELOADING=1", f"MONOTONIC_USEC={int(monotonic() * 1_000_000)}", words)
            host.web.pause()
            host.control.pause()
            host.recorder.dismiss()
            host.desk.feed.dismiss()
            await self._answered()
            for number in _STOPS:  # from here on, being told to stop ends us at once: nobody would hear it
                signal.signal(number, signal.SIG_DFL)
            for _ in range(_TRIES):
                await asyncio.sleep(_LOOK)  # one that came before is heard now
                if host.asked_to_stop.is_set():
                    return
                self._go()
            raise SurroundingsError("dnsmasq is being started again and again")
        finally:
            host.heed_signals()
            host.changes.leaving = False
            if not host.asked_to_stop.is_set():
                await self._reopen()
                notify("READY=1", "STATUS=serving")

    async def _answered(self) -> None:
        """Wait until nobody is owed an answer, at most so long; connections that rest are held so."""
        host = self._host
        servers = [server for server in (host.web.server, host.control.server) if server is not None]
        deadline = monotonic() + _ANSWER_SECONDS
        while True:
            for _ in range(_TURNS):
                await asyncio.sleep(0)  # a connection that was accepted just now shows up some turns later
            for server in servers:
                freeze(server)
            if not any(unanswered(server) for server in servers) or monotonic() > deadline:
                return
            await asyncio.sleep(_LOOK)

    async def _reopen(self) -> None:
        for server in (self._host.web.server, self._host.control.server):
            if server is not None:
                thaw(server)
        await self._host.web.resume()
        await self._host.control.resume()

    def _go(self) -> None:
        """Everything at once, without a pause in which something could happen. Returns to be called again.

        Raises:
            SurroundingsError: it cannot be done.
        """
        host = self._host
        host.children.read_all()
        host.decide_all()
        if not host.recorder.flush():
            raise SurroundingsError("the history cannot be written: what is known of boots would be lost")
        document = self._document()
        if document is None:
            return
        notify("WATCHDOG=1")  # it has the whole of that time to start
        _log.info("a new program takes over: %d connections go on", len(document.guests))
        for handler in logging.getLogger().handlers:
            handler.flush()
        replace_program(self._argv, document)

    def _document(self) -> HandedOver | None:
        """What is handed over; None while a child's end is not known to the decider yet."""
        host, state, own = self._host, self._host.state, os.getpid()
        started = started_at(own)
        runners = host.children.runners(state.marked)
        children = []
        for name, child in state.children.items():
            if (child.phase in RUNNING) is not (name in runners):
                return None
            if child.phase is not Phase.STOPPED:
                children.append(HandedChild(child, runners.get(name), name in state.declined))
        if started is None or runners.keys() - state.children.keys():
            return None
        return HandedOver(
            pid=own,
            started=started,
            version=__version__,
            generation=state.served.id,
            lock=host.lock,
            control=host.control.fd,
            children=tuple(children),
            listeners=host.web.listeners(),
            guests=fitting(host.web.guests()),
            xids=host.children.own_xids,
        )


def replace_program(argv: Sequence[str], document: HandedOver) -> None:
    """Become another program.

    Raises:
        SurroundingsError: it could not be started; everything is as before.
    """
    raw = written(document)
    try:
        read(raw)  # the new program has no way back any more: it would end every child
    except ValueError as error:
        raise SurroundingsError(f"cannot hand over: {error}") from error
    own = os.memfd_create("take-over", os.MFD_CLOEXEC)
    handed = [own, *document.descriptors()]
    try:
        with os.fdopen(os.dup(own), "wb") as file:
            file.write(raw)
        for fd in handed:
            os.set_inheritable(fd, True)
        # It may come again before there is anybody who hears it. Blocked, it waits; dnsmasq's processes are
        # started when it is no more: they would never be told to read their files again.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        os.execve(argv[0], list(argv), {**os.environ, VARIABLE: str(own)})  # noqa: S606
    except OSError as error:
        for fd in handed:
            os.set_inheritable(fd, False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        raise SurroundingsError(f"cannot start {argv[0]}: {error.strerror}") from error
    finally:
        os.close(own)


def own_program() -> list[str]:
    """How this program is called, with its arguments; to be asked at its start.

    A script is called by its name, for a package may bring it together with another interpreter.
    """
    script = Path(sys.argv[0]).absolute()
    with contextlib.suppress(OSError):
        if os.access(script, os.X_OK) and script.read_bytes()[:2] == b"#!":
            return [str(script), *sys.argv[1:]]
    return [sys.executable, *sys.orig_argv[1:]]


# ---- after: the program that comes ----


def taken_over() -> tuple[HandedOver | None, str]:
    """What the program before us in this process has handed over; None at a usual start.

    Where it cannot be used, the words say why, and what may be left of that program is gone.
    """
    try:
        return received(), ""
    except ValueError as error:
        clear_away()
        return None, str(error)


def received() -> HandedOver | None:
    """What was handed over, if anything was.

    Raises:
        ValueError: it cannot be used.
    """
    raw = os.environ.pop(VARIABLE, "")
    if not raw:
        return None
    if not raw.isascii() or not raw.isdecimal() or len(raw) > 6 or int(raw) <= 2:
        raise ValueError("it is no file descriptor")
    fd = int(raw)
    try:
        if not is_file(fd):
            raise ValueError("it is no file")
        document = read(os.pread(fd, LIMIT + 1, 0))
        os.close(fd)
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    if (document.pid, document.started) != (os.getpid(), started_at(os.getpid())):
        raise ValueError("it was written for another process")
    for fd in document.unfit:
        with contextlib.suppress(OSError):
            os.close(fd)
    _hold(document)
    running = {x.runner.pid for x in document.children if x.runner is not None}
    # Of work that nobody waits for any more. In a container others may be our children, too.
    end_children(pid for pid in own_children() if pid not in running and _is_ours(pid))
    return document


def _hold(document: HandedOver) -> None:
    """See that every descriptor is what it is said to be, and keep them from our children."""
    listening = [x.fd for x in document.listeners] + ([] if document.control is None else [document.control])
    files = [x.sending.fd for x in document.guests if x.sending is not None] + [document.lock]
    logs = [x.runner.log.fd for x in document.children if x.runner is not None and x.runner.log is not None]
    fits = (
        all(map(listens, listening))
        and all(map(is_file, [*files, *logs]))
        and all(is_socket(x.fd) for x in document.guests)
    )
    if not fits:
        raise ValueError("a file descriptor is not open, or not on what it should be")
    for fd in document.descriptors():
        os.set_inheritable(fd, False)


def clear_away() -> None:
    """Close whatever was handed over, and end our dnsmasq processes: we start from nothing."""
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    end_children(pid for pid in own_children() if _is_ours(pid))


def _is_ours(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip() in {"dnsmasq", "setpriv", "nft"}
    return False


def go_on(
    taken: HandedOver, children: Children, generation: int | None
) -> tuple[s.TakenOver, list[s.Signal]]:
    """Take in the children from before; what the decider has to know before it adopts, and after.

    `generation` is what is served from now on. Where that is another one, each child is started anew.
    """
    for xid in taken.xids:
        children.expect(xid)
    lives = []
    for handed in taken.children:
        child, runner = handed.child, handed.runner
        if runner is not None and is_own_child(runner.pid, runner.started):
            children.go_on(child.name, runner)
        elif runner is not None:
            child = replace(child, phase=Phase.BACKOFF)
            if runner.log is not None:
                os.close(runner.log.fd)
        lives.append(child)
    marked = {x.child.name: x.runner.marks for x in taken.children if x.runner is not None}
    declined = frozenset(x.child.name for x in taken.children if x.declined)
    anew: list[s.Signal] = []
    if generation != taken.generation:
        anew = [s.RestartChild(child.name) for child in lives]
    return s.TakenOver(tuple(lives), marked, declined), anew


def let_go(taken: HandedOver) -> None:
    """End the children from before: there is nothing by which they could be gone on with.

    Left alone they would answer as they did then, beside those that are started, and nobody would mind them.
    """
    runners = [x.runner for x in taken.children if x.runner is not None]
    end_children(x.pid for x in runners if is_own_child(x.pid, x.started))
    for runner in runners:
        if runner.log is not None:
            os.close(runner.log.fd)
