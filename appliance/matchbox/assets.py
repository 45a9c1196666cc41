"""The files below /assets/: found over several roots in order, opened inside their jail."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from appliance.matchbox.conditional import Version
from appliance.matchbox.jail import OutOfBounds, open_beneath
from appliance.matchbox.sniff import SNIFFED, content_type

MAX_LISTED: Final = 10_000
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ})


@dataclass(frozen=True, slots=True)
class AssetRoot:
    """A directory that is served. With a `prefix` (no slashes around it) it stands at /assets/PREFIX/."""

    directory: Path
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class AssetFile:
    """An open regular file; whoever gets it closes `stream`."""

    stream: BinaryIO
    size: int
    version: Version
    content_type: str


@dataclass(frozen=True, slots=True)
class AssetDirectory:
    """A directory: its names in order (subdirectories with a slash), when it changed."""

    names: tuple[str, ...]
    modified: datetime


@dataclass(frozen=True, slots=True)
class NoAsset:
    """Nothing to serve, and why; `code` is a `Refusal` where the reason is one."""

    reason: str
    code: str = ""


# Whoever answers for some of the paths below /assets/ alone, by path and client: a file, a refusal, or None
# where the path is not theirs. Called from a thread.
Vault = Callable[[str, str], AssetFile | NoAsset | None]


def open_asset(roots: Sequence[AssetRoot], path: str) -> AssetFile | AssetDirectory | NoAsset:
    """What stands at `path` (below /assets/, decoded, without a leading slash). Blocks on the disk.

    The first root that has a file wins; directories of one name are listed as one.
    """
    directories: list[AssetDirectory] = []
    for root in roots:
        inside = _inside(root, path)
        if inside is None:
            continue
        try:
            found = _found(open_beneath(root.directory, inside), path)
        except OutOfBounds as error:
            return NoAsset(f"{path}: {error}")
        except OSError as error:
            if error.errno in _ABSENT:
                continue
            return NoAsset(f"{path}: {error.strerror}")
        if isinstance(found, AssetFile) and not directories:
            return found
        if isinstance(found, AssetDirectory):
            directories.append(found)
        elif isinstance(found, AssetFile):
            found.stream.close()
    return _merged(directories) if directories else NoAsset(f"{path}: no such asset")


def _inside(root: AssetRoot, path: str) -> str | None:
    if not root.prefix:
        return path
    first, _, rest = path.partition("/")
    return rest if first == root.prefix else None


def _found(fd: int, path: str) -> AssetFile | AssetDirectory:
    """Look at what was opened; the descriptor is closed unless it goes on in the result."""
    try:
        status = os.fstat(fd)
        modified = datetime.fromtimestamp(int(status.st_mtime), UTC)
        if stat.S_ISDIR(status.st_mode):
            names = _names(fd)
            os.close(fd)
            return AssetDirectory(names, modified)
        head = os.pread(fd, SNIFFED, 0)
    except OSError:
        os.close(fd)
        raise
    # A file that is replaced by rename within one timestamp tick still changes its inode.
    tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"'
    name = path.rstrip("/").rpartition("/")[2]
    stream = os.fdopen(fd, "rb", buffering=0)
    return AssetFile(stream, status.st_size, Version(tag, modified), content_type(name, head))


def _names(fd: int) -> tuple[str, ...]:
    names: list[str] = []
    with os.scandir(fd) as entries:
        for entry in entries:
            names.append(f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name)
            if len(names) >= MAX_LISTED:
                break
    return tuple(sorted(names))


def _merged(directories: Sequence[AssetDirectory]) -> AssetDirectory:
    names = {name for directory in directories for name in directory.names}
    return AssetDirectory(tuple(sorted(names)), max(directory.modified for directory in directories))
