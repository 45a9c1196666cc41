"""What can be wrong with an operator's Matchbox data. All of it is the operator's to mend (exit 3)."""

from __future__ import annotations

from appliance.errors import OperatorError


class DataError(OperatorError):
    """A file of the data directory cannot be used; `line` counts from 1, 0 when no line can be named."""

    def __init__(self, message: str, *, line: int = 0, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line = line
        self.path = path


class TemplateError(DataError):
    """A template does not parse, or cannot be carried out with the variables of this request."""


class IgnitionError(DataError):
    """An Ignition or Butane file that must not reach a machine."""
