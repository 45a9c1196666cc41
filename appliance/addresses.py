"""MAC addresses and host names that have been checked once and are safe to write anywhere.

dnsmasq guesses the meaning of every field of a reservation (measured on 2.90: a MAC with dashes becomes a
claimable host name, `1234` a lease time, `ignore` a keyword), so nothing of ours is written into one of its
files unless it comes out of this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import netaddr

_MAC_SPELLINGS: Final = re.compile(
    r"[0-9a-f]{2}(?P<sep>[:-])(?:[0-9a-f]{2}(?P=sep)){4}[0-9a-f]{2}"  # IEEE 802 and Windows
    r"|[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}"  # Cisco
    r"|[0-9a-f]{12}",  # bare
    re.ASCII,
)
_HOSTNAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# In a dhcp-host line these are keywords and lease times, not names (dnsmasq(8), --dhcp-host; its option.c
# takes digits with one unit for a time, and looks at nothing else: 12h3 and 0x10 are names).
DNSMASQ_WORDS: Final = r"ignore|infinite|[0-9]+[wdhms]?"
_DNSMASQ_WORD: Final = re.compile(DNSMASQ_WORDS, re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Mac:
    """An EUI-48 in its one spelling: lower case, colons. Build it with `Mac.parse`."""

    text: str

    @classmethod
    def parse(cls, raw: str) -> Mac:
        """Read any usual spelling (colons, dashes, Cisco dots, bare) of a unicast, non-zero address.

        Raises:
            ValueError: with a sentence that says what is wrong with it.
        """
        lowered = raw.strip().lower()
        if not _MAC_SPELLINGS.fullmatch(lowered):
            raise ValueError(
                f"{raw!r} is not a MAC address: six octets such as 52:54:00:aa:00:01 are expected"
            )
        digits = re.sub(r"[:.-]", "", lowered)
        if int(digits, 16) == 0:
            raise ValueError(f"{raw!r} is the zero address, which no NIC has")
        if int(digits[:2], 16) & 1:
            raise ValueError(f"{raw!r} is a multicast or broadcast address, which no NIC can send from")
        return cls(":".join(digits[i : i + 2] for i in range(0, 12, 2)))

    @property
    def dashed(self) -> str:
        """The spelling of iPXE's `${mac:hexhyp}`."""
        return self.text.replace(":", "-")

    @property
    def octets(self) -> bytes:
        """The six bytes as on the wire."""
        return bytes.fromhex(self.text.replace(":", ""))

    @property
    def vendor(self) -> str:
        """Who the IEEE gave the prefix to; empty when unregistered or locally administered."""
        try:
            return str(netaddr.EUI(self.text).oui.registration()["org"])
        except netaddr.NotRegisteredError:
            return ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class Hostname:
    """One label of RFC 1123 section 2.1 that is none of dnsmasq's words. Build it with `parse`."""

    text: str

    @classmethod
    def parse(cls, raw: str) -> Hostname:
        """Read a host name; upper case is folded (RFC 1035 section 2.3.3).

        Raises:
            ValueError: with a sentence that says what is wrong with it.
        """
        lowered = raw.lower() if raw.isascii() else raw
        if not _HOSTNAME.fullmatch(lowered):
            raise ValueError(
                f"{raw!r} is not a host name: letters, digits and dashes are expected, at most 63 and no "
                "dash at either end (RFC 1123)"
            )
        if _DNSMASQ_WORD.fullmatch(lowered):
            kind = "a lease time" if lowered[0].isdigit() else "a command"
            raise ValueError(f"{raw!r} is a word that dnsmasq reads as {kind}, not as a name")
        return cls(lowered)

    def __str__(self) -> str:
        return self.text


def usable_by_host(ip: IPv4Address, subnet: IPv4Network) -> str:
    """Why a host cannot hold `ip` inside `subnet`; empty when it can."""
    if ip not in subnet:
        return f"{ip} is outside {subnet}"
    if subnet.prefixlen < 31 and ip == subnet.network_address:
        return f"{ip} is the network address of {subnet}"
    if subnet.prefixlen < 31 and ip == subnet.broadcast_address:
        return f"{ip} is the broadcast address of {subnet}"
    return ""
