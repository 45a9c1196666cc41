"""Everything the daemon knows, as one value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from immutables import Map

from appliance.addresses import Mac
from appliance.boot.ladder import Ladder
from appliance.boot.policy import Life
from appliance.daemon.leases import Lease
from appliance.daemon.ledger import Ledger
from appliance.daemon.owners import Nics
from appliance.daemon.rogues import Rogues
from appliance.daemon.served import Served
from appliance.daemon.sightings import Sighting
from appliance.dnsmasq.lifecycle import Child, Patience, Phase
from appliance.system.network import InterfaceState
from appliance.system.safety import Danger


@dataclass(frozen=True, slots=True)
class Now:
    """The two clocks at the moment of a step."""

    wall: datetime
    monotonic: float


@dataclass(frozen=True, slots=True)
class State:
    """Everything the daemon knows."""

    served: Served = field(default_factory=Served.nothing)
    patience: Patience = Patience()
    children: Mapping[str, Child] = field(default_factory=lambda: MappingProxyType({}))
    probed_at: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    last_words: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    interfaces: Mapping[str, InterfaceState] = field(default_factory=lambda: MappingProxyType({}))
    dangers: Mapping[str, Danger] = field(default_factory=lambda: MappingProxyType({}))  # what is withheld
    ladders: Map[str, Ladder] = field(default_factory=Map)  # these two change with every packet of a boot:
    leases: Map[str, Lease] = field(default_factory=Map)  # a copy for each would cost with every machine
    lives: Map[str, Life] = field(default_factory=Map)
    sightings: Map[str, Sighting] = field(default_factory=Map)
    to_disk: Mapping[str, frozenset[Mac]] = field(default_factory=lambda: MappingProxyType({}))  # by child
    marked: Mapping[str, frozenset[Mac]] = field(default_factory=lambda: MappingProxyType({}))  # as they run
    relieved_at: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    relieving: frozenset[str] = frozenset()
    strays: Ledger = Ledger()
    nics: Nics = field(default_factory=Nics)  # of what is served: by which a stray's owner is found
    rogue_servers: Rogues = field(default_factory=Rogues)
    endpoint_reachable: bool | None = None
    ticked_at: float | None = None
    declined: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    reloaded_at: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    down_since: Mapping[str, datetime] = field(default_factory=lambda: MappingProxyType({}))  # see outages
    stopping: bool = False

    @property
    def stopped(self) -> bool:
        """Whether a requested stop is complete."""
        return self.stopping and all(c.phase is Phase.STOPPED for c in self.children.values())

    def usable(self, network: str) -> bool:
        """Whether a network's interface can carry our probes: there, up, with our address, not withheld."""
        seen, wanted = self.interfaces.get(network), self.served.settings.networks.get(network)
        ready = bool(seen and wanted and seen.present and seen.up and seen.holds(wanted.address))
        return ready and network not in self.dangers

    @property
    def wanted(self) -> tuple[str, ...]:
        """The children that shall run: those of what is served, without what is withheld."""
        if self.served.settings.networks.keys() <= self.dangers.keys():
            return ()  # nobody to give a file to either
        withheld = {f"dhcp:{name}" for name in self.dangers}
        return tuple(name for name in self.served.children() if name not in withheld)
