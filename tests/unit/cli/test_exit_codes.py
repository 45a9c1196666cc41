"""What the shell sees: every exit code of the contract, through the installed command."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.unit.cli.command import Operator
from tests.unit.sync.rooms import RACK

REFUSED = {"kind": "Refused", "message": "the inventory changed", "hint": "look again"}
ROLLED_BACK = {"kind": "NotProven", "message": "rolled back to generation 1: no offer", "hint": ""}
WRONG = {
    "kind": "OperatorError",
    "message": "cannot use the inventory",
    "hint": "",
    "problems": [{"file": "rack.toml", "line": 3, "path": "machine.a.ip", "message": "is taken", "hint": ""}],
}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.write()
    return operator


def test_0_fine_and_10_changes_pending(operator: Operator) -> None:
    assert operator.run("check").rc == 0
    assert operator.run("plan").rc == 0
    assert operator.run("plan", "--exit-code").rc == 10
    assert operator.run("sync", "--yes").rc == 0
    assert operator.run("plan", "--exit-code").rc == 0
    assert operator.run("config", "show").rc == 0
    generations = operator.run("generations", "-o", "json").json()
    assert [(g["id"], g["current"], g["proven"]) for g in generations] == [(1, True, False)]
    again = operator.run("sync", "--yes")
    assert "No changes" in again.out
    assert operator.run("generations", "-o", "json").json() == generations


def test_1_a_bug_of_ours_says_so(operator: Operator) -> None:
    with operator.daemon(leases=(500, {"kind": "Unheard", "message": "oops", "hint": ""})):
        said = operator.run("leases")
    assert (said.rc, said.out) == (1, "")
    assert "oops" in said.err


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("plan", "--no-such-option"),
        ("machine", "show"),
        ("status", "-o", "xml"),
        ("events", "-n", "-1"),
        ("rollback", "last"),
    ],
)
def test_2_usage(operator: Operator, args: tuple[str, ...]) -> None:
    said = operator.run(*args)
    assert (said.rc, said.out) == (2, "")
    assert "Usage" in said.err


@pytest.mark.parametrize("command", [("check",), ("plan",), ("sync", "--yes"), ("serve",)])
def test_3_what_the_operator_wrote_is_wrong(operator: Operator, command: tuple[str, ...]) -> None:
    operator.write(RACK.replace("172.0.1.21", "10.9.9.9"))
    said = operator.run(*command)
    assert (said.rc, said.out) == (3, "")
    assert "rack.toml:8" in said.err
    assert "machine.node1.ip" in said.err
    assert not Path(operator.paths.generations).exists(), "nothing was touched"


def test_3_before_init(tmp_path: Path) -> None:
    said = Operator(tmp_path).run("plan")
    assert said.rc == 3
    assert "pxe-appliance init" in said.err


def test_4_refused_too_much_vanishes(operator: Operator) -> None:
    assert operator.run("sync", "--yes").rc == 0
    before = operator.trace()
    operator.write(inventory="")
    said = operator.run("sync", "--yes")
    assert said.rc == 4
    assert "2 of 2 machines would lose their reservation" in said.err
    assert "--allow-mass-change" in said.err
    assert operator.trace() == before
    assert operator.run("sync", "--yes", "--allow-mass-change").rc == 0


def test_4_refused_init_and_rollback(operator: Operator) -> None:
    assert operator.run("init", "--interface", "eth0", "--subnet", "172.0.1.0/24").rc == 4
    said = operator.run("rollback", "--yes")
    assert said.rc == 4
    assert "no earlier generation" in said.err


def test_4_refused_a_second_daemon(operator: Operator) -> None:
    run = Path(operator.paths.run)
    run.mkdir(parents=True)
    with (run / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = operator.run("serve")
    assert said.rc == 4
    assert "already running" in said.err


@pytest.mark.parametrize("command", ["machines", "leases", "events", "machine show x", "machine reinstall x"])
def test_5_without_a_daemon_there_is_nobody_to_ask(operator: Operator, command: str) -> None:
    listing = () if " " in command else ("-o", "json")
    said = operator.run(*command.split(), *listing)
    assert (said.rc, said.out) == (5, "")
    assert "the daemon is not running" in said.err
    assert "systemctl start pxe-appliance" in said.err


def test_5_a_socket_that_a_killed_daemon_left_is_no_daemon(operator: Operator) -> None:
    with operator.daemon():
        left = Path(operator.paths.control)
        left.with_name("left").hardlink_to(left)
    left.with_name("left").rename(left)
    assert "the daemon is not running" in operator.call("leases").err
    assert operator.call("status", "-o", "json").json()["daemon"]["running"] is False


@pytest.mark.parametrize("answer", [(200, "no JSON"), (502, "<html>bad gateway</html>"), (200, "[1]\n2")])
@pytest.mark.parametrize("listing", ["machines", "events", "status"])
def test_5_a_daemon_that_talks_nonsense(operator: Operator, listing: str, answer: tuple[int, object]) -> None:
    with operator.daemon(**{listing: answer}):
        said = operator.call(listing)
    assert (said.rc, said.out) == (5, "")
    assert "cannot understand the daemon's answer" in said.err


def test_what_the_daemon_refused_is_the_command_s_own_end(operator: Operator) -> None:
    for answer, rc, words in (
        ((409, REFUSED), 4, "the inventory changed"),
        ((502, ROLLED_BACK), 6, "rolled back to generation 1"),
        ((422, WRONG), 3, "rack.toml:3: machine.a.ip: is taken"),
        ((503, {"kind": "SurroundingsError", "message": "the disk is full", "hint": ""}), 5, "disk is full"),
    ):
        with operator.daemon(post_sync=answer):
            said = operator.run("sync", "--yes")
        assert said.rc == rc
        assert words in said.err


def test_a_sync_sends_what_was_agreed_to(operator: Operator) -> None:
    done = {"generation": 1, "active": True, "proven": True, "evidence": ["pxe: proven"], "changes": []}
    with operator.daemon(post_sync=(200, done)) as state:
        said = operator.run("sync", "--yes", "--why", "new rack")
    assert (said.rc, "is current, active and verified" in said.out) == (0, True)
    (path, body), *_ = [a for a in state.asked if a[0].startswith("POST")]
    assert path == "POST /v1/sync"
    assert isinstance(body, dict)
    assert (body["why"], body["allow_mass_change"], body["to"]) == ("new rack", False, None)
    assert len(body["expected"]) == 64
