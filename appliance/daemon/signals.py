"""What tasks report to the decider, and what the decider orders. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from immutables import Map

from appliance.addresses import Mac
from appliance.boot.events import Event
from appliance.boot.ladder import Ladder
from appliance.daemon.leases import Lease
from appliance.daemon.served import Served
from appliance.system.network import InterfaceState

# ---- what happens ----


@dataclass(frozen=True, slots=True)
class Happened:
    """Something was seen on the wire, over HTTP, or done by us."""

    event: Event


@dataclass(frozen=True, slots=True)
class ChildReady:
    """A child's log says that it is serving: started and, for DHCP, its hosts are read."""

    name: str


@dataclass(frozen=True, slots=True)
class ChildExited:
    """A child is gone. `said` is its last word on standard error or in its log."""

    name: str
    rc: int
    said: str


@dataclass(frozen=True, slots=True)
class ChildAlive:
    """A child answered, be it a probe or a client."""

    name: str


@dataclass(frozen=True, slots=True)
class ChildDeaf:
    """A child is about to read its hosts again and answers nobody for up to `seconds`."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RestartChild:
    """A child has to be started again, because its configuration changed."""

    name: str


@dataclass(frozen=True, slots=True)
class AddressDisabled:
    """A child has put a reservation out of service because somebody declined it."""

    name: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """Another generation is current: its children have to be there, others must not."""

    served: Served


@dataclass(frozen=True, slots=True)
class Remembered:
    """Who held what and who was a stranger before we were started."""

    leases: Map[str, Lease]
    strays: Mapping[Mac, datetime]
    assumed: tuple[str, ...] = ()  # machines taken for installed, because nobody knows any more


@dataclass(frozen=True, slots=True)
class InterfaceSeen:
    """The state of a network's interface."""

    network: str
    state: InterfaceState


@dataclass(frozen=True, slots=True)
class EndpointSeen:
    """Whether the Matchbox endpoint answers."""

    reachable: bool


@dataclass(frozen=True, slots=True)
class ReinstallWanted:
    """An installed machine shall get its installer again at its next boot."""

    machine: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """End everything, cleanly."""


Signal: TypeAlias = (
    Happened
    | ChildReady
    | ChildExited
    | ChildAlive
    | ChildDeaf
    | RestartChild
    | AddressDisabled
    | Adopted
    | Remembered
    | InterfaceSeen
    | EndpointSeen
    | ReinstallWanted
    | Ticked
    | StopRequested
)

# ---- what is to be done ----


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a child."""

    name: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask a child to end."""

    name: str


@dataclass(frozen=True, slots=True)
class Kill:
    """End a child that does not listen."""

    name: str


@dataclass(frozen=True, slots=True)
class Reload:
    """Have a child read its hosts again."""

    name: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask a child for a sign of life."""

    name: str


@dataclass(frozen=True, slots=True)
class Record:
    """Keep and publish an event."""

    event: Event


@dataclass(frozen=True, slots=True)
class SaveLadder:
    """Keep how far a machine has come."""

    machine: str
    ladder: Ladder


@dataclass(frozen=True, slots=True)
class SaveInstalled:
    """Keep when a machine said that it is installed; None to forget it."""

    machine: str
    at: datetime | None


Command: TypeAlias = Spawn | Terminate | Kill | Reload | Probe | Record | SaveLadder | SaveInstalled
