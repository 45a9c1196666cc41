"""What a child is started on: its files as they were proven, and the process itself."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from appliance.addresses import Mac
from appliance.daemon.served import Served
from appliance.daemon.stand_in import copied, holds, place_of, write_copy
from appliance.daemon.status import problem
from appliance.dnsmasq.process import DHCP_CAPABILITIES, TFTP_CAPABILITIES, child_argv
from appliance.dnsmasq.render import render_marks
from appliance.errors import ApplianceError
from appliance.paths import Paths
from appliance.sync import generations
from appliance.sync.plan import child_of
from appliance.system.acting import acting_for
from appliance.system.command import spawn
from appliance.system.inherited import Process
from appliance.tree import Tree

_PATIENCE: Final = 2.0  # seconds for a few small files; a disk that hangs must not keep a dead child from us
_log = logging.getLogger("pxe-appliance")


@dataclass(slots=True)
class Footing:
    """Where the children of one daemon read their files: in `current`, or in a copy of a generation.

    `stands_in` is the generation that is copied, None for `current`. Whoever starts a child asks here first:
    what the disk has lost of what is served comes from memory.
    """

    paths: Paths
    stands_in: int | None = None
    _lost: tuple[int, str] | None = None  # the generation of ours that is damaged on disk, and how

    def under(self, name: str, served: Served) -> PurePosixPath:
        """The directory to start child `name` on.

        Raises:
            SurroundingsError: what is served is damaged, and there is no room in memory for a copy.
        """
        found = damage(self.paths, self.stands_in, name, served)
        if found and served.id is not None:
            write_copy(self.paths, served.id, served.files)
            if self.stands_in is None:
                self.stands_in, self._lost = served.id, (served.id, found)
                _log.error("generation %d is served from a copy in memory: %s", served.id, found)
        elif self.stands_in is None:
            self._lost = None
        return _directory(self.paths, self.stands_in)

    @property
    def lost(self) -> str:
        """Why a copy stands in for what the disk had as it should be; empty when none does for that."""
        number, words = self._lost or (None, "")
        return words if number is not None and number == self.stands_in else ""

    @property
    def problems(self) -> tuple[dict[str, str], ...]:
        """What the disk has lost of what is served, in the public shape of `status`."""
        words = f"generation {self.stands_in} is served from a copy in memory: {self.lost}"
        return (problem("generation", "error", words, "pxe-appliance sync"),) if self.lost else ()


def damage(paths: Paths, stands_in: int | None, name: str, served: Served) -> str:
    """Why child `name` would not find what is served in `current`, or in the copy that stands in for it.

    Empty when it does, and while a change is on its way. dnsmasq takes a hosts file that has lost its lines
    for good, and then knows no machine.
    """
    if served.id is None or stands_in not in {None, served.id}:
        return ""
    number, mine = served.id, Tree.of(*(f for f in served.files if child_of(f.path) == name))
    said: list[str] = []

    def look() -> None:
        said.append(next(_differences(paths, stands_in, number, mine), ""))

    thread = threading.Thread(target=look, name=f"files of {name}", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return said[0] if said else f"the disk does not answer within {_PATIENCE:.0f} s"


def _directory(paths: Paths, stands_in: int | None) -> PurePosixPath:
    return paths.current if stands_in is None else place_of(paths, stands_in)


def _differences(paths: Paths, stands_in: int | None, number: int, mine: Tree) -> Iterator[str]:
    if stands_in is None:
        try:
            current = generations.current_id(paths)
        except ApplianceError as error:
            yield error.message
            return
        if current is None:
            yield "the link to it is missing"
        elif current != number:
            return  # a change is on its way, or a person has turned the link
    else:
        mine = copied(paths, number, mine)
    place = _directory(paths, stands_in)
    for file in mine:
        if not holds(Path(place / file.path), file.content):
            yield f"{file.path} is not what sync wrote any more"


def start_on(place: PurePosixPath, name: str, errors: Path, macs: frozenset[Mac]) -> Process:
    """Start a child on the files in `place`; what it says before it has a log goes to `errors`.

    Raises:
        OSError, SurroundingsError: it cannot be started.
    """
    dhcp, _, network = name.partition(":")
    folder = f"network/{network}" if network else name
    argv = child_argv(
        Path(place / folder / "dnsmasq.conf"),
        DHCP_CAPABILITIES if dhcp == "dhcp" else TFTP_CAPABILITIES,
        root=os.geteuid() == 0,
        more_on_stdin=dhcp == "dhcp",
    )
    # In memory: a full disk must keep no dead child from coming back.
    with os.fdopen(os.memfd_create("marks"), "w+b", 0) as marks:
        marks.write(render_marks(macs).encode())
        marks.seek(0)
        with acting_for(errors.parent):
            fd = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            return spawn(argv, stdin=marks.fileno(), stdout=fd, stderr=fd)
        finally:
            os.close(fd)
