"""What a mirror answers, and what each fault makes of it: values in, one `Reply` out; no socket is touched.

Content faults (swap, replace, flip, longer, gzip) change the resource before its range is cut. The others
change the answer: its status, its headers, or the way it ends on the wire.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Literal

BLOCK = 1 << 16
ENDLESS = 1 << 30
RANGE = re.compile(r"bytes=(\d*)-(\d*)")

Ending = Literal["keep", "close", "reset", "stall"]
# Every fault takes these: which requests it meets, by method, by headers (globs), and by their number.
FILTERS = frozenset({"kind", "method", "if", "skip", "times"})
KINDS: Mapping[str, frozenset[str]] = {
    "status": frozenset({"code", "retry_after"}),
    "redirect": frozenset({"to", "code"}),
    "reset": frozenset({"after", "head"}),
    "cut": frozenset({"after", "head"}),
    "stall": frozenset({"after", "head"}),
    "drip": frozenset({"bytes_per_second"}),
    "longer": frozenset({"bytes"}),
    "endless": frozenset({"limit"}),
    "wrong_length": frozenset({"by"}),
    "ignore_range": frozenset(),
    "wrong_range": frozenset({"of", "shift"}),
    "etag_changes": frozenset({"ignore_if_range"}),
    "no_etag": frozenset(),
    "gzip": frozenset({"bomb"}),
    "swap": frozenset({"with"}),
    "flip": frozenset({"offset"}),
    "replace": frozenset({"content"}),
}


@dataclass(frozen=True)
class Slice:
    """A stretch of a file."""

    path: Path
    start: int
    length: int


@dataclass(frozen=True)
class Zeros:
    """So many zero bytes, which nobody stores."""

    length: int


Piece = Slice | Zeros | bytes
Content = tuple[Piece, ...]


@dataclass(frozen=True)
class Resource:
    """What lies under a path: its bytes and its validators."""

    content: Content
    etag: str | None
    modified: str
    encoding: str | None = None


@dataclass(frozen=True)
class Asked:
    """A request; the names of its headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """An answer, and how it goes over the wire: `after` so many body bytes comes the `ending`."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Content = ()
    head: bool = True
    after: int | None = None
    ending: Ending = "keep"
    rate: float | None = None


@dataclass(frozen=True)
class Fault:
    """One entry of the faults file; a value of a wrong type is an error of the test."""

    values: Mapping[str, object]

    @property
    def kind(self) -> str:
        """Which of the `KINDS` it is."""
        return self.text("kind", "")

    def number(self, name: str, default: int) -> int:
        """A parameter that is a whole number."""
        value = self.values.get(name, default)
        if not isinstance(value, int):
            raise TypeError(f"{self.kind}: {name} is a whole number, not {value!r}")
        return value

    def text(self, name: str, default: str) -> str:
        """A parameter that is a text."""
        value = self.values.get(name, default)
        if not isinstance(value, str):
            raise TypeError(f"{name} is a text, not {value!r}")
        return value

    def meets(self, asked: Asked) -> bool:
        """Whether the fault is meant for such a request; a header that is not there matches nothing."""
        wanted = self.values.get("if", {})
        assert isinstance(wanted, Mapping)
        headers = ((asked.headers.get(name.lower()), glob) for name, glob in wanted.items())
        if not all(value is not None and fnmatchcase(value, glob) for value, glob in headers):
            return False
        return self.text("method", asked.method) == asked.method

    def due(self, number: int) -> bool:
        """Whether the fault strikes the request of this number, counted from 0."""
        first = self.number("skip", 0)
        return first <= number < first + self.number("times", 1 << 62)


class Book:
    """The faults file, read anew for each request, and how often each of its entries was met.

    Writing the file again arms every `times` and `skip` in it again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._met: dict[tuple[int, str, int], int] = {}

    def choose(self, asked: Asked) -> list[Fault]:
        """The faults that strike this request."""
        if self._path is None or not self._path.exists():
            return []
        written = self._path.stat().st_mtime_ns
        chosen = []
        for glob, faults in read_faults(self._path.read_bytes()).items():
            for index, fault in enumerate(faults):
                if not (fnmatchcase(asked.path, glob) and fault.meets(asked)):
                    continue
                key = (written, glob, index)
                number = self._met.get(key, 0)
                self._met[key] = number + 1
                if fault.due(number):
                    chosen.append(fault)
        return chosen


