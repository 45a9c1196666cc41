"""Text as man(7) pages: escapes, macros, paragraphs. Pure; what comes out is ASCII in short lines.

Two rules of roff make this more than a join: a line that begins with a dot or an apostrophe is a request, and
a plain hyphen may be printed as a dash that nobody can paste back into a shell (groff_char(7)).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

_WIDTH = 76  # of a source line, for those who read the page in an editor or in a diff
_OPTION = re.compile(r"(?<![\w-])-{1,2}(?=\w)")


def literal(text: str) -> str:
    """Text that a reader may paste: every hyphen is a minus."""
    return _characters(text.replace("\\", "\\e").replace("-", "\\-"))


def prose(text: str) -> str:
    """Running text: what stands between backticks is literal; hyphens are minuses where an option begins."""
    parts = text.split("`")
    return "".join(bold(part) if n % 2 else _running(part) for n, part in enumerate(parts))


def bold(text: str) -> str:
    """A word to be typed as it stands."""
    return f"\\fB{literal(text)}\\fR"


def italic(text: str) -> str:
    """A word that stands for another."""
    return f"\\fI{literal(text)}\\fR"


def title(name: str, section: int, date: str, source: str) -> str:
    """The head of a page; `date` is YYYY-MM-DD, or empty. Words are not hyphenated: many are names."""
    head = f'.TH {literal(name.upper())} {section} "{date}" "{literal(source)}" "pxe\\-appliance"\n'
    return f"{head}.nh\n"


def heading(text: str) -> str:
    """The head of a section."""
    return f".SH {text}\n" if " " not in text else f'.SH "{text}"\n'


def subheading(text: str) -> str:
    """The head of a part of a section; `text` is roff already."""
    return f'.SS "{text}"\n'


def paragraphs(texts: Iterable[str]) -> str:
    """Paragraphs of text that is roff already."""
    return ".PP\n".join(_filled(text) for text in texts if text)


def entry(term: str, text: str) -> str:
    """An item of a list: `term` and `text` are roff already."""
    return f".TP\n{term}\n{_filled(text) if text else '.br' + chr(10)}"


def example(lines: Iterable[str]) -> str:
    """Lines as they are typed: nothing is filled or broken."""
    shown = "".join(f"{_safe_start(literal(line))}\n" for line in lines)
    return f".nf\n.RS 4\n{shown}.RE\n.fi\n"


def _running(text: str) -> str:
    escaped = text.replace("\\", "\\e")
    return _characters(_OPTION.sub(lambda found: "\\-" * len(found[0]), escaped))


def _filled(text: str) -> str:
    lines = textwrap.wrap(
        " ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False, expand_tabs=False
    )
    return "".join(f"{_safe_start(line)}\n" for line in lines)


def _safe_start(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _characters(text: str) -> str:
    """Whatever is not ASCII by its number (groff_char(7)): no reader has to guess the encoding."""
    return "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
