"""Words to systemd, over real sockets of both kinds."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.system.notify import notify, watchdog_seconds


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A service manager's socket, and how NOTIFY_SOCKET spells it."""
    unique = f"pxe-test-{os.getpid()}-{secrets.token_hex(4)}"
    name = f"@{unique}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        listener.settimeout(5)
        yield name, listener


def test_words_arrive_in_one_datagram(manager: tuple[str, socket.socket]) -> None:
    name, listener = manager
    assert notify("READY=1", "STATUS=bereit für alles", environ={"NOTIFY_SOCKET": name})
    assert listener.recv(4096).decode() == "READY=1\nSTATUS=bereit für alles"


@pytest.mark.parametrize(
    "name", ["", "relative", "vsock:2:1234", "/no/such/socket", "@no-such-socket", "/" * 300]
)
def test_nobody_there_is_no_error(name: str) -> None:
    assert notify("READY=1", environ={"NOTIFY_SOCKET": name}) is False
    assert notify("READY=1", environ={}) is False


def test_a_manager_that_went_away_is_no_error(manager: tuple[str, socket.socket]) -> None:
    name, listener = manager
    listener.close()
    assert notify("WATCHDOG=1", environ={"NOTIFY_SOCKET": name}) is False


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_how_often_a_sign_of_life_is_wanted(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environ) == seconds
