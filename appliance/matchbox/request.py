"""What is asked of the endpoint and what became of it: the words it shares with the daemon. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from appliance.matchbox.model import Boot

_NO_LABELS: Mapping[str, str] = MappingProxyType({})


class RequestKind(StrEnum):
    """What a path is for."""

    HOME = "home"
    CHAIN = "chain"  # /boot.ipxe: iPXE runs and asks where to go
    SCRIPT = "script"  # /ipxe: which kernel
    GRUB = "grub"
    IGNITION = "ignition"
    GENERIC = "generic"
    CLOUD = "cloud"
    METADATA = "metadata"
    ASSET = "asset"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class BootRequest:
    """A request before it is answered, for whoever decides about a machine's life.

    `machine` is the inventory's name of the machine that the labels claim to be.
    """

    kind: RequestKind
    client: str
    labels: Mapping[str, str]
    machine: str | None


@dataclass(frozen=True, slots=True)
class LocalBoot:
    """The boot script sends the machine to its disk. `uefi` None: the script finds out."""

    uefi: bool | None = None


@dataclass(frozen=True, slots=True)
class Instead:
    """For a machine of the inventory: this is loaded, rather than what its profile says."""

    boot: Boot


@dataclass(frozen=True, slots=True)
class Deny:
    """404, with the reason in the record only."""

    reason: str


Resolve = Callable[[BootRequest], LocalBoot | Instead | Deny | None]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One answered request. Strings from the client are hostile until escaped by whoever prints them.

    `machine` and `group` say who answered: an inventory machine, or the file of an operator's group. `sent`
    counts octets of body; `complete` is False when the client went away or stalled. `reason` says why an
    error was the answer; it is never sent to the client.
    """

    kind: RequestKind
    client: str
    method: str
    path: str
    status: int
    sent: int = 0
    complete: bool = True
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    machine: str | None = None
    group: str | None = None
    reason: str | None = None
    kernel: str | None = None  # what a boot script names


Observer = Callable[[RequestRecord], None]
