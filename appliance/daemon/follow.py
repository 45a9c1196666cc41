"""Following a child's log file: lines as they come, across rotation, bounded whatever is written.

dnsmasq logs to a file of its own because a pipe that nobody drains stops DHCP (measured: dead after some 30
exchanges), and so does journald's socket. A stopped or slow daemon then costs nothing but its own knowledge.

The file is in memory (/run), and it grows as fast as others ask. So it is held to a size at each look,
however far it has been read: `ROTATE_AT`, as much for the one before it, and what comes between two looks.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeGuard

from appliance.system.acting import acting_for
from appliance.system.clock import monotonic

LINE_LIMIT = 2048  # dnsmasq's own lines end at 1,024 bytes
CHUNK = 1 << 16  # some 600 lines: others get their turn between two of these
ROTATE_AT = 8 << 20
_TOO_MUCH: Final = ROTATE_AT + (1 << 20)  # to be put aside as it is
_ASK_AGAIN: Final = 1.0  # seconds; dnsmasq heeds no signal while it starts
_BEFORE = 1 << 14  # more than dnsmasq writes about one packet


@dataclass(slots=True)
class LogFollower:
    """Reads `path` from its beginning; call `read` as often as you like."""

    path: Path
    _fd: int | None = None
    _inode: int = 0
    _rest: bytes = b""
    _torn: bool = False  # the line that comes next has lost its beginning
    _aside: bool = False  # it was put aside by us
    _strayed: bool = False  # its writer may write to a file that does not have the name
    _asked_at: float = float("-inf")
    skipped: int = field(default=0)

    def read(self) -> list[str]:
        """The complete lines that came since the last call; empty when there are none or no file yet."""
        lines = self._drain()
        if not lines and self._is_another(self._named()):
            lines = self._drain()  # what came after the look before, and before the new file
            if not lines:
                self._go_to_the_next()
                lines = self._drain()
        return lines

    def go_on(self, fd: int, position: int, *, torn: bool) -> list[str]:
        """Follow the open file `fd` from `position` on; the lines before it, for whoever has to know them.

        As it was being read by the program before us. `torn`: the line there has lost its beginning.
        """
        self.close()
        self._fd, self._torn = fd, torn
        self._inode = os.fstat(fd).st_ino
        start = max(0, position - _BEFORE)
        os.lseek(fd, position, os.SEEK_SET)
        before = os.pread(fd, position - start, start).split(b"\n")
        return [line[:LINE_LIMIT].decode(errors="replace") for line in before[1 if start else 0 : -1]]

    @property
    def place(self) -> tuple[int, int, bool] | None:
        """What `go_on` needs; None while there is no file."""
        if self._fd is None:
            return None
        return self._fd, self.position - len(self._rest), self._torn

    @property
    def size(self) -> int:
        """Bytes in the file that is being followed."""
        return os.fstat(self._fd).st_size if self._fd is not None else 0

    @property
    def position(self) -> int:
        """Bytes of that file that were read."""
        return os.lseek(self._fd, 0, os.SEEK_CUR) if self._fd is not None else 0

    @property
    def unread(self) -> int:
        """Bytes that were not read, of the file that is being followed and of the one that comes after it."""
        named = self._named()
        return self._left + (named.st_size if self._is_another(named) else 0)

    def keep_short(self, *, alone: bool = True) -> bool:
        """Hold the log to its size; whether its writer shall begin a new one (SIGUSR2 says so to dnsmasq).

        It shall when the file was put aside, and when somebody has taken it away or put another in its place:
        what is written to a file without a name grows unseen. One old file is kept. `alone`: one process
        writes to the log. Two do not begin the new one at the same time, so they go on with the same one.
        """
        if self._fd is None:
            return False
        named = self._named()
        if self._is_another(named) and named.st_size > ROTATE_AT:
            self.skipped += self._left  # the next one is full as well: the older of the two goes
            self._go_to_the_next()
            named = self._named()
        if named is not None and named.st_ino == self._inode:
            self._shorten(named.st_size, alone=alone)
        elif self.size > 2 * ROTATE_AT:  # it is written to, and there is no new one
            self._empty()
        named = self._named()
        lost = named is None or (self._is_another(named) and not self._aside)
        if not (lost or self._strayed) or monotonic() - self._asked_at < _ASK_AGAIN:
            return False
        self._strayed, self._asked_at = False, monotonic()
        return True

    @property
    def taken_away(self) -> bool:
        """Whether somebody has taken the file its name."""
        return self._fd is not None and not self._aside and self._named() is None

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._rest, self._torn, self._aside = None, b"", False, False

    def _shorten(self, size: int, *, alone: bool) -> None:
        """Hold the file to its size while it has the name."""
        if size <= ROTATE_AT:
            return
        if alone and size <= _TOO_MUCH:
            with contextlib.suppress(OSError), acting_for(self.path.parent):
                self.path.replace(self._old)
                self._aside, self._asked_at = True, float("-inf")
                return
        self._cut(size)

    def _cut(self, size: int) -> None:
        """Put what came last aside and empty the file: whoever writes to it writes on, at its end (O_APPEND).

        What is written between the two is lost: some microseconds' lines.
        """
        assert self._fd is not None
        begin, here = max(0, size - ROTATE_AT), self.position
        try:
            with acting_for(self.path.parent):
                self._old.unlink(missing_ok=True)
                copy = os.open(self._old, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError:
            self._empty()
            return
        try:
            at = begin
            while done := os.sendfile(copy, self._fd, at, ROTATE_AT):
                at += done
            os.truncate(self._itself, 0)
        except OSError:  # there is no room for it, or it is somebody else's
            os.close(copy)
            self._empty()
            return
        os.close(self._fd)
        self._fd, self._inode, self._aside = copy, os.fstat(copy).st_ino, True
        os.lseek(copy, max(0, here - begin), os.SEEK_SET)
        if here < begin:
            self.skipped += begin - here
            self._rest, self._torn = b"", True

    def _empty(self) -> None:
        """Empty the file that is followed, whether it has a name or not."""
        assert self._fd is not None
        self.skipped += self._left
        os.truncate(self._itself, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._rest, self._torn = b"", False

    @property
    def _itself(self) -> str:
        """A path to the file that is followed: it was opened for reading, and may have lost its name."""
        return f"/proc/self/fd/{self._fd}"

    def _go_to_the_next(self) -> None:
        """Leave this file for the one that has the name now."""
        left, ours = self._fd, self._aside
        if left is not None and self._open():
            os.close(left)
            self._rest, self._torn, self._aside = b"", False, False
            self._strayed = self._strayed or not ours

    @property
    def _old(self) -> Path:
        return self.path.with_name(self.path.name + ".1")

    @property
    def _left(self) -> int:
        """Bytes of the file that is followed which were not read."""
        return max(0, self.size - self.position)

    def _is_another(self, named: os.stat_result | None) -> TypeGuard[os.stat_result]:
        return self._fd is not None and named is not None and named.st_ino != self._inode

    def _named(self) -> os.stat_result | None:
        """The file that has the name at this moment."""
        try:
            return self.path.lstat()
        except FileNotFoundError:
            return None

    def _drain(self) -> list[str]:
        if self._fd is None and not self._open():
            return []
        assert self._fd is not None
        if self.size < self.position:  # somebody has emptied it
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._rest, self._torn = b"", False
        *complete, self._rest = (self._rest + os.read(self._fd, CHUNK)).split(b"\n")
        if complete and self._torn:  # the tail of a line could read as a line of its own
            del complete[0]
            self._torn = False
        if len(self._rest) > LINE_LIMIT:
            self._rest, self._torn = b"", True
        return [line[:LINE_LIMIT].decode(errors="replace") for line in complete]

    def _open(self) -> bool:
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        self._inode = os.fstat(self._fd).st_ino
        return True
