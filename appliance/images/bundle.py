"""Bundles: releases in one tar file, for a site without a way to the internet.

    pxe-appliance-images/OS/STREAM[/ARCH]/VERSION/{release.json,FILES}

What a bundle says of itself counts for nothing: each file is proven from the signatures that travel in
`release.json`, by the keys that are pinned at the site it is brought to.
"""

from __future__ import annotations

import fcntl
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from appliance.errors import OperatorError, Refused, SurroundingsError
from appliance.images.carried import TarFolder
from appliance.images.model import RECORD, Role, StoredRelease, is_file_name
from appliance.images.progress import Watcher
from appliance.images.record import parse_record, render_record
from appliance.images.store import Store
from appliance.system.acting import acting_for, way_out
from appliance.system.files import fsync_directory

TOP: Final = "pxe-appliance-images"
_RECORD_CAP: Final = 64 * 2**20
_MOST_MEMBERS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Carried:
    """A release as a bundle holds it; nothing of it is proven."""

    record: StoredRelease
    files: TarFolder


def export_bundle(store: Store, releases: Sequence[StoredRelease], file: Path, watcher: Watcher) -> int:
    """Write releases to a new bundle; its size in bytes.

    Raises:
        SurroundingsError: the disk did not do its part; there is no bundle then.
    """
    if os.path.lexists(file) and (file.is_symlink() or not file.is_file()):
        raise Refused(f"cannot write {file}: it is no regular file, and would be replaced by one")
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with (
            _mine(temporary) as raw,
            tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for release in releases:
                _add(tar, store, release, watcher)
            tar.close()
            raw.flush()
            os.fsync(raw.fileno())
        with acting_for(file.parent):
            temporary.replace(file)
            fsync_directory(file.parent)
        return file.stat().st_size
    except OSError as error:
        with suppress(OSError), acting_for(file.parent):
            temporary.unlink(missing_ok=True)
        hint = way_out(error, file)
        raise SurroundingsError(f"cannot write {file}: {error.strerror}", hint=hint) from error
    except KeyboardInterrupt:
        with acting_for(file.parent):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _mine(temporary: Path) -> Iterator[IO[bytes]]:
    """An empty file of that name, ours alone; what a killed export left there is written over.

    Raises:
        Refused: another export is writing it.
    """
    with acting_for(temporary.parent):
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(fd, "r+b") as raw:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(f"another export is writing {temporary}") from error
        os.ftruncate(fd, 0)
        yield raw


def _add(tar: tarfile.TarFile, store: Store, release: StoredRelease, watcher: Watcher) -> None:
    place = PurePosixPath(TOP, release.stream.folder, release.version)
    record = render_record(release)
    tar.addfile(_member(place / RECORD, len(record), release), io.BytesIO(record))
    for file in release.files:
        if file.role is Role.BOOT_FILE:
            continue  # taken out of the archive again, where it is proven
        source = store.folder(release.stream) / release.version / file.name
        watcher.begins(file.name, file.size, 0)
        with acting_for(source):  # a link there must not put a secret of root's into what is carried away
            stream = source.open("rb")
        with stream:
            tar.addfile(_member(place / file.name, file.size, release), stream)
        watcher.ends(file.name, "in the bundle")


def _member(path: PurePosixPath, size: int, release: StoredRelease) -> tarfile.TarInfo:
    """The same release makes the same bytes on every host."""
    member = tarfile.TarInfo(str(path))
    member.size, member.mode = size, 0o644
    member.mtime = int(release.fetched_at.timestamp())
    return member


def read_bundle(tar: tarfile.TarFile, file: Path) -> list[Carried]:
    """What an open bundle holds.

    Raises:
        OperatorError: it is no bundle of ours.
    """
    folders: dict[PurePosixPath, dict[str, tarfile.TarInfo]] = {}
    try:
        for count, member in enumerate(tar):
            if count >= _MOST_MEMBERS:
                raise OperatorError(f"cannot use {file}: it has more than {_MOST_MEMBERS} members")
            path = PurePosixPath(member.name)
            if (
                member.isreg()
                and path.parts[:1] == (TOP,)
                and (is_file_name(path.name) or path.name == RECORD)
            ):
                folders.setdefault(path.parent, {})[path.name] = member
        carried = [_carried(tar, members) for members in folders.values() if RECORD in members]
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise OperatorError(f"cannot read {file} as a bundle: {error}") from error
    if not carried:
        hint = "pxe-appliance images bundle export makes one"
        raise OperatorError(f"cannot use {file}: no image is in it", hint=hint)
    return carried


def _carried(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> Carried:
    record = members[RECORD]
    if record.size > _RECORD_CAP:
        raise ValueError(f"{record.name} is too large")
    stream = tar.extractfile(record)
    assert stream is not None, "a regular member has content"
    return Carried(parse_record(stream.read(_RECORD_CAP)), TarFolder(tar, members))
