"""What reaches a terminal, a pipe and a program: valid JSON, no escape codes, nothing hostile raw."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.plain_text import safe_text
from tests.hostile import STRINGS
from tests.unit.cli.command import Operator

EVIL = "\x1b[31mred\x1b]0;t\x07 \x9b2J \u202egnp.exe \u2066x\u2028y\r\nnew [bold]line[/bold] \ud800\x7f\x00"
ESCAPES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")

EVENT = {
    "at": "2025-01-31T04:05:06.789Z",
    "event": "stray",
    "machine": None,
    "mac": "52:54:00:ff:ff:01",
    "ip": None,
    "network": "pxe",
    "detail": {"client_name": EVIL, EVIL: "x"},
}
ROW = {
    "name": "node1",
    "macs": ["52:54:00:aa:00:01"],
    "ip": "172.0.1.21",
    "network": "pxe",
    "profile": EVIL,
    "boot": {"policy": "always", "state": "stuck"},
    "rung": "bootfile",
    "rung_at": "2025-01-31T04:05:06.789Z",
    "verdict": {"id": "boot-loop", "message": EVIL, "remedy": EVIL},
}
LEASE = {
    "ip": "172.0.1.21",
    "mac": "52:54:00:aa:00:01",
    "machine": EVIL,
    "network": "pxe",
    "granted": "2025-01-31T04:05:06.789Z",
    "expires": None,
}
STATUS = {
    "version": 1,
    "daemon": {"running": True, "pid": 7, "since": "2025-01-31T04:05:06.789Z"},
    "dnsmasq": {"state": "serving", "pid": 8, "restarts": 0},
    "generation": {"id": 3, "at": "2025-01-31T04:05:06.789Z", "proven": True},
    "networks": [{"name": "pxe", "interface": "eno4", "subnet": "172.0.1.0/24", "mode": "dhcp", "up": True}],
    "machines": {"known": 1, "booting": 0, "booted": 0, "stuck": 1},
    "strays": 1,
    "rogue_servers": [{"ip": EVIL, "mac": EVIL, "network": EVIL, "how": EVIL, "boot_file": EVIL}],
    "matchbox": {"endpoint": "builtin", "reachable": True},
    "problems": [{"id": "dnsmasq", "severity": "error", "message": EVIL, "fix": EVIL}],
}
LISTINGS = (
    ("status",),
    ("machines",),
    ("machine", "show", "node1"),
    ("leases",),
    ("events",),
    ("generations",),
    ("plan",),
    ("config", "show"),
)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Somebody with a daemon that has seen evil."""
    operator = Operator(tmp_path_factory.mktemp("root"))
    operator.write()
    with operator.daemon(
        status=(200, STATUS),
        machines=(200, [ROW]),
        leases=(200, [LEASE]),
        events=(200, "".join(json.dumps(e) + "\n" for e in (EVENT, EVENT))),
        **{"machines/node1": (200, {**ROW, "rungs": {"discover": EVIL}, EVIL: [EVIL]})},
    ):
        yield operator


@pytest.mark.parametrize("listing", LISTINGS, ids=" ".join)
def test_json_is_json_and_moves_no_cursor(operator: Operator, listing: tuple[str, ...]) -> None:
    said = operator.call(*listing, "-o", "json")
    assert (said.rc, said.err) == (0, "")
    texts = said.out.splitlines() if listing == ("events",) else [said.out]
    assert [json.loads(text) for text in texts]
    assert not ESCAPES.search(said.out)


def test_json_says_what_the_daemon_said(operator: Operator) -> None:
    assert operator.call("status", "-o", "json").json() == STATUS
    assert operator.call("machines", "-o", "json").json() == [ROW]
    assert operator.call("leases", "-o", "json").json() == [LEASE]
    assert [json.loads(x) for x in operator.call("events", "-o", "json").out.splitlines()] == [EVENT, EVENT]


