"""A request's query string as Matchbox's labels. Pure.

The rules are those of Go's net/url (1.17 and later) and net.ParseMAC, because operators' selectors were
written against them: the first value of a key wins, `+` is a space, a pair with a broken `%zz` or with a `;`
is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

_OCTETS: Final = (6, 8, 20)  # EUI-48, EUI-64, IP over InfiniBand (RFC 4391)
_PAIRED: Final = re.compile(r"[0-9a-f]{2}(?P<sep>[:-])(?:[0-9a-f]{2}(?P=sep))*[0-9a-f]{2}", re.ASCII)
_DOTTED: Final = re.compile(r"[0-9a-f]{4}(?:\.[0-9a-f]{4})+", re.ASCII)
_BARE: Final = re.compile(r"[0-9a-f]+", re.ASCII)
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Query:
    """What a client said about itself.

    `raw` is the query as sent. `labels` are Matchbox's; under a key spelled `mac` in any case stands the
    address in its one spelling (lower case, colons). `malformed_mac` is what stood there when it was no
    address; that label is then missing, as it is in Matchbox.
    """

    raw: str
    labels: Mapping[str, str]
    malformed_mac: str | None = None


def parse_query(raw: str) -> Query:
    """Read the part of a request target after the first `?`. Accepts anything."""
    labels: dict[str, str] = {}
    malformed: str | None = None
    for key, value in _first_values(raw).items():
        if key.lower() != "mac":
            labels[key] = value
        elif value:  # iPXE sends `mac=` where it has none: that is saying nothing, not saying it wrongly
            try:
                labels[key] = hardware_address(value)
            except ValueError:
                malformed = value
    return Query(_utf8(raw), MappingProxyType(labels), malformed)


def hardware_address(text: str) -> str:
    """The one spelling of an address of 6, 8 or 20 octets: lower case, colons.

    Separators may be colons, dashes or Cisco's dots, never a mixture; none at all is accepted as in Go 1.27.

    Raises:
        ValueError: it is none of these.
    """
    lowered = text.lower() if text.isascii() else ""
    if not (_PAIRED.fullmatch(lowered) or _DOTTED.fullmatch(lowered) or _BARE.fullmatch(lowered)):
        raise ValueError(f"{text!r} is not a MAC address")
    digits = re.sub(r"[:.-]", "", lowered)
    if len(digits) not in {2 * octets for octets in _OCTETS}:
        raise ValueError(f"{text!r} is not a MAC address: 6, 8 or 20 octets are expected")
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def _first_values(raw: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in raw.split("&"):
        if not pair or ";" in pair or _BROKEN_ESCAPE.search(pair):
            continue
        key, _, value = pair.partition("=")
        found.setdefault(_unescape(key), _unescape(value))
    return found


def _unescape(text: str) -> str:
    octets = unquote_to_bytes(text.replace("+", " ").encode("utf-8", "surrogateescape"))
    return octets.decode("utf-8", "replace")


def _utf8(text: str) -> str:
    """The same text without the lone surrogates by which the HTTP parser marks octets that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
