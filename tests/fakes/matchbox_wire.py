"""What the small Matchbox is made of: its files, as Go writes and fails to read them, and protobuf by hand.

Written a second time from the contract, so that a wrong field number or key in the appliance shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class GoError(Exception):
    """A failure, in Go's words."""


class Store:
    """Files, read anew for each request."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, *parts: str) -> bytes:
        """A file; parts may hold `../`, as with the real one."""
        path = self.root.joinpath(*parts)
        try:
            if path.is_fifo():
                raise GoError(f"{path} would never end")
            return path.read_bytes()
        except FileNotFoundError as error:
            raise GoError(f"open {path}: no such file or directory") from error
        except OSError as error:
            raise GoError(f"open {path}: {(error.strerror or '').lower()}") from error

    def write(self, content: bytes, *parts: str) -> None:
        """Rewrite a file in place: truncated, one half, the other half."""
        path = self.root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            raise GoError(f"open {path}: {(error.strerror or '').lower()}") from error
        try:
            os.write(fd, content[: len(content) // 2])
            os.write(fd, content[len(content) // 2 :])
        finally:
            os.close(fd)

    def remove(self, *parts: str) -> None:
        """Delete a file."""
        path = self.root.joinpath(*parts)
        try:
            path.unlink()
        except OSError as error:
            raise GoError(f"remove {path}: {(error.strerror or '').lower()}") from error

    def stems(self, folder: str) -> list[str]:
        """Names without their extension; of whatever is there."""
        path = self.root / folder
        try:
            return sorted(entry.name.rpartition(".")[0] or entry.name for entry in path.iterdir())
        except OSError as error:
            raise GoError(f"open {path}: {(error.strerror or '').lower()}") from error

    def json(self, folder: str, name: str) -> dict[str, Any]:
        """A group or profile that is usable."""
        try:
            found = json.loads(self.read(folder, f"{name}.json"))
        except ValueError as error:
            raise GoError("invalid character in literal") from error
        if not isinstance(found, dict):
            raise GoError("json: cannot unmarshal")
        if folder == "profiles" and not found.get("id"):
            raise GoError("Id is required")
        return found

    def every(self, folder: str) -> list[dict[str, Any]]:
        """All that are usable; the others are skipped."""
        found = []
        for name in self.stems(folder):
            with contextlib.suppress(GoError):
                found.append(self.json(folder, name))
        return found


def go_json(value: Mapping[str, object]) -> bytes:
    """json.MarshalIndent with tabs; what is empty is left out."""
    kept = {key: part for key, part in value.items() if part or (key == "boot" and part is not None)}
    text = json.dumps(kept, indent="\t", ensure_ascii=False)
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text).encode()


# ---- the wire: protobuf's encoding, by hand ----


def fields(raw: bytes) -> dict[int, list[bytes]]:
    """The length-delimited fields of a message by number; Matchbox's messages have no others."""
    found: dict[int, list[bytes]] = {}
    place = 0
    while place < len(raw):
        key, place = _varint(raw, place)
        assert key & 7 == 2, "a field that is no text, bytes or message"
        size, place = _varint(raw, place)
        found.setdefault(key >> 3, []).append(raw[place : place + size])
        place += size
    return found


def encode(*parts: tuple[int, bytes | str]) -> bytes:
    """A message of length-delimited fields; empty ones are left out, but for messages, given as bytes."""
    out = bytearray()
    for number, value in parts:
        content = value.encode() if isinstance(value, str) else value
        if content or isinstance(value, bytes):
            out += _as_varint(number << 3 | 2) + _as_varint(len(content)) + content
    return bytes(out)


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def one(found: Mapping[int, list[bytes]], number: int) -> str:
    """A field of text."""
    return found.get(number, [b""])[-1].decode()


def group_from(raw: bytes) -> dict[str, Any]:
    """storagepb.Group as Matchbox keeps it."""
    found = fields(raw)
    selector = {}
    for pair in found.get(4, []):
        entry = fields(pair)
        selector[one(entry, 1)] = one(entry, 2)
    try:
        metadata = json.loads(one(found, 5)) if one(found, 5) else {}
    except ValueError as error:
        raise GoError("invalid character in literal") from error
    group = {"id": one(found, 1), "name": one(found, 2), "profile": one(found, 3)}
    return {**group, "selector": selector, "metadata": metadata}


def group_to(group: Mapping[str, Any]) -> bytes:
    """The same, on the wire."""
    selector = [(4, encode((1, key), (2, value))) for key, value in (group.get("selector") or {}).items()]
    metadata = json.dumps(group["metadata"]) if group.get("metadata") else ""
    head = [(n, group.get(key, "")) for n, key in ((1, "id"), (2, "name"), (3, "profile"))]
    return encode(*head, *selector, (5, metadata))


_PROFILE = ((1, "id"), (2, "name"), (3, "ignition_id"), (4, "cloud_id"), (6, "generic_id"))


def profile_from(raw: bytes) -> dict[str, Any]:
    """storagepb.Profile as Matchbox keeps it."""
    found = fields(raw)
    profile: dict[str, Any] = {key: one(found, number) for number, key in _PROFILE}
    if 5 in found:
        boot = fields(found[5][-1])
        parts = {"kernel": one(boot, 1)}
        lists = {
            "initrd": [v.decode() for v in boot.get(2, [])],
            "args": [v.decode() for v in boot.get(4, [])],
        }
        profile["boot"] = {key: part for key, part in {**parts, **lists}.items() if part}
    return profile


def profile_to(profile: Mapping[str, Any]) -> bytes:
    """The same, on the wire."""
    parts = [(number, profile.get(key, "")) for number, key in _PROFILE]
    boot = profile.get("boot")
    if boot is not None:
        lists = [(2, v) for v in boot.get("initrd") or []] + [(4, v) for v in boot.get("args") or []]
        parts.append((5, encode((1, boot.get("kernel", "")), *lists)))
    return encode(*parts)
