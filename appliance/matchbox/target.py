"""Request targets and redirects as Go's ServeMux treats them. Pure."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
_PATH_SAFE: Final = "$&+,/:;=@~"  # what Go leaves alone in a path
_QUERY_SAFE: Final = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Target:
    """A decoded path (octets that are no UTF-8 as lone surrogates, as for file names) and the raw query."""

    path: str
    query: str

    @property
    def redirect(self) -> str:
        """Where an unclean path (`//`, `/./`, `/../`, in any encoding) is sent; empty when it is clean."""
        clean = _clean(self.path)
        return "" if clean == self.path else self.location(quote_path(clean))

    def location(self, path: str) -> str:
        """A quoted `path` with this request's query."""
        return f"{path}?{quote(self.query, safe=_QUERY_SAFE)}" if self.query else path


def read_target(raw: str) -> Target:
    """Split a target as it stands in the request line.

    Raises:
        ValueError: an escape in the path is broken.
    """
    absolute = _ABSOLUTE.match(raw)
    rest = raw[absolute.end() :] if absolute else raw
    path, _, query = rest.partition("?")
    if _BROKEN_ESCAPE.search(path):
        raise ValueError("a broken escape in the path")
    octets = unquote_to_bytes(path.encode("utf-8", "surrogateescape"))
    return Target(octets.decode("utf-8", "surrogateescape") or "/", query)


def quote_path(path: str) -> str:
    """A path for a Location header or a link."""
    return quote(path.encode("utf-8", "surrogateescape"), safe=_PATH_SAFE)


def redirect_page(location: str) -> str:
    """The body that Go puts under a 301 to a GET."""
    return f'<a href="{html.escape(location)}">Moved Permanently</a>.\n\n'


def listing_page(names: list[str]) -> str:
    """A directory as Go lists it: names in order, directories with a slash."""
    lines = []
    for name in names:
        link = quote_path(name)
        if ":" in link.partition("/")[0]:
            link = f"./{link}"  # else the colon would make it a scheme
        text = html.escape(name).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
        lines.append(f'<a href="{link}">{text}</a>\n')
    return f"<pre>\n{''.join(lines)}</pre>\n"


def _clean(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    clean = "/" + "/".join(parts)
    return f"{clean}/" if path.endswith("/") and parts else clean
