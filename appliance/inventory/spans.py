"""Where things stand in a text, and changes of it that leave every other character as it is.

An edit of an operator's file is a few splices of its text: nothing is printed anew, so that comments, quotes,
columns and line ends cannot change. (Measured: round-trip libraries re-flow YAML's indents and columns, and
drop the comment above the next table when a table is removed from TOML.)

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from appliance.reading import Path

_COMMENT: Final = re.compile(r"[ \t]*#")


class CannotEdit(ValueError):
    """The file has a shape that is not edited by program; a sentence says which, and what to do then."""

    def __init__(
        self, message: str, hint: str = "edit the file by hand, then run pxe-appliance check"
    ) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Splice:
    """`text` instead of the characters from `start` to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a text, from `start` to `end`. `inline`: between brackets, its entries separated by commas.

    Exactly one of `items` (a table) and `entries` (a list) may be other than empty; `kind` tells which it is.
    """

    start: int
    end: int
    kind: str  # "table", "list" or "text"
    inline: bool = True
    items: tuple[Item, ...] = ()
    entries: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One key of a table, from `start`, with its value. `path` has more than one step for `a.b = …`."""

    path: Path
    start: int
    key_end: int
    node: Node

    @property
    def end(self) -> int:
        """Where its value ends."""
        return self.node.end


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """`text` with every splice made. Removals may overlap."""
    pieces, at = [], 0
    for splice in sorted(splices, key=lambda s: (s.start, s.end)):
        pieces += [text[at : splice.start], splice.text]
        at = max(at, splice.end)
    return "".join([*pieces, text[at:]])


def leaves(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every value below `node` that is no table and no list, with its path."""
    if node.kind == "text":
        yield path, node
    for item in node.items:
        yield from leaves(item.node, (*path, *item.path))
    for index, entry in enumerate(node.entries):
        yield from leaves(entry, (*path, index))


def newline_of(text: str) -> str:
    """How the text ends its lines."""
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def line_start(text: str, at: int) -> int:
    """Where the line of `at` begins."""
    return text.rfind("\n", 0, at) + 1


def line_end(text: str, at: int) -> int:
    """Where the line after that of `at` begins; the end of the text when there is none."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def line_at(text: str, start: int) -> str:
    """The line that begins at `start`, without its end."""
    return text[start : line_end(text, start)].rstrip("\r\n")


def column(text: str, at: int) -> int:
    """How many characters stand before `at` in its line."""
    return at - line_start(text, at)


def begins_its_line(text: str, at: int) -> bool:
    """Whether only blanks stand before `at` in its line."""
    return not text[line_start(text, at) : at].strip()


def is_blank(text: str, start: int) -> bool:
    """Whether the line that begins at `start` is there and says nothing."""
    return start < len(text) and not line_at(text, start).strip()


def is_comment(text: str, start: int) -> bool:
    """Whether the line that begins at `start` is a comment and nothing else."""
    return start < len(text) and _COMMENT.match(text, start) is not None


def with_comments_above(text: str, start: int, indent: int = 0, most: int | None = None) -> int:
    """`start`, or where the comments directly above that line begin: they speak of what follows them.

    Comments at the head of a file speak of the file; those indented less than `indent` of something around;
    those indented by more than `most` of what is inside the entry before.
    """
    first = start
    while first > 0:
        above = line_start(text, first - 1)
        if not is_comment(text, above) or _indent(text, above) < indent:
            return first
        if most is not None and _indent(text, above) > most:
            return first
        first = above
    return start


def with_comments_below(text: str, end: int, indent: int) -> int:
    """`end`, or where the comments directly below that are indented by `indent` or more are over."""
    while is_comment(text, end) and _indent(text, end) >= indent:
        end = line_end(text, end)
    return end


def without_hole(text: str, start: int, end: int) -> Splice:
    """Remove whole lines, and the blank lines that would stand beside other blank lines then."""
    if start == 0 or is_blank(text, line_start(text, start - 1)):
        while is_blank(text, end):
            end = line_end(text, end)
    if not text[end:].strip():
        while start > 0 and is_blank(text, line_start(text, start - 1)):
            start = line_start(text, start - 1)
    return Splice(start, end, "")


def _indent(text: str, start: int) -> int:
    line = line_at(text, start)
    return len(line) - len(line.lstrip(" \t"))


def with_lines(text: str, at: int, lines: Iterable[str]) -> str:
    """Put lines in at the beginning of a line, or behind a last one that has no end."""
    newline = newline_of(text)
    piece = newline.join(lines)
    if at and text[at - 1] != "\n":
        return text[:at] + newline + piece + text[at:]
    return text[:at] + piece + newline + text[at:]
