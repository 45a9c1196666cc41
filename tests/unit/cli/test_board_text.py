"""The board on a terminal: the page's order and words, whatever the terminal can show."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from appliance.cli.board_text import Paper, Seen, draw, duration, folded
from appliance.cli.watch import messages
from appliance.daemon.board import board_row
from appliance.system.clock import now
from tests.unit.cli.command import COMMAND, Operator

AT = datetime(2025, 1, 31, 4, 5, 6, tzinfo=UTC)
EVIL = "\x1b[31mred\x1b]0;t\x07 \u202egnp.exe [bold]x[/bold]"
VERDICT = {"id": "boot-loop", "message": f"fetched {EVIL} 3 times", "remedy": f"mend {EVIL}"}
STATUS = {
    "generation": {"id": 12, "proven": True},
    "networks": [{"name": "pxe", "subnet": "172.0.1.0/24", "up": True}],
    "strays": 3,
    "problems": [{"id": "x"}],
}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.write()
    return operator


def row(name: str, state: str, rung: str | None, ago: float = 0, **more: object) -> dict[str, object]:
    at = (AT - timedelta(seconds=ago)).isoformat().replace("+00:00", "Z")
    facts: dict[str, Any] = {
        "name": name, "ip": "172.0.1.21", "boot": {"policy": "always", "state": state}, "rung": rung,
        "rung_at": at if rung else None, "verdict": None, **more,
    }  # fmt: skip
    return board_row(facts)


def seen(*rows: dict[str, object]) -> Seen:
    """A daemon that has told this."""
    made = Seen()
    made.take("hello", {"now": "2025-01-31T04:05:06.000Z"}, AT)
    made.take(
        "status", {"status": STATUS, "health": {"level": "well", "sentence": "All well: 2 machines"}}, AT
    )
    made.take("rows", {"rows": list(rows), "gone": []}, AT)
    made.take("ready", {"now": "2025-01-31T04:05:06.000Z"}, AT)
    return made


RACK = (
    row("node10", "booted", "done", 7200),
    row("node2", "booting", "kernel", 42),
    row("node9", "stuck", "bootfile", 214, verdict=VERDICT),
    row("node1", "idle", None),
)


def screen(
    known: Seen, width: int = 120, height: int = 40, *, plain: bool = False, at: datetime = AT
) -> list[str]:
    return [line.plain for line in draw(known, Paper(width, height, plain), at)]


def test_the_stuck_come_first_with_reason_remedy_and_time() -> None:
    lines = screen(seen(*RACK))
    text = "\n".join(lines)
    names = [line.split()[0] for line in lines if line.startswith("node")]
    assert names == ["node9", "node2", "node10", "node1"]
    stuck = next(n for n, line in enumerate(lines) if line.startswith("node9"))
    assert "3:34" in lines[stuck]
    assert "bootfile" in lines[stuck]
    assert "fetched" in lines[stuck + 1]
    assert lines[stuck + 2].strip().startswith("→ mend")
    assert "42 s" in text
    assert "2 h 00" in text
    assert "✓ All well: 2 machines" in text
    assert "generation 12, proven" in text
    assert "3 strays" in text
    assert re.search(r"✕ 1 stuck .*◐ 1 booting .*✓ 1 booted .*○ 1 idle", text)


def test_time_goes_on_by_the_daemons_clock() -> None:
    known = seen(*RACK)
    known.take("beat", {"now": "2025-01-31T05:05:06.000Z"}, AT)
    assert "1 h 00" in "\n".join(screen(known))


def test_rows_change_and_go() -> None:
    known = seen(*RACK)
    known.take("rows", {"rows": [row("node2", "booted", "done")], "gone": ["node1"]}, AT)
    text = "\n".join(screen(known))
    assert "booting" not in text
    assert "node1 " not in text


@pytest.mark.parametrize("width", [20, 40, 59, 60, 79, 80, 100, 120, 300])
@pytest.mark.parametrize("height", [1, 5, 10, 24, 60])
@pytest.mark.parametrize("plain", [False, True])
def test_it_fits_whatever_the_terminal(width: int, height: int, plain: bool) -> None:
    many = [row(f"a-machine-with-a-rather-long-name-{n}", "booting", "kernel", n) for n in range(100)]
    lines = screen(seen(*RACK, *many), width, height, plain=plain)
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)
    if plain:
        assert all(line.isascii() for line in lines)


def test_what_does_not_fit_is_counted() -> None:
    many = [row(f"n{n}", "booting", "kernel", n) for n in range(100)]
    lines = screen(seen(*many), height=24)
    shown = sum(line.startswith("n") for line in lines)
    assert lines[-1] == f"… and {100 - shown} more: pxe-appliance machines"


def test_nothing_hostile_reaches_the_terminal() -> None:
    evil = row("node9", "stuck", "bootfile", 3, verdict=VERDICT, ip=EVIL)
    known = seen(evil)
    known.take(
        "status",
        {"status": STATUS, "health": {"level": EVIL, "sentence": EVIL, "detail": EVIL, "fix": EVIL}},
        AT,
    )
    text = "\n".join(screen(known, 300))
    assert not set(text) & set("\x1b\x07\u202e")
    assert "[bold]x[/bold]" in text


def test_a_lost_connection_is_told_and_what_was_known_stays() -> None:
    known = seen(*RACK)
    known.connected, known.complaint = False, "the daemon has gone"
    lines = screen(known, at=AT + timedelta(seconds=20))
    assert lines[0].startswith("not connected for 20 s, what you see is of 04:05:06Z: the daemon has gone")
    assert any(line.startswith("node9") for line in lines)


def test_silence_is_noticed_without_a_broken_connection() -> None:
    assert screen(seen(*RACK), at=AT + timedelta(seconds=13))[0].startswith("not connected for 13 s")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1:00"),
        (3599, "59:59"),
        (3600, "1 h 00"),
        (86400, "1 d"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_messages_come_out_of_lines_and_nonsense_is_left_out() -> None:
    lines = [
        "event: a",
        'data: {"x": 1}',
        "",
        ": comment",
        "event: b",
        "data: [1]",
        "data: {",
        'data: {"y": 2}',
    ]
    assert list(messages(iter(lines))) == [("a", {"x": 1}), ("b", {"y": 2})]


# ---- narrow, and where names are long ----

WORDS = "iPXE got its address and asked for no script; the HTTP side did not hear it either, " * 2
LONG = {"id": "script-not-asked", "message": WORDS, "remedy": "open TCP port 8080 to the PXE network " * 3}


def stuck(name: str) -> dict[str, object]:
    return row(name, "stuck", "ipxe", 214, verdict=LONG)


@pytest.mark.parametrize("width", [30, 44, 60, 80])
def test_reason_and_remedy_are_folded_where_the_terminal_is_narrow(width: int) -> None:
    lines = screen(seen(stuck("node9")), width, 60)
    start = next(n for n, line in enumerate(lines) if line.startswith("node9"))
    said = " ".join(line.strip() for line in lines[start + 1 :])
    if width >= 44:
        assert said == f"{WORDS.strip()} → {LONG['remedy'].strip()}"
    else:
        assert said.startswith("iPXE got its address and asked")
        assert "→ open TCP port 8080" in said


def test_the_first_three_are_folded_and_the_others_take_a_line_each() -> None:
    lines = screen(seen(*(stuck(f"node{n}") for n in range(1, 6))), 60, 100)
    at = [n for n, line in enumerate(lines) if line.startswith("node")]
    assert len(at) == 5
    assert at[1] - at[0] > 3
    assert at[4] - at[3] == 3
    assert lines[at[4] + 1].endswith("…")


@pytest.mark.parametrize(("width", "height"), [(30, 10), (80, 10), (20, 8), (60, 12)])
def test_a_machine_is_named_however_low_the_terminal(width: int, height: int) -> None:
    known = seen(stuck("node9"), *(row(f"n{n}", "booted", "done", n) for n in range(5000)))
    health = {"level": "error", "sentence": "1 of 5001 machines is stuck", "detail": WORDS, "fix": WORDS}
    known.take("status", {"status": STATUS, "health": health}, AT)
    lines = screen(known, width, height)
    assert any(line.startswith("node9") for line in lines)
    assert re.match(r"… and [45]\d{3} more", lines[-1])


def test_the_causes_of_many_are_counted() -> None:
    known = seen(*RACK)
    causes = [{"id": "script-not-asked", "count": 112}, {"id": "bootfile-not-asked", "count": 33}]
    health = {"level": "error", "sentence": "145 of 200 machines are stuck", "causes": causes}
    known.take("status", {"status": STATUS, "health": health}, AT)
    assert "  112 × script-not-asked, 33 × bootfile-not-asked" in screen(known)
    assert "  112 x script-not-asked, 33 x bootfile-not-asked" in screen(known, plain=True)
    known.take("status", {"status": STATUS, "health": {**health, "causes": [{"id": "a", "count": 1}]}}, AT)
    assert not [line for line in screen(known) if "× a" in line]


def test_a_long_name_is_cut_in_its_middle() -> None:
    names = [f"very-long-rack17-storage-node-{n:04d}" for n in range(3)]
    lines = screen(seen(*(row(name, "booted", "done") for name in names)), 80)
    shown = [line.split()[0] for line in lines if line.startswith("very")]
    assert len(set(shown)) == 3
    assert all("…" in name and name.endswith(f"{n:04d}") for n, name in enumerate(shown))


@pytest.mark.parametrize(
    ("text", "width", "most", "lines"),
    [
        ("", 40, 5, []),
        ("a bc def", 40, 5, ["> a bc def"]),
        ("one two three", 10, 5, ["> one two", "  three"]),
        ("x" * 25, 12, 5, ["> " + "x" * 10, "  " + "x" * 10, "  " + "x" * 5]),
        ("漢字漢字漢字", 10, 5, ["> 漢字漢字", "  漢字"]),
        ("one two three four", 10, 2, ["> one two", "  three four…"]),
    ],
)
def test_text_is_folded_by_columns(text: str, width: int, most: int, lines: list[str]) -> None:
    assert [line.plain for line in folded(text, width, "> ", most=most)] == lines


# ---- in a pipe, and on a terminal that cannot move its cursor ----


def told(*rows: dict[str, object]) -> str:
    """A daemon's stream, as far as it goes."""
    at = now().isoformat().replace("+00:00", "Z")
    health = {"level": "well", "sentence": "All well: 4 machines"}
    messages = (
        ("hello", {"now": at}), ("status", {"status": STATUS, "health": health}),
        ("rows", {"rows": list(rows), "gone": []}), ("ready", {"now": at}),
    )  # fmt: skip
    return "".join(f"event: {event}\ndata: {json.dumps(facts)}\n\n" for event, facts in messages)


