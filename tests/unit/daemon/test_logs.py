"""The log makes nobody wait: on a real pipe that nobody reads, and a real socket that nobody reads."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from appliance.daemon.logs import JournalSink, Logs, PipeSink, line_of
from appliance.paths import Paths
from appliance.settings import LogFormat, LogLevel, LogSettings
from tests.fakes.journald import entry, journal
from tests.netns.wire import wait_until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: reading end, writing end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read_until(fd: int, words: bytes) -> bytes:
    """What comes out of a pipe, up to and with some words."""
    got = b""
    while words not in got:
        piece = os.read(fd, 1 << 16)
        assert piece, got
        got += piece
    return got


def test_a_pipe_that_nobody_reads_costs_lines_and_no_time(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = PipeSink(writing, waiting=1 << 16)
    began = time.monotonic()
    for n in range(20_000):
        sink.put(b"line %d\n" % n + b"x" * 100 + b"\n")
    assert time.monotonic() - began < 5
    assert sink.dropped > 10_000
    read_until(reading, b"line 19999\n")  # the newest is not what is lost
    threading.Thread(target=sink.close).start()


def test_a_log_says_how_much_of_it_is_missing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    logs = Logs(Paths(PurePosixPath("/nowhere")), environ={})
    logs.use(LogSettings(LogFormat.JSON))
    logs._sink, logs._lost = PipeSink(writing), 7
    logs.emit(record("after"))
    told = [json.loads(line)["message"] for line in read_until(reading, b'"after"').splitlines()]
    assert told == ["7 lines of this log found no room and were dropped", "after"]
    assert logs.dropped == 7
    logs.close()


def test_closing_writes_what_waits(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = PipeSink(writing)
    for n in range(100):
        sink.put(b"%d\n" % n)
    sink.close()
    assert os.read(reading, 1 << 16).splitlines()[-1] == b"99"


def test_a_reader_that_is_gone_is_counted() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sink = PipeSink(writing)
    sink.put(b"x\n")
    wait_until(lambda: sink.dropped == 1, "the line to be counted")
    sink.close()
    os.close(writing)


def test_a_journald_that_does_not_read_costs_entries_and_no_time(tmp_path: Path) -> None:
    with journal(tmp_path / "socket", reads=False) as asleep:
        sink = JournalSink(tmp_path / "socket")
        began = time.monotonic()
        for n in range(5_000):
            sink.put(b"MESSAGE=%d\n" % n)
        assert time.monotonic() - began < 5
        assert sink.dropped > 1_000
        assert asleep.socket is not None
        assert entry(asleep.socket.recv(1000)) == {"MESSAGE": "0"}
        sink.put(b"MESSAGE=awake\n")  # there is room again
        sink.close()


def test_a_journald_that_comes_back_is_found_again(tmp_path: Path) -> None:
    place = tmp_path / "socket"
    sink = JournalSink(place)
    sink.put(b"MESSAGE=nobody\n")
    for _ in range(2):
        with journal(place) as state:
            sink.put(b"MESSAGE=somebody\n")
            wait_until(lambda state=state: state.entries, "the entry")  # type: ignore[misc]
    assert sink.dropped == 1
    sink.close()


def record(message: str, **facts: str) -> logging.LogRecord:
    made = logging.LogRecord("pxe-appliance", logging.INFO, "x.py", 1, message, (), None)
    made.facts = facts
    return made


def under(root: Path, stream: str, settings: LogSettings | None = None) -> Logs:
    logs = Logs(Paths(PurePosixPath(root)), environ={"JOURNAL_STREAM": stream})
    logs.use(settings or LogSettings())
    return logs


def stderr_stream() -> str:
    ours = os.fstat(2)
    return f"{ours.st_dev}:{ours.st_ino}"


def test_the_journal_is_chosen_where_systemd_reads_us_and_journald_listens(tmp_path: Path) -> None:
    place = Path(Paths(PurePosixPath(tmp_path)).journal)
    assert under(tmp_path, stderr_stream()).chosen is LogFormat.TEXT, "nobody listens there"
    with journal(place) as state:
        assert under(tmp_path, "").chosen is LogFormat.TEXT
        assert under(tmp_path, "1:2").chosen is LogFormat.TEXT, "another process's standard error"
        logs = under(tmp_path, stderr_stream())
        assert logs.chosen is LogFormat.JOURNAL
        logs.emit(record("node1: kernel", machine="node1"))
        wait_until(lambda: state.with_fields(MACHINE="node1", MESSAGE="node1: kernel"), "the entry")
        logs.close()
        assert under(tmp_path, stderr_stream(), LogSettings(LogFormat.JSON)).chosen is LogFormat.JSON


@pytest.mark.parametrize(("level", "wanted"), [(LogLevel.DEBUG, 10), (LogLevel.ERROR, 40)])
def test_levels_follow_the_settings_and_verbose_is_above_them(level: LogLevel, wanted: int) -> None:
    root = logging.getLogger()
    before = root.level
    try:
        Logs(Paths(), environ={}).use(LogSettings(LogFormat.TEXT, level))
        assert root.level == wanted
        Logs(Paths(), verbose=True, environ={}).use(LogSettings(LogFormat.TEXT, level))
        assert root.level == logging.DEBUG
    finally:
        root.setLevel(before)


def test_a_record_that_cannot_be_formatted_is_logged_all_the_same() -> None:
    made = logging.LogRecord("x", logging.WARNING, "x.py", 1, "%d of %s", ("a",), None)
    assert line_of(made).message == "%d of %s"


def test_a_traceback_is_taken_along() -> None:
    try:
        raise ValueError("\x1b[2J")
    except ValueError as error:
        made = logging.LogRecord("x", logging.ERROR, "x.py", 1, "bug", (), (ValueError, error, None))
    assert "ValueError: \x1b[2J" in line_of(made).trace


def test_without_a_journald_the_log_is_on_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = Paths(PurePosixPath(tmp_path))
    logs = under(tmp_path, "", LogSettings(format=LogFormat.JOURNAL))
    logs.emit(record("nobody is there"))
    place = Path(paths.journal)
    place.parent.mkdir(parents=True)
    with journal(place) as state:
        logs.emit(record("somebody is"))
        wait_until(lambda: state.entries, "the entry")
    place.unlink(missing_ok=True)
    logs.emit(record("away again"))
    logs.close()
    lines = capfd.readouterr().err.splitlines()
    assert [line.split("INFO ")[1] for line in lines] == ["nobody is there", "away again"]
    assert logs.dropped == 0
