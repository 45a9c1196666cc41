"""A clean stop takes down whatever nft was given, also when nobody could see that it stood."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.daemon.guard import Guard
from appliance.daemon.known import State
from tests.unit.daemon.rooms import served


def test_rules_that_were_loaded_and_not_seen_are_taken_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, nft = tmp_path / "said", tmp_path / "nft"
    nft.write_text(f'#!/bin/sh\necho "$@" >> {said}\n[ "$1" != -j ]\n')
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    guard = Guard(lambda _: None, State)

    async def go() -> None:
        await guard.take_down()
        assert not said.exists(), "nothing was given to nft"
        await guard.follow(served())
        await guard.take_down()

    asyncio.run(go())
    *tries, last = [line.split()[0] for line in said.read_text().splitlines()]
    assert tries[:2] == ["-f", "-j"]
    assert set(tries) == {"-f", "-j"}
    assert last == "delete"