def read_faults(raw: bytes | str) -> dict[str, list[Fault]]:
    """Faults by path glob: an object or a list of objects each; names that nobody knows are refused."""
    book: dict[str, list[Fault]] = {}
    for glob, entry in json.loads(raw).items():
        book[glob] = [Fault(each) for each in (entry if isinstance(entry, list) else [entry])]
        for fault in book[glob]:
            unknown = set(fault.values) - FILTERS - KINDS.get(fault.kind, frozenset())
            if fault.kind not in KINDS or unknown:
                raise ValueError(f"{glob}: no such fault: {dict(fault.values)}")
    return book


def length(content: Content) -> int:
    """How many bytes a content has."""
    return sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in content)


def cut(content: Content, start: int, count: int) -> Content:
    """The `count` bytes of a content from `start` on, or as many as there are."""
    pieces: list[Piece] = []
    for piece in content:
        size = length((piece,))
        skip = min(start, size)
        take = min(size - skip, count)
        start -= skip
        count -= take
        if take > 0:
            pieces.append(_part(piece, skip, take))
    return tuple(pieces)


def _part(piece: Piece, skip: int, take: int) -> Piece:
    if isinstance(piece, bytes):
        return piece[skip : skip + take]
    return Zeros(take) if isinstance(piece, Zeros) else Slice(piece.path, piece.start + skip, take)


def blocks(content: Content, size: int = BLOCK) -> Iterator[bytes]:
    """A content in blocks of bytes."""
    for piece in content:
        if isinstance(piece, Slice):
            with piece.path.open("rb") as file:
                file.seek(piece.start)
                left = piece.length
                while left > 0 and (block := file.read(min(size, left))):
                    left -= len(block)
                    yield block
        else:
            for start in range(0, length((piece,)), size):
                part = _part(piece, start, min(size, length((piece,)) - start))
                yield part if isinstance(part, bytes) else bytes(length((part,)))


def answer(
    asked: Asked, find: Callable[[str], Resource | None], faults: Sequence[Fault], number: int
) -> Reply:
    """The answer to a request, as its faults make it; `number` is different for every request."""
    resource = find(asked.path)
    for fault in faults:
        if fault.kind == "swap":
            resource = find(fault.text("with", ""))
        elif fault.kind == "replace":
            resource = _made(base64.b64decode(fault.text("content", "")))
        elif resource is not None:
            resource = _changed(resource, fault, number)
    if asked.method not in {"GET", "HEAD"}:
        reply = _plain(405)
    else:
        reply = _plain(404) if resource is None else _of_resource(asked, resource, faults)
    for fault in faults:
        reply = _spoiled(reply, fault)
    return reply


def _made(content: bytes) -> Resource:
    return Resource((content,), f'"{hashlib.sha256(content).hexdigest()[:32]}"', formatdate(0, usegmt=True))


def _changed(resource: Resource, fault: Fault, number: int) -> Resource:
    content = resource.content
    match fault.kind:
        case "flip":
            offset = fault.number("offset", 0)
            (byte,) = b"".join(blocks(cut(content, offset, 1)))
            rest = cut(content, offset + 1, length(content))
            return replace(resource, content=(*cut(content, 0, offset), bytes([byte ^ 0xFF]), *rest))
        case "longer":
            return replace(resource, content=(*content, Zeros(fault.number("bytes", 1))))
        case "gzip":
            bomb = fault.number("bomb", 0)
            packed = _gzip_bomb(bomb) if bomb else _gzipped(blocks(content))
            return replace(resource, content=(packed,), encoding="gzip")
        case "no_etag":
            return replace(resource, etag=None)
        case "etag_changes":
            return replace(resource, etag=f'"changed-{number}"')
    return resource


