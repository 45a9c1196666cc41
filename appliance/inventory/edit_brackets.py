"""Entries of a table between brackets, put in and taken out: JSON, YAML's flow style, TOML's inline tables.

Pure.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.inventory.spans import (
    Node,
    Splice,
    begins_its_line,
    is_comment,
    line_end,
    line_start,
    newline_of,
    with_comments_above,
)

# Between the entries: blanks and, where the format has them, comments.
_BETWEEN: Final = re.compile(r"(?:\s|#[^\n]*)*")


def without_item(text: str, node: Node, index: int) -> list[Splice]:
    """Take an entry and its comma out: with its lines and comments, where it has them for itself."""
    item = node.items[index]
    comma = _comma_after(text, item.end)
    start, end = item.start, (comma + 1 if comma >= 0 else item.end)
    rest = text[end : line_end(text, end)]
    if begins_its_line(text, start) and (not rest.strip() or is_comment(text, end)):
        start, end = with_comments_above(text, line_start(text, start)), line_end(text, end)
    elif comma >= 0 and index + 1 < len(node.items):
        following = node.items[index + 1].start
        end = end + len(rest.rstrip()) if "#" in text[end:following] else following
    elif index:
        start = node.items[index - 1].end
    out = [Splice(start, end, "")]
    if comma < 0 and index and start > (before := _comma_after(text, node.items[index - 1].end)):
        out.append(Splice(before, before + 1, ""))  # none may be left behind the last entry
    return out


def with_item(text: str, node: Node, piece: str, pad: str = "") -> list[Splice]:
    """Put an entry behind the last one, on a line of its own where that one has it.

    `pad` stands inside the brackets of what was empty.
    """
    newline = newline_of(text)
    if not node.items:
        closing = node.end - 1
        inside = text[node.start + 1 : closing]
        if inside.strip() or "\n" in inside:
            return [Splice(closing, closing, piece + newline)]
        return [Splice(node.start + 1, closing, f"{pad}{piece}{pad}")]
    last = node.items[-1]
    comma = _comma_after(text, last.end)
    at = comma + 1 if comma >= 0 else last.end
    out = [] if comma >= 0 else [Splice(at, at, ",")]
    piece += "," if comma >= 0 else ""
    if not begins_its_line(text, last.start):
        return [*out, Splice(at, at, _gap(text, node) + piece)]
    rest = text[at : line_end(text, at)]
    if not rest.strip() or is_comment(text, at):
        at += len(rest.rstrip())  # a comment behind the last entry stays with it
    indent = text[line_start(text, last.start) : last.start]
    return [*out, Splice(at, at, f"{newline}{indent}{piece}")]


def _comma_after(text: str, end: int) -> int:
    """Where the comma after an entry stands; -1 when there is none."""
    found = _BETWEEN.match(text, end)
    at = found.end() if found else end
    return at if text[at : at + 1] == "," else -1


def _gap(text: str, node: Node) -> str:
    """What stands between a comma and the entry after it."""
    if len(node.items) < 2:
        return " "
    between = text[node.items[-2].end : node.items[-1].start]
    after = between.rpartition(",")[2]
    return after if not after.strip() and "\n" not in after else " "
