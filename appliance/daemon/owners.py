"""Whose a stray may be: clues from the inventory and from what machines said of themselves. Pure.

The best clue comes first, and each says what it rests on. Where a clue fits several machines, all of them are
named and none is guessed. Nothing is decided by a clue: a client can say any UUID, name or MAC.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from appliance.addresses import Mac
from appliance.boot.reasons import replace_mac
from appliance.daemon.ledger import Stray
from appliance.daemon.served import Served

_BESIDE: Final = 8  # ports of a card, or of a board, have numbers in a row
_MOST_UNHEARD: Final = 256  # of a larger rack that never booted, two wrong digits would fit by chance
_MOST_NAMED: Final = 3
_DIGITS: Final = 12
_TWO: Final = 2
_EACH_DIGIT: Final = 0x111111111111
_LOW: Final = 0xFFFFFF  # the maker's half of a MAC; the IEEE gives the other
# One hexadecimal digit changed: what to XOR with.
_ONE_WRONG: Final = tuple(value << 4 * digit for digit in range(_DIGITS) for value in range(1, 16))

# Boards whose maker gave each the same (public lists of SMBIOS defaults); those of one octet are found too.
_JUNK: Final = frozenset(
    {
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "11111111-2222-3333-4444-555555555555",
        "01234567-89ab-cdef-0123-456789abcdef",
        "00112233-4455-6677-8899-aabbccddeeff",
        "4c4c4544-0000-2010-8020-80c04f202020",  # a Dell board without a service tag: all blanks
    }
)
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_VIRTUAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "52:54:00": "QEMU or KVM",
        "00:0c:29": "VMware",
        "00:50:56": "VMware",
        "08:00:27": "VirtualBox",
        "00:15:5d": "Hyper-V",
        "00:16:3e": "Xen",
        "00:1c:42": "Parallels",
        "bc:24:11": "Proxmox",
        "02:42:": "Docker",
    }
)
# What a DHCP client says in option 60, and what it is then.
_CLIENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "idrac": "an iDRAC, a Dell server's management controller",
        "cpqrib": "an iLO, an HPE server's management controller",
        "udhcp": "a small device with BusyBox: a management controller, a switch, a camera",
        "msft 5.0": "a running Windows",
        "android-dhcp": "an Android device",
    }
)


@dataclass(frozen=True, slots=True)
class Clue:
    """Whose it may be, in a sentence, and what to do then. `machine` is None where it names none, or several.

    `kind` is nic, uuid, typo, port, neighbour, name or maker. `old` is the MAC that the inventory likely has
    in place of this one.
    """

    kind: str
    text: str
    remedy: str = ""
    machine: str | None = None
    old: str = ""

    def as_json(self) -> dict[str, object]:
        """Plain JSON, for `strays show`."""
        return {"kind": self.kind, "text": self.text, "machine": self.machine, "remedy": self.remedy or None}


@dataclass(frozen=True, slots=True)
class _Nic:
    """A NIC of the inventory: whose, and its name where it may not boot (else empty)."""

    machine: str
    network: str
    name: str
    mac: Mac
    where: str = ""


@dataclass(frozen=True, slots=True)
class Nics:
    """Everything of a generation that a clue can be found by; built once for each."""

    by_number: Mapping[int, _Nic] = field(default_factory=lambda: MappingProxyType({}))
    highs: frozenset[int] = frozenset()
    lows: frozenset[int] = frozenset()
    uuids: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    names: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    networks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    macs: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, served: Served) -> Nics:
        """Index a generation."""
        nics = [
            _Nic(str(m.name), m.network, "", mac) for m in served.inventory.machines for mac in m.macs
        ] + [
            _Nic(str(m.name), m.network, n.name, n.mac, str(m.origin))
            for m in served.inventory.machines
            for n in m.nics
        ]
        by_number = {_number(nic.mac): nic for nic in nics}
        uuids: dict[str, set[str]] = defaultdict(set)
        names: dict[str, set[str]] = defaultdict(set)
        for m in served.inventory.machines:
            for name in {m.name.text, m.hostname.text}:
                names[name].add(str(m.name))
            if m.uuid:
                uuids[m.uuid.lower()].add(str(m.name))
        return cls(
            MappingProxyType(by_number),
            frozenset(number >> 24 for number in by_number),
            frozenset(number & _LOW for number in by_number),
            MappingProxyType({uuid: frozenset(found) for uuid, found in uuids.items()}),
            MappingProxyType({name: frozenset(found) for name, found in names.items()}),
            MappingProxyType({str(m.name): m.network for m in served.inventory.machines}),
            MappingProxyType({str(m.name): tuple(x.text for x in m.macs) for m in served.inventory.machines}),
        )


class Clues:
    """Answers for one moment. Build it anew for each listing.

    Args:
        nics: the generation in force.
        heard: when machines were heard last by a MAC of the inventory.
        uuids: what machines said is their UUID, beside what the inventory says.
    """

    def __init__(self, nics: Nics, heard: Mapping[str, datetime], uuids: Mapping[str, str]) -> None:
        self._nics = nics
        self._heard = heard
        self._uuids: dict[str, set[str]] = defaultdict(set)
        for uuid, machines in nics.uuids.items():
            self._uuids[uuid] |= machines
        for machine, uuid in uuids.items():
            if machine in nics.networks and not is_junk(uuid):
                self._uuids[uuid.lower()].add(machine)
        self._unheard: dict[tuple[int, int], list[int]] | None = None

    def named(self, row: Stray) -> bool:
        """Whether a strong clue says whose a row may be; cheap, for thousands of rows."""
        strong = self._nic(row), self._uuid(row), self._typo(row), self._name(row)
        return any(next(found, None) is not None for found in strong)

    def of(self, row: Stray) -> tuple[Clue, ...]:
        """All clues to a row's owner, best first; none when there is nothing to say."""
        listed = _number(row.mac) in self._nics.by_number
        found = [*self._nic(row), *self._uuid(row)]
        if not listed:  # what the inventory has as it is, is no typing mistake
            found += [*self._typo(row), *self._beside(row)]
        found += self._name(row)
        return (*found, *(() if listed else self._two_wrong(row)), *_maker(row))

    def _nic(self, row: Stray) -> Iterator[Clue]:
        nic = self._nics.by_number.get(_number(row.mac))
        if nic is None:
            return
        if nic.name:
            text = f"{nic.name} of {nic.machine}, on the PXE VLAN: its cable or switch port is wrong"
            remedy = (
                f"move the cable, or its switch port, to where {nic.name} of {nic.machine} belongs; "
                f"if {nic.machine} boots from it: exchange its mac and that of {nic.name} in "
                f"{nic.where or 'the inventory'}, then pxe-appliance sync"
            )
            yield Clue("nic", text, remedy, nic.machine)
        elif row.network is not None and nic.network != row.network:
            text = (
                f"{nic.machine} of network {nic.network}, on network {row.network}: "
                "its cable or switch port is wrong"
            )
            yield Clue("nic", text, f"move the cable, or its entry, to network {nic.network}", nic.machine)
        else:
            yield Clue("nic", f"{nic.machine} itself: {row.reason.text}", row.reason.remedy, nic.machine)

    def _uuid(self, row: Stray) -> Iterator[Clue]:
        if not row.uuid or is_junk(row.uuid):
            return
        # Firmware that gets the first three fields' byte order wrong is not rare (SMBIOS 2.6, section 7.2.1).
        machines = sorted({m for uuid in (row.uuid, swapped(row.uuid)) for m in self._uuids.get(uuid, ())})
        if len(machines) == 1:
            yield self._by_uuid(machines[0], row)
        elif machines:
            text = f"its UUID is that of {_listed(machines)}, which share it: that tells nothing"
            yield Clue("uuid", text, "give each its own UUID in its firmware's setup")

    def _by_uuid(self, machine: str, row: Stray) -> Clue:
        heard = self._heard.get(machine)
        if heard is not None and heard > row.first:
            text = f"UUID of {machine}, whose own MAC was heard since: another port, or somebody who says so"
            remedy = (
                f"if it is a port of {machine}, list it as [machine.{machine}.nic.NAME], or take its cable "
                f"out of this VLAN; pxe-appliance strays ignore {row.mac} --note 'port of {machine}'"
            )
            return Clue("port", text, remedy, machine)
        text = f"UUID of {machine} with a new MAC: replaced board or NIC, or another port of it"
        if heard is not None:
            text += f"; or {machine} is still there, and somebody says its UUID"
        return self._replaced("uuid", text, machine, row)

    def _typo(self, row: Stray) -> Iterator[Clue]:
        number, known = _number(row.mac), self._nics.by_number
        # One wrong digit leaves one of the halves as it is: most MACs need no closer look.
        if number >> 24 in self._nics.highs or number & _LOW in self._nics.lows:
            wrong = [n for mask in _ONE_WRONG if (n := number ^ mask) in known]
            yield from self._mistaken(row, wrong, "in one digit")
        turned = [n for n in _swaps(number) if n in known]
        yield from self._mistaken(row, turned, "in two digits that are swapped")

    def _two_wrong(self, row: Stray) -> Iterator[Clue]:
        unheard, number = self._blocks(), _number(row.mac)
        near = {
            other
            for place in range(3)
            for other in unheard.get((place, number >> 16 * place & 0xFFFF), ())
            if _differing(number ^ other) == _TWO
        }
        yield from self._mistaken(row, near - set(_swaps(number)), "in two digits")

    def _mistaken(self, row: Stray, numbers: Iterable[int], how: str) -> Iterator[Clue]:
        nics = [self._nics.by_number[n] for n in sorted(numbers)]
        unheard = [nic for nic in nics if not nic.name and nic.machine not in self._heard]
        machines = sorted({nic.machine for nic in unheard})
        if len(machines) == 1:
            text = (
                f"differs {how} from {unheard[0].mac} of {machines[0]}, which was never heard: "
                "a typing mistake, or another port of it"
            )
            yield self._replaced("typo", text, machines[0], row, unheard[0].mac.text)
        elif machines:
            text = f"differs {how} from MACs of {_listed(machines)}, which were never heard"
            yield Clue("typo", text, "read the MAC off the machine, then pxe-appliance machine replace-mac")

    def _name(self, row: Stray) -> Iterator[Clue]:
        machines = sorted(self._nics.names.get(row.client_name.partition(".")[0].lower(), ()))
        if len(machines) == 1:
            text = (
                f"calls itself {machines[0]}: another port of it, a copy of its disk, or somebody who says so"
            )
            yield Clue("name", text, f"compare with the label of {machines[0]}", machines[0])
        elif machines:
            yield Clue("name", f"its name is that of {_listed(machines)}")

    def _beside(self, row: Stray) -> Iterator[Clue]:
        number = _number(row.mac)
        if number >> 24 not in self._nics.highs:
            return
        near = [
            (abs(step), self._nics.by_number[number + step])
            for step in range(-_BESIDE, _BESIDE + 1)
            if step and number + step in self._nics.by_number and (number + step) >> 24 == number >> 24
        ]
        machines = sorted({nic.machine for _, nic in near})
        if len(machines) == 1:
            nic = min(near, key=lambda found: (found[0], found[1].mac))[1]
            which = f"{nic.name} ({nic.mac})" if nic.name else str(nic.mac)
            text = f"next to {which} of {nic.machine}: probably another port of it"
            remedy = (
                f"if so, move the cable to its PXE NIC, or list this one as [machine.{nic.machine}.nic.NAME]"
            )
            yield Clue("neighbour", text, remedy, nic.machine)
        elif machines:
            yield Clue(
                "neighbour", f"next to NICs of {_listed(machines)}: probably another port of one of them"
            )

    def _replaced(self, kind: str, text: str, machine: str, row: Stray, old: str = "") -> Clue:
        home = self._nics.networks[machine]
        if row.network is not None and row.network != home:
            text += f" (it belongs to network {home}, this is network {row.network})"
        # A client can say any MAC and UUID, and servers of one delivery differ in a digit: look first.
        command = replace_mac(machine, self._nics.macs[machine], row.mac.text, old)
        remedy = f"compare with the label of {machine}; if it is the same: {command}"
        return Clue(kind, text, remedy, machine, old)

    def _blocks(self) -> Mapping[tuple[int, int], list[int]]:
        """MACs never heard, by each of their thirds: two wrong digits leave one of these as it is."""
        if self._unheard is None:
            never = [
                number
                for number, nic in self._nics.by_number.items()
                if not nic.name and nic.machine not in self._heard
            ]
            self._unheard = defaultdict(list)
            for number in never if len(never) <= _MOST_UNHEARD else ():
                for place in range(3):
                    self._unheard[(place, number >> 16 * place & 0xFFFF)].append(number)
        return self._unheard


