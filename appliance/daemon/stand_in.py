"""What the children read while the disk does not let `current` point at what is to be served.

A disk that is full or read-only must not keep us from serving what was proven: a copy of that generation's
files for dnsmasq stands in for it below the run directory, which is memory on a host.
"""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath

from appliance.errors import SurroundingsError
from appliance.paths import Paths
from appliance.sync import generations
from appliance.sync.plan import child_of
from appliance.system.files import remove_tree, write_tree
from appliance.tree import RenderedFile, Tree


def place_of(paths: Paths, number: int) -> PurePosixPath:
    """The directory that stands in for `current` with the files of generation `number`."""
    return paths.run / f"instead-{number}"


def stand_in(paths: Paths, number: int) -> None:
    """Write that directory; the files name each other there.

    Raises:
        SurroundingsError: the generation is damaged, or there is no room in the run directory.
    """
    clear(paths)
    place = place_of(paths, number)
    before, after = f"{paths.current}/".encode(), f"{place}/".encode()
    tree = generations.load_generation(paths, number).tree
    files = [
        RenderedFile(file.path, _renamed(file, before, after), file.mode, file.activation)
        for file in tree
        if child_of(file.path) is not None
    ]
    write_tree(Path(place), Tree.of(*files))


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


def _renamed(file: RenderedFile, before: bytes, after: bytes) -> bytes:
    return file.content.replace(before, after) if file.path.endswith("dnsmasq.conf") else file.content
