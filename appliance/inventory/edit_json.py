"""Machines put into JSON, taken out of it, and their texts changed, in the shape that the file has already.

Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from appliance.inventory.edit_brackets import with_item, without_item
from appliance.inventory.spans import (
    Item,
    Node,
    Splice,
    begins_its_line,
    leaves,
    line_start,
    newline_of,
    spliced,
)
from appliance.reading import Path

_TABLE: Final = "machine"
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s{}\[\]:,"]+')
_UNIT: Final = "  "


def add_to_json(text: str, name: str, data: Mapping[str, object]) -> str:
    """Put a machine behind the last one. Empty text becomes a file."""
    if not text.strip():
        return json.dumps({_TABLE: {name: data}}, indent=len(_UNIT), ensure_ascii=False) + "\n"
    root = scan_json(text)
    machines = next((item for item in root.items if item.path == (_TABLE,)), None)
    if machines is None:
        outer = _indent_of(text, root)
        piece = _entry(text, root, _TABLE, {name: data}, outer, lines=outer is not None)
        return spliced(text, with_item(text, root, piece))
    node = machines.node
    inner = _indent_of(text, node)
    if node.kind != "table" or not node.items:
        unit = _indent_of(text, root)
        table = _printed(text, {name: data}, unit or "", unit or _UNIT, lines=unit is not None)
        return spliced(text, [Splice(node.start, node.end, table)])
    last = node.items[-1].node
    lines = inner is not None and (
        last.kind != "table" or not last.items or _indent_of(text, last) is not None
    )
    return spliced(text, with_item(text, node, _entry(text, node, name, data, inner, lines=lines)))


def remove_from_json(text: str, name: str) -> str:
    """Take a machine out, with its lines."""
    for item in scan_json(text).items:
        if item.path == (_TABLE,):
            for index, machine in enumerate(item.node.items):
                if machine.path == (name,):
                    return spliced(text, without_item(text, item.node, index))
    return text


def set_in_json(text: str, changes: Mapping[Path, str]) -> str:
    """Put other texts at paths that hold strings."""
    return spliced(
        text,
        (
            Splice(node.start, node.end, _text(changes[path]))
            for path, node in leaves(scan_json(text))
            if path in changes
        ),
    )


def scan_json(text: str) -> Node:
    """The places of everything in a text that is known to be JSON with a table at its top."""
    return _Scan(text).value()


class _Scan:
    """One walk over the tokens."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.finditer(text)

    def value(self, found: re.Match[str] | None = None) -> Node:
        """The value that begins with a token, or with the next one."""
        first = found or next(self._tokens)
        if first[0] == "{":
            items = []
            while (key := next(self._tokens))[0] != "}":
                items.append(Item((str(json.loads(key[0])),), key.start(), key.end(), self.value()))
            return Node(first.start(), key.end(), "table", items=tuple(items))
        if first[0] == "[":
            entries = []
            while (entry := next(self._tokens))[0] != "]":
                entries.append(self.value(entry))
            return Node(first.start(), entry.end(), "list", entries=tuple(entries))
        return Node(first.start(), first.end(), "text")


def _indent_of(text: str, node: Node) -> str | None:
    """How the entries of a table are indented; None when they do not stand on lines of their own."""
    if not node.items or not begins_its_line(text, node.items[0].start):
        return None
    return text[line_start(text, node.items[0].start) : node.items[0].start]


def _entry(
    text: str, node: Node, name: str, data: Mapping[str, object], indent: str | None, *, lines: bool
) -> str:
    """`"name": {…}` as it stands among the entries of a node."""
    around = text[line_start(text, node.start) : node.start]
    base = around[: len(around) - len(around.lstrip())]
    unit = (indent or "").removeprefix(base) or _UNIT
    colon = _colon(text, node)
    return _text(name) + colon + _printed(text, data, indent or "", unit, lines=lines)


def _colon(text: str, node: Node) -> str:
    if not node.items:
        return ": "
    first = node.items[0]
    between = text[first.key_end : first.node.start]
    return between if "\n" not in between else ": "


def _printed(text: str, data: Mapping[str, object], indent: str, unit: str, *, lines: bool) -> str:
    """A table as JSON; with `lines`, its closing bracket is indented by `indent`."""
    if not lines:
        return json.dumps(data, ensure_ascii=False)
    printed = json.dumps(data, indent=unit, ensure_ascii=False)
    return printed.replace("\n", newline_of(text) + indent)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
