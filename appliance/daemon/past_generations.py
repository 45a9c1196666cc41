"""The generations as readings: who made them, when and why, and what each one changed. Blocking."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from appliance.daemon.discreet import told_changes
from appliance.errors import Refused, SurroundingsError
from appliance.paths import Paths
from appliance.sync.generations import (
    Manifest,
    current_id,
    list_generations,
    load_generation,
    read_manifest,
)
from appliance.sync.plan import make_plan

_KEPT: Final = 32  # differences; a generation never changes


class PastGenerations:
    """What is on disk, for whoever asks from any thread."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._differences: OrderedDict[tuple[int, int | None], dict[str, object]] = OrderedDict()
        # Reading two large generations takes seconds of a core that serving needs: one at a time.
        self._busy = threading.Lock()

    def listing(self) -> list[dict[str, object]]:
        """For `/v1/generations`: oldest first."""
        current = self._current()
        return [{**m.as_json(), "current": m.id == current} for m in list_generations(self._paths)]

    def one(self, number: int) -> dict[str, object]:
        """For `/v1/generations/N`: its record, and what it changed against the one that was served before.

        Raises:
            Refused: there is none of that number.
            SurroundingsError: it, or the one before, is not what was written.
        """
        known = {m.id: m for m in list_generations(self._paths)}
        if number not in known:
            raise Refused(f"there is no generation {number}", hint="pxe-appliance generations lists them")
        base = _before(number, known)
        with self._busy:
            if (number, base) not in self._differences:
                self._differences[number, base] = self._difference(number, base)
                while len(self._differences) > _KEPT:
                    self._differences.popitem(last=False)
            difference = self._differences[number, base]
        record = read_manifest(self._paths, number).as_json()
        return {**record, "current": number == self._current(), "base": base, **difference}

    def _difference(self, number: int, base: int | None) -> dict[str, object]:
        before = load_generation(self._paths, base) if base is not None else None
        plan = make_plan(base, before, load_generation(self._paths, number))
        return told_changes(plan.changes)

    def _current(self) -> int | None:
        try:
            return current_id(self._paths)
        except SurroundingsError:
            return None


def _before(number: int, known: dict[int, Manifest]) -> int | None:
    """What was served before: a generation that was taken back never was."""
    return max((n for n, manifest in known.items() if n < number and not manifest.rejected), default=None)
