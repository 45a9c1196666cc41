"""The built-in functions of Go's text/template. Pure.

Each takes and gives the values of `template_values` and raises ValueError with a sentence when its arguments
do not fit. `and` and `or` are not here: they may leave arguments unevaluated, which is the interpreter's
business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote_plus

from appliance.matchbox.errors import TemplateError
from appliance.matchbox.template_printf import sprint, sprintf, sprintln
from appliance.matchbox.template_values import StringMap, equal, less, show_printed, truth, type_name

Arguments = Sequence[object]

MAX_STRING: Final = 1 << 20  # characters that one call may put together

_HTML: Final = str.maketrans({"\0": "�", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JS: Final = {
    "\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D",
}  # fmt: skip


def call(name: str, arguments: Arguments) -> object:
    """Carry out a built-in.

    Raises:
        TemplateError: the arguments do not fit; the message names the function as Go does.
    """
    least, most, function = _TABLE[name]
    if not least <= len(arguments) <= most:
        wanted = f"{least}" if least == most else f"at least {least}" if most > 9 else f"{least} to {most}"
        raise TemplateError(f"wrong number of args for {name}: want {wanted} got {len(arguments)}")
    try:
        result = function(arguments)
    except ValueError as error:
        raise TemplateError(f"error calling {name}: {error}") from error
    if isinstance(result, str) and len(result) > MAX_STRING:
        raise TemplateError(f"error calling {name}: the result is longer than {MAX_STRING} characters")
    return result


def _index(arguments: Arguments) -> object:
    value = arguments[0]
    if value is None and len(arguments) > 1:
        raise ValueError("index of untyped nil")
    for key in arguments[1:]:
        value = _at(value, key)
    return value


def _at(value: object, key: object) -> object:
    match value:
        case None:
            raise ValueError("index of nil pointer")
        case Mapping():
            if not isinstance(key, str):
                raise ValueError(f"value has type {type_name(key)}; should be string")
            return value.get(key, "" if isinstance(value, StringMap) else None)
        case list():
            return value[_position(key, len(value), inclusive=False)]
        case str():
            octets = value.encode("utf-8", "surrogateescape")
            return octets[_position(key, len(octets), inclusive=False)]
    raise ValueError(f"can't index item of type {type_name(value)}")


def _slice(arguments: Arguments) -> object:
    value = arguments[0]
    if isinstance(value, str):
        if len(arguments) == 4:
            raise ValueError("cannot 3-index slice a string")
        octets = value.encode("utf-8", "surrogateescape")
        low, high = _bounds(arguments[1:], len(octets))
        return octets[low:high].decode("utf-8", "surrogateescape")
    if isinstance(value, list):
        low, high = _bounds(arguments[1:], len(value))
        return value[low:high]
    raise ValueError(f"can't slice item of type {type_name(value)}")


def _bounds(keys: Arguments, length: int) -> tuple[int, int]:
    places = [_position(key, length, inclusive=True) for key in keys]
    low, high, capacity = (*places, *(0, length, length)[len(places) :])
    for lower, upper in ((low, high), (high, capacity)):
        if lower > upper:
            raise ValueError(f"invalid slice index: {lower} > {upper}")
    return low, high


def _position(key: object, length: int, *, inclusive: bool) -> int:
    """A list index; JSON's numbers are floats in Matchbox and Go refuses those."""
    if not isinstance(key, int) or isinstance(key, bool):
        raise ValueError(f"cannot index slice/array with type {type_name(key)}")
    if not 0 <= key < length + inclusive:
        raise ValueError(f"index out of range: {key}")
    return key


def _len(arguments: Arguments) -> object:
    match arguments[0]:
        case str() as text:
            return len(text.encode("utf-8", "surrogateescape"))
        case list() | Mapping() as many:
            return len(many)
        case None:
            raise ValueError("len of nil pointer")
    raise ValueError(f"len of type {type_name(arguments[0])}")


def _eq(arguments: Arguments) -> object:
    if len(arguments) < 2:
        raise ValueError("missing argument for comparison")
    return any(equal(arguments[0], other) for other in arguments[1:])


def _less_or_equal(arguments: Arguments) -> bool:
    return less(arguments[0], arguments[1]) or equal(arguments[0], arguments[1])


def _printf(arguments: Arguments) -> object:
    if not isinstance(arguments[0], str):
        raise ValueError(f"wrong type for value; expected string; got {type_name(arguments[0])}")
    return sprintf(arguments[0], arguments[1:])


def _text(arguments: Arguments) -> str:
    return sprint([show_printed(value) if value is None else value for value in arguments])


def _javascript(arguments: Arguments) -> str:
    return "".join(map(_javascript_char, _text(arguments)))


def _javascript_char(char: str) -> str:
    if char in _JS:
        return _JS[char]
    return char if char.isprintable() else f"\\u{ord(char):04X}"


def _urlquery(arguments: Arguments) -> str:
    return quote_plus(_text(arguments), safe="", errors="surrogateescape")


def _call(arguments: Arguments) -> object:
    raise ValueError(f"non-function of type {type_name(arguments[0])}")


_MANY: Final = 1 << 16
_TABLE: Final[Mapping[str, tuple[int, int, Callable[[Arguments], object]]]] = {
    "call": (1, _MANY, _call),
    "eq": (1, _MANY, _eq),
    "ge": (2, 2, lambda a: not less(a[0], a[1])),
    "gt": (2, 2, lambda a: not _less_or_equal(a)),
    "html": (0, _MANY, lambda a: _text(a).translate(_HTML)),
    "index": (1, _MANY, _index),
    "js": (0, _MANY, _javascript),
    "le": (2, 2, _less_or_equal),
    "len": (1, 1, _len),
    "lt": (2, 2, lambda a: less(a[0], a[1])),
    "ne": (2, 2, lambda a: not equal(a[0], a[1])),
    "not": (1, 1, lambda a: not truth(a[0])),
    "print": (0, _MANY, sprint),
    "printf": (1, _MANY, _printf),
    "println": (0, _MANY, sprintln),
    "slice": (1, 4, _slice),
    "urlquery": (0, _MANY, _urlquery),
}
BUILT_INS: Final = frozenset(_TABLE)
