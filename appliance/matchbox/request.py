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


class SignatureForm(StrEnum):
    """How a detached signature is written; the value is what stands behind the dot of its path."""

    BINARY = "sig"
    ARMOURED = "asc"


@dataclass(frozen=True, slots=True)
class BootRequest:
    """A request before it is answered, for whoever decides about a machine's life.

    `machine` is the inventory's name of the machine that the labels claim to be. `signature`: what is asked
    for is the document's signature. Whoever may not read the one may not have the other; but nobody boots
    from it. `boots`: a boot loader asks, as far as it says so itself, rather than somebody who looks.
    """

    kind: RequestKind
    client: str
    labels: Mapping[str, str]
    machine: str | None
    signature: bool = False
    boots: bool = False


@dataclass(frozen=True, slots=True)
class LocalBoot:
    """The boot script sends the machine to its disk. `uefi` None: the script finds out."""

    uefi: bool | None = None


@dataclass(frozen=True, slots=True)
class Instead:
    """For a machine of the inventory: this is loaded, rather than what its profile says.

    `reason` is for the record: why it lacks something that the machine will miss.
    """

    boot: Boot
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """This script is the answer. `to` and `reason` are for the record: what it sends to, and why."""

    text: str
    to: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Deny:
    """404, with the reason in the record only; `code` is a `Refusal` where the reason is one."""

    reason: str
    code: str = ""


Resolve = Callable[[BootRequest], LocalBoot | Instead | Script | Deny | None]
# From a peer's address and a reason: what iPXE runs in place of a 404; None when it is told nothing.
Tell = Callable[[str, str], str | None]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One answered request. Strings from the client are hostile until escaped by whoever prints them.

    `machine` and `group` say who answered: an inventory machine, or the file of an operator's group. `sent`
    counts octets of body; `complete` is False when the client went away or stalled. `reason` says why an
    error was the answer; it is never sent to the client. `signature`: it was asked for the document's
    signature, which is no step of a boot.
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
    to: str = ""  # what it sends the machine to instead
    signature: bool = False
    code: str = ""  # the reason's name, a `Refusal`, where it has one


Observer = Callable[[RequestRecord], None]
Begun = Callable[[str, str, int], None]  # a peer's address, a path, octets that will be sent
