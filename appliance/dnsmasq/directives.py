"""Which directives of dnsmasq an operator may add: what is said to clients, and about which of them. Pure.

Everything else is refused before any dnsmasq reads the file, `--test` too: that runs a `conf-script` at once.
A directive that nobody here has judged is refused as well; dnsmasq gains new ones with each release.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from appliance.errors import Problem

ALLOWED: Final = frozenset(
    (
        # What clients are told.
        *("dhcp-option", "dhcp-option-force", "dhcp-boot", "pxe-service", "pxe-prompt", "dhcp-pxe-vendor"),
        *("dhcp-no-override", "dhcp-broadcast", "dhcp-reply-delay", "dhcp-ttl", "domain", "dhcp-fqdn"),
        *("dhcp-generate-names", "dhcp-client-update", "dhcp-ignore-names"),
        # Which of them.
        *("dhcp-match", "dhcp-name-match", "dhcp-vendorclass", "dhcp-userclass", "dhcp-mac", "tag-if"),
        *("dhcp-circuitid", "dhcp-remoteid", "dhcp-subscrid", "dhcp-ignore", "dhcp-ignore-clid"),
        # How it goes about it.
        *("dhcp-authoritative", "dhcp-lease-max", "no-ping", "log-dhcp"),
    )
)
_RUNS: Final = "it runs a program"
_READS: Final = "it takes in another file, which is neither checked nor kept with the generation"
_WHERE: Final = "where we answer is said in appliance.toml"
_ADDRESSES: Final = "addresses are the inventory's alone: nothing unknown gets one"
_FILES: Final = "what we serve by TFTP is not dnsmasq.d's to say"
_RIGHTS: Final = "the service decides as whom and where dnsmasq runs"
_LOGS: Final = "we read dnsmasq's log, and need all of it"
_LEASES: Final = "leases are kept by the service, which no dnsmasq writes for"
_IPV6: Final = "we answer IPv4 alone"
_DNS: Final = "our dnsmasq answers no DNS"
_WHY: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("conf-script", "dhcp-script", "dhcp-luascript", "dhcp-scriptuser"), _RUNS),
        **dict.fromkeys(("script-arp", "script-on-renewal", "enable-dbus", "enable-ubus"), _RUNS),
        **dict.fromkeys(("conf-file", "conf-dir", "servers-file", "addn-hosts", "hostsdir"), _READS),
        **dict.fromkeys(("dhcp-optsfile", "dhcp-optsdir", "resolv-file", "dumpfile", "dumpmask"), _READS),
        **dict.fromkeys(("interface", "except-interface", "listen-address", "bind-interfaces"), _WHERE),
        **dict.fromkeys(("bind-dynamic", "no-dhcp-interface", "dhcp-relay", "dhcp-proxy"), _WHERE),
        **dict.fromkeys(("no-dhcpv4-interface", "dhcp-alternate-port", "bridge-interface"), _WHERE),
        **dict.fromkeys(("dhcp-host", "dhcp-hostsfile", "dhcp-hostsdir", "dhcp-range"), _ADDRESSES),
        **dict.fromkeys(("read-ethers", "bootp-dynamic", "shared-network"), _ADDRESSES),
        **dict.fromkeys(("user", "group", "pid-file", "keep-in-foreground", "no-daemon"), _RIGHTS),
        **dict.fromkeys(("log-facility", "log-async", "quiet-dhcp", "quiet-tftp"), _LOGS),
        **dict.fromkeys(("dhcp-leasefile", "leasefile-ro"), _LEASES),
        **dict.fromkeys(("enable-ra", "ra-param", "dhcp-duid", "quiet-ra", "quiet-dhcp6"), _IPV6),
        **dict.fromkeys(("no-dhcpv6-interface",), _IPV6),
        **dict.fromkeys(("port", "server", "local", "address", "auth-server", "auth-zone"), _DNS),
        **dict.fromkeys(("host-record", "cname", "txt-record", "srv-host", "cache-size"), _DNS),
    }
)
# A name, then its value, a comment or nothing.
_NAME: Final = re.compile(rb"([a-z0-9-]+)(?:[ \t]*=.*|[ \t]+#.*)?", re.DOTALL)
# dnsmasq takes what stands behind some 1,020 octets for another line, be it of a comment.
_LONGEST: Final = 1000
_HINT: Final = f"take it out; these may stand in dnsmasq.d/: {', '.join(sorted(ALLOWED))}"


def not_allowed(file: str, content: bytes) -> list[Problem]:
    """Every line of a file of dnsmasq.d/ that must not reach dnsmasq. `file` is how to name it."""
    if not file.isprintable():  # its name becomes a comment, and must not end it
        return [Problem(repr(file), 0, "", "has a name that cannot be printed", "give it another name")]
    return [Problem(file, line, "", what, hint) for line, what, hint in _refused(content)]


def _refused(content: bytes) -> Iterator[tuple[int, str, str]]:
    for number, raw in enumerate(content.split(b"\n"), start=1):
        if len(raw) > _LONGEST:
            yield number, f"is longer than {_LONGEST} octets", "make it shorter: dnsmasq splits it"
            continue
        line = raw.strip()
        if not line or line.startswith(b"#"):
            continue
        found = _NAME.fullmatch(line)
        name = found[1].decode() if found else ""
        if not name:
            hint = "write NAME=VALUE, the name as in dnsmasq(8) without --"
            yield number, "is no directive as we read them", hint
        elif name not in ALLOWED:
            why = _FILES if "tftp" in name and name != "quiet-tftp" else _WHY.get(name)
            yield number, f"{name} is not allowed here: {why or 'nobody has judged it'}", _HINT
