"""The daemon's log, which makes nobody wait: neither a pipe that is not read nor a journald that hangs.

Who reads standard error decides how fast a write to it is: a full pipe blocks for ever (and a journald that
hangs is one). Lines for it are written by a thread of their own, and entries for journald are datagrams on a
socket that does not block. What finds no room is dropped and counted.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from appliance.daemon.log_lines import FIELDS, Line, Severity, as_journal, as_json, as_text
from appliance.errors import OperatorError, SurroundingsError
from appliance.inventory.load import load_settings
from appliance.paths import Paths
from appliance.settings import LogFormat, LogLevel, LogSettings
from appliance.system.clock import now

_WAITING: Final = 1 << 20  # bytes that wait for a reader of standard error
_CLOSE_SECONDS: Final = 1.0
_STDERR: Final = 2
_LEVELS: Final[Mapping[LogLevel, int]] = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


class Sink(Protocol):
    """Where written lines go. `put` returns at once."""

    dropped: int

    def put(self, raw: bytes) -> None: ...
    def close(self) -> None: ...


class PipeSink:
    """A file descriptor that may block for ever, written to by a thread."""

    def __init__(self, fd: int = _STDERR, *, waiting: int = _WAITING) -> None:
        """At most `waiting` bytes wait; beyond that the oldest lines are dropped and counted."""
        self._fd = fd
        self._most = waiting
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._change = threading.Condition()
        self._open = True
        self.dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def put(self, raw: bytes) -> None:
        """Have a line written."""
        with self._change:
            self._lines.append(raw)
            self._size += len(raw)
            while self._size > self._most and len(self._lines) > 1:
                self._size -= len(self._lines.popleft())
                self.dropped += 1
            self._change.notify()

    def close(self) -> None:
        """Write what is left, within a second."""
        with self._change:
            self._open = False
            self._change.notify()
        self._thread.join(_CLOSE_SECONDS)

    def _write(self) -> None:
        while True:
            with self._change:
                while self._open and not self._lines:
                    self._change.wait()
                if not self._lines:
                    return
                raw = self._lines.popleft()
                self._size -= len(raw)
            try:
                while raw:
                    raw = raw[os.write(self._fd, raw) :]
            except OSError:  # whoever read it is gone
                with self._change:
                    self.dropped += 1


class JournalSink:
    """journald's socket."""

    def __init__(self, place: Path) -> None:
        self._place = str(place)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self.dropped = 0

    def put(self, raw: bytes) -> None:
        """Send an entry; by name each time, so that a journald that was started anew gets it too."""
        try:
            self._socket.sendto(raw, self._place)
        except OSError:  # it does not read, or is not there
            self.dropped += 1

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class Logs(logging.Handler):
    """The root logger's only handler. Takes up other settings at any time."""

    def __init__(
        self, paths: Paths, *, verbose: bool = False, environ: Mapping[str, str] = os.environ
    ) -> None:
        """`verbose`: everything is logged, whatever the settings say."""
        super().__init__()
        self._journal = Path(paths.journal)
        self._verbose = verbose
        self._under_systemd = _journal_reads(environ.get("JOURNAL_STREAM", ""))
        self._used: LogSettings | None = None
        self._sink: Sink | None = None
        self._shape: Callable[[Line], bytes] = as_json
        self._spare: PipeSink | None = None
        self._lost = 0  # with sinks that are no more
        self._told = 0
        self._swapping = threading.RLock()

    @property
    def dropped(self) -> int:
        """Lines that found no room."""
        return self._lost + sum(sink.dropped for sink in (self._sink, self._spare) if sink)

    @property
    def chosen(self) -> LogFormat:
        """How lines are written now."""
        wanted = self._used.format if self._used else None
        if wanted is not None:
            return wanted
        journal = self._under_systemd and self._journal.is_socket()
        return LogFormat.JOURNAL if journal else LogFormat.TEXT

    def use(self, settings: LogSettings) -> None:
        """Log as these settings say from now on."""
        with self._swapping:
            if settings != self._used:
                self._use(settings)

    def _use(self, settings: LogSettings) -> None:
        self._used = settings
        logging.getLogger().setLevel(logging.DEBUG if self._verbose else _LEVELS[settings.level])
        self._release()
        match self.chosen:
            case LogFormat.JOURNAL:
                self._sink, self._shape = JournalSink(self._journal), as_journal
            case LogFormat.JSON:
                self._sink, self._shape = PipeSink(), as_json
            case LogFormat.TEXT:
                self._sink = PipeSink()
                self._shape = partial(as_text, timed=not self._under_systemd)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or count it."""
        with self._swapping:
            self._emit(record)

    def _emit(self, record: logging.LogRecord) -> None:
        sink, shape = self._sink, self._shape
        if sink is None:
            return
        if isinstance(sink, JournalSink) and not self._journal.is_socket():
            # Nobody has journald here, or it is away: better on standard error than nowhere.
            self._spare = self._spare or PipeSink()
            sink, shape = self._spare, partial(as_text, timed=True)
        if (lost := self.dropped - self._told) > 0:
            self._told += lost
            words = f"{lost} lines of this log found no room and were dropped"
            sink.put(shape(Line(now(), Severity.WARNING, words)))
        sink.put(shape(line_of(record)))

    def flush(self) -> None:
        """Write what waits, within a second, and go on."""
        with self._swapping:
            if self._sink is not None and self._used is not None:
                self._use(self._used)

    def close(self) -> None:
        """Write what is left."""
        with self._swapping:
            self._release()
        super().close()

    def _release(self) -> None:
        for sink in (self._sink, self._spare):
            if sink is not None:
                sink.close()
                self._lost += sink.dropped
        self._sink = self._spare = None


def start_logging(paths: Paths, *, verbose: bool) -> Logs:
    """Take over the root logger, and everything that would write to standard error by itself.

    The settings of the generation that is served follow; until then, those of the file count.
    """
    logs = Logs(paths, verbose=verbose)
    try:
        logs.use(load_settings(paths).log)
    except (OperatorError, SurroundingsError):  # said by who reads them for good
        logs.use(LogSettings())
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(logs)
    logging.captureWarnings(capture=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return logs


def line_of(record: logging.LogRecord) -> Line:
    """A record of the library's as a line of ours; `facts` come by `extra`."""
    try:
        message = record.getMessage()
    except (TypeError, ValueError):  # a format that does not fit its arguments: a bug of whoever logs
        message = str(record.msg)
    severity = next(s for s, least in _SEVERITIES if record.levelno >= least)
    facts: object = getattr(record, "facts", None)
    told = {k: str(v) for k, v in facts.items() if k in FIELDS} if isinstance(facts, Mapping) else {}
    trace = _FORMATTER.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
    return Line(datetime.fromtimestamp(record.created, UTC), severity, message, told, trace)


_FORMATTER: Final = logging.Formatter()
_SEVERITIES: Final = (
    (Severity.ERROR, logging.ERROR),
    (Severity.WARNING, logging.WARNING),
    (Severity.INFO, logging.INFO),
    (Severity.DEBUG, logging.NOTSET),
)


def _journal_reads(stream: str) -> bool:
    """Whether our standard error is the stream that systemd named: JOURNAL_STREAM, device and inode."""
    try:
        ours = os.fstat(_STDERR)
    except OSError:
        return False
    return stream == f"{ours.st_dev}:{ours.st_ino}"
