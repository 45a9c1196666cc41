"""Where a lab lives on the host, how it is claimed, remembered and swept away.

    /run/pxe-appliance-lab/N/    one lab: its lock, its appliance's --root, what to know of it
    /var/log/pxe-appliance-lab/  serial lines, the daemon's words and the events of runs that failed

N is the process id of the run that built it. While that run lives it holds the lock; a lab whose lock is free
and that was not kept on purpose is a leftover, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import Refused, SurroundingsError
from appliance.lab import segment
from appliance.lab.rack import FirmwareChoice, Rack, fill
from appliance.lab.segment import Segment
from appliance.system.files import exclusive_lock, make_directory, read_regular, write_atomic

BASE: Final = Path("/run/pxe-appliance-lab")
LOGS: Final = Path("/var/log/pxe-appliance-lab")
_LOGS_KEPT: Final = 10
_STATE_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True)
class Premises:
    """The places of lab number `lab`."""

    lab: int

    @property
    def segment(self) -> Segment:
        return Segment(self.lab)

    @property
    def directory(self) -> Path:
        return BASE / str(self.lab)

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def state(self) -> Path:
        return self.directory / "lab.json"


@contextlib.contextmanager
def claimed() -> Iterator[Premises]:
    """New premises for this process, after sweeping out what killed runs left; the lock is held inside."""
    premises = Premises(os.getpid())
    with contextlib.ExitStack() as held:
        with exclusive_lock(BASE / "lock"):
            for leftover in _leftovers(premises):
                remove(leftover)
            held.enter_context(exclusive_lock(premises.lock, wait=False, purpose="the lab"))
        yield premises


def keep(premises: Premises, count: int, choice: FirmwareChoice) -> None:
    """Remember how the rack was filled, and that this lab stays until `lab down`.

    A `count` of 0 stands for machines that only their own run powers on.
    """
    text = json.dumps({"machines": count, "firmware": choice.value})
    write_atomic(premises.state, text.encode())


def kept() -> list[tuple[Premises, Rack]]:
    """The labs that stay until `lab down`, the newest first."""
    found = [
        (premises, rack)
        for premises in sorted(_known(), key=lambda p: p.lab)
        if (rack := _recall(premises)) is not None
    ]
    return sorted(found, key=lambda pair: pair[0].state.stat().st_mtime, reverse=True)


def remove(premises: Premises) -> None:
    """Take a lab away, whatever is left of it."""
    segment.remove(premises.segment)
    shutil.rmtree(premises.directory, ignore_errors=True)


def remove_all() -> list[int]:
    """Take away every lab on this host that no run holds any more; their numbers.

    Raises:
        Refused: a run is still going on; what was to be removed beside it is.
    """
    gone: list[int] = []
    busy: list[str] = []
    with exclusive_lock(BASE / "lock"):
        for premises in _known():
            try:
                with exclusive_lock(premises.lock, wait=False):
                    remove(premises)
                gone.append(premises.lab)
            except Refused:
                busy.append(str(premises.lab))
    if busy:
        raise Refused(
            f"cannot remove a lab whose run is going on: process {', '.join(busy)}", hint="end it with Ctrl-C"
        )
    return gone


def log_directory(premises: Premises) -> Path:
    """A new directory for the logs of one run; the oldest ones of many runs make room."""
    directory = LOGS / f"{time.strftime('%Y%m%d-%H%M%S')}-{premises.lab}"
    make_directory(directory)
    for old in sorted(path for path in LOGS.iterdir() if path.is_dir())[:-_LOGS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return directory


def _known() -> list[Premises]:
    numbers = {found.lab for found in segment.segments()}
    if BASE.is_dir():
        numbers |= {int(path.name) for path in BASE.iterdir() if path.name.isdecimal()}
    return [Premises(number) for number in sorted(numbers)]


def _leftovers(ours: Premises) -> Iterator[Premises]:
    """Labs that nobody holds and nobody wanted to keep. One of our own number is from an earlier process."""
    for premises in _known():
        if premises != ours and _recall(premises) is not None:
            continue
        with contextlib.suppress(Refused), exclusive_lock(premises.lock, wait=False):
            yield premises


def _recall(premises: Premises) -> Rack | None:
    try:
        raw: object = json.loads(read_regular(premises.state, _STATE_LIMIT))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SurroundingsError(
            f"cannot read {premises.state}: {error}", hint="pxe-appliance lab down"
        ) from error
    facts = raw if isinstance(raw, dict) else {}
    try:
        count, choice = int(facts["machines"]), FirmwareChoice(facts["firmware"])
        return fill(count, choice) if count else Rack((), stranger=None)
    except (KeyError, TypeError, ValueError):
        return None
