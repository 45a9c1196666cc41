"""What an external Matchbox has to hold for our machines, and what has to be done to get there. Pure.

Ours is what has our prefix in its id *and* our mark inside; all else is somebody's and is never touched,
whatever it is called. A machine is brought there from below: a group is only written when the profile that it
names is ours, a profile only when its Ignition is. What has to go, goes from above.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from appliance.errors import ApplianceError
from appliance.matchbox.model import Group, MachineBoot, Profile

PREFIX: Final = "pxe-appliance-"
MANAGED_BY: Final = ("managed_by", "pxe-appliance")  # in a group's metadata
PROFILE_NAME: Final = "managed by pxe-appliance"
# Ignition has no field for a mark and warns about unknown keys; JSON allows white space behind the value. A
# document is known by it whose push, or whose removal, was cut off before or after its profile.
IGNITION_MARK: Final = b"\n \t \n"
_OWN_IGNITION: Final = re.compile(r"pxe-appliance-[A-Za-z0-9][A-Za-z0-9.-]*\.ign", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}", re.ASCII)
_VERSION: Final = re.compile(r"3\.([0-4])\.0", re.ASCII)


class Kind(StrEnum):
    """What Matchbox keeps, in the order in which it is written."""

    IGNITION = "ignition"
    PROFILE = "profile"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Document:
    """An Ignition document that has to be there: its SHA-256, and how it is made when it has to be sent.

    Ten thousand machines have as many documents; they are not held all at once.
    """

    digest: str
    make: Callable[[], bytes] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Objects:
    """What we want there, by id. `refused` maps machines that cannot be brought there to the reason.

    Whatever a refused machine has there already stays as it is (`kept`): without it, a default group of the
    operator's could take the machine and install it.
    """

    groups: Mapping[str, Group]
    profiles: Mapping[str, Profile]
    ignition: Mapping[str, Document]
    refused: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Stored:
    """An Ignition document that is there: its SHA-256, and whether it bears our mark."""

    digest: str
    marked: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What is there, by the name of its file. None: it is there, and it is not what it should be.

    Profiles and documents without our prefix may be left out; groups may not, for their selectors count.
    """

    groups: Mapping[str, Group | None] = field(default_factory=lambda: MappingProxyType({}))
    profiles: Mapping[str, Profile | None] = field(default_factory=lambda: MappingProxyType({}))
    ignition: Mapping[str, Stored] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Put:
    """Something to be written. A document's `id` is its file name, with `.ign`."""

    kind: Kind
    id: str
    value: Group | Profile | Document


@dataclass(frozen=True, slots=True)
class Delete:
    """Something of ours to be removed."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What to do, in this order: `puts`, then `deletions`. `conflicts` are sentences, one for each name."""

    puts: tuple[Put, ...] = ()
    deletions: tuple[Delete, ...] = ()
    conflicts: tuple[str, ...] = ()


def objects_of(machines: Iterable[MachineBoot]) -> Objects:
    """What the machines need. Those that boot nothing of ours need nothing.

    Makes every Ignition document once, which takes its time with thousands of them.
    """
    booting = [machine for machine in machines if machine.profile is not None and machine.profile.boot]
    first = {f"{PREFIX}{machine.name}" for machine in booting}
    groups: dict[str, Group] = {}
    profiles: dict[str, Profile] = {}
    ignition: dict[str, Document] = {}
    refused: dict[str, str] = {}
    kept: set[str] = set()
    for machine in booting:
        profile = f"{PREFIX}{machine.name}"
        name = document_name(machine)
        own = _groups(machine, profile, first)
        try:
            if not _NAME.fullmatch(machine.name):
                raise _Refused(f"its name {machine.name[:80]!r} is no name for a file")
            if name:
                ignition[name] = _document(machine)
        except _Refused as reason:
            refused[machine.name] = str(reason)
            kept.update((profile, f"{profile}.ign", *own))
            continue
        groups.update(own)
        assert machine.profile is not None
        profiles[profile] = Profile(profile, PROFILE_NAME, machine.profile.boot, name)
    return Objects(
        MappingProxyType(groups),
        MappingProxyType(profiles),
        MappingProxyType(ignition),
        MappingProxyType(refused),
        frozenset(kept),
    )


def document_name(machine: MachineBoot) -> str:
    """The file of a machine's Ignition there; empty when it has none."""
    return f"{PREFIX}{machine.name}.ign" if machine.ignition is not None else ""


def diff(wanted: Objects, found: Found) -> PushPlan:
    """Only what differs; nothing that is not ours."""
    our_profiles = {key: p for key, p in found.profiles.items() if p is not None and is_ours(key, p)}
    named = {profile.ignition_id for profile in our_profiles.values()}
    conflicts: list[str] = []
    puts: list[Put] = []
    blocked: set[str] = set()
    for name, document in wanted.ignition.items():
        stored = found.ignition.get(name)
        if stored is not None and not stored.marked and name not in named:
            blocked.add(name)
            conflicts.append(_conflict(f"ignition/{name}", name.removesuffix(".ign")))
        elif stored is None or stored.digest != document.digest:
            puts.append(Put(Kind.IGNITION, name, document))
    for key, profile in wanted.profiles.items():
        if key in found.profiles and key not in our_profiles:
            blocked.add(key)
            conflicts.append(_conflict(f"profiles/{key}.json", key))
        elif profile.ignition_id in blocked:
            blocked.add(key)
        elif our_profiles.get(key) != profile:
            puts.append(Put(Kind.PROFILE, key, profile))
    group_puts, group_conflicts = _diff_groups(wanted, found, blocked)
    return PushPlan(
        (*puts, *group_puts),
        tuple(_deletions(wanted, found, our_profiles)),
        (*conflicts, *group_conflicts),
    )


