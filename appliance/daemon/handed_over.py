"""What a daemon hands to the program that takes its place in the same process: a document. Pure.

It travels in memory and names file descriptors, so it can only come from the program before. It is read like
anything else from outside all the same: that program may be of another version, or somebody may have set
the variable that announces it by hand. What does not fit raises ValueError, and the reader starts as usual.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Final, TypeVar

from appliance.addresses import Mac
from appliance.dnsmasq.lifecycle import Child, Phase

VERSION: Final = 1
LIMIT: Final = 32 << 20  # octets; a hundred thousand machines that boot from their disks are some two million
_GUEST_ROOM: Final = LIMIT // 4  # of these octets, for all guests
_MOST: Final = 200_000  # of anything
_FIRST_FD: Final = 3  # the standard streams are nobody's to hand on
_MOST_FD: Final = 1 << 20
_UNREAD: Final = 1 << 16
_TEXT: Final = 4096
_PATH: Final = 1 << 16
# Those in which there is a process.
RUNNING: Final = frozenset({Phase.STARTING, Phase.SERVING, Phase.HUNG, Phase.RESTARTING, Phase.STOPPING})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Log:
    """A child's log as it was being read: the open file, and how far all of it was told.

    `torn`: the line at `position` has lost its beginning. `open`: some of the last lines' events are still to
    be told.
    """

    fd: int
    position: int
    torn: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class Runner:
    """The process of a child. `started` is in clock ticks since the host's start (proc(5))."""

    pid: int
    started: int
    ready: bool
    log: Log | None
    marks: frozenset[Mac] = frozenset()  # given their address alone


@dataclass(frozen=True, slots=True)
class HandedChild:
    """A child: where it is in its life, and the process that it has at this moment."""

    child: Child
    runner: Runner | None = None
    declined: bool = False  # an address that it put out of service is still to be brought back


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket of the HTTP side."""

    address: IPv4Address
    port: int
    fd: int


@dataclass(frozen=True, slots=True)
class Sending:
    """A file that a client is being sent: `length` octets from `start` on are left, `sent` have gone.

    `keep`: the client may ask for more on the same connection.
    """

    fd: int
    start: int
    length: int
    sent: int
    path: str
    status: int
    keep: bool


@dataclass(frozen=True, slots=True)
class Guest:
    """A client's open connection. `unread` was received of its next request."""

    fd: int
    unread: bytes = b""
    sending: Sending | None = None


@dataclass(frozen=True, slots=True)
class HandedOver:
    """All of it. `pid` and `started` are those of the process, which stays the same one."""

    pid: int
    started: int
    version: str  # of the program that hands over
    generation: int | None
    lock: int
    control: int | None
    children: tuple[HandedChild, ...] = ()
    listeners: tuple[Listener, ...] = ()
    guests: tuple[Guest, ...] = ()
    xids: tuple[int, ...] = ()  # of our own questions, whose answers may still come
    unfit: tuple[int, ...] = ()  # file descriptors of guests that could not be made sense of

    def descriptors(self) -> list[int]:
        """Every file descriptor that is named."""
        logs = [c.runner.log.fd for c in self.children if c.runner is not None and c.runner.log is not None]
        control = [] if self.control is None else [self.control]
        files = [x.sending.fd for x in self.guests if x.sending is not None]
        sockets = [*(x.fd for x in self.listeners), *(x.fd for x in self.guests)]
        return [self.lock, *control, *logs, *files, *sockets]


def fitting(guests: Iterable[Guest]) -> tuple[Guest, ...]:
    """Those for whom there is room: what strangers have sent must not make it too long to be read."""
    kept, room = [], _GUEST_ROOM
    for cost, guest in sorted(((len(json.dumps(_guest_json(x))), x) for x in guests), key=lambda x: x[0]):
        room -= cost
        if room < 0:
            break
        kept.append(guest)
    return tuple(kept)


def written(document: HandedOver) -> bytes:
    """The document as it travels."""
    return json.dumps(
        {
            "format": VERSION,
            "pid": document.pid,
            "started": document.started,
            "version": document.version,
            "generation": document.generation,
            "lock": document.lock,
            "control": document.control,
            "children": [_child_json(child) for child in document.children],
            "listeners": [
                {"address": str(x.address), "port": x.port, "fd": x.fd} for x in document.listeners
            ],
            "guests": [_guest_json(guest) for guest in document.guests],
            "xids": list(document.xids),
        }
    ).encode()


def read(raw: bytes) -> HandedOver:
    """The document in `raw`.

    Raises:
        ValueError: it is none that this version can make sense of.
    """
    if len(raw) > LIMIT:
        raise ValueError("it is too long")
    try:
        whole = _table(json.loads(raw))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if _number(whole, "format") != VERSION:
        raise ValueError(f"it is written in format {whole['format']!r}, and this version reads {VERSION}")
    guests, unfit = _read_guests(whole)
    document = HandedOver(
        pid=_number(whole, "pid", 1),
        started=_number(whole, "started"),
        version=_text(whole, "version"),
        generation=None if whole.get("generation") is None else _number(whole, "generation"),
        lock=_fd(whole, "lock"),
        control=None if whole.get("control") is None else _fd(whole, "control"),
        children=_each(whole, "children", _read_child),
        listeners=_each(whole, "listeners", _read_listener),
        guests=guests,
        xids=_each(whole, "xids", lambda x: _bounded(x, 0, 2**32 - 1, "xid")),
        unfit=unfit,
    )
    fds = [*document.descriptors(), *unfit]
    if len(set(fds)) != len(fds):
        raise ValueError("it names a file descriptor twice")
    names = [x.child.name for x in document.children]
    if len(set(names)) != len(names):
        raise ValueError("it names a child twice")
    return document


