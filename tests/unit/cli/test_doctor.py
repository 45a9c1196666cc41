"""`doctor` as it is typed: what is printed, what is left out, how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.doctor.catalogue import CHECKS
from appliance.system.files import exclusive_lock
from tests.unit.cli.command import Operator

STATUS: Final[dict[str, Any]] = {
    "daemon": {"version": "0"},
    "dnsmasq": {"children": []},
    "rogue_servers": [],
    "problems": [],
}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    made = Operator(tmp_path)
    made.write()
    return made


def test_the_list_has_every_check_and_what_is_well(operator: Operator) -> None:
    listed = operator.call("doctor", "--list", "-o", "json").json()
    assert [row["id"] for row in listed] == list(CHECKS)
    text = operator.call("doctor", "--list").out
    assert all(identity in text for identity in CHECKS)


def test_a_check_that_there_is_not_is_a_mistake_of_usage_with_the_nearest(operator: Operator) -> None:
    said = operator.call("doctor", "--only", "interface-upp")
    assert said.rc == 2
    assert "interface-up?" in said.err


def test_only_some(operator: Operator) -> None:
    for words in (("--only", "settings,inventory"), ("--only", "settings", "--only", "inventory")):
        said = operator.call("doctor", *words, "-o", "json")
        assert said.rc == 0
        assert [row["id"] for row in said.json()] == ["settings", "inventory"]


def test_rows_have_five_fields_and_those_that_are_not_ok_a_fix(operator: Operator) -> None:
    said = operator.call("doctor", "-o", "json")
    assert said.rc == 5, "nothing serves, and nothing was ever applied"
    for row in said.json():
        assert set(row) == {"id", "verdict", "message", "evidence", "fix"}
        assert row["verdict"] in {"ok", "warning", "error"}
        assert isinstance(row["evidence"], list)
        assert bool(row["fix"]) is (row["verdict"] != "ok"), row


def test_without_a_daemon_that_is_said_once(operator: Operator) -> None:
    rows = {row["id"]: row for row in operator.call("doctor", "-o", "json").json()}
    assert rows["daemon-running"]["verdict"] == "error"
    children = {"daemon-answers", "daemon-version", "dnsmasq-children", "tftp-fetch", "http-health", "status"}
    assert not children & set(rows)
    text = operator.call("doctor").out
    (left_out,) = [line for line in text.splitlines() if line.startswith("not tried: ")]
    assert children <= set(left_out.removeprefix("not tried: ").split(", "))


def test_problems_come_last_with_a_summary(operator: Operator) -> None:
    lines = operator.call("doctor").out.splitlines()
    assert re.fullmatch(r"\d+ checks: \d+ errors?, \d+ warnings?; \d+ not tried", lines[-1])
    first = next(n for n, line in enumerate(lines) if line.startswith(("ERROR", "WARNING")))
    assert not any(line.startswith("  ok ") for line in lines[first:])
    assert any(line.lstrip().startswith("fix: ") for line in lines[first:])


def test_colour_is_for_terminals_that_want_it(operator: Operator) -> None:
    assert "\x1b[" in operator.on_a_terminal("doctor", "--only", "settings")
    assert "\x1b[" not in operator.on_a_terminal("doctor", "--only", "settings", env={"NO_COLOR": "1"})
    assert "\x1b[" not in operator.run("doctor", "--only", "settings").out


def test_what_the_daemon_says_cannot_move_a_cursor_or_write_markup(operator: Operator) -> None:
    evil = "\x1b[2J[bold]node\u202e"
    problem = {"id": "held", "severity": "error", "message": evil, "fix": evil}
    answers = {"status": (200, {**STATUS, "problems": [problem]}), "leases": (200, [])}
    with exclusive_lock(Path(operator.paths.daemon_lock)), operator.daemon(**answers):
        text = operator.call("doctor", "--only", "status")
        assert text.rc == 5
        rows = json.loads(operator.call("doctor", "--only", "status", "-o", "json").out)
    assert rows[0]["message"] == evil
    assert "\x1b" not in text.out
    assert "\u202e" not in text.out
    assert "[bold]node" in text.out


@pytest.mark.parametrize("answer", ["[]", "<html>", '{"dnsmasq": 3, "problems": [1], "rogue_servers": {}}'])
def test_a_daemon_that_talks_nonsense_is_a_finding(operator: Operator, answer: str) -> None:
    with (
        exclusive_lock(Path(operator.paths.daemon_lock)),
        operator.daemon(status=(200, answer), leases=(200, answer)),
    ):
        found = operator.call("doctor", "-o", "json")
        rows = {row["id"]: row for row in found.json()}
    assert found.rc == 5
    assert rows["daemon-running"]["verdict"] == "ok"
