"""TOML text to the places of its headers, keys and values. The text is known to be TOML (`tomllib` took it).

Pure.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Final

from appliance.inventory.spans import CannotEdit, Item, Node
from appliance.reading import Path

_NOTHING: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BLANKS: Final = re.compile(r"[ \t]*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE: Final = re.compile(r"[^,\]}#\r\n]+")


@dataclass(frozen=True, slots=True)
class Section:
    """A header (empty `path`: the top of the file, before any) and what stands below it, up to the next."""

    path: Path
    start: int
    head_end: int
    items: tuple[Item, ...]

    @property
    def content_end(self) -> int:
        """Where its header, or its last value, ends."""
        return self.items[-1].end if self.items else self.head_end


def scan_toml(text: str) -> list[Section]:
    """Every section in the order of the file.

    Raises:
        CannotEdit: the text is TOML in a way that is not understood here.
    """
    return _Scan(text).sections()


def string_value(token: str) -> str:
    """What a TOML string stands for."""
    value: object = tomllib.loads(f"k = {token}")["k"]
    return str(value)


class _Scan:
    """One walk through a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def sections(self) -> list[Section]:
        """See `scan_toml`."""
        found: list[Section] = []
        path: Path = ()
        start = head_end = 0
        items: list[Item] = []
        while True:
            self._skip(_NOTHING)
            done = self._at >= len(self._text)
            if not done and self._text[self._at] != "[":
                items.append(self._item())
                continue
            found.append(Section(path, start, head_end, tuple(items)))
            if done:
                return found
            start, items = self._at, []
            double = self._text.startswith("[[", start)
            self._at += 2 if double else 1
            path = self._key()
            self._expect("]]" if double else "]")
            head_end = self._at

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()

    def _expect(self, word: str) -> None:
        if not self._text.startswith(word, self._at):
            line = self._text.count("\n", 0, self._at) + 1
            raise CannotEdit(f"line {line} is written in an unusual way")
        self._at += len(word)

    def _key(self) -> Path:
        parts: list[str] = []
        while True:
            self._skip(_BLANKS)
            quoted = self._text[self._at : self._at + 1] in {'"', "'"}
            found = (_STRING if quoted else _BARE_KEY).match(self._text, self._at)
            if found is None:
                self._expect("a key")
                return ()
            parts.append(string_value(found[0]) if quoted else found[0])
            self._at = found.end()
            end = self._at
            self._skip(_BLANKS)
            if not self._text.startswith(".", self._at):
                self._key_end = end
                return tuple(parts)
            self._at += 1

    def _item(self) -> Item:
        start = self._at
        path = self._key()
        key_end = self._key_end
        self._expect("=")
        self._skip(_BLANKS)
        return Item(path, start, key_end, self._value())

    def _value(self) -> Node:
        start = self._at
        first = self._text[start : start + 1]
        if first == "{":
            items = []
            self._at += 1
            while not self._closes("}"):
                items.append(self._item())
            return Node(start, self._at, "table", items=tuple(items))
        if first == "[":
            entries = []
            self._at += 1
            while not self._closes("]"):
                entries.append(self._value())
            return Node(start, self._at, "list", entries=tuple(entries))
        found = (_STRING if first in {'"', "'"} else _BARE_VALUE).match(self._text, start)
        if found is None:
            self._expect("a value")
            return Node(start, start, "text")
        self._at = start + len(found[0].rstrip())
        return Node(start, self._at, "text")

    def _closes(self, bracket: str) -> bool:
        self._skip(_NOTHING)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_NOTHING)
        if not self._text.startswith(bracket, self._at):
            return False
        self._at += 1
        return True
