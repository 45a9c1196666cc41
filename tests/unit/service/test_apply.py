"""Steps that fail: what is taken back, in which order, and what is not promised."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from appliance.errors import SurroundingsError
from appliance.service import apply
from appliance.service.parts import SERVICE, Part
from appliance.service.plan import Change, Command, Removal, ServicePlan


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `systemctl` that notes what it was called with, and whether the unit of the test stands there."""
    notes, unit = tmp_path / "notes", tmp_path / "units" / SERVICE
    fake = tmp_path / "bin/systemctl"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$1 $(cat {unit} 2>/dev/null)" >>{notes}\n[ "$1" != enable ]\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(apply, "UNIT_DIRECTORY", str(unit.parent))
    return notes


def test_systemd_reads_the_units_again_once_the_old_ones_stand_there(told: Path, tmp_path: Path) -> None:
    unit = str(tmp_path / "units" / SERVICE)
    before, after = Part(unit, b"old"), Part(unit, b"new")
    Path(unit).parent.mkdir()
    Path(unit).write_bytes(b"old")
    steps = (
        Change(unit, before, after),
        Command(("systemctl", "daemon-reload")),
        Command(("systemctl", "enable", SERVICE)),
    )
    with pytest.raises(SurroundingsError, match="what was done before is taken back"):
        apply.carry_out(ServicePlan(steps), print)
    assert told.read_text().splitlines() == ["daemon-reload new", "enable new", "daemon-reload old"]


def test_what_is_being_removed_is_not_brought_back(told: Path, tmp_path: Path) -> None:
    kept, state = tmp_path / "kept", tmp_path / "state"
    state.mkdir()
    kept.write_text("x")
    steps = (
        Change(str(kept), Part(str(kept), b"x"), None),
        Removal(str(state)),
        Command(("systemctl", "enable", SERVICE)),
    )
    with pytest.raises(SurroundingsError, match="what was done before stays done"):
        apply.carry_out(ServicePlan(steps), print)
    assert not kept.exists()
