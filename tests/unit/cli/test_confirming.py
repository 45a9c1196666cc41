"""`confirm` and `--confirm-within` on the command line; the daemon's answers are canned."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.sync.run import Request, plan
from tests.unit.cli.command import Operator

WAITS = {"generation": 2, "previous": 1, "until": "2026-11-27T13:02:00.000Z"}
DONE = {"generation": 2, "active": True, "proven": True, "evidence": ["pxe: asked"], "pending": WAITS}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.write()
    return operator


@pytest.mark.parametrize("within", ["4s", "25h", "120", "soon", "-5s", ""])
@pytest.mark.parametrize("command", ["sync", "rollback"])
def test_2_a_time_that_makes_no_sense(operator: Operator, command: str, within: str) -> None:
    said = operator.call(command, "--yes", "--confirm-within", within)
    assert (said.rc, said.out) == (2, "")
    assert "--confirm-within" in said.err


@pytest.mark.parametrize("args", [("confirm",), ("sync", "--yes", "--confirm-within", "120s")])
def test_4_without_a_daemon(operator: Operator, args: tuple[str, ...]) -> None:
    said = operator.call(*args)
    assert (said.rc, said.out) == (4, "")
    assert "the daemon is not running: nobody would take an unconfirmed change back" in said.err
    assert "systemctl start pxe-appliance" in said.err
    assert not Path(operator.paths.generations).exists()


def test_without_a_terminal_it_returns_and_says_until_when(operator: Operator) -> None:
    with operator.daemon(post_sync=(200, DONE)) as daemon:
        said = operator.call("sync", "--yes", "--confirm-within", "2m")
    assert said.rc == 0
    assert said.out.endswith(
        "Generation 2 is current, active and verified.\n"
        f"Unless it is confirmed, generation 1 is served again at {WAITS['until']}: pxe-appliance confirm 2\n"
    )
    ((_, body),) = daemon.asked
    assert isinstance(body, dict)
    assert (body["confirm_within"], body["expected"]) == (120, plan(operator.paths, Request()).fingerprint)


def test_as_json_it_says_what_waits(operator: Operator) -> None:
    with operator.daemon(post_sync=(200, DONE)):
        assert operator.call("sync", "-o", "json", "--confirm-within", "2m").json()["pending"] == WAITS


def test_a_terminal_is_not_asked_with_yes_or_for_json(operator: Operator) -> None:
    for more in (["--yes"], ["--yes", "-o", "json"]):
        with operator.daemon(post_sync=(200, DONE)) as daemon:
            shown = operator.on_a_terminal("sync", "--confirm-within", "2m", *more)
        assert "Keep generation" not in shown
        assert len(daemon.asked) == 1


def test_confirm_says_what_is_kept_now(operator: Operator) -> None:
    kept = {"generation": 2, "confirmed": True, "evidence": ["pxe: asked"]}
    with operator.daemon(post_confirm=(200, kept)):
        assert operator.call("confirm").out == "  pxe: asked\nGeneration 2 is confirmed and kept.\n"
        assert operator.call("confirm", "-o", "json").json() == kept


def test_what_went_back_says_so_with_its_proof(operator: Operator) -> None:
    facts = {
        "kind": "NotProven",
        "message": "rolled back to generation 1: no offer",
        "hint": "look there",
        "evidence": ["pxe: 3 machines asked for", "TFTP: fetched \x1b[31m"],
    }
    with operator.daemon(post_sync=(502, facts)):
        said = operator.call("sync", "--yes")
    assert said.rc == 6
    assert said.err.splitlines() == [
        "Proven again after the rollback:",
        "  pxe: 3 machines asked for",
        "  TFTP: fetched \\x1b[31m",
        "error: rolled back to generation 1: no offer",
        "  look there",
    ]


def test_status_shows_until_when_a_change_waits(operator: Operator) -> None:
    status = {
        "daemon": {"running": True},
        "generation": {"id": 2, "at": "x", "proven": False},
        "pending": WAITS,
    }
    with operator.daemon(status=(200, status)):
        lines = operator.call("status").out.splitlines()
    assert "pending     generation 1 again at 2026-11-27T13:02:00.000Z, unless confirmed" in lines
    assert operator.call("status", "-o", "json").json()["pending"] is None
