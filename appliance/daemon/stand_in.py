"""What the children read while the disk does not have, as `current`, what is to be served.

A disk that is full, read-only or damaged must not keep us from serving what was proven: a copy of that
generation's files for dnsmasq stands in for it below the run directory, which is memory on a host.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from appliance.errors import ApplianceError, SurroundingsError
from appliance.paths import Paths
from appliance.sync import generations
from appliance.sync.plan import child_of
from appliance.system.files import make_directory, read_regular, remove_tree, write_atomic, write_tree
from appliance.tree import Tree

_LIMIT: Final = 256 * 2**20


def place_of(paths: Paths, number: int) -> PurePosixPath:
    """The directory that stands in for `current` with the files of generation `number`."""
    return paths.run / f"instead-{number}"


def for_children(tree: Tree) -> Tree:
    """Those files of a generation that dnsmasq reads."""
    return Tree.of(*(file for file in tree if child_of(file.path) is not None))


def copied(paths: Paths, number: int, files: Tree) -> Tree:
    """Files of generation `number` as they stand in its copy: they name each other there."""
    before, after = f"{paths.current}/".encode(), f"{place_of(paths, number)}/".encode()
    renamed = (
        replace(file, content=file.content.replace(before, after))
        if file.path.endswith("dnsmasq.conf")
        else file
        for file in files
    )
    return Tree.of(*renamed)


def stand_in(paths: Paths, number: int) -> None:
    """Write that directory from what is on disk.

    Raises:
        SurroundingsError: the generation is damaged, or there is no room in the run directory.
    """
    write_copy(paths, number, for_children(generations.load_generation(paths, number).tree))


def write_copy(paths: Paths, number: int, files: Tree) -> None:
    """Write that directory from `files`, which are those of the generation.

    Raises:
        SurroundingsError: there is no room in the run directory.
    """
    clear(paths)
    write_tree(Path(place_of(paths, number)), copied(paths, number, files))


def restore(paths: Paths, number: int, files: Tree) -> bool:
    """Write those of `files` anew that generation `number` has lost; whether it is whole now."""
    directory = generations.generation_directory(paths, number)
    try:
        known = generations.read_manifest(paths, number).files
        for file in files:
            place = directory / file.path
            if known.get(file.path) == file.digest and not holds(place, file.content):
                make_directory(place.parent)
                write_atomic(place, file.content, file.mode)
        generations.load_generation(paths, number)
    except (ApplianceError, OSError):
        return False
    return True


def holds(path: Path, content: bytes) -> bool:
    """Whether a file can be read, and is `content`."""
    try:
        return read_regular(path, _LIMIT) == content
    except (OSError, ValueError):
        return False


def standing_in(paths: Paths) -> int | None:
    """The generation whose files stand in for `current`, None when that is not so."""
    with contextlib.suppress(OSError):
        for entry in Path(paths.run).glob("instead-*"):
            number = entry.name.partition("-")[2]
            if number.isascii() and number.isdecimal():
                return int(number)
    return None


def clear(paths: Paths) -> None:
    """`current` is what is read again: whoever would still read a copy must not find it.

    Raises:
        SurroundingsError: it cannot be removed.
    """
    try:
        for entry in Path(paths.run).glob("instead-*"):
            remove_tree(entry)
    except OSError as error:
        raise SurroundingsError(f"cannot clear {paths.run}: {error.strerror}") from error
