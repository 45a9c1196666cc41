"""What an installation or a removal would do, as a value: files written and removed, commands run. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from appliance.errors import Refused
from appliance.service.parts import (
    IMAGES,
    PREFIX,
    RECORD,
    SERVICE,
    SYSUSERS,
    TIMER,
    TMPFILES,
    UNIT_DIRECTORY,
    Part,
)

_PACKAGED: Final = ("/lib/systemd/system/", "/usr/lib/systemd/system/")
_MANUAL: Final = "/share/man/"
GUARD: Final = ("nft", "delete", "table", "inet", "pxe-appliance")
RELOAD_UNITS: Final = ("systemctl", "daemon-reload")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is on the host: of the paths asked about, those that exist; of what we put there, the digests.

    `configured`: there are settings, so there is something to serve.
    """

    there: Mapping[str, Part]
    record: Mapping[str, str]
    enabled: bool = False
    active: bool = False
    configured: bool = True


@dataclass(frozen=True, slots=True)
class Command:
    """A command. `undo` takes it back; one that `may_fail` is told and not undone."""

    argv: tuple[str, ...]
    undo: tuple[str, ...] = ()
    may_fail: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """A directory of ours that goes with everything in it."""

    path: str


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is written (`after`) or removed (None); `before` is what was there."""

    path: str
    before: Part | None
    after: Part | None


ServiceStep = Change | Command | Removal


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """Steps in their order, and what is worth knowing of them."""

    steps: tuple[ServiceStep, ...]
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """The files."""
        return tuple(step for step in self.steps if isinstance(step, Change))


def digest(part: Part) -> str:
    """What the record keeps of a part."""
    return hashlib.sha256(part.target.encode() or part.content).hexdigest()


def record_of(parts: Iterable[Part]) -> Part:
    """The record of an installation: what an uninstall may take away."""
    files = {part.path: digest(part) for part in parts}
    text = json.dumps({"version": 1, "files": files}, indent=1, sort_keys=True)
    return Part(RECORD, f"{text}\n".encode())


def parse_record(content: bytes) -> dict[str, str]:
    """The digests by path; empty when it is none of ours."""
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    files = raw.get("files") if isinstance(raw, dict) else None
    return {str(k): str(v) for k, v in files.items()} if isinstance(files, dict) else {}


def foreign_units() -> tuple[str, ...]:
    """Where a unit of ours would come from somebody else: the package, or an operator's own copy."""
    return (*(f"{place}{SERVICE}" for place in _PACKAGED), f"/etc/systemd/system/{SERVICE}")


def plan_install(wanted: Iterable[Part], standing: Standing, *, start: bool) -> ServicePlan:
    """What brings the host to `wanted`.

    Raises:
        Refused: the package is installed, another unit stands in front, or somebody edited a file of ours.
    """
    _refuse_others(standing)
    parts = tuple(wanted)
    _refuse_edits(parts, standing)
    changes = [_writing(part, standing) for part in (*parts, record_of(parts))]
    steps: list[ServiceStep] = [change for change in changes if change is not None]
    names = {part.path for part in parts}
    steps += [
        Change(path, standing.there[path], None)
        for path in sorted(set(standing.record) - names)
        if path in standing.there and digest(standing.there[path]) == standing.record[path]
    ]
    steps += [Command(("systemd-sysusers", SYSUSERS)), Command(("systemd-tmpfiles", "--create", TMPFILES))]
    units = any(change and change.path.startswith(UNIT_DIRECTORY) for change in changes)
    if units:
        steps.append(Command(RELOAD_UNITS))
    if not standing.enabled:
        steps.append(Command(("systemctl", "enable", SERVICE), undo=("systemctl", "disable", SERVICE)))
    notes = []
    if standing.active:
        steps.append(Command(("systemctl", "reload", SERVICE), may_fail=True))
        if units:
            notes.append(
                f"The unit changed: its sandbox counts from the next systemctl restart {SERVICE} on."
            )
    elif start and standing.configured:
        steps.append(Command(("systemctl", "start", SERVICE), may_fail=True))
    elif not standing.configured:
        notes.append("There are no settings yet: pxe-appliance init, then systemctl start pxe-appliance")
    notes.append(f"Images every night: systemctl enable --now {TIMER}")
    return ServicePlan(tuple(steps), tuple(notes))


