"""The generation that is being served, with the indexes that every packet needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final

from appliance.addresses import Mac
from appliance.inventory.model import Inventory, Machine, Nic
from appliance.settings import NetworkSettings, Settings
from appliance.tree import Tree

_NO_FILES: Final = Tree()


@dataclass(frozen=True, slots=True)
class Served:
    """Generation `id` (None: nothing yet) as values. Build it with `Served.of`."""

    id: int | None
    at: str
    proven: bool
    settings: Settings
    inventory: Inventory
    boot_files: tuple[str, ...] = ()  # names of the first stages that are published
    refused_classes: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    first_stages: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))  # by class
    digests: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # SHA-256 of boot files
    ignition: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    files: Tree = field(default_factory=Tree)  # what dnsmasq reads of it: a disk may lose it
    machines: Mapping[str, Machine] = field(default_factory=lambda: MappingProxyType({}))
    by_mac: Mapping[Mac, Machine] = field(default_factory=lambda: MappingProxyType({}))
    by_ip: Mapping[IPv4Address, Machine] = field(default_factory=lambda: MappingProxyType({}))
    other_nics: Mapping[Mac, tuple[Machine, Nic]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(
        cls,
        settings: Settings,
        inventory: Inventory,
        *,
        number: int | None = None,
        at: str = "",
        proven: bool = False,
        boot_files: tuple[str, ...] = (),
        refused_classes: Mapping[int, str] = MappingProxyType({}),
        first_stages: Mapping[int, str] = MappingProxyType({}),
        digests: Mapping[str, str] = MappingProxyType({}),
        ignition: Mapping[str, bytes] = MappingProxyType({}),
        files: Tree = _NO_FILES,
    ) -> Served:
        """Index a generation."""
        return cls(
            id=number,
            at=at,
            proven=proven,
            settings=settings,
            inventory=inventory,
            boot_files=boot_files,
            refused_classes=refused_classes,
            first_stages=first_stages,
            digests=digests,
            ignition=ignition,
            files=files,
            machines=MappingProxyType({str(m.name): m for m in inventory.machines}),
            by_mac=MappingProxyType(inventory.by_mac()),
            by_ip=MappingProxyType({m.ip: m for m in inventory.machines}),
            other_nics=MappingProxyType(inventory.other_nics()),
        )

    @classmethod
    def nothing(cls) -> Served:
        """Before the first generation."""
        return cls.of(Settings(networks={}), Inventory())

    def children(self) -> tuple[str, ...]:
        """The dnsmasq children that serve this generation: one for DHCP per network, one for TFTP."""
        if not self.settings.networks:
            return ()
        return (*(f"dhcp:{name}" for name in sorted(self.settings.networks)), "tftp")

    def network_of_child(self, child: str) -> NetworkSettings | None:
        """The network that a DHCP child serves."""
        kind, _, name = child.partition(":")
        return self.settings.networks.get(name) if kind == "dhcp" else None
