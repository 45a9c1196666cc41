"""The border: parsed but untyped data goes in, typed values come out, every problem is kept with its place.

A file format's reader makes a `Document` (plain dicts, lists and scalars, and a way to find the line of any
of them). A `Table` lists the `Field`s that a table of it may have; a `Row` is one such table while it is
being read. The same tables generate the JSON Schemas, so parser and schema cannot drift apart.

Pure. Nothing here stops at the first problem, and nothing raises on what an operator wrote.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Final, Generic, Protocol, TypeVar

from appliance.errors import Problem
from appliance.settings import Origin

Path = tuple[str | int, ...]
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Bounds on what is echoed or compared, so that a hostile file costs no more than its size.
_SHOWN: Final = 60
_UNKNOWN_KEYS_NAMED: Final = 20
_SUGGESTIONS: Final = 200

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,11})", re.ASCII)


def shown(value: object) -> str:
    """A value as it may stand in a message: one line, escaped, at most about 60 characters."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}…"
    if isinstance(value, bool):
        return str(value).lower()
    # Python refuses to print integers of more than 4300 digits; 128 bits are enough to recognise one.
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 128 else "a huge number"
    return _kind_of(value)


def dotted(path: Path) -> str:
    """A path as an operator writes it: `machine.node1.macs[0]`; odd names are quoted and cut short."""
    out: list[str] = []
    for step in path:
        if isinstance(step, int):
            out.append(f"[{step}]")
        else:
            bare = _BARE_KEY.fullmatch(step)
            out.append(("." if out else "") + (step if bare else json.dumps(step[:_SHOWN])))
    return "".join(out)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word closest to `word`; empty when none is near."""
    names = sorted(known)
    if len(word) > _SHOWN or len(names) > _SUGGESTIONS:
        return ""
    return next(iter(difflib.get_close_matches(word.lower(), names, n=1)), "")


def _kind_of(value: object) -> str:
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (str, "a string"),
        (bool, "true or false"),
        ((int, float), "a number"),
        (Mapping, "a table"),
        (list, "a list"),
        ((date, datetime, time), "a date or time"),
    )
    return next((word for kind, word in kinds if isinstance(value, kind)), "nothing")


@dataclass(frozen=True, slots=True)
class Document:
    """One file, parsed by its format and not yet typed.

    `locate` gives the line (from 1; 0 when unknown) of a path or of the nearest thing above it. `textual`
    says that the format has only strings (YAML as we read it, CSV), so that numbers arrive as digits.
    """

    file: str
    data: Mapping[str, object]
    locate: Callable[[Path], int]
    textual: bool = False

    def origin(self, path: Path) -> Origin:
        """Where `path` is written."""
        return Origin(self.file, self.locate(path))

    def problem(self, path: Path, message: str, hint: str = "") -> Problem:
        """A problem at `path`."""
        return Problem(self.file, self.locate(path), dotted(path), message, hint)


class Reading:
    """One document being read: its problems, in the order in which they are met."""

    __slots__ = ("document", "problems")

    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self.document = document
        self.problems = problems

    def add(self, path: Path, message: str, hint: str = "") -> None:
        """Note a problem at `path`."""
        self.problems.append(self.document.problem(path, message, hint))

    def suggest(self, word: str, known: Iterable[str]) -> str:
        """A hint that names the nearest known word; empty once there are more problems than anybody reads."""
        near = nearest(word, known) if len(self.problems) < _SUGGESTIONS else ""
        return f"did you mean {near!r}?" if near else ""


class Shape(Protocol[T_co]):
    """How a value of one kind is read, and what JSON Schema says of it."""

    def read(self, value: object, reading: Reading, path: Path) -> T_co | None:
        """The typed value; None when problems were noted instead."""

    def as_schema(self) -> dict[str, object]:
        """The JSON Schema of it."""


@dataclass(frozen=True, slots=True)
class Text(Generic[T_co]):
    """A string of one line that `parse` turns into a type, or refuses with a ValueError that says why."""

    kind: str
    parse: Callable[[str], T_co]
    schema: Mapping[str, object] = field(default_factory=dict)
    longest: int = 1024

    def read(self, value: object, reading: Reading, path: Path) -> T_co | None:
        """See `Shape`. Line breaks and control characters never pass."""
        if not isinstance(value, str):
            whole = isinstance(value, int) and not isinstance(value, bool)
            hint = f'write it as a string: "{shown(value)}"' if whole else ""
            reading.add(path, f"{self.kind} is expected, not {shown(value)}", hint)
        elif len(value) > self.longest:
            reading.add(
                path, f"{self.kind} of at most {self.longest} characters is expected, not {len(value)}"
            )
        elif not value.isprintable():
            reading.add(path, f"{shown(value)} holds a line break or another unprintable character")
        else:
            try:
                return self.parse(value)
            except ValueError as error:
                reading.add(path, str(error))
        return None

    def as_schema(self) -> dict[str, object]:
        """See `Shape`."""
        return {"type": "string", **self.schema}


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number from `low` to `high`."""

    kind: str
    low: int
    high: int

    def read(self, value: object, reading: Reading, path: Path) -> int | None:
        """See `Shape`."""
        if reading.document.textual and isinstance(value, str) and _DECIMAL.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            reading.add(path, f"{self.kind} is expected, not {shown(value)}")
        elif not self.low <= value <= self.high:
            reading.add(path, f"{shown(value)} is not {self.kind}: {self.low} to {self.high}")
        else:
            return value
        return None

    def as_schema(self) -> dict[str, object]:
        """See `Shape`."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T_co]):
    """A list of `least` to `most` different values of one shape; read as a tuple."""

    item: Shape[T_co]
    most: int
    least: int = 0

    def read(self, value: object, reading: Reading, path: Path) -> tuple[T_co, ...] | None:
        """See `Shape`."""
        if not isinstance(value, list):
            hint = "put it in brackets: [ … ]" if isinstance(value, str) else ""
            reading.add(path, f"a list is expected, not {shown(value)}", hint)
            return None
        if not self.least <= len(value) <= self.most:
            reading.add(path, f"{self.least} to {self.most} entries are expected, not {len(value)}")
            return None
        out: list[T_co] = []
        for index, raw in enumerate(value):
            one = self.item.read(raw, reading, (*path, index))
            if one is not None and one in out:
                reading.add((*path, index), f"{shown(raw)} is in the list twice")
            elif one is not None:
                out.append(one)
        return tuple(out) if len(out) == len(value) else None

    def as_schema(self) -> dict[str, object]:
        """See `Shape`."""
        return {
            "type": "array",
            "items": self.item.as_schema(),
            "minItems": self.least,
            "maxItems": self.most,
            "uniqueItems": True,
        }


@dataclass(frozen=True, slots=True)
class MapOf(Generic[T_co]):
    """A table with names of the operator's choice: `key` judges each name, `item` reads each value."""

    key: Text[str]
    item: Shape[T_co]
    most: int

    def read(self, value: object, reading: Reading, path: Path) -> dict[str, T_co] | None:
        """See `Shape`. What can be read is returned even when something beside it cannot."""
        if not isinstance(value, Mapping):
            reading.add(path, f"a table is expected, not {shown(value)}")
            return None
        if len(value) > self.most:
            reading.add(path, f"at most {self.most} entries are expected, not {len(value)}")
            return None
        out: dict[str, T_co] = {}
        for name, raw in value.items():
            key = self.key.read(name, reading, (*path, name))
            one = self.item.read(raw, reading, (*path, name))
            if key is not None and one is not None:
                out[key] = one
        return out

    def as_schema(self) -> dict[str, object]:
        """See `Shape`."""
        return {
            "type": "object",
            "propertyNames": self.key.as_schema(),
            "additionalProperties": self.item.as_schema(),
            "maxProperties": self.most,
        }


