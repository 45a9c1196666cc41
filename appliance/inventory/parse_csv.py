"""CSV text to a `Document`: one machine a row, the shape that the other formats have.

Columns named like a machine's own keys are those keys; any other column is a label. Spreadsheets add a byte
order mark and, where the comma is the decimal mark, separate with semicolons: both are taken.

Pure.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Final

from appliance.errors import Problem
from appliance.reading import ENOUGH_PROBLEMS, Document, Path, nearest, shown

_NEEDED: Final = ("name", "mac", "ip")
_KEYS: Final = frozenset({"mac", "ip", "network", "profile", "serial", "uuid", "arch", "hostname", "port"})
MACHINE_COLUMNS: Final = frozenset({"name", *_KEYS})
_DELIMITERS: Final = ",;\t"
_COLUMNS: Final = 128


def read_csv(text: str, file: str, problems: list[Problem]) -> Document | None:
    """Parse CSV; None, and problems with their lines, when the header or a row cannot be used."""
    found: list[Problem] = []
    rows = _rows(text, file, found)
    line, cells = next(rows, (1, []))
    header = [column_name(cell) for cell in cells]
    found.extend(_header_problems(header, file, line))
    machines: dict[str, object] = {}
    lines: dict[str, int] = {}
    if not found:
        for line, cells in rows:
            if len(found) >= ENOUGH_PROBLEMS:
                break
            if len(cells) > len(header):
                message = f"has {len(cells)} cells, the header has {len(header)}"
                found.append(Problem(file, line, "", message, "quote a cell that holds the delimiter"))
                continue
            name, machine = _machine(dict(zip(header, cells, strict=False)))
            if name in machines:
                message = f"the name {shown(name)} is written twice, first on line {lines[name]}"
                found.append(Problem(file, line, "", message, "give one of the two another name"))
                continue
            machines[name] = machine
            lines[name] = line
    problems.extend(found)
    return None if found else Document(file, {"machine": machines}, _RowLines(lines), textual=True)


def delimiter_of(text: str) -> str:
    """What separates the cells of a text: a comma, a semicolon or a tab, whichever its header has most of."""
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    return max(_DELIMITERS, key=first.count)


def column_name(cell: str) -> str:
    """A cell of the header as a key of a machine, or as a label's name."""
    name = cell.strip()
    return name.lower() if name.lower() in MACHINE_COLUMNS else name


def _rows(text: str, file: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """Every row that says something, with the line on which it begins. `#` begins a comment."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    begins = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            hint = "close every quote, and write a quote inside a cell twice"
            problems.append(Problem(file, max(1, reader.line_num), "", f"is not CSV: {error}", hint))
            return
        if cells is None:
            return
        if any(cell.strip() for cell in cells) and not cells[0].startswith("#"):
            yield begins, cells
        begins = reader.line_num + 1


def _header_problems(header: list[str], file: str, line: int) -> Iterator[Problem]:
    if len(header) > _COLUMNS:
        message = f"has {len(header)} columns; at most {_COLUMNS} are read"
        yield Problem(file, line, "", message, "remove the columns that are not for the appliance")
        return
    for name in _NEEDED:
        if name not in header:
            near = nearest(name, header)
            hint = f"the column {shown(near)} may be meant" if near else "the first row names the columns"
            yield Problem(file, line, "", f"has no column {name!r}", hint)
    for index, name in enumerate(header):
        if not name:
            yield Problem(file, line, "", f"column {index + 1} has no name", "name it, or remove it")
        elif name in header[:index]:
            yield Problem(file, line, "", f"the column {shown(name)} is there twice", "remove one")


def _machine(row: Mapping[str, str]) -> tuple[str, dict[str, object]]:
    machine: dict[str, object] = {}
    labels: dict[str, object] = {}
    for column, raw in row.items():
        cell = raw.strip()
        if not cell or column == "name":
            continue
        if column == "mac" and len(cell.split()) > 1:
            machine["macs"] = cell.split()
        elif column in _KEYS:
            machine[column] = cell
        else:
            labels[column] = cell
    if labels:
        machine["labels"] = labels
    return row.get("name", "").strip(), machine


class _RowLines:
    """Everything about a machine stands in its row."""

    def __init__(self, lines: Mapping[str, int]) -> None:
        self._lines = lines

    def __call__(self, path: Path) -> int:
        return self._lines.get(str(path[1]), 0) if len(path) > 1 else 0
