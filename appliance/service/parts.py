"""What makes the program a service: units, a user, directories, manual pages, completions. Pure.

All of it goes below /usr/local, which is the administrator's (Filesystem Hierarchy Standard), and where
systemd looks too (systemd.unit(5), sysusers.d(5), tmpfiles.d(5)). /etc is left to the operator: a drop-in
there changes a unit of ours, and stays when we go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SERVICE: Final = "pxe-appliance.service"
IMAGES: Final = "pxe-appliance-images.service"
TIMER: Final = "pxe-appliance-images.timer"
UNITS: Final = (SERVICE, IMAGES, TIMER)
USER: Final = "pxe-appliance"
PREFIX: Final = "/usr/local"
UNIT_DIRECTORY: Final = f"{PREFIX}/lib/systemd/system"
SYSUSERS: Final = f"{PREFIX}/lib/sysusers.d/pxe-appliance.conf"
TMPFILES: Final = f"{PREFIX}/lib/tmpfiles.d/pxe-appliance.conf"
COMMAND: Final = f"{PREFIX}/bin/pxe-appliance"
RECORD: Final = f"{PREFIX}/lib/pxe-appliance/service.json"
_SHIPPED_PROGRAM: Final = "/usr/bin/pxe-appliance"
# What needs no quoting in a unit (systemd.syntax(7)), and no second thought.
_PLAIN: Final = re.compile(r"/[A-Za-z0-9/._+@-]+")


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A file with its content and mode, root's; or a link to `target`, when there is one."""

    path: str
    content: bytes = b""
    mode: int = 0o644
    target: str = ""

    @property
    def text(self) -> str:
        """Its content for a person."""
        return f"-> {self.target}\n" if self.target else self.content.decode(errors="replace")


def is_plain(program: str) -> bool:
    """Whether a path can stand in a unit as it is."""
    return _PLAIN.fullmatch(program) is not None


def parts(
    program: str, shipped: Mapping[str, str], manual: Mapping[str, str], completions: Mapping[str, str]
) -> tuple[Part, ...]:
    """Everything that is put on the host, sorted by path.

    Args:
        program: the absolute path of the command that the units start.
        shipped: the files of `systemd/` by name.
        manual: manual pages by file name, such as `pxe-appliance-sync.1`.
        completions: shell completions by their path below `share`.
    """
    found = [Part(f"{UNIT_DIRECTORY}/{name}", _starting(shipped[name], program)) for name in UNITS]
    found.append(Part(SYSUSERS, shipped["pxe-appliance.sysusers"].encode()))
    found.append(Part(TMPFILES, shipped["pxe-appliance.tmpfiles"].encode()))
    for name, page in manual.items():
        found.append(Part(f"{PREFIX}/share/man/man{name.rpartition('.')[2]}/{name}", page.encode()))
    for place, words in completions.items():
        local = place.replace(
            "zsh/vendor-completions", "zsh/site-functions"
        )  # zsh's own place below /usr/local
        found.append(Part(f"{PREFIX}/share/{local}", words.encode()))
    if program != COMMAND:
        found.append(Part(COMMAND, target=program))
    return tuple(sorted(found))


def _starting(unit: str, program: str) -> bytes:
    return unit.replace(f"ExecStart={_SHIPPED_PROGRAM} ", f"ExecStart={program} ").encode()