@dataclass(frozen=True, slots=True)
class Field(Generic[T_co]):
    """One key of a table: its name, its shape, and a sentence for whoever edits the file."""

    name: str
    shape: Shape[T_co]
    doc: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with known keys. It is a shape, too: reading one gives its `Row`."""

    doc: str
    fields: tuple[Field[object], ...]
    names: frozenset[str] = field(init=False)
    required: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(f.name for f in self.fields))
        object.__setattr__(self, "required", tuple(f.name for f in self.fields if f.required))

    def read(self, value: object, reading: Reading, path: Path) -> Row | None:
        """The row at `path`, its unknown and missing keys noted."""
        if not isinstance(value, Mapping):
            reading.add(path, f"a table is expected, not {shown(value)}")
            return None
        if not value.keys() <= self.names:
            self._note_unknown(value, reading, path)
        for name in self.required:
            if value.get(name) is None:
                reading.add((*path, name), "is missing")
        return Row(value, reading, path)

    def _note_unknown(self, value: Mapping[str, object], reading: Reading, path: Path) -> None:
        unknown = [name for name in value if name not in self.names]
        for name in unknown[:_UNKNOWN_KEYS_NAMED]:
            known = f"known here: {', '.join(sorted(self.names))}"
            reading.add((*path, name), "is not a known key", reading.suggest(name, self.names) or known)
        more = len(unknown) - _UNKNOWN_KEYS_NAMED
        if more > 0:
            reading.add(path, f"has {more} more unknown keys")

    def as_schema(self) -> dict[str, object]:
        """See `Shape`."""
        schema: dict[str, object] = {
            "type": "object",
            "description": self.doc,
            "properties": {f.name: {**f.shape.as_schema(), "description": f.doc} for f in self.fields},
            "additionalProperties": False,
        }
        if self.required:
            schema["required"] = list(self.required)
        return schema


@dataclass(frozen=True, slots=True)
class NamedTables(Generic[T_co]):
    """Tables under names of the operator's choice: `[machine.NAME]`. Read as (name, row) pairs.

    The name of a pair is None when it was refused; its row is still there, for the problems inside it.
    """

    key: Text[T_co]
    table: Table
    most: int

    def read(self, value: object, reading: Reading, path: Path) -> tuple[tuple[T_co | None, Row], ...] | None:
        """See `Shape`."""
        if not isinstance(value, Mapping):
            reading.add(path, f"a table is expected, not {shown(value)}")
            return None
        if len(value) > self.most:
            reading.add(path, f"at most {self.most} entries are expected, not {len(value)}")
            return None
        out: list[tuple[T_co | None, Row]] = []
        for name, raw in value.items():
            below = (*path, name)
            key = self.key.read(name, reading, below)
            row = self.table.read(raw if raw is not None else {}, reading, below)
            if row is not None:
                out.append((key, row))
        return tuple(out)

    def as_schema(self) -> dict[str, object]:
        """See `Shape`."""
        return {
            "type": "object",
            "propertyNames": self.key.as_schema(),
            "additionalProperties": self.table.as_schema(),
            "maxProperties": self.most,
        }


class Row:
    """One table while it is read: typed values out, problems into the reading."""

    __slots__ = ("_data", "path", "reading")

    def __init__(self, data: Mapping[str, object], reading: Reading, path: Path) -> None:
        self._data = data
        self.reading = reading
        self.path = path

    def get(self, wanted: Field[T]) -> T | None:
        """The value of a key; None when it is absent, or when it is wrong (a problem then tells)."""
        value = self._data.get(wanted.name)
        if value is None:
            return None
        return wanted.shape.read(value, self.reading, (*self.path, wanted.name))

    def has(self, wanted: Field[object]) -> bool:
        """Whether the operator wrote this key."""
        return self._data.get(wanted.name) is not None

    @property
    def origin(self) -> Origin:
        """Where this row begins."""
        return self.reading.document.origin(self.path)

    def add(self, below: str | Path, message: str, hint: str = "") -> None:
        """Note a problem at a key of this row, at a path below it, or (empty) at the row itself."""
        self.reading.add(self._path(below), message, hint)

    def place(self, below: str | Path = ()) -> str:
        """`file:line` of a key of this row, of a path below it, or of the row itself."""
        return str(self.reading.document.origin(self._path(below)))

    def _path(self, below: str | Path) -> Path:
        if isinstance(below, str):
            return (*self.path, below) if below else self.path
        return (*self.path, *below)
