"""In another user's directory, root acts with that user's rights and no others.

Whoever owns a directory can swap what is in it for a link between any two system calls of ours, and no look
at names closes that gap. The kernel does: a thread whose file system uid is the owner's has lost root's
capabilities over files (setfsuid(2), capabilities(7)). A planted link then leads root no further than its
owner could go, and what root makes there belongs to the owner by itself.

It holds for one thread: never across an `await`, nor while a thread is started, which would inherit it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Final

_MOST_LINKS: Final = 40  # as the kernel's own walk (path_resolution(7))
_ASK: Final = 0xFFFFFFFF  # no id: nothing is set, and what holds is returned
_OVERFLOW_UID: Final = 65534  # what users seem to be whom a user namespace does not know
_GET_SECUREBITS: Final = 27  # linux/prctl.h
_NO_SETUID_FIXUP: Final = 1 << 2  # linux/securebits.h


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose rights count somewhere."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class _Way:
    """How far a path leads through root's own places: to `top`, which is `owner`'s, and `rest` below it."""

    owner: Owner
    top: Path
    rest: tuple[str, ...]


def actor(path: Path) -> Owner | None:
    """Who acts at `path`: the owner of the first place on the way from / that is not root's.

    All above it is root's, and so nobody else's to swap, unless its mode lends it to a group. None: all that
    is there is root's, or we are not root.

    Raises:
        OSError: too many links of root's, or the way cannot be seen.
    """
    way = _way(path)
    return way.owner if way else None


def acting() -> Owner | None:
    """For whom this thread acts now; None: for nobody but its own user."""
    if os.geteuid() != 0:
        return None
    found = _now()
    return found if found.uid != 0 else None


@contextlib.contextmanager
def acting_for(*paths: Path) -> Iterator[None]:
    """Act for the owner of the first of `paths` that is not root's; as root where all of them are.

    Nested use counts for its own paths. What held before holds again afterwards, whatever happens.

    Raises:
        OSError: the kernel does not let us, or as from `actor`.
    """
    if os.geteuid() != 0:
        yield
        return
    before = _now()
    try:
        if before.uid != 0:  # the way is looked at with root's eyes
            _become(Owner(0, os.getegid()))
        owner = next((found for path in paths if (found := actor(path)) is not None), None)
        if owner is not None:
            _become(owner)
        yield
    finally:
        if _now() != before:
            _become(before)


def way_out(error: OSError, path: Path) -> str:
    """What an operator can do about an error that a change of `path` ended with; empty: nothing known."""
    if not isinstance(error, PermissionError):
        return ""
    if os.geteuid() != 0:
        return f"user {os.geteuid()} may not: run it as root, or see what pxe-appliance doctor says of it"
    with contextlib.suppress(OSError):
        way = _way(path)
        return _between(way) if way else ""
    return ""


def _between(way: _Way) -> str:
    """What is not the owner's below what is: an operator's hand, or an older version, made it."""
    owner, place = way.owner, way.top
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in way.rest:
            place /= name
            found = place.lstat()
            if stat.S_ISLNK(found.st_mode):  # no command for it: where it leads may be its maker's choice
                return f"{place} is a link, and user {owner.uid}, who owns {way.top}, may not follow it"
            if found.st_uid != owner.uid:
                whose = f"{place} belongs to user {found.st_uid}, and {way.top} to user {owner.uid}"
                return f"{whose}: chown -hR {owner.uid}:{owner.gid} {shlex.quote(str(place))}"
    return f"root acts there as user {owner.uid}, who owns {way.top}, and that user may not"


def _way(path: Path) -> _Way | None:
    if os.geteuid() != 0:
        return None
    place, links = Path("/"), 0
    ahead = ["", *path.absolute().parts[1:]]  # the root directory itself is looked at, too
    while ahead:
        name = ahead.pop(0)
        if name == "..":
            place = place.parent
            continue
        here = place / name
        try:
            found = here.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if found.st_uid != 0 and not _beyond_us(found.st_uid):
            return _Way(Owner(found.st_uid, found.st_gid), here, tuple(ahead))
        if not stat.S_ISLNK(found.st_mode):
            place = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = PurePath(here.readlink())
        if target.is_absolute():
            place = Path("/")
        ahead[:0] = target.parts[1:] if target.is_absolute() else target.parts
    return None


def _beyond_us(uid: int) -> bool:
    """Whether it is a user outside of our user namespace, and so above us (unshare -r)."""
    if uid != _OVERFLOW_UID:
        return False
    with contextlib.suppress(OSError):
        ranges = [
            line.split() for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
        ]
        return not any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)
    return False


def _now() -> Owner:
    return Owner(_libc().setfsuid(_ASK), _libc().setfsgid(_ASK))


def _become(wanted: Owner) -> None:
    """Have the rights of `wanted`; neither call tells that it failed, so both are asked afterwards."""
    libc = _libc()
    if wanted.uid != 0:
        if libc.prctl(_GET_SECUREBITS, 0, 0, 0, 0) & _NO_SETUID_FIXUP:
            raise PermissionError(errno.EPERM, "root's capabilities are locked to this process")
        if os.getgroups():
            # Else a link could lead to what a group of root's may write or read (/etc/sudoers). For the whole
            # process, and for good: root's capabilities need no group, and another thread may act right now.
            os.setgroups([])
    libc.setfsgid(wanted.gid)
    libc.setfsuid(wanted.uid)
    if _now() != wanted:
        raise PermissionError(errno.EPERM, f"cannot act as user {wanted.uid}")


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    for call in (libc.setfsuid, libc.setfsgid):
        call.argtypes, call.restype = (ctypes.c_uint,), ctypes.c_uint
    libc.prctl.argtypes, libc.prctl.restype = (ctypes.c_int, *(ctypes.c_ulong,) * 4), ctypes.c_int
    return libc
