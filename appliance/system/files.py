"""Files that are there whole or not at all.

The order is the one that survived a power cut at every system call: write a temporary file beside the target,
fsync it, rename, fsync the directory; only then is it said to be done. An fsync that failed is never tried
again on the same descriptor (the kernel may have dropped the pages).

Below another user's directory root does all of it with that user's rights (`acting`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from appliance.errors import Refused, SurroundingsError
from appliance.system.acting import acting, acting_for, way_out
from appliance.system.clock import monotonic, pause
from appliance.tree import Tree

_LOCK_STEP = 0.05  # seconds between tries


class LockHeld(Refused):
    """Somebody else holds the lock, and nobody is to wait for it."""


def fsync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(directory: Path, mode: int = 0o755) -> None:
    """Create `directory` and its parents where missing, durable, owned like the nearest existing parent.

    Raises:
        SurroundingsError: it cannot be made.
    """
    try:
        _refuse_planted(directory)
        with acting_for(directory):
            _make(directory, mode)
    except OSError as error:
        hint = way_out(error, directory)
        raise SurroundingsError(f"cannot make {directory}: {error.strerror}", hint=hint) from error


def _make(directory: Path, mode: int) -> None:
    if directory.is_dir():
        return
    _make(directory.parent, 0o755)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=mode)
    _finish_directory(directory, mode)
    fsync_directory(directory.parent)


def _finish_directory(directory: Path, mode: int) -> None:
    """Mode (whatever the umask is) and owner of a new directory, by its descriptor: a name can be swapped."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fchmod(fd, mode)
        own_like(fd, directory.parent)
    finally:
        os.close(fd)


def _refuse_planted(directory: Path) -> None:
    """Name the link of another user's that is in root's way. A link that root made is an operator's own.

    That it leads root nowhere, and one that comes a moment later neither, is what `acting_for` sees to.
    """
    if os.geteuid() != 0:
        return
    for place in (directory, *directory.parents):
        with contextlib.suppress(FileNotFoundError):
            status = place.lstat()
            if stat.S_ISLNK(status.st_mode) and status.st_uid != 0:
                raise OSError(
                    errno.ELOOP, f"{place} is a link that user {status.st_uid} made", str(directory)
                )