def is_junk(uuid: str) -> bool:
    """Whether a UUID is none, or one that boards have which were never given their own."""
    lowered = uuid.lower()
    if not _UUID.fullmatch(lowered):
        return True
    octets = bytes.fromhex(lowered.replace("-", ""))
    return len(set(octets)) == 1 or lowered in _JUNK or swapped(lowered) in _JUNK


def swapped(uuid: str) -> str:
    """The same octets with the first three fields in the other byte order."""
    fields = uuid.lower().split("-")
    turned = [bytes.fromhex(field)[::-1].hex() for field in fields[:3]]
    return "-".join([*turned, *fields[3:]])


def _number(mac: Mac) -> int:
    return int(mac.text.replace(":", ""), 16)


def _swaps(number: int) -> Iterator[int]:
    """The number with two digits beside each other swapped, for each such pair that differs."""
    for shift in range(0, 4 * (_DIGITS - 1), 4):
        low, high = number >> shift & 15, number >> shift + 4 & 15
        if low != high:
            yield number ^ ((low ^ high) << shift | (low ^ high) << shift + 4)


def _differing(xor: int) -> int:
    folded = xor | xor >> 1
    return ((folded | folded >> 2) & _EACH_DIGIT).bit_count()


def _listed(machines: list[str]) -> str:
    named = machines[:_MOST_NAMED]
    if len(machines) > len(named):
        return f"{', '.join(named)} and {len(machines) - len(named)} others"
    return f"{', '.join(named[:-1])} and {named[-1]}"


def _maker(row: Stray) -> Iterator[Clue]:
    said = row.vendor_class.lower()
    for begins, what in _CLIENTS.items():
        if said.startswith(begins):
            yield Clue("maker", f"by what it says it is {what}")
    for prefix, what in _VIRTUAL.items():
        if row.mac.text.startswith(prefix):
            yield Clue("maker", f"a virtual machine or container ({what})")
            return
    if row.mac.octets[0] & 2:
        text = "a made-up MAC (locally administered): a virtual machine, a container, a phone or a forger"
        yield Clue("maker", text)
