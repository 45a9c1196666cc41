"""What a machine is given when it boots, and the life that decides it: a table. Pure; time is a value.

    new -> installing -> installed -> (reinstall) -> installing ...        held: from anywhere, until released

Only `boot = "install-once"` walks through the whole table; a machine of any policy can be held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from appliance.boot.events import rfc3339


class BootPolicy(StrEnum):
    """What a machine that PXE-boots is given."""

    INSTALL_ONCE = "install-once"  # the installer until it has called home as installed, then its disk
    ALWAYS = "always"  # the profile's image at every boot
    DISK = "disk"  # its disk


class LifeState(StrEnum):
    """Where a machine is in its life. The words are public."""

    NEW = "new"
    INSTALLING = "installing"  # its installer was given to it, and nothing came back yet
    INSTALLED = "installed"
    REINSTALL = "reinstall"  # installed, and to be installed again at its next boot
    HELD = "held"  # gets nothing to boot until it is released


class Cue(StrEnum):
    """What can happen in it."""

    SERVED = "served"  # a boot was given the installer
    INSTALLED = "installed"  # it called home as installed
    DONE = "done"  # it called home from a running system
    REINSTALL = "reinstall"
    HOLD = "hold"
    RELEASE = "release"


class Given(StrEnum):
    """What a boot script is made of."""

    IMAGE = "image"  # what its profile says
    DISK = "disk"
    NOTHING = "nothing"  # it is held


_S, _C = LifeState, Cue
# A pair that is missing is refused: what the operator asked for makes no sense there.
TABLE: Final[Mapping[tuple[LifeState, Cue], LifeState]] = MappingProxyType(
    {
        (_S.NEW, _C.SERVED): _S.INSTALLING,
        (_S.NEW, _C.INSTALLED): _S.INSTALLED,
        (_S.NEW, _C.DONE): _S.NEW,
        (_S.NEW, _C.REINSTALL): _S.NEW,
        (_S.NEW, _C.HOLD): _S.HELD,
        (_S.INSTALLING, _C.SERVED): _S.INSTALLING,
        (_S.INSTALLING, _C.INSTALLED): _S.INSTALLED,
        (_S.INSTALLING, _C.DONE): _S.INSTALLING,
        (_S.INSTALLING, _C.REINSTALL): _S.INSTALLING,
        (_S.INSTALLING, _C.HOLD): _S.HELD,
        (_S.INSTALLED, _C.SERVED): _S.INSTALLED,  # asked for a moment before the report came
        (_S.INSTALLED, _C.INSTALLED): _S.INSTALLED,
        (_S.INSTALLED, _C.DONE): _S.INSTALLED,
        (_S.INSTALLED, _C.REINSTALL): _S.REINSTALL,
        (_S.INSTALLED, _C.HOLD): _S.HELD,
        (_S.REINSTALL, _C.SERVED): _S.INSTALLING,
        (_S.REINSTALL, _C.INSTALLED): _S.REINSTALL,  # the old system, started once more before it goes
        (_S.REINSTALL, _C.DONE): _S.REINSTALL,
        (_S.REINSTALL, _C.REINSTALL): _S.REINSTALL,
        (_S.REINSTALL, _C.HOLD): _S.HELD,
        (_S.HELD, _C.SERVED): _S.HELD,
        (_S.HELD, _C.INSTALLED): _S.HELD,
        (_S.HELD, _C.DONE): _S.HELD,
        (_S.HELD, _C.HOLD): _S.HELD,
        # RELEASE goes back to what the machine was: see `after`.
    }
)
# An installer that is loaded this often without a call home never gets anywhere.
LOOP_AFTER: Final = 3
LOOP_WITHIN: Final = timedelta(minutes=20)
_FACTS: Final = 32
_BY_HAND: Final = "by its operator"


class Impossible(Exception):
    """What was asked for makes no sense in the machine's state; the message says why, for the operator."""


