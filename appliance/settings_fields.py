"""The keys that `appliance.toml` may have, as tables: read by `settings_parse`, published as a JSON Schema.

Pure.
"""

from __future__ import annotations

import re
from typing import Final

from appliance import grammar
from appliance.reading import Unfit, shown
from appliance.settings import (
    Access,
    DefaultRoute,
    Forwarding,
    LogFormat,
    LogLevel,
    NetworkMode,
    Notice,
    OtherServers,
    Push,
)
from appliance.shapes import Field, ListOf, NamedTables, Number, Table, Text

IMAGE_SOURCES: Final = ("flatcar", "fedora-coreos", "container-linux", "ipxe")
# dnsmasq silently raises anything shorter to two minutes.
_SHORTEST_LEASE: Final = 120
_LONGEST_LEASE: Final = 365 * 86400
_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])", re.ASCII)
_LEASE_HINT: Final = 'write a number with s, m, h or d, such as "1h"'
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(raw: str) -> int | None:
    """A duration such as 150s, 10m, 1h or 1d, in seconds; None when it is none."""
    found = _DURATION.fullmatch(raw)
    return int(found[1]) * _UNITS[found[2]] if found else None


def parse_lease(raw: str) -> int:
    """A lease time such as 150s, 10m, 1h or 1d, in seconds; ValueError when it is none or out of bounds."""
    seconds = parse_duration(raw)
    if seconds is None:
        raise Unfit(f"{shown(raw)} is not a lease time", _LEASE_HINT)
    if seconds < _SHORTEST_LEASE:
        hint = f"dnsmasq gives none below {_SHORTEST_LEASE}s: write that or more"
        raise Unfit(f"a lease of {raw} is too short", hint)
    if seconds > _LONGEST_LEASE:
        raise Unfit(f"a lease of {raw} is too long", "write 365d or less")
    return seconds


_LEASE: Final = Text("a lease time", parse_lease, {"pattern": "^[1-9][0-9]*[smhd]$"}, 32, _LEASE_HINT)

RELAYED_SUBNET: Final = Field("subnet", grammar.SUBNET, "the VLAN behind the relay", required=True)
ROUTER: Final = Field("router", grammar.IPV4, "the relay's address on that VLAN", required=True)
VLAN: Final = Field("vlan", Number("a VLAN id", 1, 4094), "its 802.1Q id, for export switchports")
_RELAYED_TABLE: Final = Table("A PXE VLAN behind a DHCP relay.", (RELAYED_SUBNET, ROUTER, VLAN))

INTERFACE: Final = Field(
    "interface", grammar.INTERFACE, "the NIC, VLAN device or bridge that faces it", required=True
)
SUBNET: Final = Field("subnet", grammar.SUBNET, "the subnet of the VLAN", required=True)
ADDRESS: Final = Field("address", grammar.IPV4, "our address on it; the first host address by default")
MODE: Final = Field(
    "mode",
    grammar.word_of("a mode", NetworkMode),
    "dhcp: we own addressing; proxy: another server gives addresses, we give boot information",
)
OTHER_SERVERS: Final = Field(
    "other_servers",
    grammar.word_of("what to do about other DHCP servers", OtherServers),
    "another DHCP server answers where we own addressing: refuse to start, or start and tell",
)
LEASE: Final = Field("lease", _LEASE, "how long an address is lent: 120s to 365d")
RELAYED: Final = Field("relayed", ListOf(_RELAYED_TABLE, most=64), "VLANs behind DHCP relays")
MTU: Final = Field("mtu", Number("an MTU", 576, 9216), "sent to machines as option 26")
PINNED: Final = Field("mac", grammar.MAC, "the MAC that the interface has: with another, it is not served")
DEFAULT_ROUTE: Final = Field(
    "default_route",
    grammar.word_of("what to do about a default route", DefaultRoute),
    "the default route leaves by the interface: do not serve it, or serve it all the same",
)
FORWARDING: Final = Field(
    "forwarding",
    grammar.word_of("a forwarding", Forwarding),
    "deny: this host routes nothing between the network and others; allow: what its kernel is set to",
)
NTP: Final = Field("ntp", ListOf(grammar.IPV4, most=8), "time servers, sent to machines as option 42")
_NETWORK_TABLE: Final = Table(
    "A PXE VLAN.",
    (
        *(INTERFACE, SUBNET, ADDRESS, MODE, OTHER_SERVERS, LEASE, RELAYED, MTU, NTP, VLAN, PINNED),
        *(DEFAULT_ROUTE, FORWARDING),
    ),
)

