"""JSON with the place of everything in it: the line of a value, and where a list ends. Pure.

The standard library's parser says whether it is JSON, at C speed; what it has accepted is walked once more,
token by token, because it keeps no lines and lets the last of two equal keys win.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from typing import Final, NoReturn

from appliance.matchbox.errors import Flaw, IgnitionError, Keys
from appliance.reading import dotted

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s{}\[\]:,"]+')
_DEEPEST: Final = 60


class JsonTree:
    """A JSON document: `value` as plain Python, and where each part of it is written."""

    __slots__ = ("_breaks", "_ends", "_starts", "twice", "value")

    def __init__(self, text: str, value: object) -> None:
        """Index a text that is known to be JSON."""
        self.value = value
        self.twice: list[tuple[Keys, int]] = []
        self._starts: dict[Keys, int] = {}
        self._ends: dict[Keys, int] = {}
        self._breaks = [found.start() for found in re.finditer("\n", text)]
        self._walk(text)

    def line(self, keys: Keys) -> int:
        """The line, from 1, of the key or entry at `keys`, or of the nearest thing above it."""
        while keys and keys not in self._starts:
            keys = keys[:-1]
        return self._line(self._starts.get(keys, 0))

    @property
    def depth(self) -> int:
        """How many steps the deepest value is away from the root."""
        return max(map(len, self._starts))

    def end(self, keys: Keys) -> int | None:
        """The offset, in characters, of the bracket that closes the object or list at `keys`."""
        return self._ends.get(keys)

    def flaw(self, keys: Keys, message: str, hint: str = "", *, fatal: bool = True) -> Flaw:
        """A flaw at `keys`."""
        return Flaw(message, self.line(keys), dotted(keys), hint, keys, fatal)

    def _line(self, offset: int) -> int:
        return bisect_left(self._breaks, offset) + 1

    def _walk(self, text: str) -> None:
        # `here` is the path of what comes next; `levels` holds the open containers.
        levels: list[tuple[Keys, bool]] = []
        here: Keys = ()
        wants_key = False
        for found in _TOKEN.finditer(text):
            word, offset = found[0], found.start()
            if word in "}]":
                path, _ = levels.pop()
                self._ends[path] = offset
            elif wants_key:
                path, _ = levels[-1]
                here = (*path, _unquoted(word))
                if here in self._starts:
                    self.twice.append((here, self._line(offset)))
                self._starts.setdefault(here, offset)
                wants_key = False
                continue
            else:
                self._starts.setdefault(here, offset)
                if word in "{[":
                    levels.append((here, word == "{"))
                    wants_key = word == "{"
                    here = (*here, 0)
                    continue
                path = here
            # A value has ended: its container says what comes next.
            if levels:
                above, is_object = levels[-1]
                step = path[-1]
                wants_key = is_object
                here = above if is_object or not isinstance(step, int) else (*above, step + 1)


def read_json(content: bytes) -> tuple[str, JsonTree]:
    """The text and the tree of a JSON document.

    Raises:
        IgnitionError: it is none, with the line.
    """
    if not content.strip():
        raise IgnitionError("the file is empty")
    try:
        text = content.decode("utf-8")
        value: object = json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise IgnitionError("it is not UTF-8", line=line, hint="save it as UTF-8") from error
    except json.JSONDecodeError as error:
        hint = "a comma between entries and none after the last, double quotes only"
        raise IgnitionError(f"it is not JSON: {error.msg}", line=error.lineno, hint=hint) from error
    except (RecursionError, ValueError) as error:
        raise IgnitionError("it is not usable JSON: nested too deeply, or a number is too long") from error
    tree = JsonTree(text, value)
    if tree.depth > _DEEPEST:
        raise IgnitionError("it is not usable JSON: nested too deeply")
    return text, tree


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _unquoted(word: str) -> str:
    return str(json.loads(word)) if "\\" in word else word[1:-1]
