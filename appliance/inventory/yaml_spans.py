"""YAML text to the places of its keys and values, by the marks of the parser that our reader listens to.

The text is known to be what `parse_yaml` takes: one document of plain tables, lists and strings.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import yaml

from appliance.inventory.spans import Item, Node

_PARSER: Final = yaml.CSafeLoader  # it only lends its parser; nothing is composed or constructed
# What a plain scalar may be so that every reader takes it for text, those of YAML 1.1 with their base 60 and
# their `no` and those of 1.2 with their 1e5 alike: an address, or a word that begins with a letter.
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*|[0-9]{1,3}(?:\.[0-9]{1,3}){3}", re.ASCII)
_PLAIN_MAC: Final = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}", re.ASCII)
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def scan_yaml(text: str) -> Node | None:
    """The places of everything; None when the document is empty."""
    events = iter(yaml.parse(text, Loader=_PARSER))
    for event in events:
        if isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.AliasEvent):
            node = _node(text, event, events)
            return None if node.kind == "text" else node
    return None


def plain_is_text(value: str) -> bool:
    """Whether every reader of YAML takes `value` for a string when it stands without quotes."""
    if value.lower() in _WORDS:
        return False
    if _PLAIN_MAC.fullmatch(value):
        # Base 60, were all octets decimal: 52:54:00:00:00:01 is a number to YAML 1.1.
        return any(c.isalpha() for c in value) and not re.fullmatch(r"[0-9]+[eE][0-9]+", value)
    return _PLAIN.fullmatch(value) is not None


def _node(text: str, event: yaml.Event, events: Iterator[yaml.Event]) -> Node:
    start, end = _marks(event)
    if isinstance(event, yaml.MappingStartEvent):
        items = []
        while not isinstance(key := next(events), yaml.MappingEndEvent):
            first, key_end = _marks(key)
            name = key.value if isinstance(key, yaml.ScalarEvent) else ""
            items.append(Item((name,), first, key_end, _node(text, next(events), events)))
        end = _marks(key)[1] if event.flow_style else items[-1].end
        return Node(start, end, "table", bool(event.flow_style), items=tuple(items))
    if isinstance(event, yaml.SequenceStartEvent):
        entries = []
        while not isinstance(entry := next(events), yaml.SequenceEndEvent):
            entries.append(_node(text, entry, events))
        end = _marks(entry)[1] if event.flow_style else entries[-1].end
        return Node(start, end, "list", bool(event.flow_style), entries=tuple(entries))
    # A literal scalar takes the blank lines behind it; they are none of its own.
    return Node(start, start + len(text[start:end].rstrip()), "text")


def _marks(event: yaml.Event) -> tuple[int, int]:
    assert event.start_mark is not None
    assert event.end_mark is not None
    return event.start_mark.index, event.end_mark.index
