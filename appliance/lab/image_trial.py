"""`lab run --image`: machines boot what came through the image store, as its operator changes it.

    fetch 1 → boot → fetch 2 → use 2 → boot → rollback → boot

The releases are made here, signed with a key of the lab's own, and fetched from a mirror in the appliance's
namespace.
"""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from appliance.errors import SurroundingsError
from appliance.lab import segment, service
from appliance.lab.booted import judge_release
from appliance.lab.follow import boot
from appliance.lab.kernel import Kernel
from appliance.lab.payload import initramfs
from appliance.lab.premises import Premises
from appliance.lab.rack import MIRROR_PORT, LabMachine, Rack
from appliance.lab.release import BOARD, STREAM, BuildServer
from appliance.lab.root_files import files_with_mirror
from appliance.lab.service import Service
from appliance.lab.watch import Finding, Watch
from appliance.plain_text import safe_text
from appliance.system.command import ending, spawn
from appliance.system.files import make_directory, point_symlink, write_tree
from appliance.tree import Tree

FIRST: Final = "4593.2.5"
SECOND: Final = "4593.2.6"
_IMAGE: Final = STREAM.image
_MIRROR: Final = "appliance.lab.mirror"
_MIRROR_TIME: Final = 30.0  # seconds; a busy 2-core host starts Python slowly


@dataclass(frozen=True, slots=True)
class Project:
    """Who makes the releases, of what, and the folder that the mirror serves."""

    builder: BuildServer
    kernel: Kernel
    busybox: bytes
    folder: Path

    def files(self, rack: Rack) -> Tree:
        """The appliance's own files: this project's key is the one that it believes."""
        return files_with_mirror(rack, _IMAGE, key=self.builder.key)

    def publish(self, version: str) -> None:
        """Put a new release on the mirror, and make it the current one there."""
        initrd = initramfs(self.busybox, self.kernel.modules, version)
        board = self.folder / BOARD
        make_directory(board)
        write_tree(board / version, self.builder.release(version, kernel=self.kernel.image, initrd=initrd))
        point_symlink(board / "current", version)


def begin(project: Project, under_trial: Service, console: Console) -> subprocess.Popen[bytes]:
    """Fetch the first release from the mirror, which is the answer; whoever asked for it ends it.

    Raises:
        SurroundingsError: the mirror does not come up, or the release cannot be fetched.
    """
    project.publish(FIRST)
    mirror = _serve(project.folder, under_trial)
    try:
        _order(under_trial, console, "fetch", _IMAGE)
    except BaseException:
        service.stop(mirror)
        raise
    return mirror


def show(
    project: Project, place: Premises, rack: Rack, under_trial: Service, timeout: float, console: Console
) -> None:
    """Boot the first release, the second one after `images use`, and the first again after the rollback.

    Every machine boots once; the last boot is of one that had the second release.

    Raises:
        NotProven: a boot did not show what it should.
    """
    first = rack.machines[0::2]
    second = rack.machines[1::2] or first
    before = service.processes(under_trial)

    def turn(machines: Sequence[LabMachine], version: str, *, last: bool = False) -> None:
        names = ", ".join(machine.name for machine in machines)
        console.print(f"powering on {names}, to boot {_IMAGE}@{version}", highlight=False)
        for machine in machines:
            segment.place(place.segment, machine)

        def also(watch: Watch) -> tuple[Finding, ...]:
            unmoved = (_unmoved(before, service.processes(under_trial)),) if last else ()
            return judge_release(watch, version) + unmoved

        boot(place, Rack(tuple(machines), stranger=None), under_trial, timeout, console, also=also)

    turn(first, FIRST)
    project.publish(SECOND)
    _order(under_trial, console, "fetch", _IMAGE)
    _order(under_trial, console, "use", f"{_IMAGE}@{SECOND}")
    turn(second, SECOND)
    _order(under_trial, console, "rollback", _IMAGE)
    turn(second[:1], FIRST, last=True)


def _unmoved(before: Sequence[int], after: Sequence[int]) -> Finding:
    """Images change while the appliance serves: nothing of it is started again."""
    if before == after:
        return Finding("the appliance", True, "changed releases without a restart of anything")
    return Finding("the appliance", False, f"was restarted: processes {list(before)}, then {list(after)}")


def _order(under_trial: Service, console: Console, *words: str) -> None:
    """Run a command of the image store, and show what an operator sees."""
    console.print(f"$ pxe-appliance images {' '.join(words)}", highlight=False, markup=False)
    said = under_trial.call("images", *words).stdout
    for line in said.splitlines():
        console.print(f"  {safe_text(line, limit=1000)}", highlight=False, markup=False, soft_wrap=True)


def _serve(folder: Path, under_trial: Service) -> subprocess.Popen[bytes]:
    log = under_trial.logs / "mirror.log"
    argv = [sys.executable, "-I", "-m", _MIRROR, str(folder), str(MIRROR_PORT)]
    with log.open("wb") as complaints:
        mirror = spawn(
            segment.inside(under_trial.namespace, argv), stdout=subprocess.PIPE, stderr=complaints.fileno()
        )
    stream = mirror.stdout
    assert stream is not None  # a pipe was asked for
    with stream:
        listening = select.select([stream], [], [], _MIRROR_TIME)[0] and stream.readline()
    if not listening:
        service.stop(mirror)
        why = ending("the mirror", mirror.returncode)
        raise SurroundingsError(f"cannot serve the lab's releases: {why}", hint=f"see {log}")
    return mirror
