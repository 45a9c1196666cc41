"""Following a child's log file: lines as they come, across rotation, bounded whatever is written.

dnsmasq logs to a file of its own because a pipe that nobody drains stops DHCP (measured: dead after some 30
exchanges), and so does journald's socket. A stopped or slow daemon then costs nothing but its own knowledge.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from appliance.system.acting import acting_for

LINE_LIMIT = 2048  # dnsmasq's own lines end at 1,024 bytes
CHUNK = 1 << 16  # some 600 lines: others get their turn between two of these
BACKLOG_LIMIT = 32 << 20  # more unread than this is skipped: being current matters more than being complete
ROTATE_AT = 8 << 20
_BEFORE = 1 << 14  # more than dnsmasq writes about one packet


@dataclass(slots=True)
class LogFollower:
    """Reads `path` from its beginning; call `read` as often as you like."""

    path: Path
    _fd: int | None = None
    _inode: int = 0
    _rest: bytes = b""
    _torn: bool = False  # the line that comes next has lost its beginning
    skipped: int = field(default=0)

    def read(self) -> list[str]:
        """The complete lines that came since the last call; empty when there are none or no file yet."""
        lines = self._drain()
        if not lines and self._rotated():
            self.close()
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

    def rotate(self) -> bool:
        """Move the file aside; dnsmasq starts a new one when it gets SIGUSR2. One old file is kept.

        False when the file that is being followed has been moved already: a busy or hung child is slow to
        start the new one, and that one must not be moved before it is read.
        """
        if self._fd is None or self._inode_now() != self._inode:
            return False
        with acting_for(self.path.parent):
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._rest, self._torn = None, b"", False

    def _rotated(self) -> bool:
        return self._fd is not None and self._inode_now() not in (None, self._inode)

    def _inode_now(self) -> int | None:
        """Of the file that has the name at this moment."""
        try:
            return self.path.stat().st_ino
        except FileNotFoundError:
            return None

    def _drain(self) -> list[str]:
        if self._fd is None and not self._open():
            return []
        assert self._fd is not None
        unread = os.fstat(self._fd).st_size - os.lseek(self._fd, 0, os.SEEK_CUR)
        if unread > BACKLOG_LIMIT:
            self.skipped += unread - CHUNK
            os.lseek(self._fd, -CHUNK, os.SEEK_END)
            self._rest, self._torn = b"", True
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
