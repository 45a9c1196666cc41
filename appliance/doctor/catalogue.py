"""Every check of the doctor by its stable id: where it belongs, what it promises, what it needs first. Pure.

An id is public: `explain ID` has a page for each, scripts ask for it with `doctor --only`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Check:
    """One check: the noun it is about, and what is true when it is well."""

    id: str
    group: str
    words: str


_TABLE: Final = (
    (
        "doctor",
        ("rights", "the doctor may look everywhere"),
        ("doctor-time", "everything that was asked answered in time"),
    ),
    (
        "sources",
        ("settings", "appliance.toml can be used"),
        ("inventory", "inventory.d/ and all that it names can be used"),
        ("inventory-doubts", "nothing in settings and inventory looks like a mistake"),
        ("inventory-synced", "what is served is what the inventory says"),
        ("generation", "the current generation is there and is what sync wrote"),
        ("generation-proven", "the current generation was shown to work by a real exchange"),
    ),
    (
        "interface",
        ("interface-present", "the interface of each network exists"),
        ("interface-up", "it is up"),
        ("interface-carrier", "it has a link"),
        ("interface-address", "it holds our address"),
        ("interface-prefix", "our address has the prefix of the subnet"),
        ("interface-subnet", "no other interface leads to the subnet"),
        ("interface-mtu", "its MTU is what machines are told"),
        ("interface-mac", "it is the NIC that is pinned, where one is"),
        ("interface-default-route", "it does not carry the default route"),
        ("interface-parent", "what it stands on (VLAN's parent, bridge's ports) is up"),
        ("interface-member", "it is no member of a bridge or a bond"),
    ),
    (
        "ports",
        ("port-53", "our dnsmasq answers no DNS"),
        ("port-67", "DHCP: our dnsmasq listens, nobody else does"),
        ("port-69", "TFTP: our dnsmasq listens, nobody else does"),
        ("port-4011", "proxy DHCP: as the mode of the network wants it"),
        ("port-http", "HTTP: our daemon listens, nobody else does"),
        ("dhcp-servers", "no second DHCP server of this host serves a PXE VLAN"),
    ),
    (
        "firewall",
        ("firewall-dhcp", "no rule drops DHCP"),
        ("firewall-tftp", "no rule drops TFTP"),
        ("firewall-http", "no rule drops HTTP"),
        ("firewall-replies", "no rule drops our answers"),
        ("firewall-ufw", "ufw lets machines in, where it is active"),
        ("firewall-firewalld", "firewalld lets machines in, where it runs"),
    ),
    (
        "forwarding",
        ("forwarding", "nothing is forwarded between a PXE VLAN and other networks"),
        ("reverse-path", "the kernel does not drop packets of relays for the way they came"),
        ("bridge-netfilter", "the host's rules do not filter frames between ports of a bridge"),
    ),
    (
        "daemon",
        ("daemon-running", "the daemon runs"),
        ("daemon-answers", "it answers"),
        ("daemon-version", "it is of the version of this command"),
        ("daemon-single", "it is the only one here"),
        ("dnsmasq-children", "its dnsmasq processes serve"),
        ("rogue-server", "no other DHCP server was heard on a PXE VLAN"),
        ("status", "the daemon reports no problem of its own"),
    ),
    (
        "fetching",
        ("tftp-fetch", "first stages come whole and right over TFTP"),
        ("http-health", "/healthz answers"),
        ("http-script", "iPXE gets its first script"),
        ("http-fetch", "first stages come whole and right over HTTP"),
    ),
    (
        "boot files",
        ("boot-files", "PCs with BIOS and UEFI have a first stage"),
        ("boot-arch", "every architecture of the inventory has a first stage"),
        ("boot-published", "the TFTP root has what is served"),
        ("secure-boot", "what a shim would start is signed"),
    ),
    (
        "files",
        ("files-etc", "only root changes what the operator wrote, and the daemon can read it"),
        ("files-state", "the state belongs to the daemon"),
        ("files-run", "the control socket is for its group alone"),
        ("files-secrets", "no secret can be read by every user"),
        ("files-tftp", "the TFTP root holds plain files of the daemon's user, no links"),
    ),
    (
        "packages",
        ("package-dnsmasq", "dnsmasq has no known hole that matters here"),
        ("package-ipxe", "iPXE is installed"),
        ("package-matchbox", "the window manager of that name is not installed"),
        ("programs", "the programs that the daemon starts are there"),
        ("python-packages", "the Python packages are there, in versions that fit"),
    ),
    (
        "host",
        ("disk-space", "there is room where we write"),
        ("disk-inodes", "there are inodes where we write"),
        ("clock-synchronised", "the clock is synchronised"),
        ("clock-sane", "the clock is not years away"),
        ("cpu-governor", "no processor is kept slow"),
        ("receive-buffer", "a rack that asks at once fits in a socket's buffer"),
        ("neighbour-table", "every machine fits in the neighbour table"),
    ),
    (
        "leases",
        ("leases-removed", "nobody holds an address who is not in the inventory"),
        ("leases-moved", "everybody holds the address that the inventory says"),
    ),
    (
        "unit",
        ("unit-installed", "the service is installed"),
        ("unit-enabled", "it starts with the host"),
        ("unit-active", "it is active"),
        ("unit-hardening", "its sandbox is the shipped one"),
        ("unit-restarts", "it does not restart again and again"),
    ),
    (
        "images",
        ("images-lock", "images.lock can be read and pins what it says"),
        ("images-store", "the store and its pointers can be read"),
        ("images-damaged", "every pinned file has the bytes that were proven"),
        ("images-unpinned", "nothing lies in the store that is not pinned"),
        ("images-current", "every stream has a current release"),
        ("images-missing", "what is current, or a canary's, is in the store"),
        ("images-keys", "the keys that sign images are valid for three months and more"),
    ),
)
CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {identity: Check(identity, group, words) for group, *rows in _TABLE for identity, words in rows}
)
GROUPS: Final = tuple(group for group, *_ in _TABLE)


def ids_of(group: str) -> tuple[str, ...]:
    """The checks of a noun, in their order."""
    return tuple(check.id for check in CHECKS.values() if check.group == group)