@dataclass(frozen=True, slots=True)
class Life:
    """One machine's life.

    `installs` are the boots, by when they began, that were given the installer since the last call home and
    within the last minutes. A held machine remembers what it was `before`; `reason` says why it is held, and
    `by` what held it (operator, install-loop, boot-loop). `facts` is what it last reported of itself;
    `macs` are its NICs, by which it is known again under another name.
    """

    state: LifeState = LifeState.NEW
    since: datetime | None = None
    installs: tuple[datetime, ...] = ()
    before: LifeState = LifeState.NEW
    reason: str = ""
    by: str = ""
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    macs: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether it gets nothing to boot."""
        return self.state is LifeState.HELD

    @property
    def installed(self) -> bool:
        """Whether its disk has what it should have."""
        return self.state is LifeState.INSTALLED

    def loops(self, boot: datetime, now: datetime) -> bool:
        """Whether giving the installer to the boot that began at `boot` would be once too often."""
        recent = self._recent(now)
        return boot not in recent and len(recent) + 1 >= LOOP_AFTER

    def given(self, policy: BootPolicy | None, boot: datetime, now: datetime) -> Given:
        """What the boot that began at `boot` gets under `policy` (None: the machine has no profile)."""
        if self.held:
            return Given.NOTHING
        if policy is BootPolicy.DISK:
            return Given.DISK
        if policy is BootPolicy.INSTALL_ONCE:
            if self.installed:
                return Given.DISK
            if self.loops(boot, now):
                return Given.NOTHING
        return Given.IMAGE

    def goes_to_disk(self, policy: BootPolicy | None) -> bool:
        """Whether DHCP gives the address alone, so that firmware moves on to the disk at once.

        A machine that is caught before its script is told to move on, too: it would never see a message.
        """
        if self.held:
            return self.by == "boot-loop"
        return policy is BootPolicy.DISK or (policy is BootPolicy.INSTALL_ONCE and self.installed)

    def after(
        self, cue: Cue, now: datetime, *, boot: datetime | None = None, reason: str = "", by: str = "operator"
    ) -> Life:
        """The life after `cue`.

        Args:
            cue: what happened.
            now: when.
            boot: with SERVED, when the boot began that was given the installer.
            reason: with HOLD, why.
            by: with HOLD, what held it.

        Raises:
            Impossible: the machine's state knows no such thing.
        """
        if cue is Cue.RELEASE:
            return self._released(now)
        state = TABLE.get((self.state, cue))
        if state is None:
            raise Impossible("it is held: release it first")
        life = self if state is self.state else replace(self, state=state, since=now)
        match cue:
            case Cue.SERVED if not self.held and not self.installed:
                began = boot or now
                recent = self._recent(now)
                return replace(life, installs=recent if began in recent else (*recent, began))
            case Cue.INSTALLED | Cue.DONE:
                # What it says while it is held counts once it is released.
                before = TABLE[self.before, cue] if self.held else self.before
                return replace(life, installs=(), before=before)
            case Cue.REINSTALL:
                return replace(life, installs=())
            case Cue.HOLD:
                before = self.before if self.held else self.state
                return replace(life, before=before, reason=reason or self.reason or _BY_HAND, by=by)
        return life

    def reported(self, facts: Mapping[str, str]) -> Life:
        """The life with what the machine said of itself, at most so many facts."""
        known = {**self.facts, **facts}
        return replace(self, facts=MappingProxyType(dict(list(known.items())[-_FACTS:])))

    def _released(self, now: datetime) -> Life:
        if not self.held:
            raise Impossible("it is not held")
        return replace(self, state=self.before, since=now, installs=(), before=_S.NEW, reason="", by="")

    def _recent(self, now: datetime) -> tuple[datetime, ...]:
        return tuple(at for at in self.installs if now - at <= LOOP_WITHIN)

    def as_json(self) -> dict[str, object]:
        """Plain JSON, public and for keeping."""
        return {
            "state": self.state.value,
            "since": rfc3339(self.since) if self.since else None,
            "installs": [at.isoformat() for at in self.installs],
            "before": self.before.value if self.held else None,
            "reason": self.reason or None,
            "by": self.by or None,
            "facts": dict(self.facts),
            "macs": list(self.macs),
        }

    @classmethod
    def from_json(cls, raw: object) -> Life:
        """Read what `as_json` wrote.

        Raises:
            ValueError: when it is something else.
        """
        if not isinstance(raw, dict):
            raise ValueError("a kept life should be an object")
        try:
            facts = raw["facts"] or {}
            return cls(
                state=LifeState(raw["state"]),
                since=None if raw["since"] is None else _time(raw["since"]),
                installs=tuple(_time(at) for at in raw["installs"]),
                before=LifeState(raw["before"] or LifeState.NEW),
                reason=str(raw["reason"] or ""),
                by=str(raw["by"] or ""),
                facts=MappingProxyType({str(k): str(v) for k, v in facts.items()}),
                macs=tuple(str(mac) for mac in raw.get("macs", ())),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"a kept life cannot be read: {error!r}") from error


def loop_reason() -> str:
    """Why a machine is held that installs again and again."""
    minutes = int(LOOP_WITHIN.total_seconds() // 60)
    return f"install {LOOP_AFTER} within {minutes} minutes without a call home"


def way_out(machine: str) -> str:
    """The command that lets a held machine go on."""
    return f"pxe-appliance machine release {machine}"


def _time(text: object) -> datetime:
    return datetime.fromisoformat(str(text)).astimezone(UTC)
