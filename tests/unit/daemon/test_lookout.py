"""The watch for other servers, where it must not matter: its own failure."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath

from appliance.daemon import signals as s
from appliance.daemon.known import State
from appliance.daemon.lookout import Lookout
from appliance.daemon.question import Rhythm
from appliance.paths import Paths


def test_a_watch_that_fails_stops_nothing_and_begins_anew(tmp_path: Path) -> None:
    async def play() -> int:
        calls = 0
        again = asyncio.Event()

        def state() -> State:
            nonlocal calls
            calls += 1
            if calls <= 2:
                raise LookupError("a bug of ours")
            again.set()
            return State()

        reported: list[s.Signal] = []
        rhythm = Rhythm(every=0.1, again=(0.0,), window=0.02)
        watch = Lookout(Paths(PurePosixPath(tmp_path)), reported.append, state, lambda _: None, rhythm)
        watch.start()
        async with asyncio.timeout(10):
            await again.wait()
        await watch.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "it is over"
        assert reported == []
        return calls

    assert asyncio.run(play()) >= 3