def write_atomic(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put `content` at `path` by rename; readers see the old file or the new one.

    The hidden temporary name keeps directory readers (ours, and dnsmasq's) from picking up half a file. What
    writers that died have left of theirs goes.
    """
    try:
        with acting_for(path.parent):
            _replace_whole(path, content, mode)
    except OSError as error:
        hint = way_out(error, path)
        raise SurroundingsError(f"cannot write {path}: {error.strerror}", hint=hint) from error


def _replace_whole(path: Path, content: bytes, mode: int) -> None:
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        _sweep(path)
        temporary.unlink(missing_ok=True)  # of one that died: in a container every daemon has our number
        with _held(temporary, mode) as fd:
            _fill(fd, content)
            temporary.replace(path)
        fsync_directory(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_tree(directory: Path, tree: Tree) -> None:
    """Write a whole tree into a new `directory`, every file and directory durable.

    Raises:
        SurroundingsError: the disk did not do its part; what was written stays for `remove_tree`.
    """
    try:
        with acting_for(directory.parent):
            _write_all(directory, tree)
    except OSError as error:
        hint = way_out(error, directory)
        raise SurroundingsError(f"cannot write {directory}: {error.strerror}", hint=hint) from error


def _write_all(directory: Path, tree: Tree) -> None:
    _new_directory(directory)
    made = {directory}
    for file in tree:
        target = directory / file.path
        for parent in reversed(target.relative_to(directory).parents[:-1]):
            folder = directory / parent
            if folder not in made:
                _new_directory(folder)
                made.add(folder)
        _write_new(target, file.content, file.mode)
    for folder in sorted(made, key=lambda p: len(p.parts), reverse=True):
        fsync_directory(folder)
    fsync_directory(directory.parent)


def remove_tree(directory: Path, *, ignore_errors: bool = False) -> None:
    """Remove a directory and all that is in it; links in it lead nowhere.

    Raises:
        OSError: as from rmdir(2) and unlink(2), unless as much as can be removed is enough.
    """
    with acting_for(directory.parent):
        shutil.rmtree(directory, ignore_errors=ignore_errors)


def point_symlink(link: Path, target: str) -> None:
    """Make `link` point to `target` (relative to its directory) in one step, durable.

    To be called by one process at a time: what others have left half-made beside it goes.
    """
    try:
        with acting_for(link.parent):
            _turn(link, target)
    except OSError as error:
        hint = way_out(error, link)
        raise SurroundingsError(f"cannot point {link} at {target}: {error.strerror}", hint=hint) from error


def _turn(link: Path, target: str) -> None:
    temporary = link.parent / f".{link.name}.{os.getpid()}.tmp"
    try:
        for left in _temporaries(link):
            left.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
        fsync_directory(link.parent)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; never waits on a FIFO or a device.

    Raises:
        OSError: as from open(2).
        ValueError: not a regular file, or too large.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if found.st_size > limit:
            raise ValueError(f"it is larger than {limit} bytes")
        with os.fdopen(os.dup(fd), "rb") as stream:
            content = stream.read(limit + 1)
    finally:
        os.close(fd)
    if len(content) > limit:
        raise ValueError(f"it is larger than {limit} bytes")
    return content


def read_as_owner(path: Path, limit: int) -> bytes:
    """As `read_regular`, and no link that the owner of the place has planted shows root what he may not see.

    Raises:
        OSError: as from open(2), with that owner's rights.
        ValueError: not a regular file, or too large.
    """
    with acting_for(path.parent):
        return read_regular(path, limit)


@contextlib.contextmanager
def exclusive_lock(
    path: Path, *, wait: bool = True, patience: float | None = None, purpose: str = ""
) -> Iterator[int]:
    """Hold an flock on `path` for the duration; the kernel drops it when we die. Gives the open file.

    Raises:
        LockHeld: somebody holds it and `wait` is False, or it is held on for `patience` seconds.
    """
    make_directory(path.parent)
    try:
        with acting_for(path.parent):  # root's sync and the service's take turns on one file
            fd = _lock_file(path)
    except OSError as error:
        raise SurroundingsError(f"cannot lock {path}: {error.strerror}", hint=way_out(error, path)) from error
    try:
        try:
            if patience is None:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            else:
                _lock_within(fd, patience)
        except BlockingIOError as error:
            holder = os.pread(fd, 100, 0).decode(errors="replace").strip() or "another process"
            raise LockHeld(f"{purpose or path.name} is already running: {holder}") from error
        except OSError as error:
            raise SurroundingsError(f"cannot lock {path}: {error.strerror}") from error
        with contextlib.suppress(OSError):  # who holds it is a courtesy; a full disk must not refuse the lock
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"pid {os.getpid()}\n".encode(), 0)
        yield fd
    finally:
        os.close(fd)


def _lock_file(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        own_like(fd, path.parent)
    except OSError:
        os.close(fd)
        raise
    return fd


def _lock_within(fd: int, patience: float) -> None:
    deadline = monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if monotonic() > deadline:
                raise
        pause(_LOCK_STEP)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on `path`; changes nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _new_directory(directory: Path) -> None:
    directory.mkdir()
    _finish_directory(directory, 0o755)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(fd, mode)  # the umask must not decide who can read a reservation
        own_like(fd, path.parent)
        _fill(fd, content)
    finally:
        os.close(fd)


def _fill(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.fsync(fd)


@contextlib.contextmanager
def _held(path: Path, mode: int) -> Iterator[int]:
    """A new file, locked while it is worked on: that tells it from what a writer that died has left."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        fd = os.open(path, flags, mode)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: then nobody sweeps there either
                fcntl.flock(fd, fcntl.LOCK_EX)
            if not os.fstat(fd).st_nlink:  # somebody swept it before it was locked
                continue
            os.fchmod(fd, mode)
            own_like(fd, path.parent)
            yield fd
            return
        finally:
            os.close(fd)


def _sweep(path: Path) -> None:
    """Remove what writers of `path` that died have left half-written."""
    for left in _temporaries(path):
        with contextlib.suppress(OSError):
            fd = os.open(left, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
            finally:
                os.close(fd)


def _temporaries(path: Path) -> list[Path]:
    own = re.compile(rf"\.{re.escape(path.name)}\.[0-9]+\.tmp")
    return [path.parent / name for name in os.listdir(path.parent) if own.fullmatch(name)]  # noqa: PTH208 - names alone


def own_like(fd: int, model: Path) -> None:
    """As root in root's own place, give what is open to the group of `model`: it says who may read there.

    Where root acts for another user, it is that user's already.
    """
    if os.geteuid() == 0 and acting() is None:
        owner = model.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