def is_ours(key: str, value: Group | Profile | None) -> bool:
    """Whether something there may be changed by us: prefix and mark."""
    if not key.startswith(PREFIX):
        return False
    match value:
        case Group():
            return value.metadata.get(MANAGED_BY[0]) == MANAGED_BY[1]
        case Profile():
            return value.name == PROFILE_NAME
    return False


def stored_of(content: bytes) -> Stored:
    """What has to be known about a document that is there."""
    return Stored(hashlib.sha256(content).hexdigest(), content.endswith(IGNITION_MARK))


def is_own_ignition_name(name: str) -> bool:
    """Whether a file below ignition/ could be of ours; such a name leads nowhere else."""
    return _OWN_IGNITION.fullmatch(name) is not None


class _Refused(Exception):
    """A machine cannot be brought to Matchbox, for a reason."""


def _groups(machine: MachineBoot, profile: str, first: set[str]) -> dict[str, Group]:
    """A group for each MAC. A machine may be called as another one's second group is: that one counts on."""
    metadata = MappingProxyType({**dict(machine.metadata), MANAGED_BY[0]: MANAGED_BY[1]})
    groups: dict[str, Group] = {}
    number = 1
    for mac in machine.macs:
        key = profile
        while groups and (key in groups or key in first):
            number += 1
            key = f"{profile}-{number}"
        selector = MappingProxyType({"mac": mac.text})
        groups[key] = Group(key, profile, selector, metadata, machine.name)
    return groups


def _document(machine: MachineBoot) -> Document:
    def make() -> bytes:
        assert machine.ignition is not None
        return machine.ignition("").rstrip(b" \t\r\n") + IGNITION_MARK

    try:
        content = make()
    except ApplianceError as error:
        raise _Refused(f"its Ignition cannot be made: {error.message}") from error
    _check_version(content)
    return Document(hashlib.sha256(content).hexdigest(), make)


def _check_version(content: bytes) -> None:
    """Refuse what the endpoint would answer with an empty configuration and status 200.

    Matchbox does from 0.10 on (measured), and which one it is cannot be asked for: the machine would install
    without any of it.
    """
    try:
        version = json.loads(content)["ignition"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _Refused("its Ignition names no version") from error
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise _Refused(
            f"its Ignition is of version {str(version)[:20]!r}, which Matchbox 0.10 and later answer with an "
            "empty configuration: 3.0.0 to 3.4.0 can be pushed"
        )


def _diff_groups(wanted: Objects, found: Found, blocked: set[str]) -> tuple[list[Put], list[str]]:
    rivals = {
        mac: key
        for key, group in found.groups.items()
        if group is not None and not is_ours(key, group) and (mac := group.selector.get("mac"))
        if len(group.selector) == 1
    }
    puts: list[Put] = []
    conflicts: list[str] = []
    for key, group in wanted.groups.items():
        there = found.groups.get(key)
        machine = group.profile.removeprefix(PREFIX)
        mac = group.selector["mac"]
        if key in found.groups and not is_ours(key, there):
            conflicts.append(_conflict(f"groups/{key}.json", group.profile))
        elif mac in rivals:
            # Of two groups with equal selectors Matchbox takes either (an unstable sort).
            conflicts.append(
                f"the group {rivals[mac]} there, which is not ours, selects {mac} of {machine} too: "
                f"{machine} is left to it; delete it there to have {machine} booted from this inventory"
            )
        elif group.profile not in blocked and (there is None or replace(there, file="") != group):
            puts.append(Put(Kind.GROUP, key, group))
    return puts, conflicts


def _deletions(wanted: Objects, found: Found, our_profiles: Mapping[str, Profile]) -> Iterator[Delete]:
    for key, group in found.groups.items():
        if key not in wanted.groups and key not in wanted.kept and is_ours(key, group):
            yield Delete(Kind.GROUP, key)
    for key in our_profiles:
        if key not in wanted.profiles and key not in wanted.kept:
            yield Delete(Kind.PROFILE, key)
    named = {profile.ignition_id for profile in our_profiles.values()}
    marked = {name for name, stored in found.ignition.items() if stored.marked}
    for name in sorted(named | marked):
        if is_own_ignition_name(name) and name not in wanted.ignition and name not in wanted.kept:
            yield Delete(Kind.IGNITION, name)


def _conflict(file: str, profile: str) -> str:
    machine = profile.removeprefix(PREFIX)
    return f"{file} is there and is not ours: {machine} is not pushed; rename or delete that file there"
