"""Go's fmt.Sprintf, Sprint and Sprintln for the values of `template_values`. Pure.

Flags, width and precision are carried out; argument indexes (`%[1]d`) and `*` are refused by name instead of
being done wrongly. A verb that does not fit its value prints Go's complaint, `%!d(string=x)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from appliance.matchbox.errors import TemplateError
from appliance.matchbox.template_values import show, show_float, type_name

_VERB: Final = re.compile(
    r"%(?P<flags>[-+# 0]*)(?P<width>\d*)(?P<dot>\.?)(?P<precision>\d*)(?P<verb>.)?", re.DOTALL
)
_MAX_WIDTH: Final = 4096
_QUOTED: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    "\\": "\\\\", '"': '\\"',
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Spec:
    flags: str
    width: int
    precision: int | None
    verb: str

    def pad(self, text: str) -> str:
        """Fill up to the width with spaces."""
        return text.ljust(self.width) if "-" in self.flags else text.rjust(self.width)

    def pad_number(self, text: str) -> str:
        """The same, with zeros behind the sign where asked."""
        if "0" in self.flags and "-" not in self.flags:
            sign = text[: text[:1] in {"-", "+", " "}]
            return sign + text[len(sign) :].rjust(self.width - len(sign), "0")
        return self.pad(text)

    def signed(self, text: str) -> str:
        """With the plus or space that the flags ask for."""
        if text.startswith("-"):
            return text
        return ("+" if "+" in self.flags else " " if " " in self.flags else "") + text


def sprint(values: Sequence[object]) -> str:
    """Sprint: a space between neighbours of which neither is a string."""
    pieces: list[str] = []
    for i, value in enumerate(values):
        if i and not isinstance(value, str) and not isinstance(values[i - 1], str):
            pieces.append(" ")
        pieces.append(show(value))
    return "".join(pieces)


def sprintln(values: Sequence[object]) -> str:
    """Sprintln: a space between all, a line feed at the end."""
    return " ".join(map(show, values)) + "\n"


def sprintf(text: str, values: Sequence[object]) -> str:
    """Sprintf.

    Raises:
        TemplateError: the format asks for what is not carried out here.
    """
    pieces: list[str] = []
    used = at = 0
    while (percent := text.find("%", at)) >= 0:
        pieces.append(text[at:percent])
        match = _VERB.match(text, percent)
        assert match is not None
        at = match.end()
        verb = match["verb"]
        if verb is None:
            pieces.append("%!(NOVERB)")
        elif verb == "%":
            pieces.append("%")
        elif verb in {"[", "*"}:
            raise TemplateError(f"printf: {match.group()!r} is not supported here")
        elif used >= len(values):
            pieces.append(f"%!{verb}(MISSING)" if verb != "!" else "%!!(NOVERB)")
        else:
            pieces.append(_one(_spec(match), values[used]))
            used += 1
    pieces.append(text[at:])
    if used < len(values):
        extra = ", ".join(_typed(value) for value in values[used:])
        pieces.append(f"%!(EXTRA {extra})")
    return "".join(pieces)


def quote(text: str) -> str:
    """Go's strconv.Quote."""
    return '"' + "".join(map(_quoted, text)) + '"'


def _spec(match: re.Match[str]) -> _Spec:
    numbers = [int(match[name][:9] or "0") for name in ("width", "precision")]
    if max(numbers) > _MAX_WIDTH:
        raise TemplateError(f"printf: a width or precision above {_MAX_WIDTH}")
    return _Spec(match["flags"], numbers[0], numbers[1] if match["dot"] else None, match["verb"])


def _one(spec: _Spec, value: object) -> str:
    if spec.verb == "T":
        return spec.pad(type_name(value))
    match value:
        case None:
            return spec.pad("<nil>") if spec.verb == "v" else f"%!{spec.verb}(<nil>)"
        case list():
            return f"[{' '.join(_one(spec, item) for item in value)}]"
        case Mapping():
            return f"map[{' '.join(f'{_one(spec, k)}:{_one(spec, value[k])}' for k in sorted(value))}]"
        case bool():
            return spec.pad(show(value)) if spec.verb in "vt" else _wrong(spec, value)
        case int():
            return _integer(spec, value)
        case float():
            return _float(spec, value)
        case str():
            return _string(spec, value)
    return _wrong(spec, value)


def _string(spec: _Spec, text: str) -> str:
    if "#" in spec.flags:
        raise TemplateError(f"printf: '%#{spec.verb}' of a string is not supported here")
    cut = text if spec.precision is None else text[: spec.precision]
    match spec.verb:
        case "v" | "s":
            return spec.pad(cut)
        case "q":
            return spec.pad(quote(cut))
        case "x" | "X":
            octets = text.encode("utf-8", "surrogateescape")
            digits = (octets if spec.precision is None else octets[: spec.precision]).hex()
            return spec.pad(digits if spec.verb == "x" else digits.upper())
    return _wrong(spec, text)


def _integer(spec: _Spec, value: int) -> str:
    if spec.precision is not None:
        raise TemplateError("printf: a precision for an integer is not supported here")
    prefix = "#" if "#" in spec.flags else ""
    match spec.verb:
        case "v" | "d":
            return spec.pad_number(spec.signed(str(value)))
        case "b" | "o" | "x" | "X":
            text = f"{value:{prefix}{spec.verb}}".replace("0o", "0")
            return spec.pad_number(spec.signed(text))
        case "c" if 0 <= value < 0x110000 and not 0xD800 <= value < 0xE000:
            return spec.pad(chr(value))
        case "q" if 0 <= value < 0x110000 and not 0xD800 <= value < 0xE000:
            inner = "\\'" if value == ord("'") else '"' if value == ord('"') else _quoted(chr(value))
            return spec.pad(f"'{inner}'")
        case "U" if value >= 0:
            return spec.pad(f"U+{value:04X}")
    return _wrong(spec, value)


def _float(spec: _Spec, value: float) -> str:
    if "#" in spec.flags:
        raise TemplateError("printf: '#' for a float is not supported here")
    match spec.verb:
        case "v" | "g" | "G" if spec.precision is None:
            text = show_float(value)
            return spec.pad_number(spec.signed(text.upper() if spec.verb == "G" else text))
        case "v" | "e" | "E" | "f" | "F" | "g" | "G":
            precision = 6 if spec.precision is None else spec.precision
            verb = "g" if spec.verb == "v" else spec.verb
            return spec.pad_number(spec.signed(f"{value:.{precision}{verb}}"))
        case "b" | "x" | "X":
            raise TemplateError(f"printf: %{spec.verb} of a float is not supported here")
    return _wrong(spec, value)


def _wrong(spec: _Spec, value: object) -> str:
    return f"%!{spec.verb}({_typed(value)})"


def _typed(value: object) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={show(value)}"


def _quoted(char: str) -> str:
    if char in _QUOTED:
        return _QUOTED[char]
    if char.isprintable():
        return char
    point = ord(char)
    if 0xDC80 <= point <= 0xDCFF:  # an octet of the template's file that is no UTF-8
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
