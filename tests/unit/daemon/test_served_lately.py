"""The note of what was served a moment ago: what it is worth, and when it is worth nothing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.daemon.served_lately import FRESH, ServedLately
from tests.unit.daemon.rooms import LAB, PXE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "served-lately.json"


def changed(path: Path, seconds: float) -> None:
    """The note as if it was of `seconds` before."""
    facts = json.loads(path.read_text())
    facts["networks"] = {key: at - seconds for key, at in facts["networks"].items()}
    path.write_text(json.dumps(facts))


def test_what_was_noted_is_known_to_the_next_one(path: Path) -> None:
    assert not ServedLately(path).has(PXE)
    ServedLately(path).note([PXE])
    assert ServedLately(path).has(PXE)
    assert not ServedLately(path).has(LAB)
    assert not ServedLately(path).has(replace(PXE, interface="eno9")), "another wire"


@pytest.mark.parametrize(("seconds", "fresh"), [(FRESH - 5, True), (FRESH + 1, False), (-60, False)])
def test_it_ages(path: Path, seconds: float, fresh: bool) -> None:
    """A time that is still to come is of a boot before: that clock starts with the host."""
    ServedLately(path).note([PXE])
    changed(path, seconds)
    assert ServedLately(path).has(PXE) is fresh


def test_a_network_that_pauses_keeps_its_time(path: Path) -> None:
    ServedLately(path).note([PXE])
    changed(path, 100)
    again = ServedLately(path)
    again.note([LAB])
    assert ServedLately(path).has(PXE)
    assert ServedLately(path).has(LAB)
    changed(path, FRESH - 50)
    ServedLately(path).note([LAB])
    assert not ServedLately(path).has(PXE)


def test_one_of_another_boot_counts_for_nothing(path: Path) -> None:
    ServedLately(path).note([PXE])
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "boot": "another"}))
    assert not ServedLately(path).has(PXE)


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "{}", '{"boot": ""}', '{"networks": {"pxe": "x"}}', "[" * 100_000, "\udcff"]
)
def test_one_that_cannot_be_read_counts_for_nothing(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert not ServedLately(path).has(PXE)
    ServedLately(path).note([PXE])
    assert ServedLately(path).has(PXE)


def test_one_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    ServedLately(tmp_path / "none/served-lately.json").note([PXE])
    os.mkfifo(tmp_path / "fifo")
    assert not ServedLately(tmp_path / "fifo").has(PXE)
