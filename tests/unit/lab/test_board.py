"""What a run looks like: lines in a pipe, a board on a terminal, and a verdict that cannot smuggle markup."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from appliance.boot.events import Event, EventKind
from appliance.lab.board import Board, print_result, rung_table
from appliance.lab.rack import FirmwareChoice, fill
from appliance.lab.watch import RUNGS, Finding, Watch

POWER_ON = datetime(2025, 1, 31, tzinfo=UTC)


def watch_of_two(*, reached: int = len(RUNGS)) -> Watch:
    watch = Watch(fill(2, FirmwareChoice.MIXED), POWER_ON)
    for number, rung in enumerate(RUNGS[:reached], start=1):
        watch.see(Event(POWER_ON + timedelta(seconds=number), rung, machine="node1"))
    return watch


def shown(watch: Watch, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(rung_table(watch, title="t", width=width))
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_a_wide_table_has_a_row_per_machine() -> None:
    lines = shown(watch_of_two(reached=2), 140)
    assert lines[1].endswith("discover offer request ack bootfile ipxe script kernel initrd ignition done")
    assert lines[2] == "node1 bios 172.0.1.11 1.0 2.0 · · · · · · · · ·"
    assert lines[3] == "node2 uefi 172.0.1.12 · · · · · · · · · · ·"


def test_a_narrow_terminal_gets_a_column_per_machine() -> None:
    lines = shown(watch_of_two(), 60)
    assert lines[1] == "machine node1 node2"
    assert lines[4] == "discover 1.0 ·"
    assert lines[-1] == "done 11.0 ·"


def test_in_a_pipe_every_rung_is_a_line() -> None:
    watch = watch_of_two(reached=1)
    console = Console(file=io.StringIO())
    with Board(console, watch) as board:
        board.tick()
        board.reached(watch.rack.machines[0], EventKind.DISCOVER)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "   1.0 s  node1    discover\n"


def test_on_a_terminal_the_board_comes_and_goes() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=140)
    with Board(console, watch_of_two()) as board:
        board.tick()
    assert isinstance(console.file, io.StringIO)
    drawn = console.file.getvalue()
    assert "since power-on" in drawn
    assert "\x1b[?25h" in drawn  # the cursor is back


@pytest.mark.parametrize(
    ("finding", "line"),
    [
        (Finding("node1", True), "ok     node1: went through every rung"),
        (Finding("the stranger", True), "ok     the stranger: got nothing, and the events say so"),
        (Finding("node2", False, "stopped"), "FAILED node2: stopped"),
        (Finding("node2", False, "[red]\x1b[2J"), "FAILED node2: [red]\\x1b[2J"),
    ],
)
def test_the_verdict_is_a_line_each(finding: Finding, line: str) -> None:
    console = Console(file=io.StringIO())
    print_result(console, watch_of_two(), (finding,))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[-1] == line
