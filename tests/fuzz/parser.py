"""What is known of a parser of hostile bytes: how to ask it, what it returns, what it may raise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Final

CORPUS: Final = Path(__file__).parents[1] / "corpus/fuzz"


class NotOurs(Exception):
    """The bytes are not what reaches the parser at all: somebody else refuses them before."""


@dataclass(frozen=True, slots=True)
class Parser:
    """One row of the table.

    `read` gives it raw octets as the product would, and returns what it returns; anything but `returns`, or
    an exception that is not of `raises`, is a bug. `most` is how many octets the product reads at most;
    `words` mean something in its language. `cost`: a reading costs so much more than others that it gets so
    many times fewer of them.
    Its seeds are the files of `tests/corpus/fuzz/NAME/`: what it takes, and whatever it once fell over.
    """

    name: str
    read: Callable[[bytes], object]
    returns: type | UnionType | tuple[type, ...]
    raises: tuple[type[Exception], ...] = ()
    most: int = 1 << 20
    words: tuple[str, ...] = ()
    cost: int = 1

    @property
    def seeds(self) -> tuple[bytes, ...]:
        """The octets of its kept seeds."""
        return _seeds(self.name)


@cache
def _seeds(name: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted((CORPUS / name).iterdir()))


def text(data: bytes) -> str:
    """Octets as the text that a file reader makes of them.

    Raises:
        NotOurs: they are not UTF-8, which the reader says.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotOurs from error


def any_text(data: bytes) -> str:
    """Octets as text that may hold lone surrogates: JSON and the HTTP parser make such."""
    return data.decode("utf-8", "surrogateescape")


def kept(data: bytes) -> object:
    """Octets as the JSON value of a kept row.

    Raises:
        NotOurs: they are no JSON, which the history says.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotOurs from error
