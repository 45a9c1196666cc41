"""The settings as types: what `appliance.toml` may say. Reading it is `settings_parse`'s work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType

from appliance.addresses import Mac


class NetworkMode(StrEnum):
    """Who gives addresses on a network."""

    DHCP = "dhcp"  # we own addressing
    PROXY = "proxy"  # another server gives addresses, we give boot information


class OtherServers(StrEnum):
    """What `serve` does when another DHCP server answers on a network that we own."""

    REFUSE = "refuse"  # it does not start
    TELL = "tell"  # it starts, and says so


class DefaultRoute(StrEnum):
    """What becomes of a network whose interface carries the host's default route."""

    REFUSE = "refuse"  # it is not served: such an interface faces production, as a rule
    ALLOW = "allow"  # it is meant to be so: one network for everything


class Forwarding(StrEnum):
    """Whether this host may route packets between a network and others."""

    DENY = "deny"
    ALLOW = "allow"  # what the kernel and the operator's own rules forward, passes


class Access(StrEnum):
    """Who may read an Ignition from our endpoint."""

    ARMED = "armed"  # the machine itself, in the boot that was given the token
    LEASE = "lease"  # as armed, whatever MAC answers for its address: for switches with local proxy ARP
    OPEN = "open"  # whoever asks for it, as with Matchbox


class Push(StrEnum):
    """How our groups and profiles reach an external Matchbox."""

    NONE = "none"
    GRPC = "grpc"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class Relayed:
    """A PXE VLAN behind a DHCP relay: its subnet, the relay's address in it (giaddr), its 802.1Q id."""

    subnet: IPv4Network
    router: IPv4Address
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """One PXE VLAN. `lease` in seconds; `mtu` and `ntp` are sent only when given."""

    name: str
    interface: str
    subnet: IPv4Network
    address: IPv4Address
    mode: NetworkMode = NetworkMode.DHCP
    lease: int = 3600
    relayed: tuple[Relayed, ...] = ()
    mtu: int | None = None
    ntp: tuple[IPv4Address, ...] = ()
    vlan: int | None = None  # its 802.1Q id as the network team knows it; machines there never see the tag
    other_servers: OtherServers = OtherServers.REFUSE
    mac: Mac | None = None  # of the interface: names change when a card is added, this does not
    default_route: DefaultRoute = DefaultRoute.REFUSE
    forwarding: Forwarding = Forwarding.DENY

    def subnet_of(self, ip: IPv4Address) -> IPv4Network | None:
        """The subnet of this network, our own or a relayed one, that `ip` lies in."""
        for subnet in (self.subnet, *(r.subnet for r in self.relayed)):
            if ip in subnet:
                return subnet
        return None


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where our HTTP side listens, on every PXE address. `hosts` are names that browsers may know it by."""

    port: int = 8080
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MatchboxSettings:
    """The Matchbox endpoint that machines are handed to.

    `endpoint` is `builtin` or the base URL of an external one, without a slash at the end; `data` is an
    operator's own Matchbox data directory as written (see `Paths.settle`). `keyring` is a file with OpenPGP's
    secret key as written (see `Paths.keyring`); empty: nothing is signed. `grpc` is HOST:PORT of the external
    one's gRPC side; `ca`, `cert` and `key` are files for it as written (see `Paths.in_keys`).
    """

    endpoint: str = "builtin"
    data: str = "/etc/pxe-appliance/matchbox"
    push: Push = Push.NONE
    ignition: Access = Access.ARMED
    keyring: str = ""
    grpc: str = ""
    ca: str = "/etc/pxe-appliance/keys.d/matchbox-ca.crt"
    cert: str = "/etc/pxe-appliance/keys.d/matchbox-client.crt"
    key: str = "/etc/pxe-appliance/keys.d/matchbox-client.key"

    @property
    def builtin(self) -> bool:
        """Whether the endpoint is ours."""
        return self.endpoint == "builtin"


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """One image source: a mirror, the operator's key files, the architectures wanted."""

    mirror: str | None = None
    keys: tuple[str, ...] = ()
    arch: tuple[str, ...] = ("amd64",)


class LogFormat(StrEnum):
    """How the daemon writes its log."""

    TEXT = "text"  # lines for people, on standard error
    JSON = "json"  # an object a line, on standard error
    JOURNAL = "journal"  # to journald, with a field for each fact


class LogLevel(StrEnum):
    """What is too small to be logged is left out."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The daemon's log. `format` None: the journal where systemd reads our standard error, else text."""

    format: LogFormat | None = None
    level: LogLevel = LogLevel.INFO


class Notice(StrEnum):
    """What a webhook can be told of. The words are public."""

    DONE = "done"  # a machine called home
    STUCK = "stuck"  # a boot stopped, or goes on again
    HELD = "held"
    LIFECYCLE = "lifecycle"
    STRAY = "stray"  # a MAC that nobody knows, the first time
    STRAY_FLOOD = "stray-flood"
    ROGUE_SERVER = "rogue-server"
    SYNC = "sync"
    ROLLBACK = "rollback"
    PROBLEM = "problem"  # one that `status` lists came, or went


USUAL_NOTICES: tuple[Notice, ...] = (
    Notice.STUCK,
    Notice.HELD,
    Notice.STRAY_FLOOD,
    Notice.ROGUE_SERVER,
    Notice.ROLLBACK,
    Notice.PROBLEM,
)


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Who is told what, by a signed POST.

    `secret` is a file as written (see `Paths.in_secrets`), never the secret itself; `ca` is a PEM file with
    who signed the receiver's certificate (see `Paths.in_keys`), empty: whom the host trusts.
    """

    name: str
    url: str
    secret: str
    events: tuple[Notice, ...] = USUAL_NOTICES
    ca: str = ""

    @property
    def place(self) -> str:
        """The URL as it may be shown: without its path, which is a password with many receivers."""
        scheme, _, rest = self.url.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.partition('?')[0]}{slash}{'…' if path else ''}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written: a file as shown to the operator and a line from 1 (0: a default)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings in force, with the origin of each by its dotted path (`network.pxe.subnet`)."""

    networks: Mapping[str, NetworkSettings]
    http: HttpSettings = HttpSettings()
    matchbox: MatchboxSettings = MatchboxSettings()
    images: Mapping[str, ImageSettings] = field(default_factory=lambda: MappingProxyType({}))
    log: LogSettings = LogSettings()
    webhooks: Mapping[str, WebhookSettings] = field(default_factory=lambda: MappingProxyType({}))
    origins: Mapping[str, Origin] = field(default_factory=lambda: MappingProxyType({}), compare=False)

    @property
    def subnets(self) -> tuple[IPv4Network, ...]:
        """Every subnet of every network, our own and relayed ones."""
        return tuple(s for n in self.networks.values() for s in (n.subnet, *(r.subnet for r in n.relayed)))

    def network_of(self, ip: IPv4Address) -> NetworkSettings | None:
        """The network whose own or relayed subnet holds `ip`."""
        return next((n for n in self.networks.values() if n.subnet_of(ip) is not None), None)
