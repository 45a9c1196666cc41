"""The words that settings and inventory share, as shapes: addresses, names, URLs, paths.

Every grammar is an allow-list. What passes here ends up in dnsmasq's configuration, in iPXE scripts and on
command lines, where a comma, a `#`, a `${` or a dash in front has a meaning of its own.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final, TypeVar

from appliance.addresses import DNSMASQ_WORDS, Hostname, Mac
from appliance.reading import Unfit, nearest, shown
from appliance.shapes import Text

E = TypeVar("E", bound=StrEnum)

_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4_SCHEMA: Final = rf"^{_OCTET}(?:\.{_OCTET}){{3}}$"
_IPV4_PREFIX: Final = re.compile(r"[0-9.]{7,15}/[0-9]{1,2}", re.ASCII)
_INTERFACE: Final = r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_FILE_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,126}"
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_BASE_URL: Final = rf"https?://{_HOST}(?::[0-9]{{1,5}})?(?:/[A-Za-z0-9._~+-]+)*"
_MIRROR: Final = (
    rf"https?://(?:{_HOST}|\{{channel\}}\.{_HOST})(?::[0-9]{{1,5}})?"
    r"(?:/(?:[A-Za-z0-9._~+-]|\{channel\})+)*"
)
# RFC 6890: no host of a VLAN has one of these. Link-local ones (RFC 3927) are what a NIC without DHCP takes.
_SPECIAL: Final = (
    (IPv4Network("0.0.0.0/8"), '"this network"'),
    (IPv4Network("127.0.0.0/8"), "the loopback"),
    (IPv4Network("169.254.0.0/16"), "link-local"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("240.0.0.0/4"), "reserved"),
)
_ARCHITECTURES: Final = {"amd64": "amd64", "x86_64": "amd64", "arm64": "arm64", "aarch64": "arm64"}


def matching(kind: str, pattern: str, expected: str, longest: int = 1024) -> Text[str]:
    """A string that matches `pattern` as a whole; `expected` is the hint for whoever wrote another."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(raw: str) -> str:
        if not compiled.fullmatch(raw) or (".." in raw and ".." in raw.split("/")):
            raise Unfit(f"{shown(raw)} is not {kind}", expected)
        return raw

    return Text(kind, parse, {"pattern": f"^(?:{pattern})$"}, longest, expected)


def word_of(kind: str, enum: type[E]) -> Text[E]:
    """One of an enumeration's words."""
    words = [member.value for member in enum]
    chosen = one_of(kind, words)
    return Text(kind, lambda raw: enum(chosen.parse(raw)), {"enum": words}, hint=chosen.hint)


def one_of(kind: str, words: Iterable[str]) -> Text[str]:
    """One of a few words, as they are."""
    known = tuple(words)
    hint = f"write one of {', '.join(known)}"

    def parse(raw: str) -> str:
        if raw in known:
            return raw
        near = nearest(raw, known)
        raise Unfit(f"{shown(raw)} is not {kind}", f"did you mean {near!r}?" if near else hint)

    return Text(kind, parse, {"enum": list(known)}, hint=hint)


def parse_ipv4(raw: str) -> IPv4Address:
    """Four decimal octets; ValueError with a sentence otherwise."""
    try:
        return IPv4Address(raw)
    except ValueError:
        raise ValueError(f"{shown(raw)} is not an IPv4 address") from None


def parse_subnet(raw: str) -> IPv4Network:
    """A subnet on which a server and machines fit: ADDRESS/PREFIX, /8 to /30, no host bits."""
    try:
        subnet = IPv4Network(raw, strict=False) if _IPV4_PREFIX.fullmatch(raw) else None
    except ValueError:
        subnet = None
    if subnet is None:
        raise Unfit(f"{shown(raw)} is not a subnet", "write one such as 172.0.1.0/24")
    if str(subnet) != raw:
        raise Unfit(f"{shown(raw)} has host bits set", f"its subnet is {subnet}")
    if not 8 <= subnet.prefixlen <= 30:
        raise Unfit(f"{subnet} is not the size of a VLAN", "give it a prefix from /8 to /30")
    for special, what in _SPECIAL:
        if subnet.overlaps(special):
            raise Unfit(
                f"{subnet} cannot be a VLAN: {special} is {what}", "write the subnet that the VLAN really has"
            )
    return subnet


