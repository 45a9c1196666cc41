"""An operator's own file gets another content: whole or not at all, and only if nobody else changed it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from appliance.errors import Refused, SurroundingsError
from appliance.system.acting import acting_for, way_out
from appliance.system.files import fsync_directory, own_like, read_as_owner, read_regular

_PATIENCE: Final = 60.0  # seconds; an edit takes one, and some ten with 50,000 machines
_LOOK: Final = 0.05
_NEW_MODE: Final = 0o644
_TEMPORARY: Final = ".edit.tmp"


@contextlib.contextmanager
def one_editor(directory: Path) -> Iterator[None]:
    """Hold the directory's lock: one edit at a time; the kernel drops it when we die.

    Raises:
        Refused: somebody else keeps it.
        SurroundingsError: the directory cannot be opened.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SurroundingsError(f"cannot open {directory}: {error.strerror}") from error
    try:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    hint = f"look who has it open: fuser -v {directory}"
                    raise Refused(f"somebody else edits {directory}", hint=hint) from error
                time.sleep(_LOOK)
            except OSError as error:
                raise SurroundingsError(f"cannot lock {directory}: {error.strerror}") from error
        with contextlib.suppress(OSError), acting_for(directory):
            for left in directory.glob(f".*{_TEMPORARY}"):  # of edits that died
                left.unlink()
        yield
    finally:
        os.close(fd)


def read_for_edit(path: Path, limit: int) -> bytes | None:
    """The content of a file that is to be edited; None when there is none.

    Raises:
        Refused: it is a link or no regular file: a rename would put a file in its place.
        SurroundingsError: it cannot be read.
    """
    _regular(path)
    try:
        return read_as_owner(path, limit)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Refused(f"cannot edit {path}: {error}") from error
    except OSError as error:
        raise SurroundingsError(f"cannot read {path}: {error.strerror}", hint=_hint(error, path)) from error


def replace_content(path: Path, before: bytes | None, after: bytes) -> None:
    """Put `after` in the place of `before` (None: there was no file), durable; mode and owner stay.

    To be called by who holds `one_editor`.

    Raises:
        Refused: the file holds something else by now.
        SurroundingsError: the disk did not do its part; the file is as it was.
    """
    try:
        with acting_for(path.parent):
            _replace(path, before, after)
    except FileExistsError as error:
        raise _changed(path) from error
    except OSError as error:
        raise SurroundingsError(f"cannot write {path}: {error.strerror}", hint=_hint(error, path)) from error


def _replace(path: Path, before: bytes | None, after: bytes) -> None:
    temporary = path.parent / f".{path.name}{_TEMPORARY}"  # hidden: directory readers pass it over
    try:
        temporary.unlink(missing_ok=True)  # of one that died
        old = _regular(path)
        _write_beside(temporary, path, old, after)
        if not _still(path, before):
            raise _changed(path)
        if before is None:
            os.link(temporary, path, follow_symlinks=False)  # unlike a rename, never over a file
            temporary.unlink()
        else:
            temporary.replace(path)
        fsync_directory(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _still(path: Path, before: bytes | None) -> bool:
    try:
        return before == read_regular(path, len(before or b""))
    except FileNotFoundError:
        return before is None
    except ValueError:  # it has grown
        return False


def _regular(path: Path) -> os.stat_result | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SurroundingsError(f"cannot read {path}: {error.strerror}", hint=_hint(error, path)) from error
    if stat.S_ISLNK(found.st_mode):
        hint = f"edit what it leads to: {path.resolve()}"
        raise Refused(f"cannot edit {path}: it is a link, and would become a file", hint=hint)
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"cannot edit {path}: it is no regular file")
    return found


def _write_beside(temporary: Path, path: Path, old: os.stat_result | None, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(temporary, flags, 0o600)
    try:
        if old is None:
            own_like(fd, path.parent)
            os.fchmod(fd, _NEW_MODE)
        else:
            new = os.fstat(fd)
            if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
                os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, stat.S_IMODE(old.st_mode))
            _copy_attributes(path, fd)
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _copy_attributes(path: Path, fd: int) -> None:
    """ACLs and labels, where the file system has them and we may."""
    with contextlib.suppress(OSError):
        for name in os.listxattr(path):
            with contextlib.suppress(OSError):
                os.setxattr(fd, name, os.getxattr(path, name))


def _changed(path: Path) -> Refused:
    return Refused(
        f"cannot write {path}: it was changed in the meantime", hint="nothing was written: try again"
    )


def _hint(error: OSError, path: Path) -> str:
    return "run it as root" if error.errno == errno.EROFS else way_out(error, path)
