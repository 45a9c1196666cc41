"""An Ignition document that an endpoint answers, held against ours. Pure.

Matchbox 0.11 renders it anew as spec 3.4.0, with empty objects; older ones pass it on. What counts is what
Ignition would do: empty parts do nothing, a `data:` URL is what it holds however it is written, and a list of
files is looked up by path. Contents are secrets, so only places are named.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

_MAX_CONTENT: Final = 16 << 20
_NAMES: Final = ("path", "name", "device", "label")  # what an entry of a list is known by


def compare_ignition(expected: bytes, found: bytes) -> tuple[str, ...]:
    """What is different, each as a phrase; nothing when both configure a machine alike."""
    try:
        theirs: object = json.loads(found)
        if not isinstance(theirs, Mapping) or not isinstance(theirs.get("ignition"), Mapping):
            return ("it is no Ignition document",)
        if not theirs["ignition"].get("version"):
            return ("it is an empty configuration: Matchbox could not read the document (see its log)",)
        return tuple(_differences(_plain(json.loads(expected)), _plain(theirs), ""))
    except ValueError:
        return ("it is not JSON",)
    except RecursionError:
        return ("it is nested too deeply",)


def _differences(ours: object, theirs: object, place: str) -> Iterator[str]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}, key=str):
            below = f"{place}.{key}" if place else str(key)
            if below == "ignition.version":
                continue
            if key not in theirs:
                yield f"{_short(below)} is missing"
            elif key not in ours:
                yield f"{_short(below)} is not expected"
            else:
                yield from _differences(ours[key], theirs[key], below)
    elif ours != theirs:
        yield f"{_short(place)} differs"


def _plain(node: object) -> object:
    """What Ignition would act on."""
    if isinstance(node, Mapping):
        source = node.get("source")
        if isinstance(source, str) and source.startswith("data:"):
            digest = _digest(source, packed=node.get("compression") == "gzip")
            node = {**node, "source": digest, "compression": None}
        return {key: below for key, part in node.items() if not _empty(below := _plain(part))}
    if isinstance(node, list):
        return _by_name([_plain(part) for part in node])
    return node


def _by_name(parts: list[object]) -> object:
    for name in _NAMES:
        named = [
            part[name] for part in parts if isinstance(part, Mapping) and isinstance(part.get(name), str)
        ]
        if parts and len(named) == len(parts) == len(set(named)):
            return dict(zip(named, parts, strict=True))
    return parts


def _empty(node: object) -> bool:
    return node is None or (isinstance(node, str | list | dict) and not node)


def _digest(url: str, *, packed: bool) -> str:
    """What a `data:` URL (RFC 2397) holds, as a digest; one that cannot be read stays as it is."""
    head, comma, raw = url.removeprefix("data:").partition(",")
    if not comma:
        return url
    content = unquote_to_bytes(raw)
    try:
        if head.endswith(";base64"):
            content = base64.b64decode(content)
        if packed:
            # 16 more than the window's bits: zlib reads a gzip header.
            content = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(content, _MAX_CONTENT)
    except (binascii.Error, zlib.error):
        return url
    return f"sha256 {hashlib.sha256(content).hexdigest()}"


def _short(place: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in place[:120])
