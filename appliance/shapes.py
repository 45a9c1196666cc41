"""How values of a kind are read out of a document, and what JSON Schema says of them: one table for both.

A `Table` lists the `Field`s that a table of a file may have, each with its `Shape`; a `Row` is one such table
while it is being read. Parser and schema are made from the same tables, so they cannot drift apart.

Pure. Nothing here stops at the first problem, and nothing raises on what an operator wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from appliance.reading import Path, Reading, Unfit, shown
from appliance.settings import Origin

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_UNKNOWN_KEYS_NAMED: Final = 20
_TABLE_HINT: Final = "write a table: keys and values, in { … } or below a [header]"
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,11})", re.ASCII)


class Shape(Protocol[T_co]):
    """How a value of one kind is read, and what JSON Schema says of it."""

    def read(self, value: object, reading: Reading, path: Path) -> T_co | None:
        """The typed value; None when problems were noted instead."""

    def as_schema(self) -> dict[str, object]:
        """The JSON Schema of it."""


@dataclass(frozen=True, slots=True)
class Text(Generic[T_co]):
    """A string of one line that `parse` turns into a type, or refuses with a ValueError that says why.

    `hint` says what to write instead, where the refusal (an `Unfit`) does not say it itself.
    """

    kind: str
    parse: Callable[[str], T_co]
    schema: Mapping[str, object] = field(default_factory=dict)
    longest: int = 1024
    hint: str = ""

    def read(self, value: object, reading: Reading, path: Path) -> T_co | None:
        """See `Shape`. Line breaks and control characters never pass."""
        if not isinstance(value, str):
            whole = isinstance(value, int) and not isinstance(value, bool)
            hint = f'write it as a string: "{shown(value)}"' if whole else self.advice
            reading.add(path, f"{self.kind} is expected, not {shown(value)}", hint)
        elif len(value) > self.longest:
            message = f"{self.kind} of at most {self.longest} characters is expected, not {len(value)}"
            reading.add(path, message, "write a shorter one")
        elif not value.isprintable():
            message = f"{shown(value)} holds a line break or another unprintable character"
            reading.add(path, message, "type it anew, as one line of plain text")
        else:
            try:
                return self.parse(value)
            except Unfit as error:
                reading.add(path, str(error), error.hint)
            except ValueError as error:
                reading.add(path, str(error), self.advice)
        return None

    @property
    def advice(self) -> str:
        """What to write instead."""
        return self.hint or f"write {self.kind}"

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
            hint = f"write a whole number from {self.low} to {self.high}, without quotes"
            reading.add(path, f"{self.kind} is expected, not {shown(value)}", hint)
        elif not self.low <= value <= self.high:
            hint = f"write a number from {self.low} to {self.high}"
            reading.add(path, f"{shown(value)} is not {self.kind}", hint)
        else:
            return value
        return None

    def as_schema(self) -> dict[str, object]:
        """See `Shape`."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def read(self, value: object, reading: Reading, path: Path) -> bool | None:
        """See `Shape`."""
        if reading.document.textual and value in ("true", "false"):
            return value == "true"
        if isinstance(value, bool):
            return value
        reading.add(path, f"true or false is expected, not {shown(value)}", "write it without quotes")
        return None

    def as_schema(self) -> dict[str, object]:
        """See `Shape`."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T_co]):
    """A list of `least` to `most` different values of one shape; read as a tuple."""

    item: Shape[T_co]
    most: int
    least: int = 0

    def read(self, value: object, reading: Reading, path: Path) -> tuple[T_co, ...] | None:
        """See `Shape`."""
        if not isinstance(value, list):
            reading.add(path, f"a list is expected, not {shown(value)}", "put it in brackets: [ … ]")
            return None
        if not self.least <= len(value) <= self.most:
            hint = "leave some out" if len(value) > self.most else "name at least one, or leave the key out"
            reading.add(path, f"{self.least} to {self.most} entries are expected, not {len(value)}", hint)
            return None
        out: list[T_co] = []
        for index, raw in enumerate(value):
            one = self.item.read(raw, reading, (*path, index))
            if one is not None and one in out:
                reading.add((*path, index), f"{shown(raw)} is in the list twice", "write it once")
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
            reading.add(path, f"a table is expected, not {shown(value)}", _TABLE_HINT)
            return None
        if len(value) > self.most:
            message = f"at most {self.most} entries are expected, not {len(value)}"
            reading.add(path, message, "leave some out")
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
            reading.add(path, f"a table is expected, not {shown(value)}", _TABLE_HINT)
            return None
        if not value.keys() <= self.names:
            self._note_unknown(value, reading, path)
        for name in self.required:
            if value.get(name) is None:
                reading.add((*path, name), "is missing", f"add the key {name} to this table")
        return Row(value, reading, path)

    def _note_unknown(self, value: Mapping[str, object], reading: Reading, path: Path) -> None:
        unknown = [name for name in value if name not in self.names]
        for name in unknown[:_UNKNOWN_KEYS_NAMED]:
            known = f"known here: {', '.join(sorted(self.names))}"
            reading.add((*path, name), "is not a known key", reading.suggest(name, self.names) or known)
        more = len(unknown) - _UNKNOWN_KEYS_NAMED
        if more > 0:
            reading.add(path, f"has {more} more unknown keys", "is this file meant for the appliance?")

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
            reading.add(path, f"a table is expected, not {shown(value)}", _TABLE_HINT)
            return None
        if len(value) > self.most:
            message = f"at most {self.most} entries are expected, not {len(value)}"
            reading.add(path, message, "leave some out")
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
