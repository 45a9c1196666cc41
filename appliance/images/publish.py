"""From proven parts to a release that is there whole or not at all.

The order survives a kill at every step: the release is put together beside the store, every file and
directory durable; its pins are written; one rename makes it visible; only then does a pointer lead to it. A
pin without files serves nothing, and files without a pin are not served.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from appliance.errors import SurroundingsError
from appliance.images.lock import Lock, Pin, PinnedRelease, render_lock
from appliance.images.model import RECORD, Role, StoredFile, StoredRelease, Stream
from appliance.images.record import render_record
from appliance.images.seals import Seals
from appliance.images.store import CURRENT, Store
from appliance.images.trust import ProvenRelease
from appliance.images.unpack import unpack_ipxe
from appliance.paths import Paths
from appliance.system.acting import acting_for, way_out
from appliance.system.files import (
    exclusive_lock,
    fsync_directory,
    make_directory,
    own_like,
    point_symlink,
    write_atomic,
)


def workplace(paths: Paths, stream: Stream, version: str) -> Path:
    """Where a release is fetched to: `parts/` below it holds what arrives, `ready/` what is published."""
    return Path(paths.incoming / stream.folder / version)


@contextmanager
def changing(paths: Paths) -> Iterator[None]:
    """Only one process changes pins and pointers at a time."""
    make_directory(Path(paths.incoming), 0o700)
    with exclusive_lock(Path(paths.incoming / "store.lock"), purpose="a change of the image store"):
        yield


def check_places(paths: Paths, *, pin: bool = True) -> None:
    """Publishing is a rename, so both places have to be of one file system. Pinning needs a right besides.

    Raises:
        SurroundingsError: they are not, or cannot be made.
    """
    images, incoming = Path(paths.images), Path(paths.incoming)
    make_directory(images)
    make_directory(incoming, 0o700)
    etc = Path(paths.etc)
    if pin:
        make_directory(etc)
    if pin and not os.access(etc, os.W_OK):  # better now than after a gigabyte
        raise SurroundingsError(f"cannot write {paths.image_lock}: permission denied", hint="run it as root")
    if images.stat().st_dev != incoming.stat().st_dev:
        raise SurroundingsError(
            f"cannot publish: {images} and {incoming} are on two file systems, and a rename does not cross",
            hint=f"give the larger disk to {paths.state} as a whole",
        )


def publish(
    store: Store, seals: Seals, proven: ProvenRelease, now: datetime, *, pin: bool = True
) -> StoredRelease:
    """Make a proven release part of the store; the first of its stream is current at once.

    Without `pin`, images.lock is not touched: what it does not pin lies there, is not served, is not current.

    Raises:
        SurroundingsError: the disk did not do its part; the store is as it was.
    """
    paths, stream, version = store.paths, proven.plan.stream, proven.plan.version
    place = workplace(paths, stream, version)
    try:
        with acting_for(place):
            release = _put_together(place, proven, now)
        with changing(paths):
            lock, wanted = store.lock(), PinnedRelease.of(release)
            pinned = pin or lock.get(stream, version) == wanted
            if pin:
                write_lock(paths, lock.with_release(wanted))
            target = store.folder(stream) / version
            make_directory(target.parent)
            with acting_for(place, target.parent):
                _move(place / "ready", target)
        if pinned:
            point_first(store, stream, version)
        forget_part(paths, stream, version)
        for file in release.files:
            seals.note(target / file.name, Pin(file.size, file.sha512))
        seals.keep()
    except OSError as error:
        raise SurroundingsError(
            f"cannot publish {stream}@{version}: {error.strerror}",
            hint=way_out(error, place / "ready") or f"df -h {paths.state}",
        ) from error
    return release


def point_first(store: Store, stream: Stream, version: str) -> None:
    """Make a release current where none is."""
    with changing(store.paths):
        if store.current(stream) is None:
            point(store, stream, version)


def point(store: Store, stream: Stream, version: str) -> None:
    """Move the pointer of a stream; what a killed one left half-made beside it goes."""
    folder = store.folder(stream)
    with acting_for(folder):
        for left in folder.glob(f".{CURRENT}.*.tmp"):
            left.unlink(missing_ok=True)
    point_symlink(folder / CURRENT, version)


def write_lock(paths: Paths, lock: Lock) -> None:
    """Write images.lock."""
    make_directory(Path(paths.etc))
    write_atomic(Path(paths.image_lock), render_lock(lock).encode())


def _put_together(place: Path, proven: ProvenRelease, now: datetime) -> StoredRelease:
    ready = place / "ready"
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir(mode=0o755)
    files: list[StoredFile] = []
    for file in proven.files:
        target = ready / file.artefact.name
        # A second name, not a move: after a kill the part is still there to go on with.
        os.link(place / "parts" / f"{file.artefact.name}.part", target)
        files.append(file.stored())
        if file.artefact.role is Role.ARCHIVE:
            files += unpack_ipxe(target, ready, file.stored())
    release = StoredRelease(
        proven.plan.stream,
        proven.plan.version,
        tuple(files),
        now,
        MappingProxyType(dict(proven.evidence)),
        proven.certificates,
    )
    write_atomic(ready / RECORD, render_record(release))
    for path in (*ready.iterdir(), ready):
        _finish(path, place.parent)
    fsync_directory(place)
    return release


def _move(ready: Path, target: Path) -> None:
    """Into the store. A release that is there already is mended file by file: its pins are the same."""
    try:
        ready.rename(target)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        for path in sorted(ready.iterdir()):
            if (there := target / path.name).is_dir() and not there.is_symlink():
                shutil.rmtree(there)
            path.replace(target / path.name)
        fsync_directory(target)
    fsync_directory(target.parent)


def _tidy(top: Path, folder: Path) -> None:
    """Remove folders that nothing is being fetched to any more."""
    while folder != top:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass  # a kill came between two of them
        except OSError:
            return
        folder = folder.parent


def _finish(path: Path, model: Path) -> None:
    """Mode (whatever the umask is) and owner of what is served, durable; by its descriptor, for its name
    can be swapped."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fchmod(fd, 0o755 if stat.S_ISDIR(os.fstat(fd).st_mode) else 0o644)
        own_like(fd, model)
        os.fsync(fd)
    finally:
        os.close(fd)


def forget_part(paths: Paths, stream: Stream, version: str) -> None:
    """Remove what was fetched so far of a release."""
    place = workplace(paths, stream, version)
    with acting_for(place):
        shutil.rmtree(place, ignore_errors=True)
        _tidy(Path(paths.incoming), place.parent)
