"""What one line of dnsmasq's log says, as a value. Strings in here come from the wire: never trusted."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from appliance.addresses import Mac


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """A line that no grammar knows. Zero of these is the rule."""

    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A line that is known and changes nothing: start-up notes, details of an answer."""

    text: str
    xid: int | None = None


# ── one DHCP packet: the lines share the transaction id when log-dhcp is on ──


@dataclass(frozen=True, slots=True)
class Subnet:
    """The first line about a packet: the subnet it is served from."""

    xid: int
    network: IPv4Address
    netmask: IPv4Address


@dataclass(frozen=True, slots=True)
class VendorClass:
    """Option 60."""

    xid: int
    text: str


@dataclass(frozen=True, slots=True)
class UserClass:
    """Option 77."""

    xid: int
    text: str


@dataclass(frozen=True, slots=True)
class ClientName:
    """Option 12 as the client says it."""

    xid: int
    text: str


@dataclass(frozen=True, slots=True)
class Tags:
    """What the packet was matched with."""

    xid: int
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class BootFile:
    """The boot file in the answer."""

    xid: int
    name: str


@dataclass(frozen=True, slots=True)
class NextServer:
    """The server in the answer that has the boot file."""

    xid: int
    address: str


@dataclass(frozen=True, slots=True)
class SentOption:
    """An option in the answer; number 53 is always the first, after everything else is said."""

    xid: int
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Packet:
    """A DHCP packet, heard or sent. `mac` is None when it is no Ethernet unicast address."""

    xid: int | None
    interface: str
    ip: IPv4Address | None
    mac: Mac | None
    note: str


class Discover(Packet):
    """A DHCPDISCOVER that is being answered."""


class Offer(Packet):
    """Our DHCPOFFER."""


class Request(Packet):
    """A DHCPREQUEST."""


class Ack(Packet):
    """Our DHCPACK; `note` is the name the client gets."""


class Nak(Packet):
    """Our DHCPNAK; `note` is the reason."""


class Decline(Packet):
    """A DHCPDECLINE: the client found its address taken."""


class Release(Packet):
    """A DHCPRELEASE; `note` is `unknown lease` when there was none."""


class Inform(Packet):
    """A DHCPINFORM."""


class Bootp(Packet):
    """A BOOTP request that was answered; `note` is dnsmasq's word."""


class Proxied(Packet):
    """A ProxyDHCP answer; the message type of the answer tells port 67 (OFFER) from 4011 (ACK)."""


@dataclass(frozen=True, slots=True)
class Ignored(Packet):
    """A packet of kind `of` (dnsmasq's word, such as DHCPDISCOVER, BOOTP or PXE) that gets no answer."""

    of: str


class NoAddress(Packet):
    """A DHCPDISCOVER for which there is no address; `note` says so."""


# ── TFTP ──


@dataclass(frozen=True, slots=True)
class TftpSent:
    """A transfer ended. Also said of a size probe that never asked for a block: no proof of a boot."""

    path: str
    ip: IPv4Address


@dataclass(frozen=True, slots=True)
class TftpError:
    """A request that could not be served, or a transfer that died. `ip` is None where dnsmasq omits it."""

    reason: str
    path: str
    ip: IPv4Address | None


@dataclass(frozen=True, slots=True)
class TftpAborted:
    """The client said that it wants no more."""

    code: int
    message: str
    ip: IPv4Address


# ── dnsmasq about itself ──


@dataclass(frozen=True, slots=True)
class Started:
    """It runs; hosts are not read yet."""

    version: str


@dataclass(frozen=True, slots=True)
class Exiting:
    """It was asked to end."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """It could not start; why was said in the line before, or is `reason`."""

    reason: str


@dataclass(frozen=True, slots=True)
class HostsRead:
    """A hosts or options file has been read to its end."""

    path: str


@dataclass(frozen=True, slots=True)
class HostsRejected:
    """A line of a file was skipped; the rest of the file counts."""

    reason: str
    line: int
    path: str


@dataclass(frozen=True, slots=True)
class CannotRead:
    """A file could not be read: with a hosts file, every machine is unknown from now on."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class NotUsingConfigured:
    """A reservation cannot be honoured; `leased_to` names the MAC when a lease is in the way."""

    ip: IPv4Address
    reason: str
    leased_to: Mac | None


@dataclass(frozen=True, slots=True)
class AddressDisabled:
    """A DECLINE took a reservation out of service for a while; a reload brings it back."""

    ip: IPv4Address
    period: str


@dataclass(frozen=True, slots=True)
class NoRange:
    """A packet came from a subnet that is none of ours; `via` is the relay or the interface."""

    via: str


@dataclass(frozen=True, slots=True)
class NoInterfaceAddress:
    """A packet came in on an interface that has lost its address."""

    interface: str


@dataclass(frozen=True, slots=True)
class LinesLost:
    """dnsmasq could not write so many lines."""

    count: int


Record = (
    Unrecognised
    | Remark
    | Subnet
    | VendorClass
    | UserClass
    | ClientName
    | Tags
    | BootFile
    | NextServer
    | SentOption
    | Packet
    | TftpSent
    | TftpError
    | TftpAborted
    | Started
    | Exiting
    | StartFailed
    | HostsRead
    | HostsRejected
    | CannotRead
    | NotUsingConfigured
    | AddressDisabled
    | NoRange
    | NoInterfaceAddress
    | LinesLost
)
