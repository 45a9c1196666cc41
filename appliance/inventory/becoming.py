"""What a server becomes: the files that make its networks, in the words of its operating system. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import Final

from appliance.image_ref import ImageRef
from appliance.inventory.keyfiles import keyfiles
from appliance.inventory.links import PXE_METRIC
from appliance.inventory.links import becomes_something as becomes_something
from appliance.inventory.model import Machine, Netconf, Profile, Route
from appliance.inventory.networkd import networkd_files
from appliance.provisioned import ProvisionedFile
from appliance.settings import NetworkSettings

_BY_OS: Final[Mapping[str, Netconf]] = MappingProxyType(
    {
        "flatcar": Netconf.NETWORKD,
        "container-linux": Netconf.NETWORKD,
        "fedora-coreos": Netconf.NETWORKMANAGER,
    }
)
_BY_VARIANT: Final[Mapping[str, Netconf]] = MappingProxyType(
    {"flatcar": Netconf.NETWORKD, "fcos": Netconf.NETWORKMANAGER}
)


def netconf_of(profile: Profile, variant: str | None = None) -> Netconf | None:
    """What configures the networks of a profile's system; None when nothing tells.

    What the profile says, else its image, else the Butane `variant` of its Ignition file.
    """
    if profile.netconf is not None:
        return profile.netconf
    if isinstance(profile.source, ImageRef) and profile.source.os in _BY_OS:
        return _BY_OS[profile.source.os]
    return _BY_VARIANT.get(variant or "")


def has_old_systemd(profile: Profile) -> bool:
    """Whether its image ends at systemd 241, for `network_files`: Container Linux was retired with it."""
    return isinstance(profile.source, ImageRef) and profile.source.os == "container-linux"


def way_home(machine: Machine, network: NetworkSettings) -> Route | None:
    """The route that a machine behind a DHCP relay needs to reach us: its PXE NIC takes none from DHCP."""
    for relayed in network.relayed:
        if machine.ip in relayed.subnet:
            return Route(IPv4Network(network.address), relayed.router, PXE_METRIC)
    return None


def network_files(
    machine: Machine, netconf: Netconf | None, *, home: Route | None = None, old_systemd: bool = False
) -> tuple[ProvisionedFile, ...]:
    """The files that make the machine's networks; none for a machine that has nothing to become.

    Without a `netconf`, or with that of the name none, there are no files either: the caller knows whether a
    machine that becomes something may go without.

    Args:
        home: what `way_home` says.
        old_systemd: what `has_old_systemd` says.
    """
    if not becomes_something(machine):
        return ()
    match netconf:
        case Netconf.NETWORKD:
            return networkd_files(machine, home=home, old_systemd=old_systemd)
        case Netconf.NETWORKMANAGER:
            return keyfiles(machine, home=home)
    return ()
