"""The keys that an inventory file may have, as tables: read by `parse`, published as a JSON Schema.

Pure.
"""

from __future__ import annotations

import re
from typing import Final

from appliance import grammar
from appliance.image_ref import HINT, PLAIN_PATTERN, parse_image
from appliance.inventory.bond_modes import HASH_POLICIES, LACP_RATES, MODES
from appliance.inventory.model import BootPolicy, Netconf, Tuning
from appliance.reading import shown
from appliance.shapes import Field, Flag, ListOf, MapOf, NamedTables, Number, Table, Text

BOND_MODES: Final = tuple(MODES)  # the first is the default
# iPXE splits a script at blanks and at ; && ||, expands ${…} and begins comments with #; GRUB, which gets the
# same words, has & | < > * and quotes beside. None of these can be written.
_SCRIPT_WORD: Final = r"[A-Za-z0-9._=,:/@+%?~!-]{1,1024}"
_ASSET: Final = r"/?[A-Za-z0-9_][A-Za-z0-9._=@+~-]*(?:/[A-Za-z0-9_][A-Za-z0-9._=@+~-]*)*"
_URL: Final = r"(?:https?|tftp)://[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/[A-Za-z0-9._=,:/@+%?~-]*"
# As `dmidecode -s system-uuid` prints it (RFC 4122).
_UUID_HINT: Final = "write 8-4-4-4-12 hexadecimal digits"
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


def parse_uuid(raw: str) -> str:
    """An SMBIOS UUID in lower case; ValueError with a sentence otherwise."""
    lowered = raw.lower()
    if not _UUID.fullmatch(lowered):
        raise ValueError(f"{shown(raw)} is not a UUID")
    return lowered


_SERIAL: Final = Text("a serial number", str, {"maxLength": 128}, 128)
_UUID_TEXT: Final = Text("a UUID", parse_uuid, {"format": "uuid"}, 64, _UUID_HINT)
_IMAGE_TEXT: Final = Text("an image", parse_image, {"pattern": f"^{PLAIN_PATTERN}$"}, hint=HINT)
_SOURCE: Final = grammar.matching(
    "a kernel or initrd",
    rf"{_URL}|{_ASSET}",
    "an http(s) or tftp URL, or a path below /assets/, is expected, without blanks, quotes, &, $ or ;",
)
_ARG: Final = grammar.matching(
    "one kernel argument",
    _SCRIPT_WORD,
    "letters, digits and ._=,:/@+%?~!- are allowed; blanks separate arguments, so make each its own entry",
)
_LABEL_KEY: Final = grammar.matching(
    "a label's name", r"[A-Za-z0-9_.-]{1,63}", "at most 63 letters, digits, dots, dashes and underscores"
)
_PROFILE_NAME: Final = grammar.matching(
    "a profile's name", r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", "at most 63 letters, digits, dots and dashes"
)


def _parse_port(raw: str) -> str:
    """Where a NIC is plugged in, in the words of whoever plugs it: `leaf1 Ethernet1/7`."""
    if not raw.strip():
        raise ValueError("a blank port is written")
    return raw.strip()


_PORT_TEXT: Final = Text(
    "a switch and its port", _parse_port, {"maxLength": 64}, 64, "write it as leaf1 Ethernet1/7"
)
_LABEL_VALUE: Final = Text("a label's value", str, {"maxLength": 256}, 256)

# Profiles.
IMAGE: Final = Field("image", _IMAGE_TEXT, "os/stream[@version] of the image store, or local/NAME")
KERNEL: Final = Field("kernel", _SOURCE, "instead of an image: a URL, or a path below /assets/")
INITRD: Final = Field("initrd", ListOf(_SOURCE, most=16), "with a kernel: URLs, or paths below /assets/")
ARGS: Final = Field("args", ListOf(_ARG, most=64), "kernel arguments, one per entry")
IGNITION: Final = Field("ignition", grammar.FILE_NAME, "a file in ignition.d/: Butane or Ignition")
BOOT: Final = Field("boot", grammar.word_of("a boot policy", BootPolicy), "what a PXE boot is given")
NETCONF: Final = Field(
    "netconf",
    grammar.word_of("what configures networks", Netconf),
    "networkd, networkmanager or none; by default as its image has it",
)
TUNING: Final = Field(
    "tuning", grammar.word_of("a tuning", Tuning), "performance: CPU governor and energy policy"
)
CALL_HOME: Final = Field("call_home", Flag(), "false: no unit that reports is put into its Ignition")
_PROFILE_TABLE: Final = Table(
    "What a group of machines boots.",
    (IMAGE, KERNEL, INITRD, ARGS, IGNITION, BOOT, NETCONF, TUNING, CALL_HOME),
)

