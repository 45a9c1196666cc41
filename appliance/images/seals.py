"""Which files on disk were hashed and found right, recognised by what the kernel says of them.

Whoever changes a byte of a file changes its ctime, which no user can set. So a file whose inode, size, mtime
and ctime are those of the moment when it was hashed has the bytes that were hashed; anything else is hashed
again before it is served. What changes below the file system (a failing disk) is found by `images verify`,
which believes no seal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import SurroundingsError
from appliance.images.lock import Pin
from appliance.system.acting import acting_for
from appliance.system.files import read_as_owner, write_atomic

_PIECE: Final = 2**20
_LIMIT: Final = 16 * 2**20

Seal = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Damage:
    """Why a file must not be served."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


class Seals:
    """The seals of a store, kept in a file that may be lost: then everything is hashed once more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seals: dict[str, tuple[Seal, str]] = {}
        self._stamp: Seal | None = None
        self._changed = False
        self._learn()

    def check(self, file: Path, pin: Pin, *, believe: bool = True) -> Damage | None:
        """Whether a file is what is pinned; hashes it unless a seal says that this was done. Blocking."""
        try:
            with acting_for(file.parent):
                fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            return Damage(str(file), "it is not there")
        except OSError as error:
            return Damage(str(file), f"cannot be read: {error.strerror}")
        try:
            return self.check_open(fd, file, pin, believe=believe)
        finally:
            os.close(fd)

    def check_open(self, fd: int, file: Path, pin: Pin, *, believe: bool = True) -> Damage | None:
        """As `check`, for a file that is open already: what is judged is what is served. Moves no offset."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return Damage(str(file), "it is not a regular file")
        if status.st_size != pin.size:
            return Damage(str(file), f"it has {status.st_size} bytes, pinned are {pin.size}")
        seal = _of(status)
        if believe and self.sealed(fd, file, pin):
            return None
        try:
            digest = _sha512(fd)
        except OSError as error:
            return Damage(str(file), f"cannot be read: {error.strerror}")
        if digest != pin.sha512:
            self._seals.pop(str(file), None)
            self._changed = True
            return Damage(str(file), f"its SHA-512 is {digest[:16]}…, pinned is {pin.sha512[:16]}…")
        if _of(os.fstat(fd)) == seal:
            self._seals[str(file)] = (seal, pin.sha512)
            self._changed = True
        return None

    def note(self, file: Path, pin: Pin) -> None:
        """Seal a file whose bytes were hashed on their way here."""
        with contextlib.suppress(OSError):
            self._seals[str(file)] = (_of(file.stat(follow_symlinks=False)), pin.sha512)
            self._changed = True

    def sealed(self, fd: int, file: Path, pin: Pin) -> bool:
        """Whether it is known without reading it that an open file is what is pinned."""
        status = os.fstat(fd)
        wanted = (_of(status), pin.sha512)
        if status.st_size != pin.size:
            return False
        if self._seals.get(str(file)) != wanted:
            self._learn()
        return self._seals.get(str(file)) == wanted

    def keep(self) -> None:
        """Remember for the next process. A cache: that it cannot be written is no one's problem."""
        if self._changed:
            self._learn()
            facts: Mapping[str, object] = {
                name: {"seal": list(seal), "sha512": digest}
                for name, (seal, digest) in sorted(self._seals.items())
                if os.path.lexists(name)
            }
            with contextlib.suppress(OSError, SurroundingsError):
                write_atomic(self._path, json.dumps(facts, indent=1).encode(), mode=0o640)
                self._changed = False

    def _learn(self) -> None:
        """What another process has sealed since: the command line fetches, the daemon serves."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            stamp = _of(self._path.stat())
            if stamp == self._stamp:
                return
            self._stamp = stamp
            facts = json.loads(read_as_owner(self._path, _LIMIT))
            known = {str(k): (_seal(v["seal"]), str(v["sha512"])) for k, v in facts.items()}
            self._seals = {**known, **self._seals}


def _of(status: os.stat_result) -> Seal:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _seal(value: object) -> Seal:
    if not isinstance(value, list) or len(value) != 4 or not all(isinstance(n, int) for n in value):
        raise ValueError("not a seal")
    return value[0], value[1], value[2], value[3]


def _sha512(fd: int) -> str:
    digest, offset = hashlib.sha512(), 0
    while piece := os.pread(fd, _PIECE, offset):
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()
