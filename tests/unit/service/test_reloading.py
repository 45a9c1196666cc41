"""Whether the daemon that was asked to go on as the new program has done so."""

from __future__ import annotations

import pytest

from appliance.cli.reloading import Daemon, outcome, parse_daemon

BEFORE = Daemon("0.1.0", "2026-01-01T00:00:00.000Z")
LATER = "2026-01-01T00:00:05.000Z"


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (None, None),
        (BEFORE, None),  # the same version is no sign: the same process may still serve
        (Daemon("0.1.0", LATER), ""),
        (Daemon("0.1.0", BEFORE.since, failed="no such module"), "no such module"),
    ],
)
def test_the_same_version_again(now: Daemon | None, found: str | None) -> None:
    assert outcome(BEFORE, now, "0.1.0") == found


def test_an_old_failure_is_not_this_ones() -> None:
    failed = Daemon("0.1.0", BEFORE.since, failed="no such module")
    assert outcome(failed, failed, "0.2.0") is None
    assert outcome(failed, Daemon("0.2.0", LATER), "0.2.0") == ""


def test_another_program_than_ours_took_over() -> None:
    assert "version 0.1.1: systemctl cat" in str(outcome(BEFORE, Daemon("0.1.1", LATER), "0.2.0"))


def test_a_change_that_waits_comes_first() -> None:
    waits = Daemon("0.1.0", BEFORE.since, waits=True)
    assert "pxe-appliance confirm" in str(outcome(BEFORE, waits, "0.2.0"))


def test_it_is_read_from_status() -> None:
    told = {
        "daemon": {"version": "0.1.0", "since": LATER},
        "problems": [{"id": "other", "message": "x"}, {"id": "upgrade-failed", "message": "no such module"}],
        "pending": None,
    }
    assert parse_daemon(told) == Daemon("0.1.0", LATER, "no such module")
    nonsense: tuple[object, ...] = (None, [], {}, {"daemon": 3})
    for broken in nonsense:
        assert parse_daemon(broken) is None