def parse_interface_address(raw: str) -> IPv4Interface:
    """A host's address with its prefix: ADDRESS/PREFIX."""
    try:
        address = IPv4Interface(raw) if _IPV4_PREFIX.fullmatch(raw) else None
    except ValueError:
        address = None
    if address is None:
        raise ValueError(f"{shown(raw)} is not an address with its prefix")
    return address


def parse_destination(raw: str) -> IPv4Network:
    """Where a route leads: ADDRESS/PREFIX, /1 to /32, no host bits; ValueError with a sentence otherwise."""
    try:
        network = IPv4Network(raw, strict=False) if _IPV4_PREFIX.fullmatch(raw) else None
    except ValueError:
        network = None
    if network is None:
        raise ValueError(f"{shown(raw)} is not a network")
    if network.prefixlen == 0:
        raise Unfit(f"{raw} is the default route", "write it as gateway")
    if str(network) != raw:
        raise Unfit(f"{shown(raw)} has host bits set", f"its network is {network}")
    return network


def _parse_arch(raw: str) -> str:
    if raw not in _ARCHITECTURES:
        raise ValueError(f"{shown(raw)} is not an architecture")
    return _ARCHITECTURES[raw]


def _parse_interface(raw: str) -> str:
    name = _ANY_INTERFACE.parse(raw)
    if name == "lo":
        raise Unfit("lo is the loopback, which faces no machine", "name the NIC that faces the VLAN")
    return name


def _with_port(kind: str, pattern: str, expected: str) -> Callable[[str], str]:
    shape = matching(kind, pattern, expected)

    def parse(raw: str) -> str:
        url = shape.parse(raw.rstrip("/"))
        port = re.search(r":([0-9]{1,5})(?:/|$)", url)
        if port and not 1 <= int(port[1]) <= 65535:
            raise Unfit(f"{shown(raw)} is not {kind}: {port[1]} is not a port", "ports are 1 to 65535")
        return url

    return parse


_MAC_SCHEMA: Final = "^(?:{0}([:-]{0}){{5}}|{0}{0}(\\.{0}{0}){{2}}|{0}{{6}})$".format("(?:[0-9A-Fa-f]{2})")

_HOSTNAME_SCHEMA: Final = rf"^(?!(?:{DNSMASQ_WORDS})$)[A-Za-z0-9](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?$"
_PREFIX_SCHEMA: Final = "^[0-9.]+/[0-9]{1,2}$"