@lru_cache(2)
def _gzip_bomb(size: int) -> bytes:
    return _gzipped(blocks((Zeros(size),), 1 << 20))


def _gzipped(parts: Iterator[bytes]) -> bytes:
    # 16 more than the window's bits: zlib writes a gzip header.
    packer = zlib.compressobj(level=6, wbits=16 + zlib.MAX_WBITS)
    return b"".join([*(packer.compress(part) for part in parts), packer.flush()])


def _plain(status: int, headers: Mapping[str, str] | None = None) -> Reply:
    body = f"{status}\n".encode()
    basic = {"Content-Type": "text/plain", "Content-Length": str(len(body))}
    return Reply(status, {**basic, **(headers or {})}, (body,))


def _of_resource(asked: Asked, resource: Resource, faults: Sequence[Fault]) -> Reply:
    total = length(resource.content)
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
    headers["Last-Modified"] = resource.modified
    if resource.etag is not None:
        headers["ETag"] = resource.etag
        if asked.headers.get("if-none-match") == resource.etag:
            return Reply(304, headers)
    if resource.encoding is not None:
        headers["Content-Encoding"] = resource.encoding
    span = _span(asked, resource, faults)
    if span is None:
        return Reply(200, {**headers, "Content-Length": str(total)}, resource.content)
    if span.start >= total:
        return _plain(416, {"Content-Range": f"bytes */{total}"})
    said, served = span, span
    for fault in faults:
        if fault.kind == "wrong_range":
            of = fault.text("of", "bytes")
            shift = fault.number("shift", -span.start or 1)
            total += shift if of == "total" else 0
            moved = range(max(span.start + shift, 0), max(span.stop + shift, 1))
            said = moved if of in {"header", "both"} else said
            served = moved if of in {"bytes", "both"} else served
    content = cut(resource.content, served.start, len(served))
    headers["Content-Range"] = f"bytes {said.start}-{said.stop - 1}/{total}"
    headers["Content-Length"] = str(length(content))
    return Reply(206, headers, content)


def _span(asked: Asked, resource: Resource, faults: Sequence[Fault]) -> range | None:
    """The bytes that a request rightly gets a part of, or nothing when it gets the whole."""
    kinds = {fault.kind: fault for fault in faults}
    wanted = RANGE.fullmatch(asked.headers.get("range", ""))
    if wanted is None or wanted[0] == "bytes=-" or "ignore_range" in kinds or resource.encoding is not None:
        return None
    condition = asked.headers.get("if-range")
    deaf = "etag_changes" in kinds and bool(kinds["etag_changes"].values.get("ignore_if_range"))
    if condition is not None and not deaf and condition not in {resource.etag, resource.modified}:
        return None
    total = length(resource.content)
    first, last = wanted[1], wanted[2]
    if not first:
        return range(max(total - int(last), 0), total)
    return range(int(first), min(int(last) + 1, total) if last else total)


def _spoiled(reply: Reply, fault: Fault) -> Reply:
    headers = dict(reply.headers)
    match fault.kind:
        case "status":
            wait = fault.values.get("retry_after")
            return _plain(fault.number("code", 500), {} if wait is None else {"Retry-After": str(wait)})
        case "redirect":
            return _plain(fault.number("code", 302), {"Location": fault.text("to", "/")})
        case "reset" | "cut" | "stall":
            ending: Mapping[str, Ending] = {"reset": "reset", "cut": "close", "stall": "stall"}
            head = fault.values.get("head", True) is True
            return replace(reply, head=head, after=fault.number("after", 0), ending=ending[fault.kind])
        case "drip":
            return replace(reply, rate=fault.number("bytes_per_second", 1))
        case "wrong_length":
            headers["Content-Length"] = str(max(length(reply.content) + fault.number("by", 100), 0))
            return replace(reply, headers=headers, ending="close")
        case "endless":
            for name in ("Content-Length", "Content-Range"):
                headers.pop(name, None)
            zeros = (Zeros(fault.number("limit", ENDLESS)),)
            return Reply(200, headers, zeros, ending="close", rate=reply.rate)
    return reply
