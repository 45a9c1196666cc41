"""Go's text/template, first step: source text to tokens. Pure.

Written after the language's public description (pkg.go.dev/text/template); what Matchbox's users may write,
they may write here. No library on the package index does this with bounds on work and output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from appliance.matchbox.errors import TemplateError

MAX_SOURCE: Final = 4 << 20  # characters of one template file

_SPACE: Final = " \t\r\n"
_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<raw>`[^`]*`)
      | (?P<char>'(?:\\.|[^'\\\n])+')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
          |(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?))
      | (?P<field>\.\w+)
      | (?P<dot>\.)
      | (?P<variable>\$\w*)
      | (?P<word>[^\W\d]\w*)
      | (?P<declare>:=)
      | (?P<mark>[=|(),])
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSERS: Final = ")|,"
_CLOSE: Final = re.compile(r"[ \t\r\n]+(?P<trim>-)\}\}|\}\}")


class Kind(Enum):
    """What a token is."""

    TEXT = auto()
    OPEN = auto()
    CLOSE = auto()
    STRING = auto()
    RAW = auto()
    CHAR = auto()
    NUMBER = auto()
    FIELD = auto()
    DOT = auto()
    VARIABLE = auto()
    WORD = auto()
    DECLARE = auto()
    MARK = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `spaced`: white space stands before it, which in this language separates operands."""

    kind: Kind
    text: str
    line: int
    spaced: bool = False


def tokens_of(source: str) -> list[Token]:
    """All tokens of a template, the last one END.

    Raises:
        TemplateError: with the line.
    """
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"the template is larger than {MAX_SOURCE} characters")
    return _Lexer(source).run()


class _Lexer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._line = 1
        self._found: list[Token] = []

    def run(self) -> list[Token]:
        trim_next = False
        while True:
            start = self._source.find("{{", self._at)
            text = self._source[self._at : start] if start >= 0 else self._source[self._at :]
            if trim_next:
                kept = text.lstrip(_SPACE)
                self._advance(len(text) - len(kept))
                text = kept
            trims = start >= 0 and self._trims_left(start)
            self._text(text, text.rstrip(_SPACE) if trims else text)
            if start < 0:
                self._found.append(Token(Kind.END, "", self._line))
                return self._found
            self._advance(3 if trims else 2)
            trim_next = self._action()

    def _trims_left(self, start: int) -> bool:
        return self._source.startswith("{{-", start) and self._source[start + 3 : start + 4] in tuple(_SPACE)

    def _text(self, consumed: str, kept: str) -> None:
        if kept:
            self._found.append(Token(Kind.TEXT, kept, self._line))
        self._advance(len(consumed))

    def _advance(self, count: int) -> None:
        self._line += self._source.count("\n", self._at, self._at + count)
        self._at += count

    def _action(self) -> bool:
        """Read one action up to its end; whether white space after it is trimmed."""
        if (comment := self._comment()) is not None:
            return comment
        self._found.append(Token(Kind.OPEN, "{{", self._line))
        spaced = False
        while True:
            if (closing := _CLOSE.match(self._source, self._at)) is not None:
                self._found.append(Token(Kind.CLOSE, "}}", self._line))
                self._advance(len(closing.group()))
                return closing["trim"] is not None
            match = _TOKEN.match(self._source, self._at)
            if match is None:
                raise TemplateError(self._complaint(), line=self._line)
            if match.lastgroup == "space":
                spaced = True
            else:
                self._take(Kind[(match.lastgroup or "").upper()], match.group(), spaced=spaced)
                spaced = False
            self._advance(len(match.group()))

    def _take(self, kind: Kind, text: str, *, spaced: bool) -> None:
        following = self._source[self._at + len(text) : self._at + len(text) + 1]
        operand = kind in {Kind.FIELD, Kind.VARIABLE, Kind.WORD, Kind.NUMBER}
        ends = following in {"", "}", ".", ":", "="} or following in _SPACE or following in _CLOSERS
        if operand and not (ends and not (kind is Kind.NUMBER and following == ".")):
            raise TemplateError(f"bad character {following!r} after {text[:40]!r}", line=self._line)
        self._found.append(Token(kind, text, self._line, spaced))

    def _comment(self) -> bool | None:
        """Skip a comment, which fills its action; whether it trims to the right. None when there is none."""
        if not self._source.startswith("/*", self._at) and not (
            self._source[self._at : self._at + 1] in tuple(_SPACE)
            and self._source[self._at - 1 : self._at] == "-"
            and self._source.startswith("/*", self._at + 1)
        ):
            return None
        match = _COMMENT.search(self._source, self._at)
        if match is None:
            raise TemplateError("unclosed comment", line=self._line)
        self._advance(match.end() - self._at)
        closing = _CLOSE.match(self._source, self._at)
        if closing is None:
            raise TemplateError("comment ends before closing delimiter", line=self._line)
        self._advance(len(closing.group()))
        return closing["trim"] is not None

    def _complaint(self) -> str:
        rest = self._source[self._at : self._at + 1]
        if not rest:
            return "unclosed action"
        return "unterminated string" if rest in {'"', "`", "'"} else f"unexpected {rest!r} in an action"