PORT: Final = Field("port", Number("a port", 1, 65535), "where HTTP listens, on every PXE address")
HOSTS: Final = Field(
    "hosts", ListOf(grammar.DOMAIN, most=32), "names by which browsers reach us, besides our addresses"
)
_HTTP_TABLE: Final = Table("Our HTTP side.", (PORT, HOSTS))

ENDPOINT: Final = Field("endpoint", grammar.ENDPOINT, "builtin, or the base URL of an external Matchbox")
DATA: Final = Field("data", grammar.LOCAL_PATH, "an operator's own Matchbox data directory")
PUSH: Final = Field(
    "push",
    grammar.word_of("a way to push", Push),
    "how our groups and profiles reach an external Matchbox: as files below data, or by gRPC",
)
GRPC: Final = Field("grpc", grammar.HOST_PORT, "the external Matchbox's gRPC side, HOST:PORT")
CA: Final = Field("ca", grammar.LOCAL_PATH, "who signed its certificate; in keys.d/ unless absolute")
CERT: Final = Field("cert", grammar.LOCAL_PATH, "our client certificate; in keys.d/ unless absolute")
KEY: Final = Field("key", grammar.LOCAL_PATH, "the key of our client certificate; in keys.d/ unless absolute")
IGNITION_ACCESS: Final = Field(
    "ignition",
    grammar.word_of("who may read an Ignition", Access),
    "armed: the machine itself, in a boot with the token; lease: whatever MAC answers for it; open: anybody",
)
KEYRING: Final = Field(
    "keyring",
    grammar.LOCAL_PATH,
    "a file with an OpenPGP secret key, in keys.d/ unless absolute: what .sig and .asc are signed with",
)
_MATCHBOX_TABLE: Final = Table(
    "The Matchbox endpoint.", (ENDPOINT, DATA, PUSH, IGNITION_ACCESS, KEYRING, GRPC, CA, CERT, KEY)
)

MIRROR: Final = Field("mirror", grammar.MIRROR, "where to fetch from; {channel} may stand in it")
KEYS: Final = Field("keys", ListOf(grammar.FILE_NAME, most=16), "signing keys in keys.d/")
ARCH: Final = Field("arch", ListOf(grammar.ARCH, most=2, least=1), "architectures to fetch")
_IMAGE_TABLE: Final = Table("One image source.", (MIRROR, KEYS, ARCH))

FORMAT: Final = Field(
    "format",
    grammar.word_of("a log format", LogFormat),
    "text or json: lines on standard error; journal: to journald, with a field for each fact. "
    "Default: journal where systemd reads our standard error, else text",
)
LEVEL: Final = Field("level", grammar.word_of("a log level", LogLevel), "the least that is logged")
_LOG_TABLE: Final = Table("The daemon's log.", (FORMAT, LEVEL))

URL: Final = Field("url", grammar.WEBHOOK, "where to; its path is never shown", required=True)
SECRET: Final = Field(
    "secret",
    grammar.SECRET_FILE,
    "the file with what deliveries are signed with, in secrets.d/ unless absolute",
    required=True,
)
EVENTS: Final = Field(
    "events", ListOf(grammar.word_of("an event", Notice), most=len(Notice), least=1), "what it is told of"
)
HOOK_CA: Final = Field("ca", grammar.LOCAL_PATH, "who signed its certificate; in keys.d/ unless absolute")
_WEBHOOK_TABLE: Final = Table("Who is told, by a signed POST.", (URL, SECRET, EVENTS, HOOK_CA))

NETWORK: Final = Field(
    "network", NamedTables(grammar.LABEL, _NETWORK_TABLE, most=256), "the PXE VLANs, by name", required=True
)
HTTP: Final = Field("http", _HTTP_TABLE, "our HTTP side")
MATCHBOX: Final = Field("matchbox", _MATCHBOX_TABLE, "the Matchbox endpoint")
SOURCES: Final = tuple(Field(name, _IMAGE_TABLE, f"where {name} comes from") for name in IMAGE_SOURCES)
IMAGES: Final = Field("images", Table("Image sources.", SOURCES), "image sources")

LOG: Final = Field("log", _LOG_TABLE, "the daemon's log")
WEBHOOKS: Final = Field(
    "webhook", NamedTables(grammar.LABEL, _WEBHOOK_TABLE, most=16), "who is told what happens, by name"
)

SETTINGS: Final = Table(
    "Settings of pxe-appliance (appliance.toml).", (NETWORK, HTTP, MATCHBOX, IMAGES, LOG, WEBHOOKS)
)