def plan_uninstall(standing: Standing, *, purge_state: bool) -> ServicePlan:
    """What takes away what an installation put on the host, and nothing else.

    Raises:
        Refused: there is no record of one.
    """
    if not standing.record:
        hint = "a package is removed by its package manager: apt remove pxe-appliance"
        raise Refused(
            "the service was not installed by `service install`: there is no record of it", hint=hint
        )
    ours: list[str] = []
    edited: list[str] = []
    for path, kept in sorted(standing.record.items()):
        if path in standing.there:
            (ours if digest(standing.there[path]) == kept else edited).append(path)
    steps: list[ServiceStep] = []
    # The timer first, which would start the images again. Under one that runs on, nothing is removed.
    running = [name for name in (TIMER, IMAGES, SERVICE) if f"{UNIT_DIRECTORY}/{name}" in standing.there]
    if standing.active and SERVICE not in running:
        running.append(SERVICE)
    if running:
        again = ("systemctl", "start", SERVICE) if standing.active else ()
        steps.append(Command(("systemctl", "stop", *running), undo=again))
    steps.append(Command(("systemctl", "disable", TIMER, SERVICE), may_fail=True))
    steps += [Change(path, standing.there[path], None) for path in (*ours, RECORD) if path in standing.there]
    steps.append(Command(RELOAD_UNITS, may_fail=True))
    steps.append(Removal("/run/pxe-appliance"))
    notes = [f"{path} was edited: it stays" for path in edited]
    notes.append("/etc/pxe-appliance is yours, and stays")
    if purge_state:
        steps.append(Removal("/var/lib/pxe-appliance"))
    else:
        notes.append("/var/lib/pxe-appliance stays, with generations, images and history (--purge-state)")
    notes.append("the user pxe-appliance stays, for the files that are its own")
    return ServicePlan(tuple(steps), tuple(notes))


def _refuse_others(standing: Standing) -> None:
    for path in foreign_units():
        if path not in standing.there:
            continue
        if path.startswith(_PACKAGED):
            hint = "use the package, or remove it first: apt remove pxe-appliance"
            raise Refused(f"the package is installed: {path} is there", hint=hint)
        hint = f"changes belong into a drop-in (systemctl edit {SERVICE}); then: rm {path}"
        raise Refused(f"{path} would stand in front of the unit that this installs", hint=hint)


def _refuse_edits(parts: tuple[Part, ...], standing: Standing) -> None:
    edited = [
        part.path
        for part in parts
        if (found := standing.there.get(part.path)) is not None
        and digest(found) not in (standing.record.get(part.path), digest(part))
    ]
    if edited:
        hint = f"for a unit: systemctl edit NAME keeps changes apart; then move it away: rm {edited[0]}"
        raise Refused(f"cannot install over what somebody else wrote: {', '.join(edited)}", hint=hint)


def _writing(part: Part, standing: Standing) -> Change | None:
    found = standing.there.get(part.path)
    return None if found == part else Change(part.path, found, part)


def plan_lines(plan: ServicePlan) -> Iterator[str]:
    """The plan for a person, in the order of its steps; pages of the manual are counted."""
    pages = [change for change in plan.changes if _MANUAL in change.path]
    for step in plan.steps:
        if step in pages:
            if step is pages[0]:
                yield f"{_sign(pages[0])} {PREFIX}{_MANUAL}: {len(pages)} pages"
            continue
        match step:
            case Change(path, _, after):
                link = f" -> {after.target}" if after and after.target else ""
                yield f"{_sign(step)} {path}{link}"
            case Removal(path):
                yield f"- {path}/"
            case Command(argv):
                yield f"$ {' '.join(argv)}"
    yield from plan.notes


def _sign(change: Change) -> str:
    return "-" if change.after is None else "+" if change.before is None else "~"