# Machines: what a link carries.
ADDRESS: Final = Field("address", grammar.INTERFACE_ADDRESS, "the machine's address on it, with prefix")
GATEWAY: Final = Field("gateway", grammar.IPV4, "the default route; of several, the first one written wins")
MTU: Final = Field(
    "mtu", Number("an MTU", 576, 9216), "in bytes of IP: 1500, or what its VLANs need, by default"
)
DNS: Final = Field("dns", ListOf(grammar.IPV4, most=8), "name servers reached by it")
SEARCH: Final = Field("search", ListOf(grammar.DOMAIN, most=8), "domains that names are looked up in")
ROUTE_TO: Final = Field("to", grammar.DESTINATION, "the network that it leads to", required=True)
ROUTE_VIA: Final = Field("via", grammar.IPV4, "the router, on the subnet of the address", required=True)
ROUTE_METRIC: Final = Field("metric", Number("a metric", 1, 65535), "lower ones win")
_ROUTE_TABLE: Final = Table("A route.", (ROUTE_TO, ROUTE_VIA, ROUTE_METRIC))
ROUTES: Final = Field("routes", ListOf(_ROUTE_TABLE, most=64), "routes beside the default one")
_LAYER3: Final = (ADDRESS, GATEWAY, DNS, SEARCH, ROUTES)

# VLANs, bonds, NICs.
VLAN_ID: Final = Field("id", Number("a VLAN id", 1, 4094), "the 802.1Q tag", required=True)
_VLAN_TABLE: Final = Table("A VLAN on a bond or a NIC.", (VLAN_ID, MTU, *_LAYER3))
MEMBERS: Final = Field(
    "members", ListOf(grammar.INTERFACE, most=16, least=1), "NICs of this machine", required=True
)
BOND_MODE: Final = Field("mode", grammar.one_of("a bond mode", BOND_MODES), "802.3ad by default")
VLANS: Final = Field("vlans", NamedTables(grammar.INTERFACE, _VLAN_TABLE, most=64), "VLANs by name")
LACP_RATE: Final = Field("lacp_rate", grammar.one_of("an LACP rate", LACP_RATES), "802.3ad: fast by default")
HASH_POLICY: Final = Field(
    "hash_policy", grammar.one_of("a hash policy", HASH_POLICIES), "which link a packet takes"
)
MIN_LINKS: Final = Field("min_links", Number("a number of links", 1, 16), "802.3ad: fewer, and it is down")
PRIMARY: Final = Field(
    "primary", grammar.INTERFACE, "active-backup, balance-tlb, balance-alb: the member used while it is up"
)
BOND_MAC: Final = Field("mac", grammar.MAC, "a fixed MAC, where switch or DHCP server key on it")
_BOND_TABLE: Final = Table(
    "A bond that the installed machine shall have.",
    (MEMBERS, BOND_MODE, VLANS, MTU, LACP_RATE, HASH_POLICY, MIN_LINKS, PRIMARY, BOND_MAC, *_LAYER3),
)

# Machines.
NIC_MAC: Final = Field("mac", grammar.MAC, "never given an address on the PXE VLAN", required=True)
PORT: Final = Field("port", _PORT_TEXT, "the switch and its port, for the network team: leaf1 Ethernet1/7")
_NIC_TABLE: Final = Table("Another NIC of the machine.", (NIC_MAC, PORT, MTU, VLANS, *_LAYER3))
MAC: Final = Field("mac", grammar.MAC, "the NIC on the PXE VLAN")
# dnsmasq reads a reservation in lines of 1024 bytes: sixteen MACs, an address and a name fit easily.
MACS: Final = Field(
    "macs", ListOf(grammar.MAC, most=16, least=1), "its NICs there, when any of several may boot"
)
IP: Final = Field("ip", grammar.IPV4, "its reservation", required=True)
NETWORK: Final = Field("network", grammar.LABEL, "the network; left out when the ip or a single one tells")
PROFILE: Final = Field("profile", _PROFILE_NAME, "what it boots")
LABELS: Final = Field("labels", MapOf(_LABEL_KEY, _LABEL_VALUE, most=64), "names and values of your own")
SERIAL: Final = Field("serial", _SERIAL, "the serial number")
UUID: Final = Field("uuid", _UUID_TEXT, "the SMBIOS UUID")
ARCH: Final = Field("arch", grammar.ARCH, "the architecture")
HOSTNAME: Final = Field("hostname", grammar.HOSTNAME, "its host name; the machine's name by default")
NIC: Final = Field("nic", NamedTables(grammar.INTERFACE, _NIC_TABLE, most=64), "its other NICs, by name")
BOND: Final = Field("bond", NamedTables(grammar.INTERFACE, _BOND_TABLE, most=16), "its bonds, by name")
_MACHINE_TABLE: Final = Table(
    "A machine.",
    (MAC, MACS, IP, NETWORK, PROFILE, LABELS, SERIAL, UUID, ARCH, HOSTNAME, NIC, BOND, PORT),
)

MACHINES: Final = Field(
    "machine", NamedTables(grammar.HOSTNAME, _MACHINE_TABLE, most=100_000), "machines by name"
)
PROFILES: Final = Field(
    "profile", NamedTables(_PROFILE_NAME, _PROFILE_TABLE, most=10_000), "profiles by name"
)
INVENTORY: Final = Table("An inventory file of pxe-appliance (inventory.d/).", (MACHINES, PROFILES))
