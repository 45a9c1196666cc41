"""Machines put into CSV, taken out of it, and their texts changed; columns, delimiter and quotes stay.

Pure.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from appliance.inventory.parse_csv import MACHINE_COLUMNS, column_name, delimiter_of
from appliance.inventory.spans import CannotEdit, Splice, newline_of, spliced
from appliance.reading import Path, nearest

_FIRST: Final = ("name", "mac", "ip")
_LABELS: Final = "labels"
_ELSEWHERE: Final = "add the column, or name another file: --file machines.toml"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that says something: where it begins and ends (its line end included), and its cells."""

    start: int
    end: int
    cells: tuple[tuple[int, int], ...]


def add_to_csv(text: str, name: str, data: Mapping[str, object]) -> str:
    """Put a row behind the last one. Empty text becomes a file with the columns that are needed.

    Raises:
        CannotEdit: there is no column for something.
    """
    values = {"name": name, **{k: v for k, v in data.items() if k not in {"macs", _LABELS}}}
    macs = data.get("macs")
    if isinstance(macs, list):
        values["mac"] = " ".join(macs)
    labels = data.get(_LABELS)
    for key, value in labels.items() if isinstance(labels, Mapping) else ():
        if column_name(key) in MACHINE_COLUMNS:
            message = f"a label cannot be called {key!r} there: the column has a meaning of its own"
            raise CannotEdit(message, _ELSEWHERE)
        values[key] = value
    if not text.strip():
        names = [*_FIRST, *(key for key in values if key not in _FIRST)]
        return _line(names, ",", quoted=False) + "\n" + _line(_cells(names, values), ",", quoted=False) + "\n"
    delimiter = delimiter_of(text)
    header, *rows = _rows(text, delimiter)
    names = [column_name(_cell(text, span)) for span in header.cells]
    for key in values:
        if key not in names:
            near = nearest(key, names)
            meant = f": {near!r} may be meant" if near else ""
            message = f"there is no column {key!r}, and a row has nothing else{meant}"
            raise CannotEdit(message, _ELSEWHERE)
    model = rows[-1] if rows else header
    quoted = all(text[start:end].startswith('"') for start, end in model.cells)
    row = _line(_cells(names, values), delimiter, quoted=quoted)
    newline = newline_of(text)
    if text[model.end - 1 : model.end] not in {"\n", "\r"}:
        return text[: model.end] + newline + row + text[model.end :]
    return text[: model.end] + row + newline + text[model.end :]


def remove_from_csv(text: str, name: str) -> str:
    """Take a machine's row out."""
    return spliced(text, (Splice(row.start, row.end, "") for row in _rows_of(text, {name})))


def set_in_csv(text: str, changes: Mapping[Path, str]) -> str:
    """Put other texts at paths: a cell, or one of the MACs in it."""
    splices = []
    names = {str(path[1]) for path in changes}
    header = next(_rows(text, delimiter_of(text)))
    columns = [column_name(_cell(text, span)) for span in header.cells]
    for row in _rows_of(text, names):
        name = _cell(text, row.cells[columns.index("name")]).strip()
        for (_, owner, key, *index), new in changes.items():
            if owner != name:
                continue
            start, end = row.cells[columns.index("mac" if key == "macs" else str(key))]
            parts = text[start:end].strip('"').split()
            old = parts[index[0]] if index and isinstance(index[0], int) else parts[0]
            at = text.index(old, start, end)
            splices.append(Splice(at, at + len(old), new))
    return spliced(text, splices)


def _rows_of(text: str, names: set[str]) -> Iterator[_Row]:
    header, *rows = _rows(text, delimiter_of(text))
    at = [column_name(_cell(text, span)) for span in header.cells].index("name")
    for row in rows:
        if len(row.cells) > at and _cell(text, row.cells[at]).strip() in names:
            yield row


def _rows(text: str, delimiter: str) -> Iterator[_Row]:
    """Every row that says something, the header first; as the standard library's reader splits them."""
    at = 0
    while at < len(text):
        start = at
        cells: list[tuple[int, int]] = []
        while True:
            begin = at
            at = _end_of_cell(text, at, delimiter)
            cells.append((begin, at))
            if text[at : at + 1] != delimiter:
                break
            at += 1
        at += 2 if text.startswith("\r\n", at) else 1
        at = min(at, len(text))
        says = any(_cell(text, span).strip() for span in cells)
        if says and not _cell(text, cells[0]).startswith("#"):
            yield _Row(start, at, tuple(cells))


def _end_of_cell(text: str, at: int, delimiter: str) -> int:
    if text[at : at + 1] == '"':
        at += 1
        while at < len(text):
            if text[at] != '"':
                at += 1
            elif text[at : at + 2] == '""':
                at += 2
            else:
                break
        at += 1
    while at < len(text) and text[at] not in {delimiter, "\r", "\n"}:
        at += 1
    return at


def _cell(text: str, span: tuple[int, int]) -> str:
    raw = text[span[0] : span[1]]
    return raw[1:-1].replace('""', '"') if raw.startswith('"') else raw


def _cells(names: Sequence[str], values: Mapping[str, object]) -> list[str]:
    return [str(values.get(name, "")) for name in names]


def _line(cells: Sequence[str], delimiter: str, *, quoted: bool) -> str:
    out = io.StringIO(newline="")
    quoting: Literal[0, 1] = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator="").writerow(cells)
    return out.getvalue()
