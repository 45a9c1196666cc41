"""What can be wrong with an operator's Matchbox data. All of it is the operator's to mend (exit 3)."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.errors import OperatorError

Keys = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong with a document: where, what, and what to do.

    `line` counts from 1, 0 when no line can be named; `keys` is the place as steps from the root, in the
    words of the document, `path` the same for a person. One that is not `fatal` would be taken without
    effect.
    """

    message: str
    line: int = 0
    path: str = ""
    hint: str = ""
    keys: Keys = ()
    fatal: bool = True


class DataError(OperatorError):
    """A file of the data directory cannot be used; `line` counts from 1, 0 when no line can be named."""

    def __init__(self, message: str, *, line: int = 0, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line = line
        self.path = path


class TemplateError(DataError):
    """A template does not parse, or cannot be carried out with the variables of this request."""


class IgnitionError(DataError):
    """An Ignition or Butane file that must not reach a machine; `flaws` is all that is wrong with it."""

    def __init__(
        self, message: str, *, line: int = 0, path: str = "", hint: str = "", flaws: tuple[Flaw, ...] = ()
    ) -> None:
        super().__init__(message, line=line, path=path, hint=hint)
        self.flaws = flaws or (Flaw(message, line, path, hint),)

    @classmethod
    def of(cls, flaws: tuple[Flaw, ...]) -> IgnitionError:
        """The error that carries these, of which there is at least one."""
        first = flaws[0]
        return cls(first.message, line=first.line, path=first.path, hint=first.hint, flaws=flaws)
