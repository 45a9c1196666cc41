"""`release.json`, beside the files of each release: where they came from, and what proved them.

The signatures and signed lists travel in it, so that a release can be proven again years later, on a host
that has no way to the internet. Pure.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from appliance.image_ref import ARCHITECTURES
from appliance.images.catalogue import OSES
from appliance.images.model import (
    Role,
    StoredFile,
    StoredRelease,
    Stream,
    is_file_name,
    is_stream_name,
    is_version,
)

_FORMAT: Final = 1
_SHA512: Final = re.compile(r"[0-9a-f]{128}", re.ASCII)


def render_record(release: StoredRelease) -> bytes:
    """The file's bytes."""
    facts = {
        "format": _FORMAT,
        "os": release.stream.os,
        "stream": release.stream.name,
        "arch": release.stream.arch,
        "version": release.version,
        "fetched_at": release.fetched_at.isoformat(),
        "files": [
            {
                "name": f.name,
                "role": f.role.value,
                "size": f.size,
                "sha512": f.sha512,
                "url": f.url,
                "signer": f.signer,
                "subkey": f.subkey,
                "signed_at": f.signed_at.isoformat() if f.signed_at else None,
            }
            for f in release.files
        ],
        "evidence": {name: b64encode(data).decode() for name, data in sorted(release.evidence.items())},
        "certificates": [b64encode(data).decode() for data in release.certificates],
    }
    return (json.dumps(facts, indent=1) + "\n").encode()


def parse_record(raw: bytes) -> StoredRelease:
    """Read what `render_record` wrote; hostile, as it may come in a bundle.

    Raises:
        ValueError: it is something else.
    """
    try:
        facts = json.loads(raw)
        if facts["format"] != _FORMAT:
            raise ValueError(f"it is of format {str(facts['format'])[:20]}")
        stream = Stream(_text(facts["os"]), _text(facts["stream"]), _text(facts["arch"]))
        version = _text(facts["version"])
        known = stream.os in OSES and is_stream_name(stream.name) and stream.arch in ARCHITECTURES
        if not known or not is_version(version):
            raise ValueError("it names no release")
        files = tuple(_file(f) for f in facts["files"])
        if not files or len({f.name for f in files}) != len(files):
            raise ValueError("it names no files, or one twice")
        return StoredRelease(
            stream,
            version,
            files,
            _time(facts["fetched_at"]),
            MappingProxyType(_decoded(facts["evidence"])),
            tuple(b64decode(_text(data), validate=True) for data in facts["certificates"]),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it lacks what every record has: {str(error)[:100]}") from error


def _file(facts: Mapping[str, object]) -> StoredFile:
    name, size, signed_at = _text(facts["name"]), facts["size"], facts["signed_at"]
    sha512 = _text(facts["sha512"])
    if not is_file_name(name) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"{name[:60]!r} is no file of a release")
    if not _SHA512.fullmatch(sha512):
        raise ValueError(f"the SHA-512 of {name} is not one")
    return StoredFile(
        name,
        Role(_text(facts["role"])),
        size,
        sha512,
        _text(facts["url"]),
        _text(facts["signer"]),
        _text(facts["subkey"]),
        _time(signed_at) if signed_at is not None else None,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("it has something else where text should be")
    return value


def _time(value: object) -> datetime:
    found = datetime.fromisoformat(_text(value))
    if found.tzinfo is None:
        raise ValueError("it has a time without a zone")
    return found


def _decoded(facts: Mapping[str, object]) -> dict[str, bytes]:
    return {_text(name): b64decode(_text(data), validate=True) for name, data in facts.items()}
