"""From answered HTTP requests to events: which rung of whose ladder it was. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from ipaddress import AddressValueError, IPv4Address
from types import MappingProxyType

from appliance.boot.events import TO_NOTHING, Event, EventKind
from appliance.boot.firmware import DISK_FILE
from appliance.boot.policy import way_out
from appliance.daemon.served import Served
from appliance.images.catalogue import OSES
from appliance.images.model import parse_asset_path
from appliance.inventory.model import Machine
from appliance.matchbox.model import Boot
from appliance.matchbox.render import TRY
from appliance.matchbox.request import RequestKind, RequestRecord
from appliance.settings import NetworkMode
from appliance.sync.handover import boot_of, machine_url

_FIRST_STAGES = "/assets/ipxe/"
_LONGEST_WORD = 64
_RUNGS = {
    RequestKind.SCRIPT: EventKind.SCRIPT,
    RequestKind.GRUB: EventKind.SCRIPT,
    RequestKind.IGNITION: EventKind.IGNITION,
}


_RUNGS_OF_MACHINES = frozenset({EventKind.SCRIPT, EventKind.IGNITION, EventKind.BOOTFILE})
_GIVEN = frozenset(
    {RequestKind.CHAIN, RequestKind.SCRIPT, RequestKind.GRUB, RequestKind.IGNITION, RequestKind.ASSET}
)


def event_of(record: RequestRecord, served: Served, at: datetime, *, image: str = "") -> Event | None:
    """The event that an answered request is; None when it says nothing about a boot.

    `image` is the release of the image store that a script named.
    """
    machine = machine_of(record, served)
    if record.path == f"{_FIRST_STAGES}{DISK_FILE}":
        return None  # pointed there so that it goes on to its disk
    failed = record.status >= 400 or (not record.complete and record.status in {200, 206})
    if failed:
        kind: EventKind | None = EventKind.HTTP_ERROR
    elif record.signature:
        return None  # whoever checks a document has it already
    elif record.kind is RequestKind.ASSET:
        kind = _asset_rung(record, served, machine)
    else:
        kind = _rung(record, served)
    if kind is None or (machine is None and kind in _RUNGS_OF_MACHINES):
        kind = EventKind.STRAY if machine is None and _is_stranger(record, served) else None
    if kind is None:
        return None
    said = {
        "path": record.path[:256],
        "status": str(record.status),
        "bytes": str(record.sent) if record.kind is RequestKind.ASSET else "",
        "file": record.path.removeprefix(_FIRST_STAGES) if kind is EventKind.BOOTFILE else "",
        "reason": (record.reason or "")[:256],
        "code": record.code,
        "group": record.group or "",
        "image": image if kind is EventKind.SCRIPT and not record.to else "",
        "to": record.to if kind is EventKind.SCRIPT else "",
        "again": "yes" if kind is EventKind.SCRIPT and asks_again(record.labels) else "",
        "remedy": way_out(str(machine.name)) if machine and record.to == TO_NOTHING else "",
        "claims": record.machine or "" if record.machine and _name(machine) != record.machine else "",
        **(_said_of_itself(record.labels) if kind is EventKind.SCRIPT else {}),
    }
    return Event(
        at,
        kind,
        _name(machine),
        machine.mac if machine else None,
        client_address(record.client),
        machine.network if machine else None,
        MappingProxyType({k: v for k, v in said.items() if v}),
    )


def _said_of_itself(labels: Mapping[str, str]) -> dict[str, str]:
    """A machine's UUID, and the switch port that LLDP told its iPXE; a nameless switch by its chassis."""
    switch = labels.get("switch") or labels.get("chassis", "")
    said = {"uuid": labels.get("uuid", ""), "switch": switch}
    said |= {key: labels.get(key, "") for key in ("chassis", "port", "vlan")}
    return {key: value[:_LONGEST_WORD] for key, value in said.items()}


def asks_again(labels: Mapping[str, str]) -> bool:
    """Whether a script is asked for by one that did not get on with what it was given before."""
    return labels.get(TRY, "1") != "1"


def _rung(record: RequestRecord, served: Served) -> EventKind | None:
    """An external Matchbox tells us nothing of its scripts: there, the one that goes to it has to do."""
    last_of_ours = record.to or not served.settings.matchbox.builtin
    if record.kind is RequestKind.CHAIN and last_of_ours:
        return EventKind.SCRIPT
    return _RUNGS.get(record.kind)


def _is_stranger(record: RequestRecord, served: Served) -> bool:
    """Whether somebody who is no machine of ours was given something that machines boot from."""
    address = client_address(record.client)
    ours = any(address == network.address for network in served.settings.networks.values())
    return record.kind in _GIVEN and not ours


def machine_of(record: RequestRecord, served: Served) -> Machine | None:
    """The machine that asked, as far as that can be known."""
    claimed = served.machines.get(record.machine) if record.machine else None
    return asker(record.client, claimed, served)


def asker(client: str, claimed: Machine | None, served: Served) -> Machine | None:
    """The machine behind a peer's address.

    Where we give the addresses, an address is a reservation, and what a request says of itself counts
    for nothing. Where another server gives them, the claim is all there is.
    """
    address = client_address(client)
    if address is None:
        return None
    if (at_address := served.by_ip.get(address)) is not None:
        return at_address
    network = served.settings.networks.get(claimed.network) if claimed else None
    by_another = network is not None and network.mode is NetworkMode.PROXY and address in network.subnet
    return claimed if by_another else None


def client_address(text: str) -> IPv4Address | None:
    """A peer's address, None when it is no IPv4 address."""
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None


def _asset_rung(record: RequestRecord, served: Served, machine: Machine | None) -> EventKind | None:
    if record.method != "GET" or record.status not in {200, 206}:
        return None
    if record.path.removeprefix(_FIRST_STAGES) in served.boot_files:
        return EventKind.BOOTFILE
    boot = _boot(served, machine)
    if boot is None:
        return None
    if _same_path(record.path, boot.kernel):
        return EventKind.KERNEL
    if any(_same_path(record.path, initrd) for initrd in boot.initrd):
        return EventKind.INITRD
    return None


def _boot(served: Served, machine: Machine | None) -> Boot | None:
    profile = served.inventory.profiles.get(machine.profile) if machine and machine.profile else None
    if machine is None or profile is None:
        return None
    url = machine_url(served.settings, served.settings.networks[machine.network])
    return boot_of(profile, url, machine.arch)


def _same_path(path: str, wanted: str) -> bool:
    asked, named = parse_asset_path(path, OSES), parse_asset_path(wanted, OSES)
    if asked is not None and named is not None:  # of whatever version: which one is the store's business
        return (asked.stream, asked.file) == (named.stream, named.file)
    return bool(wanted) and (path == wanted or path.endswith("/" + wanted.lstrip("/")))


def _name(machine: Machine | None) -> str | None:
    return str(machine.name) if machine else None
