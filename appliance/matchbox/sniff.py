"""Content types as Go's net/http finds them: by extension, else by the first 512 octets. Pure.

The table is Go's own, fixed part; what Matchbox reads from its host's tables (/etc/mime.types) is not part of
the contract and would make answers depend on installed packages.
"""

from __future__ import annotations

from typing import Final

_BY_EXTENSION: Final = {
    ".avif": "image/avif",
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
    ".xml": "text/xml; charset=utf-8",
}
SNIFFED: Final = 512  # octets that are looked at
_HTML_TAGS: Final = tuple(
    f"<{tag}".encode()
    for tag in (
        *("!DOCTYPE HTML", "HTML", "HEAD", "SCRIPT", "IFRAME", "H1", "DIV", "FONT", "TABLE"),
        *("A", "STYLE", "TITLE", "B", "BODY", "BR", "P", "!--"),
    )
)
_MAGIC: Final = (
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xfe\xff", "text/plain; charset=utf-16be"),
    (b"\xff\xfe", "text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf", "text/plain; charset=utf-8"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"OggS\x00", "application/ogg"),
    (b"MThd\x00\x00\x00\x06", "audio/midi"),
    (b"ID3", "audio/mpeg"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"\x00\x01\x00\x00", "font/ttf"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1a\x07\x00", "application/x-rar-compressed"),
    (b"Rar!\x1a\x07\x01\x00", "application/x-rar-compressed"),
    (b"\x00asm", "application/wasm"),
)
_BINARY: Final = frozenset(range(0x20)) - {0x09, 0x0A, 0x0C, 0x0D, 0x1B}  # WHATWG MIME Sniffing, 3


def content_type(name: str, head: bytes) -> str:
    """The type of a file called `name` whose first octets are `head`; an empty name is sniffed only."""
    dot = name.rfind(".")
    known = _BY_EXTENSION.get(name[dot:].lower()) if dot >= 0 else None
    return known or sniff(head)


def sniff(content: bytes) -> str:
    """What the first octets look like (WHATWG MIME Sniffing as Go carries it out)."""
    head = content[:SNIFFED]
    text = head.lstrip(b"\t\n\x0c\r ")
    if _is_html(text):
        return "text/html; charset=utf-8"
    if text.startswith(b"<?xml"):
        return "text/xml; charset=utf-8"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:14] == b"WEBPVP":
        return "image/webp"
    if any(octet in _BINARY for octet in text):
        return "application/octet-stream"
    return "text/plain; charset=utf-8"


def _is_html(text: bytes) -> bool:
    upper = text[:32].upper()
    return any(upper.startswith(tag) and upper[len(tag) : len(tag) + 1] in {b" ", b">"} for tag in _HTML_TAGS)
