"""What stands in the virtual rack: machines, their NICs, the stranger. Pure names and numbers."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from appliance.addresses import Mac

SUBNET: Final = IPv4Network("172.0.1.0/24")
SERVER: Final = IPv4Address("172.0.1.1")
INTERFACE: Final = "pxe0"
HTTP_PORT: Final = 8080
MIRROR_PORT: Final = 8090  # on the appliance's loopback address
STRANGER: Final = Mac.parse("52:54:00:1a:bf:01")
MOST_MACHINES: Final = 32  # 384 MB each
DEFAULT_TIMEOUT: Final = 300.0  # seconds after power-on
_ORDINALS: Final = ("second", "third", "fourth")
_FIRST_ADDRESS: Final = IPv4Address("172.0.1.11")


class Firmware(StrEnum):
    """What a machine's own ROM can do before anything of ours runs on it."""

    BIOS = "bios"  # a plain PXE ROM
    UEFI = "uefi"  # OVMF, PXE over TFTP
    UEFI_HTTP = "uefi-http"  # OVMF, HTTP boot


class FirmwareChoice(StrEnum):
    """What `lab run --firmware` takes; `mixed` goes round all kinds."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_HTTP = "uefi-http"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class LabMachine:
    """One machine of the rack.

    `others` are its NICs besides the one that it boots from: on the same wire, and they must get no address.
    `disk`: it has one, empty until something is installed there.
    """

    number: int
    firmware: Firmware
    others: tuple[Mac, ...] = ()
    disk: bool = False

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def mac(self) -> Mac:
        return Mac.parse(f"52:54:00:1a:b0:{self.number:02x}")

    @property
    def ip(self) -> IPv4Address:
        return _FIRST_ADDRESS + (self.number - 1)

    @property
    def serial(self) -> str:
        """What its SMBIOS says of it: its name, so that the payload knows it without asking the network."""
        return self.name

    @property
    def uuid(self) -> uuid.UUID:
        return uuid.UUID(f"70786500-6c61-4000-8000-{self.mac.text.replace(':', '')}")

    @property
    def tap(self) -> str:
        return f"tap{self.number}"

    @property
    def other_taps(self) -> tuple[str, ...]:
        return tuple(f"oth{self.number}-{position}" for position, _ in enumerate(self.others, start=2))

    @property
    def inner_leg(self) -> str:
        """The end of the relay's veth that is a port of the bridge."""
        return f"leg{self.number}"

    @property
    def outer_leg(self) -> str:
        """The end of the relay's veth that the relay holds."""
        return f"rom{self.number}"


@dataclass(frozen=True, slots=True)
class Rack:
    """The machines of a lab, and the unknown MAC that asks for an address among them, if one does."""

    machines: tuple[LabMachine, ...]
    stranger: Mac | None = STRANGER

    def outsiders(self) -> dict[Mac, str]:
        """Every MAC that must get nothing, with what to call it."""
        others = {
            mac: f"{machine.name}'s {ordinal} NIC"
            for machine in self.machines
            for mac, ordinal in zip(machine.others, _ORDINALS, strict=False)
        }
        return others if self.stranger is None else {**others, self.stranger: "the stranger"}

    def named(self, name: str) -> LabMachine | None:
        """The machine called `name`."""
        return next((m for m in self.machines if m.name == name), None)


def fill(count: int, choice: FirmwareChoice) -> Rack:
    """A rack of `count` machines with firmware as chosen; the first one has the second NIC.

    Raises:
        ValueError: more machines, or fewer, than a rack holds.
    """
    if not 1 <= count <= MOST_MACHINES:
        raise ValueError(f"a rack holds 1 to {MOST_MACHINES} machines, not {count}")
    kinds = tuple(Firmware) if choice is FirmwareChoice.MIXED else (Firmware(choice.value),)
    return Rack(
        tuple(
            LabMachine(number, kinds[(number - 1) % len(kinds)], (other_mac(1, 1),) if number == 1 else ())
            for number in range(1, count + 1)
        )
    )


def other_mac(machine: int, nic: int) -> Mac:
    """The MAC of a machine's NIC besides the one that it boots from; `nic` counts from 1."""
    return Mac.parse(f"52:54:00:1a:b{nic}:{machine:02x}")
