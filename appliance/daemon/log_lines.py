"""One line of the daemon's log, and how it is written: text, JSON, or an entry for journald. Pure.

Whatever came from the wire is spelled out here, and nowhere else: neither a terminal nor a journal gets a
control character of a client's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from appliance.boot.events import rfc3339
from appliance.plain_text import safe_text

IDENTIFIER: Final = "pxe-appliance"
# What a line may be told of besides its message: in this order, upper case in the journal.
FIELDS: Final = ("machine", "mac", "stage", "network", "event", "code")
LONGEST_MESSAGE: Final = 2000
_LONGEST_FACT: Final = 256
_TRACE_LINES: Final = 200
_TRACE_LINE: Final = 400


class Severity(IntEnum):
    """As in syslog(3)."""

    ERROR = 3
    WARNING = 4
    INFO = 6
    DEBUG = 7


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `facts` are of `FIELDS`; `trace` is a traceback of ours, of many lines."""

    at: datetime
    severity: Severity
    message: str
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    trace: str = ""


def as_text(line: Line, *, timed: bool) -> bytes:
    """For people. `timed`: with the local time, for whoever reads it without a journal around it."""
    at = f"{line.at.astimezone():%Y-%m-%d %H:%M:%S},{line.at.microsecond // 1000:03d} " if timed else ""
    return f"{at}{line.severity.name} {_message(line)}\n{_trace(line, end=chr(10))}".encode()


def as_json(line: Line) -> bytes:
    """One object, in ASCII."""
    found = {
        "at": rfc3339(line.at),
        "level": line.severity.name.lower(),
        "message": _message(line),
        **_facts(line),
    }
    if line.trace:
        found["trace"] = _trace(line)
    return json.dumps(found).encode() + b"\n"


def as_journal(line: Line) -> bytes:
    """A datagram of journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    trace = _trace(line)
    entry = {
        "MESSAGE": _message(line) + (f"\n{trace}" if trace else ""),
        "PRIORITY": str(int(line.severity)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        **{name.upper(): value for name, value in _facts(line).items()},
    }
    return b"".join(_field(name, value) for name, value in entry.items())


def _field(name: str, value: str) -> bytes:
    raw = value.encode()
    if b"\n" not in raw:
        return name.encode() + b"=" + raw + b"\n"
    return name.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n"


def _message(line: Line) -> str:
    return safe_text(line.message, limit=LONGEST_MESSAGE)


def _facts(line: Line) -> dict[str, str]:
    return {
        name: safe_text(value, limit=_LONGEST_FACT) for name in FIELDS if (value := line.facts.get(name, ""))
    }


def _trace(line: Line, *, end: str = "") -> str:
    if not line.trace:
        return ""
    lines = [safe_text(each, limit=_TRACE_LINE) for each in line.trace.splitlines()[-_TRACE_LINES:]]
    return "\n".join(lines) + end
