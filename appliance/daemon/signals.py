"""What tasks report to the decider, and what the decider orders. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeAlias

from immutables import Map

from appliance.addresses import Mac
from appliance.boot.arming import Tokens
from appliance.boot.events import Event
from appliance.boot.ladder import Ladder
from appliance.boot.policy import Cue, Life
from appliance.daemon.leases import Lease
from appliance.daemon.ledger import Stray
from appliance.daemon.served import Served
from appliance.daemon.sightings import Sighting
from appliance.dnsmasq.lifecycle import Child
from appliance.system.network import InterfaceState
from appliance.system.safety import Danger

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
class TakenOver:
    """These children run (or wait to be started again) since the program that was here before us.

    `marked`: the machines that they give their address alone; `declined`: those that still have to be
    reloaded, because an address was put out of service.
    """

    children: tuple[Child, ...]
    marked: Mapping[str, frozenset[Mac]]
    declined: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Leaving:
    """Another program is about to take our place: whatever is to be kept has to be on disk."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """Who held what before we were started."""

    leases: Map[str, Lease]
    assumed: tuple[str, ...] = ()  # machines taken for installed, because nobody knows any more


@dataclass(frozen=True, slots=True)
class InterfaceSeen:
    """The state of a network's interface."""

    network: str
    state: InterfaceState


@dataclass(frozen=True, slots=True)
class SafetySeen:
    """Whether a network may be served: None when nothing speaks against it."""

    network: str
    danger: Danger | None


@dataclass(frozen=True, slots=True)
class ClientHeard:
    """What a client said of itself in a DHCP broadcast and dnsmasq does not log: its UUID (option 97).

    `uuid` is in lower case with dashes, as iPXE prints it; a client can say any.
    """

    network: str
    mac: Mac
    uuid: str


@dataclass(frozen=True, slots=True)
class OtherServer:
    """Another DHCP server on a network of ours. `mac` is None where nobody answered for its address.

    `offered` is None from one that gives boot information alone (proxy DHCP); `boot_file` is safe to show.
    """

    address: IPv4Address
    mac: Mac | None = None
    offered: IPv4Address | None = None
    boot_file: str = ""


@dataclass(frozen=True, slots=True)
class ServerHeard:
    """Another server answered us (`how`: probe), spoke to others (broadcast), or was chosen (request)."""

    network: str
    server: OtherServer
    how: str


@dataclass(frozen=True, slots=True)
class ServersProbed:
    """Who answered a question that no server of ours answers: nobody, on a network that is ours alone."""

    network: str
    servers: tuple[OtherServer, ...]


@dataclass(frozen=True, slots=True)
class Loading:
    """A machine began to be sent a file of `size` octets by our HTTP; 0: that is over, however it ended."""

    machine: str
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class EndpointSeen:
    """Whether the Matchbox endpoint answers."""

    reachable: bool


@dataclass(frozen=True, slots=True)
class LifeWanted:
    """An operator asks for a turn in a machine's life: reinstall, hold, release."""

    machine: str
    cue: Cue
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StrayNoted:
    """An operator has a stray ignored, and says why; None: it is counted again."""

    mac: Mac
    note: str | None


@dataclass(frozen=True, slots=True)
class TokensGiven:
    """A machine's boot scripts carried these tokens."""

    machine: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Marked:
    """A DHCP child runs that gives these machines their address alone; None: it could not be brought up."""

    name: str
    macs: frozenset[Mac] | None


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
    | TakenOver
    | Leaving
    | Remembered
    | InterfaceSeen
    | SafetySeen
    | ClientHeard
    | ServerHeard
    | ServersProbed
    | Loading
    | EndpointSeen
    | LifeWanted
    | StrayNoted
    | TokensGiven
    | Marked
    | Ticked
    | StopRequested
)

# ---- what is to be done ----


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a child; a DHCP child gives the machines with these MACs their address alone."""

    name: str
    macs: frozenset[Mac] = frozenset()


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
class SaveLife:
    """Keep where a machine is in its life."""

    machine: str
    life: Life


@dataclass(frozen=True, slots=True)
class SaveSighting:
    """Keep what a machine said of itself."""

    machine: str
    sighting: Sighting


@dataclass(frozen=True, slots=True)
class SaveStrays:
    """Keep rows of the ledger, and forget those that are None."""

    rows: Mapping[Mac, Stray | None]


@dataclass(frozen=True, slots=True)
class SaveTokens:
    """Keep which tokens a machine's boot scripts carried."""

    machine: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class CloseTokens:
    """A machine called home: from now on its tokens open no Ignition."""

    machine: str


@dataclass(frozen=True, slots=True)
class Relieve:
    """Have a DHCP child relieved by one that gives these machines their address alone."""

    name: str
    macs: frozenset[Mac]


Saving: TypeAlias = SaveLadder | SaveLife | SaveSighting | SaveStrays | SaveTokens
Command: TypeAlias = (
    Spawn
    | Terminate
    | Kill
    | Reload
    | Probe
    | Record
    | SaveLadder
    | SaveLife
    | SaveSighting
    | SaveStrays
    | SaveTokens
    | CloseTokens
    | Relieve
)
