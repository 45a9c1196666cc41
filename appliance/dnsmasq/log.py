"""One line of dnsmasq's log to one record, or Unrecognised. Pure, and the only place that knows its words.

The words are those of 2.90 with `log-dhcp`; in a log file they follow a syslog-like time stamp (without a
year, in local time, so the reader's clock is what counts), on stderr nothing. dnsmasq has taken control
characters out of what clients say, so that no client can end a line; everything else in a string may be
theirs. Rules are anchored at the front, where dnsmasq writes, and every service has its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Final

from appliance.addresses import Mac
from appliance.dnsmasq import records as r

# dnsmasq's own bound on a line (MAX_MESSAGE in its log.c).
LONGEST_LINE: Final = 1024

_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], r.Record]]

_PREFIX: Final = re.compile(
    r"(?:[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} )?"
    r"dnsmasq(?P<service>-dhcp|-tftp|-script)?(?:\[[0-9]+\])?: (?P<text>.*)",
    re.ASCII | re.DOTALL,
)
_XID: Final = re.compile(r"([0-9]{1,10}) (.*)", re.ASCII | re.DOTALL)
_IP: Final = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_PACKET: Final = re.compile(
    r"(?P<word>DHCPDISCOVER|DHCPOFFER|DHCPREQUEST|DHCPACK|DHCPNAK|DHCPDECLINE|DHCPRELEASE|DHCPINFORM|BOOTP|PXE)"
    rf"\((?P<interface>[^ )]{{1,15}})\) (?:(?P<ip>{_IP}) )?(?P<mac>[0-9a-f:-]+|<null>) ?(?P<note>.*)",
    re.ASCII | re.DOTALL,
)
_PLAIN_PACKETS: Final[dict[str, type[r.Packet]]] = {
    "DHCPDISCOVER": r.Discover,
    "DHCPOFFER": r.Offer,
    "DHCPREQUEST": r.Request,
    "DHCPACK": r.Ack,
    "DHCPNAK": r.Nak,
    "DHCPDECLINE": r.Decline,
    "DHCPRELEASE": r.Release,
    "DHCPINFORM": r.Inform,
    "BOOTP": r.Bootp,
    "PXE": r.Proxied,
}
_IGNORED_NOTES: Final = frozenset({"ignored", "proxy-ignored", "disabled"})
_NO_ADDRESS_NOTES: Final = frozenset({"no address available", "no address configured", "no leases left"})


def parse(line: str) -> r.Record:
    """Read one line, without its end. Never raises; at most `LONGEST_LINE` characters are looked at."""
    line = line[:LONGEST_LINE]
    prefix = _PREFIX.fullmatch(line)
    if not prefix:
        return r.Unrecognised(line)
    text = prefix["text"]
    try:
        match prefix["service"]:
            case "-dhcp":
                return _parse_dhcp(text) or r.Unrecognised(line)
            case "-tftp":
                return _first(_TFTP_RULES, text) or r.Unrecognised(line)
            case "-script":
                return r.Unrecognised(line)
            case _:
                return _first(_OWN_RULES, text) or r.Unrecognised(line)
    except (AddressValueError, NetmaskValueError):  # 999.1.1.1 has the shape of an address and is none
        return r.Unrecognised(line)


def _parse_dhcp(text: str) -> r.Record | None:
    with_xid = _XID.fullmatch(text)
    if with_xid:
        xid, body = int(with_xid[1]), with_xid[2]
        return _parse_exchange(xid, body) or _parse_packet(xid, body) or _first(_DHCP_RULES, body)
    return _parse_packet(None, text) or _first(_DHCP_RULES, text)


def _parse_packet(xid: int | None, body: str) -> r.Packet | None:
    found = _PACKET.fullmatch(body)
    if not found:
        return None
    ip = IPv4Address(found["ip"]) if found["ip"] else None
    note = found["note"].strip()
    word, interface, mac = found["word"], found["interface"], _mac(found["mac"])
    if note in _IGNORED_NOTES and word not in {"DHCPOFFER", "DHCPACK"}:
        return r.Ignored(xid, interface, ip, mac, note, word)
    if note in _NO_ADDRESS_NOTES and word in {"DHCPDISCOVER", "BOOTP"}:
        return r.NoAddress(xid, interface, ip, mac, note)
    return _PLAIN_PACKETS[word](xid, interface, ip, mac, note)


def _mac(text: str) -> Mac | None:
    try:
        return Mac.parse(text)
    except ValueError:  # another hardware type (06-52:54…), another length, a multicast address
        return None


def _first(rules: Sequence[_Rule], text: str) -> r.Record | None:
    for pattern, build in rules:
        if found := pattern.fullmatch(text):
            return build(found)
    return None


def _rule(pattern: str, build: Callable[[re.Match[str]], r.Record]) -> _Rule:
    return re.compile(pattern, re.ASCII | re.DOTALL), build


def _remark(pattern: str) -> _Rule:
    return _rule(pattern, lambda m: r.Remark(m[0]))


_EXCHANGE_RULES: Final[tuple[tuple[re.Pattern[str], Callable[[int, re.Match[str]], r.Record]], ...]] = tuple(
    (re.compile(pattern, re.ASCII | re.DOTALL), build)
    for pattern, build in (
        (
            rf"available DHCP subnet: ({_IP})/({_IP})",
            lambda x, m: r.Subnet(x, IPv4Address(m[1]), IPv4Network((0, m[2])).netmask),
        ),
        (r"vendor class: (.*)", lambda x, m: r.VendorClass(x, m[1])),
        (r"user class: (.*)", lambda x, m: r.UserClass(x, m[1])),
        (r"client provides name: (.*)", lambda x, m: r.ClientName(x, m[1])),
        (r"tags: (.*)", lambda x, m: r.Tags(x, frozenset(t for t in m[1].split(", ") if t))),
        (r"bootfile name: (.*)", lambda x, m: r.BootFile(x, m[1])),
        (r"next server: (.*)", lambda x, m: r.NextServer(x, m[1])),
        (
            r"sent size: *[0-9]+ option: *([0-9]+) *(.*)",
            lambda x, m: r.SentOption(x, int(m[1]), m[2].strip()),
        ),
        (
            (
                r"(?:requested options: .*|broadcast response|server name: .*|available DHCP range: .*"
                r"|cannot send DHCP/BOOTP option .*|Ignoring domain .*)"
            ),
            lambda x, m: r.Remark(m[0], x),
        ),
    )
)


def _parse_exchange(xid: int, body: str) -> r.Record | None:
    for pattern, build in _EXCHANGE_RULES:
        if found := pattern.fullmatch(body):
            return build(xid, found)
    return None


_DHCP_RULES: Final[tuple[_Rule, ...]] = (
    _rule(r"read (/.*)", lambda m: r.HostsRead(m[1])),
    _rule(
        rf"not using configured address ({_IP}) because it is leased to ([0-9a-f:-]+)",
        lambda m: r.NotUsingConfigured(IPv4Address(m[1]), "it is leased to another", _mac(m[2])),
    ),
    _rule(
        rf"not using configured address ({_IP}) because (it .*)",
        lambda m: r.NotUsingConfigured(IPv4Address(m[1]), m[2], None),
    ),
    _rule(
        rf"disabling DHCP static address ({_IP}) for (.*)",
        lambda m: r.AddressDisabled(IPv4Address(m[1]), m[2]),
    ),
    _rule(
        r"no address range available for DHCP request (?:via|with subnet selector) (.*)",
        lambda m: r.NoRange(m[1]),
    ),
    _rule(r"DHCP packet received on ([^ ]{1,15}) which has no address", lambda m: r.NoInterfaceAddress(m[1])),
    _remark(r"DHCP, .*"),
    _remark(r"abandoning lease to .*"),
    _remark(r"not giving name .*"),
    _remark(r"ARP-cache injection failed: .*"),
    _remark(r"Error sending DHCP packet to .*"),
    _remark(r"Ignoring domain .*"),
    _remark(r"Multiple DHCP relays .*"),
    _remark(r"DHCP relay .*"),
)

_TFTP_RULES: Final[tuple[_Rule, ...]] = (
    _rule(rf"sent (/.*) to ({_IP})", lambda m: r.TftpSent(m[1], IPv4Address(m[2]))),
    _rule(
        rf"failed sending (/.*) to ({_IP})",
        lambda m: r.TftpError("the transfer was not finished", m[1], IPv4Address(m[2])),
    ),
    _rule(
        rf"file (/.*) not found for ({_IP})", lambda m: r.TftpError("no such file", m[1], IPv4Address(m[2]))
    ),
    _rule(r"cannot (?:access|read) (/.*): ([^:]+)", lambda m: r.TftpError(m[2], m[1], None)),
    _rule(
        rf"unsupported request from ({_IP})",
        lambda m: r.TftpError("unsupported request", "", IPv4Address(m[1])),
    ),
    _rule(
        rf"error ([0-9]+) (.*) received from ({_IP})",
        lambda m: r.TftpAborted(int(m[1]), m[2].strip(), IPv4Address(m[3])),
    ),
    # dnsmasq cuts what it says of a file at 500 bytes: of a long name neither the end nor who asked is left.
    _remark(r"(?:sent|failed sending|file|cannot access|cannot read) /.{450,}"),
    _remark(r"TFTP root is .*"),
    _remark(r"TFTP enabled.*"),
    _remark(r"restricting maximum simultaneous TFTP transfers to [0-9]+"),
)

_OWN_RULES: Final[tuple[_Rule, ...]] = (
    _rule(r"started, version ([^ ]+) .*", lambda m: r.Started(m[1])),
    _rule(r"exiting on receipt of SIGTERM", lambda _: r.Exiting()),
    _rule(r"(.+) at line ([0-9]{1,9}) of (/.*)", lambda m: r.HostsRejected(m[1], int(m[2]), m[3])),
    _rule(r"cannot read (/.*): ([^:]+)", lambda m: r.CannotRead(m[1], m[2])),
    _rule(r"cannot access directory (/.*): ([^:]+)", lambda m: r.CannotRead(m[1], m[2])),
    _rule(r"overflow: ([0-9]{1,9}) log entries lost", lambda m: r.LinesLost(int(m[1]))),
    _rule(r"FAILED to start up", lambda _: r.StartFailed("")),
    _rule(
        r"((?:failed to|cannot) (?:bind|create|open|set|listen) .*|unknown (?:user|interface) .*"
        r"|process is missing required capability .*)",
        lambda m: r.StartFailed(m[1]),
    ),
    _remark(r"compile time options: .*"),
    _remark(r"warning: .*"),
    _remark(r"setting --bind-interfaces option .*"),
    _remark(r"(?:stopped )?listening on .*"),
    _remark(r"interface [^ ]+ .*"),
    _remark(r"failed to access /etc/resolv\.conf: .*"),
    _remark(r"cleared cache"),
    _remark(r"chown of .* failed: .*"),
)
