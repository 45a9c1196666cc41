"""Machines put into YAML, taken out of it, and their texts changed, in the shape that the file has already.

What is written is a string to every reader, not to ours alone: MACs stand in quotes (`52:54:00:00:00:01` is a
number in base 60 to YAML 1.1), and so does every word that could be a number or a truth.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from appliance.inventory.edit_brackets import with_item, without_item
from appliance.inventory.spans import (
    CannotEdit,
    Item,
    Node,
    Splice,
    begins_its_line,
    column,
    is_blank,
    leaves,
    line_end,
    line_start,
    spliced,
    with_comments_above,
    with_comments_below,
    with_lines,
    without_hole,
)
from appliance.inventory.yaml_spans import plain_is_text, scan_yaml
from appliance.reading import Path

_TABLE: Final = "machine"
_STEP: Final = 2


def add_to_yaml(text: str, name: str, data: Mapping[str, object]) -> str:
    """Put a machine behind the last one, or at the end."""
    root = scan_yaml(text)
    machines = next((item for item in root.items if item.path == (_TABLE,)), None) if root else None
    if root is None:
        return with_lines(text, _end_of_empty(text), [f"{_TABLE}:", *_block(name, data, _STEP, _STEP)])
    if machines is None and root.inline:
        return spliced(text, with_item(text, root, f"{_TABLE}: {_flow({name: data})}"))
    if machines is None:
        end = line_end(text, root.end)
        blank = [""] if len(root.items) > 1 and _set_apart(text, root.items[-1]) else []
        return with_lines(text, end, [*blank, f"{_TABLE}:", *_block(name, data, _STEP, _STEP)])
    node = machines.node
    if node.kind == "text":
        indent = column(text, machines.start) + _STEP
        return with_lines(text, line_end(text, machines.end), _block(name, data, indent, _STEP))
    if node.inline:
        return spliced(text, with_item(text, node, f"{_scalar(name)}: {_flow(data)}"))
    return _behind(text, node, name, data)


def remove_from_yaml(text: str, name: str) -> str:
    """Take a machine out, with the comments directly above it and those inside it."""
    root = scan_yaml(text)
    for machines in root.items if root else ():
        if machines.path != (_TABLE,):
            continue
        for index, item in enumerate(machines.node.items):
            if item.path != (name,):
                continue
            if machines.node.inline:
                return spliced(text, without_item(text, machines.node, index))
            if not begins_its_line(text, item.start):
                raise CannotEdit(f"{name} does not begin a line")
            start, end = _lines_of(text, item)
            return spliced(text, [without_hole(text, start, end)])
    return text


def set_in_yaml(text: str, changes: Mapping[Path, str]) -> str:
    """Put other texts at paths that hold strings, quoted as they were, and where they have to be."""
    root = scan_yaml(text)
    found = leaves(root) if root else ()
    return spliced(
        text,
        (
            Splice(node.start, node.end, _requoted(text, node, changes[path]))
            for path, node in found
            if path in changes
        ),
    )


def _lines_of(text: str, item: Item) -> tuple[int, int]:
    """The lines of an entry in block style: those directly above it that comment on it, and those inside."""
    indent = column(text, item.start)
    start = with_comments_above(text, line_start(text, item.start), indent, indent)
    end = line_end(text, max(item.end, item.key_end))
    return start, with_comments_below(text, end, indent + 1)


def _behind(text: str, node: Node, name: str, data: Mapping[str, object]) -> str:
    if not node.items:
        raise CannotEdit("machine is no table")
    last = node.items[-1]
    if not begins_its_line(text, last.start):
        raise CannotEdit("the machines do not begin lines")
    indent = column(text, last.start)
    tables = [item.node for item in reversed(node.items) if item.node.kind == "table"]
    end = _lines_of(text, last)[1]
    blank = [""] if len(node.items) > 1 and _set_apart(text, last) else []
    if tables and tables[0].inline:
        return with_lines(text, end, [*blank, f"{' ' * indent}{_scalar(name)}: {_flow(data)}"])
    step = column(text, tables[0].items[0].start) - indent if tables else _STEP
    return with_lines(text, end, [*blank, *_block(name, data, indent, step)])


def _set_apart(text: str, item: Item) -> bool:
    start = _lines_of(text, item)[0]
    return start > 0 and is_blank(text, line_start(text, start - 1))


def _end_of_empty(text: str) -> int:
    """Where the first entry of a document without one goes: before the mark of its end."""
    at = text.find("\n...")
    return at + 1 if at >= 0 else len(text)


def _block(name: str, data: Mapping[str, object], indent: int, step: int) -> Iterator[str]:
    """The lines of a machine in block style."""
    yield f"{' ' * indent}{_scalar(name)}:"
    for key, value in data.items():
        head = f"{' ' * (indent + step)}{_scalar(key)}:"
        if isinstance(value, Mapping):
            yield head
            for below, text in value.items():
                yield f"{' ' * (indent + 2 * step)}{_scalar(below)}: {_scalar(str(text))}"
        else:
            yield f"{head} {_value(key, value)}"


def _flow(data: Mapping[str, object]) -> str:
    return f"{{{', '.join(f'{_scalar(key)}: {_value(key, value)}' for key, value in data.items())}}}"


def _value(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        return _flow(value)
    if isinstance(value, list):
        return f"[{', '.join(_quoted(str(v)) for v in value)}]"
    return _quoted(str(value)) if key == "mac" else _scalar(str(value))


def _scalar(value: str) -> str:
    return value if plain_is_text(value) else _quoted(value)


def _quoted(value: str) -> str:
    """Double quotes: JSON's escapes are YAML's, too (YAML 1.2, section 5.7)."""
    return json.dumps(value, ensure_ascii=False)


def _requoted(text: str, node: Node, new: str) -> str:
    quote = text[node.start : node.start + 1]
    if quote == "'" and "'" not in new:
        return f"'{new}'"
    return new if quote not in {'"', "'", "|", ">"} and plain_is_text(new) else _quoted(new)
