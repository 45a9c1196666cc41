"""A line of the daemon's log, in each of its three forms, whatever it holds."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from appliance.daemon.log_lines import Line, Severity, as_journal, as_json, as_text
from tests.fakes.journald import entry

AT = datetime(2025, 1, 31, 4, 5, 6, 789000, tzinfo=UTC)
FACTS = {"machine": "node1", "mac": "52:54:00:aa:00:01", "stage": "kernel", "event": "kernel"}
TRACE = "Traceback:\n  File x\nValueError: \x1b[31mred"


def test_text_is_as_it_was_with_the_time_where_nothing_else_tells_it() -> None:
    line = Line(AT, Severity.WARNING, "node1 is held")
    assert as_text(line, timed=False) == b"WARNING node1 is held\n"
    assert as_text(line, timed=True).endswith(b":06,789 WARNING node1 is held\n")


def test_json_has_the_facts_beside_the_message() -> None:
    assert json.loads(as_json(Line(AT, Severity.INFO, "node1: kernel", FACTS))) == {
        "at": "2025-01-31T04:05:06.789Z",
        "level": "info",
        "message": "node1: kernel",
        **FACTS,
    }


def test_the_journal_gets_a_field_for_each_fact() -> None:
    assert entry(as_journal(Line(AT, Severity.ERROR, "node1: kernel", FACTS))) == {
        "MESSAGE": "node1: kernel",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "pxe-appliance",
        "MACHINE": "node1",
        "MAC": "52:54:00:aa:00:01",
        "STAGE": "kernel",
        "EVENT": "kernel",
    }


def test_a_traceback_goes_in_whole_and_harmless() -> None:
    line = Line(AT, Severity.ERROR, "bug", trace=TRACE)
    assert entry(as_journal(line))["MESSAGE"] == "bug\nTraceback:\n  File x\nValueError: \\x1b[31mred"
    assert as_text(line, timed=False).splitlines()[1:3] == [b"Traceback:", b"  File x"]
    assert json.loads(as_json(line))["trace"].splitlines()[0] == "Traceback:"


def test_no_fact_of_another_name_gets_in() -> None:
    line = Line(AT, Severity.INFO, "x", {"_SYSTEMD_UNIT": "sshd.service", "machine": ""})
    assert set(entry(as_journal(line))) == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"}


def hidden(text: str) -> set[str]:
    """Controls, overrides of the direction, separators of lines: whatever is in a text of these."""
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}


@given(st.text(), st.dictionaries(st.sampled_from(list(FACTS)), st.text()))
def test_no_text_ends_a_line_or_moves_a_cursor(message: str, facts: dict[str, str]) -> None:
    line = Line(AT, Severity.INFO, message, facts)
    for raw in (as_text(line, timed=True), as_json(line)):
        assert raw.count(b"\n") == 1
        assert raw.endswith(b"\n")
        assert not hidden(raw.decode()[:-1])
    told = entry(as_journal(line))
    assert set(told) <= {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", *(k.upper() for k in facts)}
    assert not any(hidden(value) for value in told.values())


def test_a_line_has_a_longest_length() -> None:
    line = Line(AT, Severity.INFO, "x" * 10**6, {"machine": "y" * 10**6}, "z" * 10**6 + "\n" * 10**5)
    assert all(len(raw) < 100_000 for raw in (as_text(line, timed=True), as_json(line), as_journal(line)))
