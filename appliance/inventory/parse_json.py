"""JSON text to a `Document`, with lines; a key written twice is a problem, not a silent choice.

The standard library's parser says whether it is JSON (and where not), but keeps no lines and lets the last of
two equal keys win. What it has accepted is therefore walked once more, token by token.

Pure.
"""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn

from appliance.errors import Problem
from appliance.inventory.marks import DEEPEST, NOT_OURS, Marks
from appliance.reading import ENOUGH_PROBLEMS, Document, shown

_Level = tuple[dict[str, object], dict[str, int]] | tuple[list[object], list[int]]

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]\n]|[^\s{}\[\]:,"]+')
_CONSTANTS: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_DIGITS: Final = 4000
_NUMBER: Final = re.compile(r"-?\d+", re.ASCII)


_TOO_DEEP: Final = f"is nested more than {DEEPEST} deep"


class _NotJson(ValueError):
    """NaN and Infinity: Python reads them, RFC 8259 does not know them."""


def read_json(text: str, file: str, problems: list[Problem]) -> Document | None:
    """Parse JSON; None, and problems with their lines, when it is not JSON or has a key twice."""
    try:
        data: object = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        message = f"is not JSON: {error.msg} (column {error.colno})"
        hint = "mend that place: a comma between entries and none after the last, double quotes only"
        problems.append(Problem(file, error.lineno, "", message, hint))
        return None
    except RecursionError:
        problems.append(Problem(file, _line_too_deep(text), "", _TOO_DEEP, NOT_OURS))
        return None
    except ValueError as error:
        problems.append(_not_a_number(text, file, error))
        return None
    if not isinstance(data, dict):
        message = f"a table {{…}} is expected at the top, not {shown(data)}"
        problems.append(Problem(file, 1, "", message, 'begin with { "machine": { … } }'))
        return None
    walk = _Walk(file)
    walk.over(text)
    problems.extend(walk.problems)
    return None if walk.problems else Document(file, walk.marks.root, walk.marks)


def _not_a_number(text: str, file: str, error: ValueError) -> Problem:
    """NaN, Infinity, or more digits than Python turns into a number: whichever comes first."""
    line, word = 1, ""
    for found in _TOKEN.finditer(text):
        if found[0] == "\n":
            line += 1
        elif found[0] in _CONSTANTS or (found[0][0] in "-0123456789" and len(found[0]) > _DIGITS):
            word = found[0]
            break
    message = str(error) if word in _CONSTANTS else "a number has too many digits"
    return Problem(file, line, "", f"is not JSON: {message}", "write a number, or leave the key out")


def _line_too_deep(text: str) -> int:
    line, depth = 1, 0
    for found in _TOKEN.finditer(text):
        line += found[0] == "\n"
        depth += (found[0] in "{[") - (found[0] in "}]")
        if depth > DEEPEST:
            break
    return line


def _refuse_constant(name: str) -> NoReturn:
    raise _NotJson(f"{name} is not a number")


def _scalar(word: str) -> object:
    if word[0] == '"':
        value: object = json.loads(word) if "\\" in word else word[1:-1]
        return value
    if word in {"true", "false"}:
        return word == "true"
    if word == "null":
        return None
    return int(word) if _NUMBER.fullmatch(word) else float(word)


class _Walk:
    """One pass over the tokens of a text that is known to be JSON."""

    def __init__(self, file: str) -> None:
        self.marks = Marks()
        self.problems: list[Problem] = []
        self._file = file
        self._line = 1
        self._open: list[_Level] = []
        self._key: str | None = None

    def over(self, text: str) -> None:
        """Build the tree; stop at what is nested too deeply."""
        for found in _TOKEN.finditer(text):
            word = found[0]
            if word == "\n":
                self._line += 1
            elif word in "}]":
                self._open.pop()
            elif word == "{":
                self._descend(self.marks.dict())
            elif word == "[":
                self._descend(self.marks.list())
            elif self._key is None and self._open and isinstance(self._open[-1][0], dict):
                self._begin_entry(str(_scalar(word)))
            else:
                self._place(_scalar(word))
            if len(self._open) > DEEPEST:
                self.problems.append(Problem(self._file, self._line, "", _TOO_DEEP, NOT_OURS))
                return
            if len(self.problems) >= ENOUGH_PROBLEMS:
                return

    def _begin_entry(self, key: str) -> None:
        entries, lines = self._open[-1]
        self._key = key
        if isinstance(entries, dict) and isinstance(lines, dict):
            if key in entries:
                message = f"the key {shown(key)} is written twice, first on line {lines[key]}"
                self.problems.append(Problem(self._file, self._line, "", message, "keep one of the two"))
            lines.setdefault(key, self._line)

    def _place(self, value: object) -> None:
        entries, lines = self._open[-1]
        if isinstance(entries, list) and isinstance(lines, list):
            entries.append(value)
            lines.append(self._line)
        elif isinstance(entries, dict) and self._key is not None:
            entries[self._key] = value
            self._key = None

    def _descend(self, level: _Level) -> None:
        if self._open:
            self._place(level[0])
        elif isinstance(level[0], dict):
            self.marks.root = level[0]
        self._open.append(level)
