"""YAML text to a `Document`: strings only, one document, no cleverness.

YAML 1.1 reads `52:54:00:00:00:01` as a base-60 number, `no` as false and `010` as eight; of a key written
twice the last silently wins; aliases let 400 bytes grow without bound; the C composer dies of 200,000
brackets. So this reader listens to the C parser's *events* (no recursion, no resolver, no constructor) and
builds plain strings, tables and lists itself; anchors, aliases, tags, merge keys and several documents are
refused by name.

Pure.
"""

from __future__ import annotations

from typing import Final

import yaml

from appliance.errors import Problem
from appliance.inventory.marks import DEEPEST, NOT_OURS, Marks
from appliance.plain_text import safe_text
from appliance.reading import ENOUGH_PROBLEMS, Document, shown

# The loader only lends its parser; nothing is ever composed or constructed with it.
_PARSER: Final = yaml.CSafeLoader
_SYNTAX: Final = "mend that line or the one before it: indent with blanks, quote what holds : or #"
_FINE: Final = ("", "")


def read_yaml(text: str, file: str, problems: list[Problem]) -> Document | None:
    """Parse YAML; None, and problems with their lines, when it is not YAML or uses what is refused."""
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            builder.take(event)
            if builder.hopeless:
                break
    except yaml.YAMLError as error:
        builder.problems.append(_explain(file, text, error))
    except UnicodeEncodeError as error:
        message = "is not text: it holds half of a surrogate pair"
        line = text.count("\n", 0, error.start) + 1
        builder.problems.append(Problem(file, line, "", message, "save it as UTF-8"))
    problems.extend(builder.problems)
    if builder.problems:
        return None
    return Document(file, builder.marks.root, builder.marks, textual=True)


def _explain(file: str, text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        return Problem(file, mark.line + 1 if mark else 1, "", f"is not YAML: {safe_text(said)}", _SYNTAX)
    # A character that no YAML may hold is found by the C reader, which counts bytes.
    position: int = getattr(error, "position", 0)
    line = text.encode()[:position].count(b"\n") + 1
    return Problem(file, line, "", f"is not YAML: {safe_text(str(error).splitlines()[0])}", _SYNTAX)


def _brief(name: str | None) -> str:
    return safe_text(name or "", limit=60)


class _Builder:
    """Events in; a tree of tables, lists and strings out."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.marks = Marks()
        self.problems: list[Problem] = []
        self.hopeless = False
        self._documents = 0
        self._open: list[_Table | _List] = []

    def take(self, event: yaml.Event) -> None:
        """One event of the parser, in order."""
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_properties(event, line)
            # `key:` with nothing behind it is a key left out.
            empty = not event.value and event.style not in {"'", '"'}
            self._place(None if empty else event.value, line)
        elif isinstance(event, yaml.MappingStartEvent):
            self._refuse_properties(event, line)
            table, lines = self.marks.dict()
            self._descend(_Table(table, lines), table, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._refuse_properties(event, line)
            entries, entry_lines = self.marks.list()
            self._descend(_List(entries, entry_lines), entries, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.AliasEvent):
            self._note(line, f"an alias (*{_brief(event.anchor)}) is not allowed", "write the value out")
            self._place("", line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._note(line, "has a second YAML document", "one file holds one document: split it")
                self.hopeless = True

    def _descend(self, level: _Table | _List, container: object, line: int) -> None:
        if len(self._open) >= DEEPEST:
            self._note(line, f"is nested more than {DEEPEST} deep", NOT_OURS)
            self.hopeless = True
            return
        self._place(container, line)
        self._open.append(level)

    def _place(self, value: object, line: int) -> None:
        if self._open:
            message, hint = self._open[-1].place(value, line)
            if message:
                self._note(line, message, hint)
        elif isinstance(value, dict):
            self.marks.root = value
        elif value is not None:
            self._note(line, f"a table is expected at the top, not {shown(value)}", "begin with machine:")

    def _refuse_properties(self, event: yaml.NodeEvent, line: int) -> None:
        if event.anchor is not None:
            self._note(line, f"an anchor (&{_brief(event.anchor)}) is not allowed", "write the value out")
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            self._note(line, f"a tag ({_brief(tag)}) is not allowed", "every value is read as a string")

    def _note(self, line: int, message: str, hint: str) -> None:
        self.problems.append(Problem(self.file, line, "", message, hint))
        self.hopeless |= len(self.problems) >= ENOUGH_PROBLEMS


class _Table:
    """A mapping whose entries are arriving: key, value, key, value."""

    def __init__(self, entries: dict[str, object], lines: dict[str, int]) -> None:
        self._entries = entries
        self._lines = lines
        self._key: str | None = None
        self._at_value = False

    def place(self, value: object, line: int) -> tuple[str, str]:
        """Take the next key or value; what is wrong with it and what to do, or nothing."""
        if self._at_value:
            self._at_value = False
            if self._key is not None:
                self._entries[self._key] = value
            return _FINE
        self._at_value = True
        self._key = None
        if not isinstance(value, str):
            return "a key must be a plain string", "write a name before the colon"
        if value == "<<":
            return "a merge key (<<) is not allowed", "write the values out"
        if value in self._entries:
            message = f"the key {shown(value)} is written twice, first on line {self._lines[value]}"
            return message, "keep one of the two"
        self._key = value
        self._lines[value] = line
        return _FINE


class _List:
    """A sequence whose entries are arriving."""

    def __init__(self, entries: list[object], lines: list[int]) -> None:
        self._entries = entries
        self._lines = lines

    def place(self, value: object, line: int) -> tuple[str, str]:
        """Take the next entry."""
        self._entries.append(value)
        self._lines.append(line)
        return _FINE
