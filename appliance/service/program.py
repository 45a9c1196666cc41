"""Whether the program lies where a service of this host may start it from. Pure.

Whoever can change a file of it, or swap a directory above it, decides what the service does; and the service
sees neither homes nor /tmp (systemd.exec(5), ProtectHome, PrivateTmp).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_HIDDEN: Final = {
    **dict.fromkeys(("/home", "/root", "/run/user"), "the service sees no home directories"),
    **dict.fromkeys(("/tmp", "/var/tmp"), "the service has a directory of its own there"),  # noqa: S108
}
_STICKY: Final = 0o1000
HINT: Final = (
    "install it where only root writes: python3 -m venv /opt/pxe-appliance && "
    "/opt/pxe-appliance/bin/pip install pxe-appliance, then: "
    "/opt/pxe-appliance/bin/pxe-appliance service install"
)


@dataclass(frozen=True, slots=True)
class Step:
    """A file or directory on the way to the program, or of it."""

    path: str
    mode: int
    uid: int
    gid: int
    directory: bool


def unfit(steps: Iterable[Step]) -> Iterator[str]:
    """Why a service must not be made of a program whose files these are; nothing when it may be."""
    told = set()
    for step in steps:
        reason = _reason(step)
        if reason and reason not in told:
            told.add(reason)
            yield reason


def _reason(step: Step) -> str:
    for place, why in _HIDDEN.items():
        if step.path == place or step.path.startswith(f"{place}/"):
            return f"it lies below {place}: {why}"
    if step.uid != 0:
        return f"{step.path} belongs to uid {step.uid}, who could change what the service does"
    # In a sticky directory nobody renames what is another's.
    if step.mode & 0o002 and not (step.directory and step.mode & _STICKY):
        return f"every user of this host can change {step.path}"
    if step.mode & 0o020 and step.gid != 0 and not (step.directory and step.mode & _STICKY):
        return f"group {step.gid} can change {step.path}"
    return ""
