"""Networks and machines for the tests of this room."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from appliance.addresses import Hostname, Mac
from appliance.boot.firmware import Selection, choose, parse_manifest
from appliance.inventory.model import Machine, Nic
from appliance.settings import NetworkMode, NetworkSettings, Relayed

ROOT: Final = Path(__file__).parent.parent.parent.parent
TEMPLATES: Final = {p.name: p.read_text() for p in sorted((ROOT / "conf.d").glob("*.j2"))}
MANIFEST: Final = parse_manifest((ROOT / "tftpboot" / "manifest.toml").read_text())
DEBIAN_12: Final = {
    "/usr/lib/ipxe/undionly.kpxe": "f09cfbe9bbd39c3f5eb9cdf7386b520a4f5858bbc4438960c5b870c7a8930a7f",
    "/usr/lib/ipxe/snponly.efi": "18fc84b69172b9f7d1e6b5274c81121dde429fdacfdc984747f687cfb4f8090b",
    "/usr/lib/ipxe/ipxe.efi": "67c7f1f8e062968209ca055283ca782f21faf6a18f55dd19848601bbaf8ed7aa",
}


def selection(*more: str) -> Selection:
    """What a Debian 12 host can serve, and further paths that were found."""
    return choose(MANIFEST, DEBIAN_12 | dict.fromkeys(more, "0" * 64))


def everything() -> Selection:
    """A host that has a binary for every class."""
    return choose(MANIFEST, dict.fromkeys(MANIFEST.paths, "0" * 64))


def network(
    name: str = "pxe",
    interface: str = "pxe0",
    subnet: str = "172.0.1.0/24",
    address: str = "172.0.1.1",
    mode: NetworkMode = NetworkMode.DHCP,
    relayed: tuple[tuple[str, str], ...] = (),
    mtu: int | None = None,
    ntp: tuple[str, ...] = (),
) -> NetworkSettings:
    return NetworkSettings(
        name,
        interface,
        IPv4Network(subnet),
        IPv4Address(address),
        mode,
        relayed=tuple(Relayed(IPv4Network(s), IPv4Address(router)) for s, router in relayed),
        mtu=mtu,
        ntp=tuple(IPv4Address(a) for a in ntp),
    )


def machine(
    name: str,
    mac: str | tuple[str, ...],
    ip: str,
    *,
    net: str = "pxe",
    nics: tuple[tuple[str, str], ...] = (),
) -> Machine:
    macs = (mac,) if isinstance(mac, str) else mac
    return Machine(
        Hostname.parse(name),
        Hostname.parse(name),
        tuple(Mac.parse(m) for m in macs),
        IPv4Address(ip),
        net,
        nics=tuple(Nic(nic, Mac.parse(m)) for nic, m in nics),
    )


RACK: Final = (
    machine(
        "node2",
        ("52:54:00:aa:00:02", "52:54:00:aa:00:12"),
        "172.0.1.22",
        nics=(("eno2", "52:54:00:bb:00:02"),),
    ),
    machine(
        "node1",
        "52:54:00:aa:00:01",
        "172.0.1.21",
        nics=(("eno3", "52:54:00:bb:00:03"), ("eno2", "52:54:00:bb:00:01")),
    ),
    machine("far1", "52:54:00:aa:00:05", "172.0.2.15"),
    machine("other1", "52:54:00:aa:00:09", "172.0.9.9", net="lab"),
)
