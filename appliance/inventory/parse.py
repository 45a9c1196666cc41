"""From documents to drafts: every value typed, nothing yet compared with another file, network or profile.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final

from appliance.addresses import Hostname, Mac
from appliance.errors import Problem
from appliance.image_ref import ImageRef
from appliance.inventory import fields as keys
from appliance.inventory.model import (
    Bond,
    BootPolicy,
    KernelRef,
    Layer3,
    Nic,
    Profile,
    Route,
    Vlan,
)
from appliance.reading import Document, Reading
from appliance.settings import Origin
from appliance.shapes import Row

_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class MachineDraft:
    """A machine as written. None stands for what is absent or wrong; `row` knows where everything is."""

    row: Row
    origin: Origin
    name: Hostname | None
    hostname: Hostname | None
    macs: tuple[Mac, ...]
    ip: IPv4Address | None
    network: str | None
    profile: str | None
    labels: Mapping[str, str]
    serial: str | None
    uuid: str | None
    arch: str | None
    nics: tuple[Nic, ...]
    bonds: tuple[Bond, ...]
    port: str


@dataclass(slots=True)
class Drafts:
    """All files of an inventory so far; `complete` turns false when one of them could not be parsed."""

    machines: list[MachineDraft] = field(default_factory=list)
    profiles: list[tuple[Row, Profile]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True

    def take(self, document: Document) -> None:
        """Add what a document says; its problems go to `problems`."""
        top = keys.INVENTORY.read(document.data, Reading(document, self.problems), ())
        if top is None:
            return
        for name, row in top.get(keys.PROFILES) or ():
            profile = _profile(name or "", row)
            if name is not None:
                self.profiles.append((row, profile))
        self.machines.extend(_machine(name, row) for name, row in top.get(keys.MACHINES) or ())


def _profile(name: str, row: Row) -> Profile:
    image, kernel, initrd = row.get(keys.IMAGE), row.get(keys.KERNEL), row.get(keys.INITRD)
    if row.has(keys.IMAGE) and (row.has(keys.KERNEL) or row.has(keys.INITRD)):
        row.add("image", "stands beside kernel or initrd", "a profile boots one or the other: leave one out")
    elif row.has(keys.INITRD) and not row.has(keys.KERNEL):
        row.add("initrd", "stands without a kernel", "name the kernel, too, or an image instead")
    boot = row.get(keys.BOOT) or BootPolicy.INSTALL_ONCE
    sourced = row.has(keys.IMAGE) or row.has(keys.KERNEL)
    if not sourced and boot is not BootPolicy.DISK:
        hint = 'name an image or a kernel; boot = "disk" needs neither'
        row.add("", f"boots {boot.value} and names nothing to boot", hint)
    source: ImageRef | KernelRef | None = image
    if kernel is not None:
        source = KernelRef(kernel, initrd or ())
    args, ignition = row.get(keys.ARGS) or (), row.get(keys.IGNITION)
    calls = row.get(keys.CALL_HOME)
    return Profile(
        name,
        source,
        args,
        ignition,
        boot,
        netconf=row.get(keys.NETCONF),
        tuning=row.get(keys.TUNING),
        call_home=True if calls is None else calls,
        origin=row.origin,
    )


def _machine(name: Hostname | None, row: Row) -> MachineDraft:
    return MachineDraft(
        row=row,
        origin=row.origin,
        name=name,
        hostname=row.get(keys.HOSTNAME) or (None if row.has(keys.HOSTNAME) else name),
        macs=_macs(row),
        ip=row.get(keys.IP),
        network=row.get(keys.NETWORK),
        profile=row.get(keys.PROFILE),
        labels=MappingProxyType(row.get(keys.LABELS) or {}) if row.has(keys.LABELS) else _NO_LABELS,
        serial=row.get(keys.SERIAL),
        uuid=row.get(keys.UUID),
        arch=row.get(keys.ARCH),
        nics=tuple(_nics(row)) if row.has(keys.NIC) else (),
        bonds=tuple(_bonds(row)) if row.has(keys.BOND) else (),
        port=row.get(keys.PORT) or "",
    )


def _macs(row: Row) -> tuple[Mac, ...]:
    if row.has(keys.MACS):
        if row.has(keys.MAC):
            row.add("mac", "stands beside macs", "write one of the two")
        return row.get(keys.MACS) or ()
    if not row.has(keys.MAC):
        row.add("mac", "is missing", "write the MAC of its NIC on the PXE VLAN")
        return ()
    mac = row.get(keys.MAC)
    return () if mac is None else (mac,)


def _nics(row: Row) -> Iterator[Nic]:
    for name, below in row.get(keys.NIC) or ():
        mac = below.get(keys.NIC_MAC)
        rest = _layer3(below), below.get(keys.MTU), tuple(_vlans(below)), below.get(keys.PORT) or ""
        if name is not None and mac is not None:
            yield Nic(name, mac, below.origin, *rest)


def _bonds(row: Row) -> Iterator[Bond]:
    for name, below in row.get(keys.BOND) or ():
        members, mode = below.get(keys.MEMBERS), below.get(keys.BOND_MODE)
        vlans = tuple(_vlans(below))
        if name is not None:
            yield Bond(
                name,
                members or (),
                mode or keys.BOND_MODES[0],
                vlans,
                below.origin,
                layer3=_layer3(below),
                mtu=below.get(keys.MTU),
                lacp_rate=below.get(keys.LACP_RATE),
                hash_policy=below.get(keys.HASH_POLICY),
                min_links=below.get(keys.MIN_LINKS),
                primary=below.get(keys.PRIMARY),
                mac=below.get(keys.BOND_MAC),
            )


def _vlans(row: Row) -> Iterator[Vlan]:
    for name, below in row.get(keys.VLANS) or ():
        number, layer3, mtu = below.get(keys.VLAN_ID), _layer3(below), below.get(keys.MTU)
        if name is not None and number is not None:
            yield Vlan(name, number, layer3, mtu)


def _layer3(row: Row) -> Layer3:
    return Layer3(
        row.get(keys.ADDRESS),
        row.get(keys.GATEWAY),
        row.get(keys.DNS) or (),
        row.get(keys.SEARCH) or (),
        tuple(_routes(row)),
    )


def _routes(row: Row) -> Iterator[Route]:
    for below in row.get(keys.ROUTES) or ():
        to, via, metric = below.get(keys.ROUTE_TO), below.get(keys.ROUTE_VIA), below.get(keys.ROUTE_METRIC)
        if to is not None and via is not None:
            yield Route(to, via, metric)
