"""How Go prints, compares and judges the values that a Matchbox template can meet. Pure.

The values are those of Go's encoding/json (nil, bool, float64, string, []interface{},
map[string]interface{}), the query's map[string]string, and the ints that literals and `len` give.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

NO_VALUE: Final = "<no value>"


class StringMap(dict[str, str]):
    """Go's map[string]string, whose missing entries read as the empty string."""


def type_name(value: object) -> str:
    """What Go's %T says."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case StringMap():
            return "map[string]string"
        case _:
            return "map[string]interface {}"


def truth(value: object) -> bool:
    """Whether `if` takes it: everything but the zero value of its type and what is empty."""
    return bool(value)


def show(value: object) -> str:
    """Go's %v."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return show_float(value)
        case str():
            return value
        case list():
            return f"[{' '.join(show(item) for item in value)}]"
        case Mapping():
            return f"map[{' '.join(f'{key}:{show(value[key])}' for key in sorted(value))}]"
    return str(value)


def show_printed(value: object) -> str:
    """What an action prints: a nil there is the famous `<no value>`."""
    return NO_VALUE if value is None else show(value)


def show_float(value: float) -> str:
    """Go's %v and %g: the shortest digits that read back, an exponent from 1e+06 on and below 1e-04."""
    digits, exponent = shortest(value)
    sign = "-" if math.copysign(1, value) < 0 else ""
    if exponent < -4 or exponent >= 6:
        head = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
        return f"{sign}{head}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    rest = digits[exponent + 1 :]
    return f"{sign}{whole}.{rest}" if rest else f"{sign}{whole}"


def shortest(value: float) -> tuple[str, int]:
    """The shortest decimal digits of a finite `value`, no trailing zeros, and the exponent of the first."""
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    raw = whole + fraction
    stripped = raw.lstrip("0")
    if not stripped:
        return "0", 0
    exponent = int(power or "0") + len(whole) - 1 - (len(raw) - len(stripped))
    return stripped.rstrip("0") or "0", exponent


def equal(left: object, right: object) -> bool:
    """Go's eq for two values.

    Raises:
        ValueError: their types cannot be compared.
    """
    if left is None or right is None:
        return left is right
    if isinstance(left, list | Mapping) or isinstance(right, list | Mapping):
        raise ValueError("non-comparable type")
    if type(left) is not type(right):
        raise ValueError("incompatible types for comparison")
    return left == right


def less(left: object, right: object) -> bool:
    """Go's lt for two values.

    Raises:
        ValueError: their types have no order, or are not the same.
    """
    if isinstance(left, bool) or isinstance(right, bool):
        raise ValueError("invalid type for comparison")
    if isinstance(left, int) and isinstance(right, int):
        return left < right
    if isinstance(left, float) and isinstance(right, float):
        return left < right
    if isinstance(left, str) and isinstance(right, str):
        return left < right
    known = isinstance(left, int | float | str) and isinstance(right, int | float | str)
    raise ValueError("incompatible types for comparison" if known else "invalid type for comparison")
