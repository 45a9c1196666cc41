"""Why a client got nothing, and what dnsmasq says about itself: in words an operator can act on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from appliance.boot.events import Event, EventKind
from appliance.boot.firmware import BY_ARCH, Asking
from appliance.dnsmasq import records as r


@dataclass(frozen=True, slots=True)
class Reason:
    """A refusal: a stable code, a sentence, and what would change it (empty: it is as it should be)."""

    code: str
    text: str
    remedy: str = ""


_STRANGER: Final = Reason("not-in-inventory", "not in the inventory")


def why_ignored(
    packet: r.Ignored | r.NoAddress,
    asking: Asking | None,
    network: str,
    known: tuple[str, str] | None,
    other: tuple[str, str] | None,
    refused: Mapping[int, str],
    stage: str,
) -> Reason:
    """Tell from what is known about the client why it got no answer.

    Args:
        packet: the refused packet.
        asking: what its vendor class says, if it is firmware.
        network: the network on which it was heard.
        known: (machine, network) when the MAC belongs to a NIC that may boot.
        other: (machine, NIC) when it belongs to a NIC that must stay silent.
        refused: by option-93 value, what to do about a class without a boot file.
        stage: firmware, ipxe or os.
    """
    reason = standing(network, known, other)
    if reason or not known:
        return reason or _STRANGER
    machine, _ = known
    if isinstance(packet, r.NoAddress):
        return Reason(
            "no-address",
            f"the address of {machine} cannot be given: {packet.note}",
            "pxe-appliance events shows what came before",
        )
    if packet.of == "BOOTP":
        return Reason("bootp", "it asks with BOOTP, which leaves no lease to take back", "use DHCP")
    if asking and stage == "firmware":
        refusal = _refused_class(asking, refused)
        if refusal:
            return refusal
    return Reason(
        "not-served",
        f"{machine} is not in what dnsmasq serves on this wire",
        "run sync; behind a relay, check that its address lies in that relay's subnet",
    )


def standing(network: str, known: tuple[str, str] | None, other: tuple[str, str] | None) -> Reason | None:
    """Why the inventory alone keeps a NIC from being served on `network`; None when it is to be served.

    `known` and `other` are as for `why_ignored`.
    """
    if other:
        return Reason("other-nic", f"{other[1]} of {other[0]} is not a NIC it boots from")
    if not known:
        return _STRANGER
    machine, home = known
    if home != network:
        return Reason("wrong-network", f"{machine} belongs to network {home}", "move the cable, or its entry")
    return None


def _refused_class(asking: Asking, refused: Mapping[int, str]) -> Reason | None:
    if asking.arch is not None and asking.arch in refused:
        return Reason("no-boot-file", f"no boot file for client class {asking.words}", refused[asking.arch])
    client = BY_ARCH.get(asking.arch) if asking.arch is not None else None
    if client is None or client.transport is not asking.transport:
        text = f"no boot file for client class {asking.words}: as {asking.transport.value} it is not served"
        return Reason("no-boot-file", text, "choose another boot mode in its firmware")
    return None


def about_dnsmasq(record: r.Record, at: datetime, network: str) -> list[Event]:
    """What a line says about dnsmasq itself, as an event; nothing for lines that are about something else."""
    where = network or None
    said = _life(record) or _trouble(record)
    if not said:
        return []
    detail = MappingProxyType({key: value for key, value in said.items() if value})
    match record:
        case r.NotUsingConfigured():
            return [Event(at, EventKind.DNSMASQ, None, record.leased_to, record.ip, where, detail)]
        case r.AddressDisabled():
            return [Event(at, EventKind.DNSMASQ, None, None, record.ip, where, detail)]
        case _:
            return [Event(at, EventKind.DNSMASQ, network=where, detail=detail)]


def _life(record: r.Record) -> dict[str, str]:
    match record:
        case r.Started(version):
            return {"what": "started", "version": version}
        case r.Exiting():
            return {"what": "exiting"}
        case r.StartFailed(reason):
            return {"what": "start-failed", "reason": reason}
        case r.HostsRead(path):
            return {"what": "read", "path": path}
        case r.HostsRejected(reason, line, path):
            return {"what": "rejected", "reason": reason, "line": str(line), "path": path}
        case r.CannotRead(path, reason):
            return {"what": "cannot-read", "reason": reason, "path": path}
        case _:
            return {}


def _trouble(record: r.Record) -> dict[str, str]:
    match record:
        case r.NotUsingConfigured():
            return {"what": "reservation-blocked", "reason": record.reason}
        case r.AddressDisabled():
            return {"what": "address-disabled", "reason": f"declined; out of use for {record.period}"}
        case r.NoRange(via):
            return {"what": "no-range", "reason": f"asked via {via}, which is no subnet of this network"}
        case r.NoInterfaceAddress(interface):
            return {"what": "no-interface-address", "interface": interface}
        case r.LinesLost(count):
            return {"what": "log-lines-lost", "count": str(count)}
        case r.Unrecognised(text):
            return {"what": "unrecognised", "text": text[:255]}
        case _:
            return {}
