"""What the appliance puts into a machine's own configuration: files and systemd units, as values. Pure.

They are made from the inventory (its networks) and by the hand-off (its call home), and end in the machine's
Ignition, whatever version that has.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProvisionedFile:
    """A file that the machine shall have, root's. `path` is absolute; `content` is text."""

    path: str
    content: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class ProvisionedUnit:
    """A systemd unit that the machine shall have, enabled."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Provisioned:
    """Everything that is added to one machine's configuration."""

    files: tuple[ProvisionedFile, ...] = ()
    units: tuple[ProvisionedUnit, ...] = ()

    def __add__(self, other: Provisioned) -> Provisioned:
        return Provisioned(self.files + other.files, self.units + other.units)
