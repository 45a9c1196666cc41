"""What a daemon that starts takes up of the past: how far machines had come, what became of them. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from immutables import Map

from appliance.boot.ladder import Ladder
from appliance.boot.policy import Cue, Life
from appliance.daemon.known import State
from appliance.daemon.ledger import restored
from appliance.daemon.sightings import Sighting

Kept = Callable[[str], Mapping[str, object]]


def taken_up(state: State, kept: Kept, at: datetime) -> State:
    """The state with what the history's tables hold; `kept` gives one, as parsed JSON by machine or MAC."""
    ladders: dict[str, Ladder] = {}
    lives: dict[str, Life] = {}
    for machine, raw in kept("ladder").items():
        with contextlib.suppress(ValueError):
            ladders[machine] = Ladder.from_json(raw)
    for machine, raw in kept("life").items():
        try:
            lives[machine] = Life.from_json(raw)
        except ValueError:  # of a later version, or damaged: new, it would be installed over
            lives[machine] = Life().after(Cue.INSTALLED, at)
    sightings: dict[str, Sighting] = {}
    for machine, raw in kept("seen").items():
        with contextlib.suppress(ValueError):
            sightings[machine] = Sighting.from_json(raw)
    return replace(
        state,
        ladders=Map(ladders),
        lives=Map(lives),
        sightings=Map(sightings),
        strays=restored(kept("stray")),
    )
