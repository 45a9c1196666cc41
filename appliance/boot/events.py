"""What happened, in the words that `events`, the ladder and the history share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final

from appliance.addresses import Mac


class EventKind(StrEnum):
    """The rungs of a boot, in order, then everything else that can be seen. The words are public."""

    DISCOVER = "discover"
    OFFER = "offer"
    REQUEST = "request"
    ACK = "ack"
    BOOTFILE = "bootfile"
    IPXE = "ipxe"
    SCRIPT = "script"
    KERNEL = "kernel"
    INITRD = "initrd"
    IGNITION = "ignition"
    DONE = "done"

    NAK = "nak"
    DECLINE = "decline"
    RELEASE = "release"
    IGNORED = "ignored"
    STRAY = "stray"
    TFTP_ERROR = "tftp-error"
    HTTP_ERROR = "http-error"
    ROGUE_SERVER = "rogue-server"
    REPORT = "report"
    LIFECYCLE = "lifecycle"  # new, installing, installed, reinstall
    HELD = "held"
    SYNC = "sync"
    ROLLBACK = "rollback"
    DNSMASQ = "dnsmasq"
    STRAY_FLOOD = "stray-flood"  # more new strangers than machines bring: begun, over


class Refusal(StrEnum):
    """In an event's `code`: why our HTTP refused what a machine boots from, where that has a name."""

    IMAGE = "image"  # not in the store, not pinned, damaged
    NOT_ITSELF = "not-itself"  # whoever asks is not taken for the machine
    NO_PROFILE = "no-profile"  # nothing says what it boots


# In an event's `to`: what a boot was sent to instead of its image.
TO_DISK: Final = "disk"
TO_NOTHING: Final = "held"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened at `at` (aware, UTC). `machine` is its inventory name where known.

    `detail` carries strings as they came from the wire: hostile until escaped by whoever prints them.
    """

    at: datetime
    kind: EventKind
    machine: str | None = None
    mac: Mac | None = None
    ip: IPv4Address | None = None
    network: str | None = None
    detail: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def as_json(self) -> dict[str, object]:
        """The public shape: one JSON object, `at` in RFC 3339 with a Z."""
        return {
            "at": rfc3339(self.at),
            "event": self.kind.value,
            "machine": self.machine,
            "mac": str(self.mac) if self.mac else None,
            "ip": str(self.ip) if self.ip else None,
            "network": self.network,
            "detail": dict(self.detail),
        }


def rfc3339(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as in 2025-01-31T04:05:06.789Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
