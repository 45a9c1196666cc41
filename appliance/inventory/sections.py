"""Sections of keys and values, as systemd's and NetworkManager's files have them. Pure.

Values arrive typed, or out of grammars without blanks; the last look stands here all the same, because a line
break in one of them would be a directive of its own, read by root.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

Lines = list[tuple[str, object]]
Section = tuple[str, Lines]

# No quotes, no backslashes, no %: systemd expands specifiers in some values, GLib escapes.
_VALUE: Final = re.compile(r"[A-Za-z0-9_.,:;/+*!=> -]{1,4096}", re.ASCII)
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)


def sections_text(sections: Iterable[Section]) -> str:
    """The text of a file; sections without lines are left out.

    Raises:
        ValueError: a value holds what would mean something to the reader of the file.
    """
    return "\n".join(_section(title, lines) for title, lines in sections if lines)


def file_name(stem: str, ending: str) -> str:
    """A file's name made of an interface's; ValueError when it could leave its folder."""
    name = f"{stem}.{ending}"
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a file's name")
    return name


def _section(title: str, lines: Lines) -> str:
    for key, value in lines:
        if not _VALUE.fullmatch(str(value)):
            raise ValueError(f"{str(value)!r} cannot be the value of {key}")
    return f"[{title}]\n" + "".join(f"{key}={value}\n" for key, value in lines)
