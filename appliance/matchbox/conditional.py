"""Preconditions and ranges (RFC 9110 sections 13 and 14) in the order that Go's net/http applies them. Pure.

One decision serves rendered answers and files alike. An `If-Range` with an entity tag is compared with the
tag: a server that knows dates only lets a resumed download splice two versions of an image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_MAX_RANGES: Final = 32  # more of them in one request are an attack or a mistake: the whole is sent
_RANGE: Final = re.compile(r"[ \t]*(\d*)[ \t]*-[ \t]*(\d*)[ \t]*", re.ASCII)
_TAG: Final = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class Span:
    """Octets `start` to `start + length - 1`."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Version:
    """What identifies the content now: a strong entity tag with its quotes, and a time in whole seconds."""

    tag: str = ""
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """200: everything."""


@dataclass(frozen=True, slots=True)
class Part:
    """206: some of it."""

    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class NotModified:
    """304."""


@dataclass(frozen=True, slots=True)
class Failed:
    """412."""


@dataclass(frozen=True, slots=True)
class BadRange:
    """416. `overlaps` is False when the range is well-formed and lies outside."""

    well_formed: bool


Decision = Whole | Part | NotModified | Failed | BadRange


def decide(method: str, headers: Mapping[str, str], size: int, version: Version) -> Decision:
    """What to send of a content of `size` octets. `headers` must be asked by names in any case."""
    reading = method in {"GET", "HEAD"}
    match = headers.get("If-Match")
    if match is not None and not _matches(match, version.tag, weak=False):
        return Failed()
    unmodified_since = headers.get("If-Unmodified-Since")
    if match is None and unmodified_since is not None and _newer(version, unmodified_since) is True:
        return Failed()
    none_match = headers.get("If-None-Match")
    if none_match is not None:
        if _matches(none_match, version.tag, weak=True):
            return NotModified() if reading else Failed()
    elif reading and _newer(version, headers.get("If-Modified-Since", "")) is False:
        return NotModified()
    wanted = headers.get("Range", "")
    condition = headers.get("If-Range", "")
    if not wanted or (reading and condition and not _still(condition, version)):
        return Whole()
    return _ranges(wanted, size)


def _matches(header: str, tag: str, *, weak: bool) -> bool:
    """Whether a list of tags, or `*`, names `tag`. An unreadable list ends where it cannot be read."""
    rest = header.strip()
    while rest:
        rest = rest.lstrip(" \t,")
        if rest.startswith("*"):
            return True
        found = _TAG.match(rest)
        if found is None:
            return False
        candidate = found.group()
        if tag and (candidate.removeprefix("W/") == tag if weak else candidate == tag):
            return True
        rest = rest[found.end() :]
    return False


def _newer(version: Version, header: str) -> bool | None:
    """Whether the content changed after the date in `header`; None when either date is missing."""
    date = _date(header)
    if version.modified is None or date is None:
        return None
    return version.modified.replace(microsecond=0) > date


def _still(condition: str, version: Version) -> bool:
    """Whether If-Range names exactly this version; only strong tags and exact dates count."""
    if condition.startswith(('"', "W/")):
        return bool(version.tag) and condition == version.tag
    date = _date(condition)
    return (
        date is not None and version.modified is not None and version.modified.replace(microsecond=0) == date
    )


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _ranges(header: str, size: int) -> Decision:
    unit, _, specs = header.partition("=")
    if unit != "bytes" or not _:
        return BadRange(well_formed=False)
    spans: list[Span] = []
    outside = False
    for spec in specs.split(","):
        if not spec.strip(" \t"):
            continue
        found = _RANGE.fullmatch(spec)
        if found is None or found.groups() == ("", "") or max(map(len, found.groups())) > _DIGITS:
            return BadRange(well_formed=False)
        span = _span(found[1], found[2], size)
        if span is None:
            return BadRange(well_formed=False)
        if span.length < 0:
            outside = True
        else:
            spans.append(span)
    if outside and not spans:
        return Whole() if size == 0 else BadRange(well_formed=True)
    if not spans or len(spans) > _MAX_RANGES or sum(span.length for span in spans) > size:
        return Whole()
    return Part(tuple(spans))


def _span(first: str, last: str, size: int) -> Span | None:
    """One range, clamped; a negative length when it lies outside; None when it is no range."""
    if not first:
        length = min(int(last), size)
        return Span(size - length, length)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        return Span(0, -1)
    end = min(int(last), size - 1) if last else size - 1
    return Span(start, end - start + 1)
