"""The seed of a run: always the same one for a commit, a new one every night, and always printed."""

from __future__ import annotations

import os
import secrets
from random import Random
from typing import Final

VARIABLE: Final = "PXE_SEED"


def draw_for_the_night() -> None:
    """Have this run try what no run before it has tried, unless it is to repeat one."""
    os.environ.setdefault(VARIABLE, str(secrets.randbelow(10**9)))


def seed_of_run() -> int:
    """The seed; 1 unless the environment says otherwise."""
    return int(os.environ.get(VARIABLE, "1"))


def seeded(name: str) -> Random:
    """A generator of one's own: other tests draw nothing from it."""
    return Random(f"{name} {seed_of_run()}")
