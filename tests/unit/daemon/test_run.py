"""What a daemon takes up of the past when it starts."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from appliance.addresses import Mac
from appliance.boot.policy import Life, LifeState
from appliance.daemon.history import LIFE, STRAY, History
from appliance.daemon.ledger import Stray
from appliance.daemon.run import Daemon
from appliance.paths import Paths
from tests.unit.daemon.rooms import AT


def test_a_life_that_cannot_be_read_stands_for_installed(tmp_path: Path) -> None:
    """A word of a later version, or a damaged row: as new, the machine would be installed over."""
    paths = Paths(PurePosixPath(tmp_path))
    history = History(Path(paths.history))
    history.append(
        kept={LIFE: {"node1": '{"state": "cloned"}', "node2": "[", "node3": "{}", "node4": _new()}}
    )
    history.close()
    daemon = Daemon(paths)
    daemon.take_up()
    lives = daemon.state.lives
    assert {name: lives[name].state for name in sorted(lives)} == {
        "node1": LifeState.INSTALLED,
        "node2": LifeState.INSTALLED,
        "node3": LifeState.INSTALLED,
        "node4": LifeState.NEW,
    }
    daemon.history.close()


def test_strays_and_their_notes_are_taken_up_and_a_damaged_row_is_left_out(tmp_path: Path) -> None:
    paths = Paths(PurePosixPath(tmp_path))
    history = History(Path(paths.history))
    mac = Mac.parse("00:1b:21:0a:0b:0c")
    row = Stray(mac, "pxe", AT, AT, note="the printer")
    history.append(kept={STRAY: {mac.text: json.dumps(row.as_json()), "x": "{", "y": '{"mac": 7}'}})
    history.close()
    daemon = Daemon(paths)
    daemon.take_up()
    assert dict(daemon.state.strays.rows) == {mac: row}
    assert daemon.state.strays.counted == 0
    daemon.history.close()


def _new() -> str:
    return json.dumps(Life().as_json())
