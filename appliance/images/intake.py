"""Bytes that arrive: written, hashed and shown to a signature checker in one pass, resumable after any break.

Beside `NAME.part` stands `NAME.part.json`, which says what the bytes are the beginning of. Its digest is not
kept: after a break the beginning is read again, so that a torn write cannot hide in it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from appliance.errors import SurroundingsError
from appliance.images.openpgp import Detached
from appliance.images.trust import Measured
from appliance.system.acting import acting_for, way_out
from appliance.system.files import read_as_owner, write_atomic

_PIECE: Final = 2**20
_LOOK_EVERY: Final = 8 * 2**20
SPARE: Final = 64 * 2**20  # bytes that a fetch leaves free: generations, history and logs live there too
_LONGEST_NOTE: Final = 64 * 1024

MakeCheck = Callable[[], Detached]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a server said of the file that a part is the beginning of. `total` None: it did not say."""

    url: str
    etag: str = ""
    modified: str = ""
    total: int | None = None

    @property
    def validator(self) -> str:
        """For If-Range (RFC 9110 section 13.1.5): a strong tag, else a date; empty when there is neither."""
        strong = self.etag if self.etag.startswith('"') else ""
        return strong or self.modified


class Intake:
    """One file that arrives. Blocking: call it from a thread. `close` it, whatever happens."""

    def __init__(self, part: Path, make_check: MakeCheck | None, *, sha256: bool) -> None:
        self.part = part
        self.size = 0
        self._note = part.with_name(f"{part.name}.json")
        self._make_check = make_check
        self._wants_sha256 = sha256
        self._fd = -1
        self._sha512 = hashlib.sha512()
        self._sha256 = hashlib.sha256() if sha256 else None
        self.check: Detached | None = None
        self._unlooked = 0
        self.resumed = False  # whether its bytes came in more than one piece

    def resume(self, url: str) -> Origin | None:
        """Take up what an earlier attempt left of `url`; what it is the beginning of, None if nothing is."""
        origin = self._kept(url)
        if self._fd >= 0 and self.size and origin is not None and origin.validator:
            self.resumed = True
            return origin  # the connection broke, not we: nothing has to be read again
        self._open()
        if origin is None or not origin.validator:
            self.restart()
            return None
        while piece := os.read(self._fd, _PIECE):
            if self.check is not None:
                self.check.feed(piece)
            self._measure(piece)
        if self.size == 0 or (origin.total is not None and self.size > origin.total):
            self.restart()
            return None
        self.resumed = True
        return origin

    def restart(self) -> None:
        """Forget what came so far."""
        self._open()
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        with acting_for(self.part.parent):
            self._note.unlink(missing_ok=True)
        self.resumed = False

    def promise(self, origin: Origin) -> None:
        """Note what the bytes that follow belong to."""
        write_atomic(self._note, json.dumps(asdict(origin)).encode(), mode=0o600)

    def feed(self, chunk: bytes | bytearray) -> None:
        """The next bytes."""
        self._leave_room(len(chunk))
        if self.check is not None:  # first: it hashes in its own process while we do the rest here
            self.check.feed(memoryview(chunk))
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._fd, view) :]
        self._measure(chunk)

    def _leave_room(self, coming: int) -> None:
        """A mirror may send more than it said: what the appliance itself needs of the disk stays free."""
        self._unlooked += coming
        if self._unlooked >= _LOOK_EVERY:
            self._unlooked = 0
            room = os.fstatvfs(self._fd)
            if room.f_bavail * room.f_frsize < SPARE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def finish(self) -> Measured:
        """All bytes are here, and durable.

        Raises:
            OSError: the disk did not do its part.
        """
        os.fsync(self._fd)
        sha256 = self._sha256.hexdigest() if self._sha256 else ""
        return Measured(self.size, self._sha512.hexdigest(), sha256)

    def discard(self) -> None:
        """The bytes are worth nothing: they do not stay."""
        self.close()
        for path in (self.part, self._note):
            with contextlib.suppress(OSError), acting_for(path.parent):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file and of the checker."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self.check is not None:
            self.check.close()
            self.check = None

    def _open(self) -> None:
        self.close()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with acting_for(self.part.parent):
                self._fd = os.open(self.part, flags, 0o600)
        except OSError as error:
            hint = way_out(error, self.part)
            raise SurroundingsError(f"cannot write {self.part}: {error.strerror}", hint=hint) from error
        self.size = 0
        self._sha512 = hashlib.sha512()
        self._sha256 = hashlib.sha256() if self._wants_sha256 else None
        self.check = self._make_check() if self._make_check else None

    def _measure(self, chunk: bytes | bytearray) -> None:
        self.size += len(chunk)
        self._sha512.update(chunk)
        if self._sha256 is not None:
            self._sha256.update(chunk)

    def _kept(self, url: str) -> Origin | None:
        try:
            facts = json.loads(read_as_owner(self._note, _LONGEST_NOTE))
            origin = Origin(
                str(facts["url"]), str(facts["etag"]), str(facts["modified"]), _count(facts["total"])
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return origin if origin.url == url else None


def _count(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or value < 0):
        raise ValueError("not a size")
    return value