@pytest.mark.parametrize("listing", LISTINGS, ids=" ".join)
def test_a_pipe_gets_plain_lines(operator: Operator, listing: tuple[str, ...]) -> None:
    said = operator.call(*listing)
    assert (said.rc, said.err) == (0, "")
    assert not ESCAPES.search(said.out)
    if listing[0] not in {"plan", "config", "generations"}:
        assert "\\x1b[31m" in said.out, "it is shown, spelled out"
        assert "[bold]" in said.out, "and it is no markup"
        assert not re.search(r"(?m)^new ", said.out), "nor a line of its own"


@pytest.mark.parametrize("listing", [("machines",), ("events",)], ids=" ".join)
def test_a_terminal_with_no_color_gets_no_escape_code(operator: Operator, listing: tuple[str, ...]) -> None:
    shown = operator.on_a_terminal(*listing, env={"NO_COLOR": "1"})
    assert "52:54:00" in shown
    assert "\x1b" not in shown
    assert "\xc2\x9b" not in shown


@pytest.mark.parametrize("listing", [("machines",), ("events", "-o", "json")], ids=" ".join)
def test_a_terminal_gets_our_codes_and_nobody_else_s(operator: Operator, listing: tuple[str, ...]) -> None:
    shown = operator.on_a_terminal(*listing)
    codes = set(re.findall(r"\x1b(\[[0-9;]*m|.)", shown))
    assert codes <= {"[0m", "[1m"}
    for raw in ("\x07", "\xc2\x9b", "\x9b2J", "\xe2\x80\xae", "\xe2\x81\xa6", "\x7f"):
        assert raw not in shown


def test_errors_on_a_terminal_without_color_are_plain_too(operator: Operator) -> None:
    shown = operator.on_a_terminal("machine", "show", "nobody", env={"NO_COLOR": "1"})
    assert "error" in shown
    assert "\x1b" not in shown


def test_a_hostile_name_in_an_error_is_spelled_out(operator: Operator) -> None:
    said = operator.call("machine", "show", "\x1b[31m\u202e[red]x")
    assert said.rc != 0
    assert not ESCAPES.search(said.err)


def test_status_without_a_daemon_is_whole_and_fails(tmp_path: Path) -> None:
    alone = Operator(tmp_path)
    said = alone.run("status", "-o", "json")
    assert said.rc == 5
    facts = said.json()
    assert {k: sorted(v) if isinstance(v, dict) else type(v).__name__ for k, v in facts.items()} == {
        "version": "int",
        "daemon": ["pid", "running", "since"],
        "dnsmasq": ["pid", "restarts", "state"],
        "generation": ["at", "id", "proven"],
        "pending": "NoneType",
        "networks": "list",
        "machines": ["booted", "booting", "known", "stuck"],
        "strays": "int",
        "rogue_servers": "list",
        "matchbox": ["endpoint", "reachable"],
        "problems": "list",
    }
    assert facts["daemon"] == {"running": False, "pid": None, "since": None}
    assert "systemctl start pxe-appliance" in facts["problems"][0]["fix"]
    shown = alone.call("status")
    assert shown.rc == 5
    assert "not running" in shown.out


# ---- the one function that all of it relies on ----


@given(st.text() | STRINGS.map(lambda s: s * 50), st.integers(2, 600))
def test_no_text_is_dangerous_or_longer_than_asked(text: str, limit: int) -> None:
    shown = safe_text(text, limit=limit)
    assert not ESCAPES.search(shown)
    assert "\n" not in shown
    assert len(shown) <= limit
    shown.encode()  # no surrogate is left
    if text.isascii() and text.isprintable() and len(text) <= limit:
        assert shown == text


@given(st.text(max_size=20))
def test_what_is_hidden_can_be_read(text: str) -> None:
    shown = safe_text(text)
    assert shown.isprintable() or not ESCAPES.search(shown)
    assert safe_text(shown) == shown
