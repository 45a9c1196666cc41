"""Looks at what a plan needs to know: the files that are there, the program's place, systemd's view."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

import appliance
from appliance.errors import Refused, SurroundingsError
from appliance.service.parts import RECORD, SERVICE, Part, is_plain
from appliance.service.plan import Standing, foreign_units, parse_record
from appliance.service.program import HINT, Step, unfit
from appliance.system.command import run
from appliance.system.shipped import shipped

_FILES = 100_000  # of the program and its libraries; more than that is no environment of ours


def program_path() -> str:
    """The absolute path of the command that runs now, for a unit to start.

    Raises:
        Refused: it lies where a service must not be started from.
    """
    program = Path(sys.argv[0]).absolute()
    beside = Path(sys.prefix) / "bin" / "pxe-appliance"
    if program.name != "pxe-appliance" or not program.is_file():
        program = beside
    if not program.is_file():
        raise Refused(f"cannot tell which program the service is to start: there is no {beside}", hint=HINT)
    if program.is_symlink() and program.resolve() == beside.resolve():
        program = beside  # our own link in /usr/local/bin: the unit names what it leads to
    if not is_plain(str(program)):
        raise Refused(f"cannot make a service of {program}: its path would need quoting in a unit", hint=HINT)
    # What it imports is as much the service as its own package; the standard library is the system's.
    looked = [Path(appliance.__file__).parent, *(Path(entry) for entry in sys.path if Path(entry).is_dir())]
    standard = Path(os.__file__).parent
    own = [place for place in looked if place not in (standard, standard / "lib-dynload")]
    reasons = list(unfit(_steps([program, Path(sys.executable), Path(sys.prefix), *looked], own)))
    if reasons:
        raise Refused(f"cannot make a service of {program}: {'; '.join(reasons[:3])}", hint=HINT)
    return str(program)


def shipped_units() -> dict[str, str]:
    """The files of `systemd/` by name."""
    return {entry.name: entry.read_text(encoding="utf-8") for entry in shipped("systemd").iterdir()}


def look_at_host(paths: Iterable[str]) -> Standing:
    """What stands at `paths`, at those of the last installation, and where a foreign unit could be.

    Raises:
        Refused: we are not root.
        SurroundingsError: systemd does not run this host.
    """
    if not Path("/run/systemd/system").is_dir():
        raise SurroundingsError("systemd does not run this host: there is nobody to start a service")
    kept = _part(RECORD)
    record = parse_record(kept.content) if kept else {}
    asked = {*paths, *record, RECORD, *foreign_units()}
    there = {path: part for path in sorted(asked) if (part := _part(path)) is not None}
    return Standing(
        there,
        record,
        enabled=_says("is-enabled") == "enabled",
        active=is_active(),
        configured=Path("/etc/pxe-appliance/appliance.toml").exists(),
    )


def is_active() -> bool:
    """Whether the service runs, as systemd has it."""
    return _says("is-active") in ("active", "reloading")


def refuse_unless_root(command: str) -> None:
    """A service is root's to install.

    Raises:
        Refused: we are somebody else.
    """
    if os.geteuid() != 0:
        raise Refused("this needs root", hint=f"sudo {Path(sys.argv[0]).absolute()} service {command}")


def _says(question: str) -> str:
    return run(["systemctl", question, SERVICE], timeout=30, check=False).stdout.strip()


def _part(path: str) -> Part | None:
    file = Path(path)
    try:
        found = file.lstat()
        if stat.S_ISLNK(found.st_mode):
            return Part(path, target=str(file.readlink()))
        return Part(path, file.read_bytes(), stat.S_IMODE(found.st_mode))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SurroundingsError(f"cannot read {path}: {error.strerror}") from error


def _steps(roots: Iterable[Path], whole: Iterable[Path]) -> list[Step]:
    """The files themselves, the directories above them, by every name they go by; all that is below `whole`.

    Raises:
        Refused: there are too many to look at.
    """
    places: dict[Path, None] = {}
    for root in roots:
        for path in (root.absolute(), root.resolve()):
            places.update(dict.fromkeys((*reversed(path.parents), path)))
    for place in whole:
        for path in place.rglob("*"):
            places[path] = None
            if len(places) > _FILES:
                raise Refused(f"cannot make a service: too many files below {place} to look at", hint=HINT)
    return [step for path in places if (step := _step(path)) is not None]


def _step(path: Path) -> Step | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return Step(
        str(path), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, stat.S_ISDIR(found.st_mode)
    )
