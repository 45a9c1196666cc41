"""The tree of a parsed Go template. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Dot:
    """`.`"""


@dataclass(frozen=True, slots=True)
class Nil:
    """`nil`, allowed as an argument only."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: bool | int | float | str


@dataclass(frozen=True, slots=True)
class Field:
    """`.a.b`, from dot."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """`$x.a.b`."""

    name: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """A built-in, called with what follows it."""

    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """`(…).a.b`."""

    base: Expression
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """An operand, or a function and its arguments."""

    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Pipe:
    """`$x := a | b c`. `assigns`: the variables exist already (`=`)."""

    variables: tuple[str, ...]
    assigns: bool
    commands: tuple[Command, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Text:
    """Copied as it stands."""

    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A pipeline whose value is printed, unless it sets a variable."""

    pipe: Pipe
    line: int


@dataclass(frozen=True, slots=True)
class Branch:
    """`if`, `with` or `range` (the `word`), with its else part."""

    word: str
    pipe: Pipe
    body: Body
    otherwise: Body
    line: int


@dataclass(frozen=True, slots=True)
class Invoke:
    """`{{template "name" pipe}}`, and `{{block}}` at its place."""

    name: str
    pipe: Pipe | None
    line: int


@dataclass(frozen=True, slots=True)
class Break:
    """`{{break}}`"""


@dataclass(frozen=True, slots=True)
class Continue:
    """`{{continue}}`"""


Expression: TypeAlias = "Dot | Nil | Literal | Field | Variable | Function | Chain | Pipe"
Node: TypeAlias = "Text | Action | Branch | Invoke | Break | Continue"
Body: TypeAlias = "tuple[Node, ...]"
