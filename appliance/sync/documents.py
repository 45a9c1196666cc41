"""What each machine gets as Ignition: its operator's document, networks, call home, tuning. Pure."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from appliance.errors import Refused
from appliance.inventory.becoming import (
    becomes_something,
    has_old_systemd,
    netconf_of,
    network_files,
    way_home,
)
from appliance.inventory.model import Inventory, Machine, Netconf, Profile
from appliance.matchbox.ignition_merge import EMPTY, Base, Document, conflicts, merged, read_base
from appliance.provisioned import Provisioned
from appliance.settings import Settings
from appliance.sync.call_home import call_home, tuning

# Stands in a document that is judged or shown where a boot's token would.
TOKEN_WORD: Final = "TOKEN-OF-THE-BOOT"  # noqa: S105 - it opens nothing
UNRENDERED: Final = (
    "nothing tells whether its system has systemd-networkd or NetworkManager, so the networks of its "
    "machines are not rendered"
)
_REPLACED: Final = (
    "its Ignition replaces itself (ignition.config.replace): networks, call home and tuning do not arrive; "
    "use ignition.config.merge"
)
_BASES: Final = 256  # operators' documents that are kept apart; each belongs to a profile


@dataclass(frozen=True, slots=True)
class FinalDocument:
    """One machine's document as it would be served; `key` names its operator's part in the generation.

    Documents of one `shape` have the same operator's part and additions of the same names.
    """

    machine: str
    key: str
    text: bytes
    spec: str
    shape: tuple[bytes, frozenset[str]]


def ignition_of(machine: Machine, profile: Profile | None, ignition: Mapping[str, bytes]) -> bytes | None:
    """The operator's document for a machine; an empty one where only the appliance has something to say.

    None: the machine boots without Ignition.
    """
    if profile is None or profile.source is None:
        return None
    if profile.ignition is not None:
        own = ignition.get(f"{profile.ignition}/{machine.name}")
        return own if own is not None else ignition.get(profile.ignition)
    return EMPTY if makes_ignition(machine, profile) else None


def has_ignition(machine: Machine, profile: Profile, ignition: Mapping[str, bytes]) -> bool:
    """Whether `ignition_of` has a document, without looking at it."""
    if profile.source is None:
        return False
    if profile.ignition is not None:
        return f"{profile.ignition}/{machine.name}" in ignition or profile.ignition in ignition
    return makes_ignition(machine, profile)


def makes_ignition(machine: Machine, profile: Profile) -> bool:
    """Whether a machine whose profile names no Ignition gets one for the sake of what it shall become."""
    wanted = netconf_of(profile)
    networks = becomes_something(machine) and wanted not in {None, Netconf.NONE}
    return networks or profile.tuning is not None


def additions(settings: Settings, machine: Machine, profile: Profile) -> Provisioned:
    """Everything that the appliance puts into a machine's document."""
    network = settings.networks[machine.network]
    files = network_files(
        machine,
        netconf_of(profile),
        home=way_home(machine, network),
        old_systemd=has_old_systemd(profile),
    )
    return Provisioned(files) + tuning(profile) + call_home(settings, network, machine, profile)


def machine_document(settings: Settings, machine: Machine, profile: Profile, content: bytes) -> Document:
    """The finished document of a machine from its operator's `content`, which was judged already."""
    return merged(_base(content), additions(settings, machine, profile))


def final_documents(
    settings: Settings, inventory: Inventory, ignition: Mapping[str, bytes]
) -> Iterator[FinalDocument]:
    """Every machine's document, with a word where a boot's token goes."""
    for machine in inventory.machines:
        profile = inventory.profiles.get(machine.profile or "")
        content = ignition_of(machine, profile, ignition)
        if profile is None or content is None:
            continue
        name, base = profile.ignition or "", _base(content)
        added = additions(settings, machine, profile)
        own = f"{name}/{machine.name}"
        shape = frozenset((*(file.path for file in added.files), *(unit.name for unit in added.units)))
        yield FinalDocument(
            str(machine.name),
            own if own in ignition else name,
            merged(base, added).for_boot(TOKEN_WORD),
            base.spec,
            (content, shape),
        )


def shown_document(
    settings: Settings, inventory: Inventory, ignition: Mapping[str, bytes], name: str
) -> bytes | None:
    """The document of one machine, with a word where a boot's token goes; None when it has none.

    Raises:
        Refused: nobody knows the machine.
    """
    found = tuple(machine for machine in inventory.machines if str(machine.name) == name)
    if not found:
        raise Refused(f"there is no machine {name[:64]!r} in the current generation")
    one = Inventory(found, inventory.profiles)
    return next((f.text for f in final_documents(settings, one, ignition)), None)


def unrendered(inventory: Inventory) -> dict[str, list[str]]:
    """Machines that shall become something that nobody renders, by the name of their profile."""
    found: dict[str, list[str]] = {}
    for machine in inventory.machines:
        profile = inventory.profiles.get(machine.profile or "")
        if profile is not None and becomes_something(machine) and netconf_of(profile) is None:
            found.setdefault(profile.name, []).append(str(machine.name))
    return found


def document_notes(settings: Settings, inventory: Inventory, ignition: Mapping[str, bytes]) -> list[str]:
    """What an operator should know of the documents: what nobody renders, what stays as written."""
    lost = (
        f"profile {name}: {UNRENDERED}; write netconf ({_named(who)})"
        for name, who in unrendered(inventory).items()
    )
    return [*lost, *own_entries(settings, inventory, ignition)]


def own_entries(settings: Settings, inventory: Inventory, ignition: Mapping[str, bytes]) -> list[str]:
    """Files and units of operators' documents that stand where the appliance would put its own."""
    notes: dict[str, list[str]] = {}
    for machine in inventory.machines:
        profile = inventory.profiles.get(machine.profile or "")
        if profile is None:
            continue
        content = ignition_of(machine, profile, ignition)
        if content is None:
            continue
        if _replaces_itself(content):
            words = f"profile {profile.name}: {_REPLACED}"
            notes.setdefault(words, []).append(str(machine.name))
        for taken in conflicts(_base(content), additions(settings, machine, profile)):
            words = f"profile {profile.name}: its own {taken} stays, the appliance's is left out"
            notes.setdefault(words, []).append(str(machine.name))
    return [f"{words} ({_named(names)})" for words, names in notes.items()]


@functools.lru_cache(_BASES)
def _replaces_itself(content: bytes) -> bool:
    """Whether Ignition would take another document in place of this one."""
    config = json.loads(content)["ignition"].get("config") or {}
    return bool((config.get("replace") or {}).get("source"))


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


@functools.lru_cache(_BASES)
def _base(content: bytes) -> Base:
    return read_base(content)
