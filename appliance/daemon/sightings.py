"""What machines say of themselves while they boot: their UUID, and the switch port that LLDP told iPXE. Pure.

A machine is known by its address when it says this; what it says is its own word all the same. Nothing is
decided by it: it names the port to look at, and whose a stranger with a known UUID may be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from immutables import Map

from appliance.boot.events import Event, EventKind, rfc3339
from appliance.daemon.owners import swapped
from appliance.daemon.served import Served
from appliance.inventory.model import Machine
from appliance.settings import NetworkSettings

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
# iPXE writes numbers in hex (seen of 2.0).
_VLAN: Final = re.compile(r"0x[0-9a-f]{1,4}|[0-9]{1,4}", re.ASCII)
_TEXT: Final = 64
_MOST_NAMED: Final = 20
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a machine said last; empty where it said nothing.

    `switch` and `port` are what the switch calls itself and the port (LLDP's system name or chassis, and
    port identifier), `chassis` is its own, whatever it is called; `vlan` is the port's untagged VLAN (IEEE
    802.1 Port VLAN ID, 1 to 4094), None when the switch does not tell. `at` is when the port was told.
    """

    uuid: str = ""
    switch: str = ""
    port: str = ""
    chassis: str = ""
    vlan: int | None = None
    at: datetime | None = None

    @property
    def place(self) -> str:
        """Switch and port in one, as a network team writes it; empty when no port is known."""
        return " ".join(part for part in (self.switch, self.port) if part) if self.port else ""

    def as_json(self) -> dict[str, object]:
        """Plain JSON, for keeping and for `machine show`."""
        return {
            "uuid": self.uuid or None,
            "switch": self.switch or None,
            "port": self.port or None,
            "chassis": self.chassis or None,
            "vlan": self.vlan,
            "at": rfc3339(self.at) if self.at else None,
        }

    @classmethod
    def from_json(cls, raw: object) -> Sighting:
        """Read what `as_json` wrote.

        Raises:
            ValueError: when it is something else; the caller begins anew then.
        """
        if not isinstance(raw, dict):
            raise ValueError("a kept sighting should be an object")
        try:
            at, vlan = raw["at"], raw["vlan"]
            return cls(
                uuid=uuid_of(str(raw["uuid"] or "")),
                switch=str(raw["switch"] or "")[:_TEXT],
                port=str(raw["port"] or "")[:_TEXT],
                chassis=str(raw.get("chassis") or "")[:_TEXT],
                vlan=None if vlan is None else int(vlan),
                at=None if at is None else datetime.fromisoformat(str(at)).astimezone(UTC),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"a kept sighting cannot be read: {error!r}") from error


Sightings = Map[str, Sighting]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something about a machine's port or board that is not as the inventory says."""

    id: str
    message: str
    fix: str


def uuid_of(text: str) -> str:
    """A UUID in lower case with dashes; empty when the text is none, or one that says nothing.

    Boards that were never given one report zeros or ones.
    """
    uuid = text.strip().lower()
    return uuid if _UUID.fullmatch(uuid) and set(uuid) - {"-"} not in ({"0"}, {"f"}) else ""


def after_event(sightings: Sightings, event: Event, served: Served) -> Sightings:
    """What is known after an event: a boot script that a machine asked for carries its own words."""
    if event.kind is not EventKind.SCRIPT or event.machine is None or "claims" in event.detail:
        return sightings
    if event.machine not in served.machines:
        return sightings
    before = sightings.get(event.machine, Sighting())
    after = before
    if uuid := uuid_of(event.detail.get("uuid", "")):
        after = replace(after, uuid=uuid)
    if port := event.detail.get("port", "")[:_TEXT]:
        after = replace(
            after,
            switch=event.detail.get("switch", "")[:_TEXT],
            port=port,
            chassis=event.detail.get("chassis", "")[:_TEXT],
            vlan=_vlan(event.detail.get("vlan", "")),
            at=event.at,
        )
    return sightings if after == before else sightings.set(event.machine, after)


def _vlan(text: str) -> int | None:
    if not _VLAN.fullmatch(text):
        return None
    number = int(text, 16 if text.startswith("0x") else 10)
    return number if 0 < number < 4095 else None


