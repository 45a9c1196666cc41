"""Go's literals inside an action: numbers, characters, strings. Pure."""

from __future__ import annotations

import re
from typing import Final

from appliance.matchbox.errors import TemplateError
from appliance.matchbox.template_lex import Kind, Token

_ESCAPE: Final = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\'\"])|(?P<octal>[0-7]{3})|x(?P<byte>[0-9a-fA-F]{2})"
    r"|u(?P<four>[0-9a-fA-F]{4})|U(?P<eight>[0-9a-fA-F]{8}))"
)
_SIMPLE: Final = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))
_DIGITS: Final = 400  # of one number; Go's constants are exact at any length, nobody needs them to be


def number(token: Token) -> int | float:
    """The value of a number or character literal; a float exactly when it is written as one."""
    if token.kind is Kind.CHAR:
        text = _unescape(token, token.text[1:-1], '"')
        if len(text) != 1:
            raise TemplateError(f"malformed character constant: {token.text[:40]}", line=token.line)
        return ord(text)
    digits = token.text.replace("_", "")
    if len(digits) > _DIGITS:
        raise TemplateError("a number has too many digits", line=token.line)
    try:
        return _number(digits)
    except (ValueError, OverflowError) as error:
        raise TemplateError(f"bad number syntax: {token.text[:40]!r}", line=token.line) from error


def unquoted(token: Token) -> str:
    """The value of an interpreted or raw string literal."""
    if token.kind is Kind.RAW:
        return token.text[1:-1].replace("\r", "")
    return _unescape(token, token.text[1:-1], "'")


def _number(digits: str) -> int | float:
    sign, body = (-1 if digits[0] == "-" else 1), digits.lstrip("+-").lower()
    if body.startswith(("0x", "0b", "0o")):
        value: int | float = int(body, 0)
    elif any(mark in body for mark in ".e"):
        value = float(body)
        if value == float("inf"):
            raise OverflowError
    elif len(body) > 1 and body[0] == "0":
        value = int(body, 8)
    else:
        value = int(body)
    if isinstance(value, int) and not -(1 << 63) <= sign * value < 1 << 63:
        raise OverflowError
    return sign * value


def _unescape(token: Token, text: str, forbidden: str) -> str:
    """Resolve escapes. Each kind of literal knows the other's quote only without a backslash."""
    pieces: list[bytes] = []
    at = 0
    while (slash := text.find("\\", at)) >= 0:
        pieces.append(text[at:slash].encode("utf-8", "surrogateescape"))
        match = _ESCAPE.match(text, slash)
        if match is None or match["simple"] == forbidden:
            raise TemplateError(f"invalid escape in {token.text[:40]}", line=token.line)
        pieces.append(_octets(token, match))
        at = match.end()
    pieces.append(text[at:].encode("utf-8", "surrogateescape"))
    return b"".join(pieces).decode("utf-8", "surrogateescape")


def _octets(token: Token, match: re.Match[str]) -> bytes:
    if match["simple"]:
        return _SIMPLE[match["simple"]].encode()
    raw = int(match["octal"] or "0", 8) or int(match["byte"] or "0", 16)
    if match["octal"] or match["byte"]:
        if raw > 0xFF:
            raise TemplateError("octal escape is over 255", line=token.line)
        return chr(raw).encode() if token.kind is Kind.CHAR else bytes([raw])
    point = int(match["four"] or match["eight"], 16)
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
        raise TemplateError("escape is no valid Unicode code point", line=token.line)
    return chr(point).encode()
