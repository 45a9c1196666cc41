"""Text from the wire, made safe to show. Pure.

dnsmasq strips most control bytes, but an escape sequence's printable rest and markup reach its log
(measured), and host names and reports come from whoever is on the VLAN.
"""

from __future__ import annotations

import unicodedata

# Cc control, Cf format (bidirectional overrides among them), Cs surrogates, Zl and Zp line separators
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def safe_text(text: str, *, limit: int = 256) -> str:
    """`text` with everything invisible spelled out as an escape, at most `limit` characters long."""
    if text.isascii() and text.isprintable():
        return text if len(text) <= limit else text[: limit - 1] + "…"
    shown = "".join(c if unicodedata.category(c) not in _HIDDEN else _spelled(c) for c in text[: limit * 2])
    return shown if len(shown) <= limit and len(text) <= limit * 2 else shown[: limit - 1] + "…"


def _spelled(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
