"""Compares versions as dpkg does (Debian Policy 5.6.12). Pure."""

from __future__ import annotations

import re
from typing import Final

_PIECES: Final = re.compile(r"([^0-9]*)([0-9]*)")


def older(left: str, right: str) -> bool:
    """Whether `left` comes before `right`."""
    return _key(left) < _key(right)


def _key(version: str) -> tuple[int, list[tuple[list[int], int]], list[tuple[list[int], int]]]:
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdecimal():
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch), _pieces(upstream), _pieces(revision)


def _pieces(text: str) -> list[tuple[list[int], int]]:
    """Alternating text and number. A tilde sorts before the end, letters before all else."""
    found = [(word, number) for word, number in _PIECES.findall(text) if word or number]
    # The end of the text stands between a tilde and everything else.
    return [([*(_order(c) for c in word), 0], int(number or 0)) for word, number in found] + [([0], 0)]


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