def _child_json(handed: HandedChild) -> dict[str, object]:
    child, runner = handed.child, handed.runner
    return {
        "name": child.name,
        "phase": child.phase.value,
        "since": child.since,
        "failures": child.failures,
        "restarts": child.restarts,
        "declined": handed.declined,
        "runner": None
        if runner is None
        else {
            "pid": runner.pid,
            "started": runner.started,
            "ready": runner.ready,
            "marks": sorted(mac.text for mac in runner.marks),
            "log": None
            if runner.log is None
            else {
                "fd": runner.log.fd,
                "position": runner.log.position,
                "torn": runner.log.torn,
                "open": runner.log.open,
            },
        },
    }


def _guest_json(guest: Guest) -> dict[str, object]:
    return {
        "fd": guest.fd,
        "unread": base64.b64encode(guest.unread).decode(),
        "sending": asdict(guest.sending) if guest.sending is not None else None,
    }


def _read_child(raw: object) -> HandedChild:
    table = _table(raw)
    runner = _read_runner(table["runner"]) if table.get("runner") is not None else None
    phase = Phase(_text(table, "phase"))
    if (phase in RUNNING) is not (runner is not None):
        raise ValueError(f"a child that is {phase.value} has a process, or has none")
    child = Child(
        _text(table, "name"),
        phase,
        since=_seconds(table, "since"),
        failures=_number(table, "failures"),
        restarts=_number(table, "restarts"),
    )
    return HandedChild(child, runner, _flag(table, "declined"))


def _read_runner(raw: object) -> Runner:
    table = _table(raw)
    log = _table(table["log"]) if table.get("log") is not None else None
    return Runner(
        pid=_number(table, "pid", 2),
        started=_number(table, "started"),
        ready=_flag(table, "ready"),
        log=None
        if log is None
        else Log(_fd(log, "fd"), _number(log, "position"), _flag(log, "torn"), _flag(log, "open")),
        marks=frozenset(_each(table, "marks", _mac)),
    )


def _read_listener(raw: object) -> Listener:
    table = _table(raw)
    port = _bounded(table.get("port"), 1, 65535, "port")
    return Listener(IPv4Address(_text(table, "address")), port, _fd(table, "fd"))


def _read_guests(whole: Mapping[str, object]) -> tuple[tuple[Guest, ...], tuple[int, ...]]:
    """The guests, and the file descriptors of those that do not fit: nobody else pays for them."""
    guests, unfit = [], []
    for raw in _each(whole, "guests", _table):
        try:
            guests.append(_read_guest(raw))
        except ValueError:
            with contextlib.suppress(ValueError):
                unfit.append(_fd(raw, "fd"))
                unfit.append(_fd(_table(raw.get("sending")), "fd"))
    return tuple(guests), tuple(unfit)


def _read_guest(raw: object) -> Guest:
    table = _table(raw)
    text = table.get("unread")
    if not isinstance(text, str) or len(text) > 2 * _UNREAD:
        raise ValueError("what was received is no short text")
    sending = _read_sending(table["sending"]) if table.get("sending") is not None else None
    try:
        return Guest(_fd(table, "fd"), base64.b64decode(text, validate=True), sending)
    except binascii.Error as error:
        raise ValueError("what was received is not in base 64") from error


def _read_sending(raw: object) -> Sending:
    table = _table(raw)
    path = table.get("path")
    if not isinstance(path, str) or len(path) > _PATH:  # a client's words: whoever shows them escapes them
        raise ValueError("path is no text")
    return Sending(
        fd=_fd(table, "fd"),
        start=_number(table, "start"),
        length=_number(table, "length"),
        sent=_number(table, "sent"),
        path=path,
        status=_bounded(table.get("status"), 100, 599, "status"),
        keep=_flag(table, "keep"),
    )


def _each(table: Mapping[str, object], key: str, one: Callable[[object], T]) -> tuple[T, ...]:
    value = table.get(key)
    if not isinstance(value, list) or len(value) > _MOST:
        raise ValueError(f"{key} is no list")
    return tuple(one(x) for x in value)


def _table(raw: object) -> Mapping[str, object]:
    if not isinstance(raw, dict):
        raise ValueError("a table is expected")
    return raw


def _mac(raw: object) -> Mac:
    if not isinstance(raw, str):
        raise ValueError("a MAC is expected")
    return Mac.parse(raw)


def _text(table: Mapping[str, object], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT or not value.isprintable():
        raise ValueError(f"{key} is no text")
    return value


def _flag(table: Mapping[str, object], key: str) -> bool:
    value = table.get(key)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is neither true nor false")
    return value


def _seconds(table: Mapping[str, object], key: str) -> float:
    value = table.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ValueError(f"{key} is no time")
    return float(value)


def _number(table: Mapping[str, object], key: str, least: int = 0) -> int:
    return _bounded(table.get(key), least, 2**62, key)


def _fd(table: Mapping[str, object], key: str) -> int:
    return _bounded(table.get(key), _FIRST_FD, _MOST_FD, key)


def _bounded(value: object, least: int, most: int, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{what} is out of range")
    return value