MAC: Final = Text(
    "a MAC address", Mac.parse, {"pattern": _MAC_SCHEMA}, 32, "copy it from the NIC's label or from ip link"
)
HOSTNAME: Final = Text(
    "a host name", Hostname.parse, {"pattern": _HOSTNAME_SCHEMA}, 253, "give it a name such as node1"
)
DESTINATION: Final = Text(
    "a network", parse_destination, {"pattern": _PREFIX_SCHEMA}, 64, "write one such as 10.0.0.0/8"
)
IPV4: Final = Text(
    "an IPv4 address", parse_ipv4, {"pattern": _IPV4_SCHEMA}, 64, "write four numbers such as 172.0.1.21"
)
SUBNET: Final = Text(
    "a subnet", parse_subnet, {"pattern": _PREFIX_SCHEMA}, 64, "write one such as 172.0.1.0/24"
)
INTERFACE_ADDRESS: Final = Text(
    "an address with its prefix",
    parse_interface_address,
    {"pattern": _PREFIX_SCHEMA},
    64,
    "write one such as 10.0.100.21/24",
)
_ANY_INTERFACE: Final = matching(
    "an interface name",
    _INTERFACE,
    "at most 15 letters, digits, dots, dashes and underscores, no dash in front",
)
INTERFACE: Final = replace(_ANY_INTERFACE, parse=_parse_interface)
LABEL: Final = matching("a name", _LABEL, "at most 63 letters, digits and dashes, no dash at either end")
DOMAIN: Final = matching(
    "a domain", rf"{_LABEL}(?:\.{_LABEL})*", "write one such as cluster.example.com", 253
)
FILE_NAME: Final = matching(
    "a file name", _FILE_NAME, "letters, digits, dots, dashes and the like, and no folders"
)
ARCH: Final = Text(
    "an architecture", _parse_arch, {"enum": sorted(_ARCHITECTURES)}, 64, "write amd64 or arm64"
)
MIRROR: Final = Text(
    "a mirror",
    _with_port("a mirror", _MIRROR, "http(s)://HOST[:PORT][/PATH] is expected; {channel} may stand in it"),
    {"pattern": f"^(?:{_MIRROR})/?$"},
    hint="write a URL such as https://mirror.example.com/flatcar",
)
ENDPOINT: Final = Text(
    "an endpoint",
    _with_port(
        "an endpoint", rf"builtin|{_BASE_URL}", '"builtin" or http(s)://HOST[:PORT][/PATH] is expected'
    ),
    {"pattern": f"^(?:builtin|{_BASE_URL}/?)$"},
    hint='write "builtin" or a URL such as http://matchbox.example.com:8080',
)
HOST_PORT: Final = Text(
    "a host and its port",
    _with_port("a host and its port", rf"{_HOST}:[0-9]{{1,5}}", "HOST:PORT is expected"),
    {"pattern": f"^(?:{_HOST}:[0-9]{{1,5}})$"},
    hint="write it as matchbox.example.com:8081",
)
# A receiver's path or query is often its password: neither is ever echoed.
_WEBHOOK: Final = rf"https?://{_HOST}(?::[0-9]{{1,5}})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
_WEBHOOK_QUERY: Final = r"(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
_WEBHOOK_HINT: Final = "write one such as https://alerts.example.com/hooks/pxe"
_KEPT_IN: Final = r"[A-Za-z0-9_./@+][A-Za-z0-9_./@+-]*"


def _parse_webhook(raw: str) -> str:
    port = re.match(r"https?://[^/?:]*:([0-9]{1,5})", raw)
    if not re.fullmatch(_WEBHOOK + _WEBHOOK_QUERY, raw, re.ASCII):
        raise Unfit("this is not the URL of a receiver", _WEBHOOK_HINT)
    if port and not 1 <= int(port[1]) <= 65535:
        raise Unfit(f"{port[1]} is not a port", "ports are 1 to 65535")
    return raw


def _parse_secret_file(raw: str) -> str:
    if raw.startswith("whsec_") or not re.fullmatch(_KEPT_IN, raw, re.ASCII) or ".." in raw.split("/"):
        hint = "put the secret into a file in secrets.d/, and write the name of that file here"
        raise Unfit("this is not the name of a file (what it says is not shown: it may be a secret)", hint)
    return raw


WEBHOOK: Final = Text(
    "the URL of a receiver", _parse_webhook, {"pattern": f"^(?:{_WEBHOOK}{_WEBHOOK_QUERY})$"}
)
SECRET_FILE: Final = Text(
    "the name of a secret's file", _parse_secret_file, {"pattern": f"^(?!whsec_)(?:{_KEPT_IN})$"}
)
LOCAL_PATH: Final = matching(
    "a path", r"[A-Za-z0-9_./@+][A-Za-z0-9_./@+-]*", "letters, digits and ._/@+- are expected", 1024
)
