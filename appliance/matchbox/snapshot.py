"""An operator's Matchbox data directory as one immutable value: read once, checked once, asked often. Pure.

Templates are parsed and raw Ignition is checked here, so a mistake is known when the file appears and not
first at a machine's boot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from appliance.errors import Problem
from appliance.matchbox.errors import DataError
from appliance.matchbox.ignition import check_ignition, is_raw
from appliance.matchbox.model import Group, Profile
from appliance.matchbox.select import Index
from appliance.matchbox.template_parse import Template, parse_template

# coreos-installer's and flatcar's arguments, and what people call such profiles.
_INSTALLS: Final = re.compile(r"(?i)(?:^|[^a-z])(?:re)?install(?:er)?(?:$|[^a-z])|coreos\.inst")

FOLDERS = ("ignition", "generic", "cloud")


@dataclass(frozen=True, slots=True)
class Raw:
    """A file that is handed out as it is."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file that is there and must not be handed out; `reason` names it."""

    reason: str


Document = Raw | Template | Unusable
_NONE: Mapping[str, Document] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The data directory at one moment.

    `profiles` and `documents` are keyed by what names them: the group's `profile`, and `folder/id` (such as
    `ignition/worker.ign`). Whatever is not in there does not exist. `problems` is all that is wrong, once.
    """

    groups: tuple[Group, ...] = ()
    profiles: Mapping[str, Profile] = field(default_factory=lambda: MappingProxyType({}))
    documents: Mapping[str, Document] = field(default_factory=lambda: _NONE)
    problems: tuple[Problem, ...] = ()
    index: Index = field(default_factory=lambda: Index(()), compare=False)

    @classmethod
    def of(
        cls,
        groups: Iterable[Group],
        profiles: Mapping[str, Profile],
        documents: Mapping[str, Document],
        problems: Iterable[Problem] = (),
    ) -> Snapshot:
        """Put the parts together, index the groups, and add what only the whole shows."""
        kept = tuple(sorted(groups, key=lambda group: group.file))
        index = Index(kept)
        shadowed = (
            Problem(group.file, 0, "selector", f"the same selector as {winner.file}, which answers instead")
            for group, winner in index.shadowed
        )
        found = (*problems, *shadowed)
        return cls(
            kept,
            MappingProxyType(dict(profiles)),
            MappingProxyType(dict(documents)),
            tuple(sorted(set(found))),
            index,
        )


def read_document(folder: str, name: str, content: bytes) -> Document:
    """Prepare one file of ignition/, generic/ or cloud/.

    Raises:
        DataError: it can never be handed out; with the line where there is one.
    """
    if folder == "ignition" and is_raw(name):
        check_ignition(content)
        return Raw(content)
    return parse_template(content.decode("utf-8", "surrogateescape"))


def problem_of(file: str, error: DataError) -> Problem:
    """The operator's view of `error`."""
    return Problem(file, error.line, error.path, error.message, error.hint)


def install_hazards(snapshot: Snapshot) -> tuple[Problem, ...]:
    """Every group by which a machine that nobody knows would be installed: an error, not a matter of taste.

    A default group that only boots something (a rescue system, a menu) is `default_group_hazard`'s.
    """
    found = []
    for group in snapshot.groups:
        profile = snapshot.profiles.get(group.profile)
        if group.catches_strangers and profile is not None and installs(profile):
            message = (
                f"takes every machine, and its profile {group.profile!r} installs: strangers would be too"
            )
            hint = "give the group a selector: mac, uuid or a label"
            found.append(Problem(group.file, 0, "selector", message, hint))
    return tuple(found)


def installs(profile: Profile) -> bool:
    """Whether a profile writes an operating system to a disk, as far as its own words tell."""
    words = [profile.id, profile.name, *(profile.boot.args if profile.boot else ())]
    return profile.boot is not None and any(_INSTALLS.search(word) for word in words)


def default_group_hazard(snapshot: Snapshot) -> str | None:
    """Why unknown machines could be installed, or None.

    A group without selectors answers every machine on the wire that nothing else answers; with a profile that
    boots something, a stranger gets it.
    """
    for group in snapshot.groups:
        profile = snapshot.profiles.get(group.profile)
        if (
            group.catches_strangers
            and profile is not None
            and profile.boot is not None
            and profile.boot.kernel
        ):
            return (
                f"unknown machines could be installed: the group in {group.file} takes every machine and its "
                f"profile {group.profile!r} boots {profile.boot.kernel}"
            )
    return None
