"""TOML text to a `Document`: the data by the standard library, the lines by a locator of our own.

`tomllib` keeps no positions, and the parsers that do are some forty times slower. So the locator finds table
headers with one pass of a regular expression, only when somebody asks for a line, and looks into the keys of
a table only when somebody asks for one of them.

Pure.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import chain, islice, pairwise
from typing import Final

from appliance.errors import Problem
from appliance.reading import ENOUGH_PROBLEMS, Document, Path, dotted

# Deep enough for every table of ours; tomllib's work grows with the square of a key's parts.
_KEY_PARTS: Final = 32
LONG_KEY: Final = f"a key has more than {_KEY_PARTS} parts"

_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED: Final = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_PART: Final = re.compile(_KEY)
_HEADER: Final = re.compile(
    rf"^[ \t]*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]\]?[ \t]*(?:#[^\n]*)?\r?$", re.MULTILINE
)
_ASSIGNED: Final = re.compile(rf"^[ \t]*({_DOTTED})[ \t]*=", re.MULTILINE)
_LONG_LINE: Final = re.compile(r"^[^\n]{64,}", re.MULTILINE)
_MANY_PARTS: Final = re.compile(rf"(?:\.[ \t]*(?>{_KEY})[ \t]*){{{_KEY_PARTS}}}")
# Strings and comments, so that text inside a multi-line string is not taken for a header or a key.
_OPAQUE: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
_NOT_OURS: Final = "nothing of ours is that deep: is this file meant for the appliance?"
_SYNTAX: Final = "mend that line or the one before it: strings stand in quotes, [table] heads on their own"
_HUGE_NUMBER: Final = re.compile(r"(?<![0-9_])[0-9_]{4000,}")
_AT: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def read_toml(text: str, file: str, problems: list[Problem]) -> Document | None:
    """Parse TOML, byte order mark or not; None, and a problem with its line, when it is not TOML."""
    text = text.removeprefix("\ufeff")
    if line := line_of_long_key(text):
        problems.append(Problem(file, line, "", LONG_KEY, _NOT_OURS))
        return None
    try:
        data = tomllib.loads(text)
    except RecursionError:
        problems.append(Problem(file, _deepest_line(text), "", "is nested too deeply", _NOT_OURS))
    except tomllib.TOMLDecodeError as error:
        problems.extend(_explain(text, file, str(error)))
    except ValueError:
        # Not a syntax error: Python will not turn that many digits into a number.
        digits = _HUGE_NUMBER.search(text)
        line = text.count("\n", 0, digits.start()) + 1 if digits else 1
        problems.append(Problem(file, line, "", "has a number of too many digits", "write a shorter one"))
    else:
        return Document(file, data, TomlLines(text))
    return None


def line_of_long_key(text: str) -> int:
    """The line of a key of so many parts that tomllib would take long over it; 0 when there is none."""
    for long_line in _LONG_LINE.finditer(text):
        if _MANY_PARTS.search(long_line[0]):
            return text.count("\n", 0, long_line.start()) + 1
    return 0


def _explain(text: str, file: str, message: str) -> Iterator[Problem]:
    at = _AT.search(message)
    line = int(at[1]) if at and at[1] else (text.count("\n") + 1 if at else 1)
    twice = list(islice(TomlLines(text).repeated(), ENOUGH_PROBLEMS))
    if any(second == line for _, _, second in twice):
        for path, first, second in twice:
            message = f"is written twice, first at {file}:{first}"
            yield Problem(file, second, dotted(path), message, "keep one of the two")
        return
    sentence = message[: at.start()] if at else message
    yield Problem(file, line, "", f"is not TOML: {sentence}", _SYNTAX)


def _deepest_line(text: str) -> int:
    """The line that opens the most brackets: where a parser that ran out of depth must have been."""
    lines = text.splitlines() or [""]
    return max(range(len(lines)), key=lambda n: sum(map(lines[n].count, "[{"))) + 1


class TomlLines:
    """The line of any path in one TOML text. Call it with a path; 0 when nothing near is written.

    For the values of an inline table or of a list, the line is that of the key which holds them.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts: list[int] = []
        self._sections: dict[Path, tuple[int, int]] = {}
        self._implied: dict[Path, int] = {}
        self._keys: dict[Path, dict[Path, int]] = {}

    def __call__(self, path: Path) -> int:
        """The line of `path`, or of the nearest table above it."""
        if not self._sections:
            self._index()
        for cut in range(len(path), -1, -1):
            section = self._sections.get(path[:cut])
            if section is None:
                continue
            if cut == len(path):
                return self._line(section[0]) if path else 0
            offset = self._offset_in(path[:cut], section, path[cut:])
            if offset is None and cut:
                offset = section[0]
            if offset is not None:
                return self._line(offset)
        return self._line_of_implied(path)

    def repeated(self) -> Iterator[tuple[Path, int, int]]:
        """Tables and keys that are written twice, as tomllib refuses them: path, first line, second line."""
        self._index()
        seen: dict[Path, int] = {}
        for path, start, end in chain([((), *self._sections[()])], self._headers()):
            line = self._line(start)
            if path in seen and isinstance(path[-1], str):
                yield path, seen[path], line
            seen.setdefault(path, line)
            keys: dict[Path, int] = {}
            for key, offset in self._assignments(start, end):
                if key in keys:
                    yield (*path, *key), self._line(keys[key]), self._line(offset)
                keys.setdefault(key, offset)

    def _index(self) -> None:
        self._starts = [0, *(m.end() for m in re.finditer("\n", self._text))]
        if '"""' in self._text or "'''" in self._text:
            self._text = _OPAQUE.sub(_blank, self._text)
        first = _HEADER.search(self._text)
        self._sections[()] = (0, first.start() if first else len(self._text))
        for path, start, end in self._headers():
            self._sections.setdefault(path, (start, end))

    def _headers(self) -> Iterator[tuple[Path, int, int]]:
        """Each table header: its path, with indices inside arrays of tables, and the span of its section."""
        counts: dict[Path, int] = {}
        for header, following in pairwise(chain(_HEADER.finditer(self._text), [None])):
            if header is None:
                return
            end = following.start() if following else len(self._text)
            path = _parts(header[2])
            if counts:
                path = _with_indices(path, counts)
            if header[1] == "[[":
                index = counts.get(path, -1) + 1
                counts[path] = index
                path = (*path, index)
            yield path, header.start(), end

    def _offset_in(self, path: Path, section: tuple[int, int], rest: Path) -> int | None:
        keys = self._keys.get(path)
        if keys is None:
            keys = self._keys[path] = {}
            for key, offset in self._assignments(*section):
                for end in range(1, len(key) + 1):
                    keys.setdefault(key[:end], offset)
        return next((keys[rest[:end]] for end in range(len(rest), 0, -1) if rest[:end] in keys), None)

    def _assignments(self, start: int, end: int) -> Iterator[tuple[Path, int]]:
        for found in _ASSIGNED.finditer(self._text, start, end):
            yield _parts(found[1]), found.start()

    def _line_of_implied(self, path: Path) -> int:
        """`[a.b.c]` alone also makes `a.b`: its line is that of the first table below it."""
        if not self._implied:
            for header, (start, _) in self._sections.items():
                for cut in range(1, len(header)):
                    self._implied.setdefault(header[:cut], start)
        for cut in range(len(path), 0, -1):
            if path[:cut] in self._implied:
                return self._line(self._implied[path[:cut]])
        return 0

    def _line(self, offset: int) -> int:
        return bisect_right(self._starts, offset)


def _blank(found: re.Match[str]) -> str:
    text = found[0]
    return re.sub(r"[^\n]", " ", text) if text.startswith(('"""', "'''")) else text


def _parts(raw: str) -> Path:
    if '"' not in raw and "'" not in raw:
        return tuple(part.strip() for part in raw.split("."))
    return tuple(_unquoted(part) for part in _PART.findall(raw))


def _unquoted(part: str) -> str:
    if part[0] not in "\"'":
        return part
    try:
        value: Mapping[str, object] = tomllib.loads(f"k = {part}")
    except tomllib.TOMLDecodeError:
        return part
    return str(value["k"])


def _with_indices(path: Path, counts: Mapping[Path, int]) -> Path:
    """A header below an array of tables speaks of the array's last element."""
    out: Path = ()
    for step in path[:-1]:
        out = (*out, step)
        if out in counts:
            out = (*out, counts[out])
    return (*out, path[-1])
