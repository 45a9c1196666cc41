"""What is there for people only: words that listings add, and a question before a change."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.unit.cli.command import COMMAND, Operator


def test_a_stranger_is_shown_with_the_maker_of_its_nic(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    operator.write()
    event = {
        "at": "2025-01-31T04:05:06.789Z",
        "event": "stray",
        "machine": None,
        "mac": "00:00:0c:01:02:03",
        "ip": None,
        "network": "pxe",
        "detail": {"reason": "it is not in the inventory"},
    }
    with operator.daemon(events=(200, json.dumps(event) + "\n")):
        assert "Cisco" in operator.call("events").out
        assert json.loads(operator.call("events", "-o", "json").out)["mac"] == "00:00:0c:01:02:03"


@pytest.mark.parametrize(("answer", "rc"), [(b"n\n", 4), (b"\x04", 130), (b"y\n", 0)])
def test_a_person_is_asked_and_may_say_no_or_leave(tmp_path: Path, answer: bytes, rc: int) -> None:
    """Leaving is nobody's bug: exit 1 says that one of ours was met."""
    operator = Operator(tmp_path)
    operator.write()
    ours, theirs = pty.openpty()
    argv = [COMMAND, "--root", str(tmp_path), "sync"]
    with subprocess.Popen(argv, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = b""
        while b"Apply this?" not in said:
            piece = os.read(process.stderr.fileno(), 1024)
            assert piece, said
            said += piece
        os.write(ours, answer)
        assert process.wait(60) == rc
    os.close(theirs)
    os.close(ours)
    assert (tmp_path / "var/lib/pxe-appliance/current").exists() is (rc == 0)
