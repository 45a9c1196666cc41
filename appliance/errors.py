"""Everything that can go wrong, by whose turn it is to act.

    ApplianceError
     ├── OperatorError      what the operator wrote is wrong (exit 3); carries every problem found
     ├── Refused            we will not do it: unsafe, untrusted, already running (exit 4)
     ├── SurroundingsError  the host, the network or a peer failed (exit 5)
     └── NotProven          applied, not proven, rolled back (exit 6)

A message begins with what could not be done, seen from the operator's chair; the hint says what to do
about it. Anything else that escapes is a bug of ours (exit 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell sees. The numbers are public."""

    FINE = 0
    BUG = 1
    USAGE = 2
    OPERATOR = 3
    REFUSED = 4
    SURROUNDINGS = 5
    ROLLED_BACK = 6
    CHANGES_PENDING = 10


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that an operator has to mend, and where.

    `path` is the dotted path of the value inside the file (`machine.node1.mac`), empty for the file as a
    whole; `line` starts at 1, 0 when the problem has no line.
    """

    file: str
    line: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        text = f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"
        return f"{text} ({self.hint})" if self.hint else text


class ApplianceError(Exception):
    """Root of the tree: a message, a hint, an exit code."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class OperatorError(ApplianceError):
    """What the operator wrote cannot be used; `problems` holds all of it at once, in file order."""

    exit_code = ExitCode.OPERATOR

    def __init__(self, message: str, *, problems: Iterable[Problem] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(sorted(problems))


class Refused(ApplianceError):
    """The request is understood and will not be carried out."""

    exit_code = ExitCode.REFUSED


class SurroundingsError(ApplianceError):
    """A file system, a program, an interface or a peer did not do its part."""

    exit_code = ExitCode.SURROUNDINGS


class NotProven(ApplianceError):
    """A change reached the wire, could not be shown to work, and was taken back.

    `evidence` is what was seen when the generation before it was proven again; empty where there was none.
    """

    exit_code = ExitCode.ROLLED_BACK

    def __init__(self, message: str, *, hint: str = "", evidence: Iterable[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.evidence = tuple(evidence)