def watched(operator: Operator, *args: str, until: Callable[[str], bool], tty: bool = False) -> str:
    """What `status --watch` prints until it is so; then its reader goes away, and it must end."""
    read, write = pty.openpty() if tty else os.pipe()
    process = subprocess.Popen(
        [COMMAND, "--root", str(operator.root), "status", "--watch", *args], stdin=subprocess.DEVNULL,
        stdout=write, stderr=subprocess.PIPE, env=operator.environment({"TERM": "dumb"}),
    )  # fmt: skip
    os.close(write)
    said, deadline = "", time.monotonic() + 30
    try:
        while not until(said):
            assert time.monotonic() < deadline, said
            if select.select([read], [], [], 0.2)[0]:
                said += os.read(read, 1 << 16).decode()
        os.close(read)
        if not tty:
            process.wait(20)  # whoever reads no more ends it
    finally:
        process.kill()
        process.wait(10)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()
    return said


@pytest.mark.parametrize("tty", [False, True])
def test_a_pipe_and_a_dumb_terminal_get_a_block_a_second(operator: Operator, tty: bool) -> None:
    with operator.daemon(board=(200, told(*RACK))):
        said = watched(operator, until=lambda text: text.count("node10 ") >= 3, tty=tty)
    blocks = said.replace("\r\n", "\n").split("\n\n20")
    assert len(blocks) >= 3
    assert re.match(r"(20)?\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ\n", blocks[1])
    assert "All well: 4 machines" in said
    assert "→ mend" in said
    assert "\x1b" not in said


def test_without_a_daemon_the_blocks_say_so_and_go_on(operator: Operator) -> None:
    said = watched(operator, until=lambda text: text.count("Z\n") >= 2)
    assert "pxe-appliance" in said or "daemon" in said


def test_json_is_a_line_a_second(operator: Operator) -> None:
    status = {"daemon": {"running": True}, "machines": {"known": 0}, "strays": 0, "problems": []}
    with operator.daemon(status=(200, status)):
        said = watched(operator, "-o", "json", until=lambda text: text.count("\n") >= 3)
    assert [json.loads(line) for line in said.splitlines()[:3]] == [status] * 3
