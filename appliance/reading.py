"""The border: a file that is parsed and not yet typed, and every problem that it has, each with its place.

A format's reader makes a `Document`: plain dicts, lists and scalars, and a way to find the line of any of
them. A `Reading` collects what is wrong with it while `shapes` turn its values into types. What is echoed of
a file is escaped and short, whatever the file holds.

Pure.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

from appliance.errors import Problem
from appliance.settings import Origin

Path = tuple[str | int, ...]

# Bounds on what is echoed or compared, so that a hostile file costs no more than its size.
_SHOWN: Final = 60
_SUGGESTIONS: Final = 200
# A file format's reader gives up on a file after so many; all files together list no more than MOST_PROBLEMS.
ENOUGH_PROBLEMS: Final = 1000
MOST_PROBLEMS: Final = 10_000

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)


def shown(value: object) -> str:
    """A value as it may stand in a message: one line, escaped, at most about 60 characters."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}…"
    if isinstance(value, bool):
        return str(value).lower()
    # Python refuses to print integers of more than 4300 digits; 128 bits are enough to recognise one.
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 128 else "a huge number"
    return _kind_of(value)


def dotted(path: Path) -> str:
    """A path as an operator writes it: `machine.node1.macs[0]`; odd names are quoted and cut short."""
    out: list[str] = []
    for step in path:
        if isinstance(step, int):
            out.append(f"[{step}]")
        else:
            bare = _BARE_KEY.fullmatch(step)
            out.append(("." if out else "") + (step if bare else json.dumps(step[:_SHOWN])))
    return "".join(out)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word closest to `word`; empty when none is near."""
    names = sorted(known)
    if len(word) > _SHOWN or len(names) > _SUGGESTIONS:
        return ""
    return next(iter(difflib.get_close_matches(word.lower(), names, n=1)), "")


def _kind_of(value: object) -> str:
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (str, "a string"),
        (bool, "true or false"),
        ((int, float), "a number"),
        (Mapping, "a table"),
        (list, "a list"),
        ((date, datetime, time), "a date or time"),
    )
    return next((word for kind, word in kinds if isinstance(value, kind)), "nothing")


class Unfit(ValueError):
    """A value that does not fit, and what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Document:
    """One file, parsed by its format and not yet typed.

    `locate` gives the line (from 1; 0 when unknown) of a path or of the nearest thing above it. `textual`
    says that the format has only strings (YAML as we read it, CSV), so that numbers arrive as digits.
    """

    file: str
    data: Mapping[str, object]
    locate: Callable[[Path], int]
    textual: bool = False

    def origin(self, path: Path) -> Origin:
        """Where `path` is written."""
        return Origin(self.file, self.locate(path))

    def problem(self, path: Path, message: str, hint: str = "") -> Problem:
        """A problem at `path`; one with the file as a whole stands at its first line."""
        return Problem(self.file, max(1, self.locate(path)), dotted(path), message, hint)


class Reading:
    """One document being read: its problems, in the order in which they are met."""

    __slots__ = ("document", "problems")

    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self.document = document
        self.problems = problems

    def add(self, path: Path, message: str, hint: str = "") -> None:
        """Note a problem at `path`; past the ten thousandth, only that there are more."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(self.document.problem(path, message, hint))
        elif len(self.problems) == MOST_PROBLEMS:
            message = f"and more: only {MOST_PROBLEMS} problems are listed"
            hint = "mend what is listed, then check again"
            self.problems.append(self.document.problem((), message, hint))

    def suggest(self, word: str, known: Iterable[str]) -> str:
        """A hint that names the nearest known word; empty once there are more problems than anybody reads."""
        near = nearest(word, known) if len(self.problems) < _SUGGESTIONS else ""
        return f"did you mean {near!r}?" if near else ""
