"""The syntax of systemd units as Ignition's parser reads it (systemd.syntax(7)). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# As Ignition has them; systemd.unit(5) knows the same.
SUFFIXES: Final = (
    ".service", ".socket", ".device", ".mount", ".automount", ".swap", ".target", ".path", ".timer",
    ".snapshot", ".slice", ".scope",
)  # fmt: skip
_LONGEST: Final = 2048  # bytes of a line; systemd cut longer ones (freedesktop bug 85308)


@dataclass(frozen=True, slots=True)
class UnitText:
    """What was found in a unit: its sections, and what is wrong with it (empty: nothing).

    `fatal`: Ignition refuses it; else it only drops what is wrong.
    """

    sections: tuple[str, ...]
    wrong: str = ""
    line: int = 0
    fatal: bool = True


def read_unit(text: str) -> UnitText:
    """Read a unit or drop-in."""
    sections: list[str] = []
    continued = False
    for number, line in enumerate(text.split("\n"), 1):
        if len(line.encode("utf-8", "replace")) >= _LONGEST:
            return UnitText(tuple(sections), f"a line is longer than {_LONGEST} bytes", number)
        bare = line.strip()
        was, continued = continued, line.rstrip(" ").endswith("\\")
        if was or not bare:
            continue
        if bare[0] in "#;":
            continue
        if bare[0] == "[":
            name, bracket, rest = bare[1:].partition("]")
            if not bracket or rest.strip():
                return UnitText(tuple(sections), f"{bare[:60]!r} is no [Section]", number)
            sections.append(name)
            continued = False
        elif not sections:
            return UnitText((), f"{bare[:60]!r} stands before any [Section]", number, fatal=False)
        elif "=" not in bare:
            return UnitText(tuple(sections), f"{bare[:60]!r} is no Key=value", number)
    return UnitText(tuple(sections))
