"""What programs have said of documents, kept so that the next sync need not ask again.

A key is the digest of who judged what; only good verdicts are kept, the others have to be told anyway. Of
what a program made of a file, its digest is kept: the document itself lies in the current generation. It is a
cache: one that is gone or makes no sense is an empty one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from appliance.paths import Paths
from appliance.system.files import make_directory, read_as_owner, write_atomic

_MOST: Final = 50_000
_LIMIT: Final = 16 * 2**20


class Remembered:
    """The good verdicts that are known."""

    def __init__(self, paths: Paths) -> None:
        """Read them; `save` alone writes."""
        self._path = Path(paths.state / "ignition-verdicts.json")
        self._documents = Path(paths.current / "ignition")
        self._known: dict[str, str] = {}  # key to the digest of what was made; empty for a good verdict
        self._used: dict[str, str] = {}
        self._new = False
        try:
            kept = json.loads(read_as_owner(self._path, _LIMIT))
            self._known = {str(key): str(made) for key, made in kept["known"].items()}
        except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
            return

    def knows(self, judge: str, document: bytes) -> bool:
        """Whether `judge` has found this very document good."""
        key = _key(judge, document)
        if key in self._known:
            self._used[key] = ""
        return key in self._used

    def learn(self, judge: str, document: bytes) -> None:
        """Keep that it was found good."""
        self._used[_key(judge, document)] = ""
        self._new = True

    def made(self, maker: str, text: bytes, name: str) -> bytes | None:
        """What `maker` made of this very text, where the current generation has it under `name`."""
        key = _key(maker, text)
        digest = self._used.get(key) or self._known.get(key)
        if not digest:
            return None
        try:
            found = read_as_owner(self._documents / name, _LIMIT)
        except (OSError, ValueError):
            return None
        if _digest(found) != digest:
            return None
        self._used[key] = digest
        return found

    def keep(self, maker: str, text: bytes, made: bytes) -> None:
        """Keep what was made of it."""
        self._used[_key(maker, text)] = _digest(made)
        self._new = True

    def save(self) -> None:
        """Write what is new, and drop the oldest that nobody asks for.

        Raises:
            SurroundingsError: the disk did not do its part.
        """
        if not self._new:
            return
        older = {key: made for key, made in self._known.items() if key not in self._used}
        kept = dict(list({**older, **self._used}.items())[-_MOST:])
        make_directory(self._path.parent)
        write_atomic(self._path, json.dumps({"version": 1, "known": kept}).encode(), 0o600)
        self._new = False


def _key(judge: str, document: bytes) -> str:
    return _digest(judge.encode() + b"\0" + document)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
