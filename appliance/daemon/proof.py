"""What a proof sees and says: answers, expectations, steps, walks. Values only; pure.

A walk is one client of one machine from its DISCOVER to its Ignition; a step is a rung of it, in the words
that the boot ladder uses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final

from appliance.addresses import Mac
from appliance.boot.dhcp_packet import DhcpPacket, MessageType, Option
from appliance.boot.events import EventKind
from appliance.boot.firmware import BY_ARCH

_QUICK: Final = b"\xb0\x01\x01"  # iPXE's option 175, suboption 176: do not wait for ProxyDHCP


class Outcome(StrEnum):
    """How a step ended. The words are public."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "not tried"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a step failed: what a page of docs/explain is called, what was seen, what to do about it."""

    id: str
    message: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Public."""
        return {"id": self.id, "message": self.message, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class Step:
    """One rung. `said` is what was seen, or why it was not tried; `ms` how long it took."""

    rung: EventKind
    outcome: Outcome
    ms: float = 0.0
    said: str = ""
    fault: Fault | None = None

    def as_json(self) -> dict[str, object]:
        """Public."""
        return {
            "rung": self.rung.value,
            "state": self.outcome.value,
            "ms": round(self.ms, 1),
            "detail": self.fault.message if self.fault else self.said,
        }


def passed(rung: EventKind, ms: float, said: str) -> Step:
    """A rung that is as it should be."""
    return Step(rung, Outcome.PASSED, ms, said)


def failed(rung: EventKind, ms: float, fault: Fault) -> Step:
    """A rung that is not."""
    return Step(rung, Outcome.FAILED, ms, fault=fault)


def skipped(rung: EventKind, why: str) -> Step:
    """A rung that nobody could try, which is neither."""
    return Step(rung, Outcome.SKIPPED, said=why)


@dataclass(frozen=True, slots=True)
class Walk:
    """One client's way. `notes` are worth knowing and no faults. A walk ends with its first fault."""

    machine: str
    mac: Mac
    ip: IPv4Address
    network: str
    arch: int
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fault(self) -> Fault | None:
        """The first fault."""
        return next((step.fault for step in self.steps if step.fault), None)

    @property
    def failed_at(self) -> EventKind | None:
        """The rung of the first fault."""
        return next((step.rung for step in self.steps if step.fault), None)

    @property
    def proven(self) -> bool:
        """Whether something was tried, and nothing of it failed."""
        return self.fault is None and any(step.outcome is Outcome.PASSED for step in self.steps)

    @property
    def ms(self) -> float:
        """All of it."""
        return sum(step.ms for step in self.steps)

    def as_json(self) -> dict[str, object]:
        """The public shape of a result."""
        fault, at = self.fault, self.failed_at
        return {
            "machine": self.machine,
            "mac": str(self.mac),
            "ip": str(self.ip),
            "network": self.network,
            "arch": self.arch,
            "class": BY_ARCH[self.arch].words,
            "proven": self.proven,
            "rungs": [step.as_json() for step in self.steps],
            "failure": {"rung": at.value, **fault.as_json()} if fault and at else None,
            "notes": list(self.notes),
            "ms": round(self.ms, 1),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What a DHCP server answered, from its packet or from its log, which says less.

    `options` are the numbers of all options, None where only the log was read; `vendor_class` is option 60.
    """

    kind: MessageType
    address: IPv4Address
    boot_file: str = ""
    next_server: IPv4Address | None = None
    server: IPv4Address | None = None
    netmask: IPv4Address | None = None
    router: IPv4Address | None = None
    vendor_class: str = ""
    message: str = ""
    quick: bool = False
    menu: bytes = b""  # option 43
    options: frozenset[int] | None = None

    @classmethod
    def of(cls, packet: DhcpPacket, kind: MessageType) -> Answer:
        """Read a packet."""
        return cls(
            kind,
            packet.yiaddr,
            packet.bootfile,
            packet.siaddr,
            packet.server_id,
            _address(packet.options.get(1)),
            _address(packet.options.get(3)),
            _text(packet.options.get(Option.VENDOR_CLASS)),
            _text(packet.options.get(Option.MESSAGE)),
            _QUICK in packet.options.get(Option.IPXE, b""),
            packet.options.get(Option.VENDOR_SPECIFIC, b""),
            frozenset(packet.options),
        )


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer. `said` is what dnsmasq logged instead; empty when it logged nothing about the question."""

    said: tuple[str, ...] = ()
    refused: bool = False  # heard, and given no address
    ignored: bool = False  # heard, and left without an answer on purpose


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client should be answered.

    `boot_file` empty: none must be named. `vendor_class` empty: option 60 must not be sent. `router` None:
    no default route. `free` are options that the operator's own lines set, which are not judged. `as_well`:
    addresses by which the server may call itself beside its own.
    """

    address: IPv4Address
    server: IPv4Address
    netmask: IPv4Address
    boot_file: str = ""
    vendor_class: str = ""
    menu: bool = False  # option 43 says: boot from the disk
    quick: bool = False
    router: IPv4Address | None = None
    free: frozenset[int] = frozenset()
    proxied: bool = False  # another server gives the address
    as_well: frozenset[IPv4Address] = frozenset()


@dataclass(slots=True)
class Tally:
    """How a proof ends: walks by outcome, and how many of each fault; the walks themselves are not kept."""

    tried: int = 0
    proven: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    def add(self, walk: Walk) -> None:
        """Count one."""
        self.tried += 1
        self.proven += walk.proven
        if walk.fault:
            self.faults[walk.fault.id] = self.faults.get(walk.fault.id, 0) + 1

    def as_json(self) -> dict[str, object]:
        """The public shape, within the last line of a proof."""
        failures = sum(self.faults.values())
        return {
            "walks": self.tried,
            "proven": self.proven,
            "failed": failures,
            "not_tried": self.tried - self.proven - failures,
            "failures": dict(sorted(self.faults.items(), key=lambda item: (-item[1], item[0]))),
        }


def _address(raw: bytes | None) -> IPv4Address | None:
    return IPv4Address(raw[:4]) if raw and len(raw) >= 4 else None


def _text(raw: bytes | None) -> str:
    return (raw or b"").rstrip(b"\0").decode("ascii", "backslashreplace")