def after_uuid(sightings: Sightings, machine: str, uuid: str) -> Sightings:
    """What is known after a machine's DISCOVER carried its UUID (option 97)."""
    before = sightings.get(machine, Sighting())
    known = uuid_of(uuid)
    if not known or known == before.uuid:
        return sightings
    return sightings.set(machine, replace(before, uuid=known))


def uuids(sightings: Mapping[str, Sighting], served: Served) -> dict[str, str]:
    """By machine, its UUID: the inventory's word before its own."""
    found = {name: seen.uuid for name, seen in sightings.items() if seen.uuid and name in served.machines}
    return found | {n: uuid for n, m in served.machines.items() if (uuid := uuid_of(m.uuid or ""))}


def doubts(sightings: Mapping[str, Sighting], served: Served) -> list[Doubt]:
    """What does not fit: two machines at one port, a port in another VLAN or elsewhere, another board."""
    known = {name: seen for name, seen in sorted(sightings.items()) if name in served.machines}
    found = [*_shared(known), *_misplaced(known, served), *_other_boards(known, served)]
    return found[:_MOST_NAMED]


def _shared(known: Mapping[str, Sighting]) -> Iterator[Doubt]:
    # Switches have one name out of the box: where the chassis is told, it is what tells them apart.
    by_port: dict[tuple[str, str], list[str]] = {}
    for name, seen in known.items():
        if seen.port:
            by_port.setdefault((seen.chassis or seen.switch, seen.port), []).append(name)
    for names in by_port.values():
        place = known[names[0]].place
        if len(names) > 1:
            newest = max(names, key=lambda name: known[name].at or _LONG_AGO)
            others = ", ".join(name for name in names if name != newest)
            yield Doubt(
                "switch-port-shared",
                f"{newest} reports {place}, where {others} was seen before: one of them was moved",
                f"pxe-appliance machine show {newest}; then power-cycle {others} to see its port again",
            )


def _misplaced(known: Mapping[str, Sighting], served: Served) -> Iterator[Doubt]:
    for name, seen in known.items():
        machine = served.machines[name]
        network = served.settings.networks.get(machine.network)
        vlan = _vlan_of(machine, network) if network else None
        if network is not None and vlan and seen.vlan and seen.vlan != vlan:
            yield Doubt(
                "switch-port-vlan",
                f"{name} is at {seen.place}, whose untagged VLAN is {seen.vlan}: {network.name} is VLAN "
                f"{vlan}",
                f"make VLAN {vlan} the access VLAN of {seen.place}: pxe-appliance export switchports",
            )
        if machine.port and seen.port and not _same_place(machine.port, seen):
            yield Doubt(
                "switch-port-moved",
                f"{name} is at {seen.place}, the inventory says {machine.port}",
                "move the cable, or write where it is now as the machine's port",
            )


def _vlan_of(machine: Machine, network: NetworkSettings) -> int | None:
    """The VLAN of the subnet that its address lies in: behind a relay it is another than ours."""
    behind = next((relayed for relayed in network.relayed if machine.ip in relayed.subnet), None)
    return behind.vlan if behind else network.vlan


def _same_place(written: str, seen: Sighting) -> bool:
    """Whether the inventory's free text can mean the port that was seen.

    Switches shorten names: Ethernet1/3 is Eth1/3 or 1/3 in people's tables.
    """
    said, port = written.lower(), seen.port.lower()
    whole = re.escape(_joined(port))
    numbers = re.search(r"[0-9][0-9/.:]*\Z", port)
    return bool(
        re.search(rf"{whole}(?![0-9/.:])", _joined(said))
        or (numbers and re.search(rf"(?<![0-9/.:]){re.escape(numbers[0])}(?![0-9/.:])", said))
    )


def _joined(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _other_boards(known: Mapping[str, Sighting], served: Served) -> Iterator[Doubt]:
    for name, seen in known.items():
        written = uuid_of(served.machines[name].uuid or "")
        # Some firmware gives the first three fields in the other byte order (SMBIOS 2.6, section 7.2.1).
        if written and seen.uuid and written not in {seen.uuid, swapped(seen.uuid)}:
            yield Doubt(
                "board-changed",
                f"{name} says that its UUID is {seen.uuid}, the inventory says {written}",
                "if its board was replaced, write the new UUID into the inventory and sync",
            )
