"""Words that the listings add for people."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.command import Operator


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
