"""Machines put into TOML, taken out of it, and their texts changed, in the shape that the file has already.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from appliance.inventory.edit_brackets import with_item, without_item
from appliance.inventory.spans import (
    CannotEdit,
    Item,
    Node,
    Splice,
    is_blank,
    is_comment,
    leaves,
    line_end,
    line_start,
    spliced,
    with_comments_above,
    with_lines,
    without_hole,
)
from appliance.inventory.toml_spans import Section, scan_toml
from appliance.reading import Path

_TABLE: Final = "machine"
_SIMPLE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def add_to_toml(text: str, name: str, data: Mapping[str, object]) -> str:
    """Put a machine behind the last one, or at the end."""
    sections = scan_toml(text)
    last = _last(sections)
    if isinstance(last, Section):
        machines = [s for s in sections if len(s.path) == 2 and s.path[0] == _TABLE]
        return _with_section(text, machines[-1] if machines else last, _content_end(text, last), name, data)
    if last is None:
        return _with_section(text, None, len(text), name, data)
    section, item = last
    if (*section.path, *item.path) == (_TABLE,):
        return spliced(text, with_item(text, item.node, f"{_key(name)} = {_inline(data)}", " "))
    at = line_end(text, item.end)
    indent = text[line_start(text, item.start) : item.start]
    key = _key(name) if section.path else f"{_TABLE}.{_key(name)}"
    return with_lines(text, at, [f"{indent}{key} = {_inline(data)}"])


def remove_from_toml(text: str, name: str) -> str:
    """Take out all sections and keys of a machine, with the comments directly above each."""
    target = (_TABLE, name)
    sections = scan_toml(text)
    mine = [s.path[:2] == target for s in sections]
    splices: list[Splice] = []
    start = -1
    for index, section in enumerate(sections):
        if not mine[index]:
            for item in section.items:
                if (*section.path, *item.path)[:2] == target:
                    above = with_comments_above(text, line_start(text, item.start))
                    splices.append(without_hole(text, above, line_end(text, item.end)))
            continue
        if start < 0:
            start = with_comments_above(text, line_start(text, section.start))
        if index + 1 == len(sections) or not mine[index + 1]:
            splices.append(without_hole(text, start, _content_end(text, section)))
            start = -1
    return _without_inline(spliced(text, splices), name)


def set_in_toml(text: str, changes: Mapping[Path, str]) -> str:
    """Put other texts at paths that hold strings."""
    splices = []
    for section in scan_toml(text):
        for item in section.items:
            for path, node in leaves(item.node, (*section.path, *item.path)):
                if path in changes:
                    splices.append(Splice(node.start, node.end, _requoted(text, node, changes[path])))
    return spliced(text, splices)


def _last(sections: Sequence[Section]) -> Section | tuple[Section, Item] | None:
    """The section or the key that says something of a machine and stands last."""
    for section in reversed(sections):
        if section.path[:1] == (_TABLE,) and len(section.path) > 1:
            return section
        for item in reversed(section.items):
            if (*section.path, *item.path)[:1] == (_TABLE,):
                return section, item
        if section.path == (_TABLE,):
            return section
    return None


def _content_end(text: str, section: Section) -> int:
    """Where a section is over: comments directly below it are its own, unless they head the next one."""
    end = at = line_end(text, section.content_end)
    while is_comment(text, at):
        at = line_end(text, at)
    return at if is_blank(text, at) or at == len(text) else end


def _with_section(text: str, model: Section | None, at: int, name: str, data: Mapping[str, object]) -> str:
    """Put a section in at a place, indented, aligned and set apart as the model is."""
    indent = inner = ""
    tight = False
    if model is not None:
        indent = text[line_start(text, model.start) : model.start]
        inner = text[line_start(text, model.items[0].start) : model.items[0].start] if model.items else indent
        above = with_comments_above(text, line_start(text, model.start))
        tight = above > 0 and not is_blank(text, line_start(text, above - 1))
    width = _aligned(text, model)
    lines = [f"{indent}[{_TABLE}.{_key(name)}]"]
    lines += [f"{inner}{_key(key):<{width}} = {_value(value)}" for key, value in data.items()]
    if text[:at].strip() and not tight and not is_blank(text, line_start(text, at - 1)):
        lines.insert(0, "")
    if at < len(text) and not tight and not is_blank(text, at):
        lines.append("")
    return with_lines(text, at, lines)


def _aligned(text: str, section: Section | None) -> int:
    """To which width a section's keys are filled up before the sign; 0 when they are not."""
    items = section.items if section else ()
    widths = {text.index("=", item.key_end) - item.start - 1 for item in items}
    lengths = {item.key_end - item.start for item in items}
    return widths.pop() if len(widths) == 1 and len(lengths) > 1 else 0


def _without_inline(text: str, name: str) -> str:
    """Take a machine out of `machine = { … }`, key by key: each removal moves what stands behind it."""
    while found := next(_inline_items(text, name), None):
        node, index = found
        text = spliced(text, without_item(text, node, index))
    return text


def _inline_items(text: str, name: str) -> Iterator[tuple[Node, int]]:
    if name not in text:
        return
    for section in scan_toml(text):
        for item in section.items:
            if (*section.path, *item.path) == (_TABLE,):
                yield from ((item.node, i) for i, x in enumerate(item.node.items) if x.path[0] == name)


def _requoted(text: str, node: Node, new: str) -> str:
    quote = text[node.start : node.start + 1]
    if quote not in {'"', "'"}:
        raise CannotEdit("a value is no string")
    return f"{quote}{new}{quote}" if quote == "'" and "'" not in new else _quoted(new)


def _key(name: str) -> str:
    return name if name and set(name) <= _SIMPLE else _quoted(name)


def _quoted(value: str) -> str:
    """A basic string: JSON's escapes are TOML's, too."""
    return json.dumps(value, ensure_ascii=False)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return _inline(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(v) for v in value)}]"
    return _quoted(str(value))


def _inline(data: Mapping[str, object]) -> str:
    return f"{{ {', '.join(f'{_key(k)} = {_value(v)}' for k, v in data.items())} }}"
