"""When a generation that could not be proven is proven again, and when that is its end. Pure.

What was acknowledged is not taken back for one silent round: a cable that is pulled, a host that is busy for
three seconds and a flood look the same as a change that does not work. Only several rounds in a row that
fail while everything is fit count against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAUSE: Final = 10.0  # seconds; twice as long after each round that shows nothing
_LONGEST: Final = 120.0  # a round keeps other changes of the children waiting
_SOON: Final = 3.0
_ENOUGH: Final = 3  # rounds that fail while everything is fit


@dataclass(slots=True)
class Rounds:
    """Of one generation after another; times are monotonic, in seconds."""

    number: int | None = None
    failures: int = 0  # in a row, with everything fit
    _usable: frozenset[str] = frozenset()
    _next: float = 0.0
    _pause: float = PAUSE
    _hurried: bool = False

    def due(self, number: int | None, usable: frozenset[str], at: float, *, hurried: bool = False) -> bool:
        """Whether generation `number` is asked for now: at once when a network is usable anew.

        `hurried`: a way back went wrong, and what is on the wire is not known to be this generation.
        """
        if number != self.number:
            self.number, self.failures, self._usable = number, 0, usable
            self._next, self._pause, self._hurried = at + PAUSE, PAUSE, False
        if usable - self._usable:
            self._next, self._pause = at, PAUSE
        if hurried and not self._hurried:
            self._next, self._pause = min(self._next, at + _SOON), _SOON
        self._usable, self._hurried = usable, hurried
        return at >= self._next

    def open(self, at: float) -> None:
        """A round has shown nothing: somebody could not be asked, or something of the host was not fit."""
        self.failures = 0
        self._next = at + self._pause
        self._pause = min(2 * self._pause, PAUSE if self._hurried else _LONGEST)

    def failed(self, at: float) -> bool:
        """A round has failed while everything was fit; whether these are enough to go back."""
        self.failures += 1
        self._next = at + _SOON
        if self.failures < _ENOUGH:
            return False
        self.open(at)
        return True
