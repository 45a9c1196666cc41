"""Whether an interface may be served at all: is it the NIC that is pinned, does it face the PXE VLAN?

A name says little: it goes to another NIC when a card is added. What answers DHCP on the wrong one takes a
production network down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from appliance.settings import DefaultRoute, NetworkSettings
from appliance.system.network import InterfaceState, interface_state
from appliance.system.routes import default_routes


@dataclass(frozen=True, slots=True)
class Danger:
    """Why a network must not be served now. `id` has a page (`explain`); `fix` is what to do about it."""

    id: str
    message: str
    fix: str


def danger_of(network: NetworkSettings, seen: InterfaceState, *, default_route: bool) -> Danger | None:
    """Judge one network's interface; one that is not there is no danger. Pure."""
    if not seen.present:
        return None
    if network.mac is not None and seen.mac.lower() != str(network.mac):
        return Danger(
            "interface-mac",
            f"{seen.name} is not the NIC that is pinned: it has {seen.mac or 'no MAC'}, not {network.mac}",
            f"ip -br link; then write the right interface, or mac, under [network.{network.name}]",
        )
    if default_route and network.default_route is DefaultRoute.REFUSE:
        return Danger(
            "interface-default-route",
            f"the default route leaves by {seen.name}: it does not look like a PXE VLAN",
            f"ip route; then name the interface that faces the PXE VLAN, or delete that route, or write "
            f'default_route = "allow" under [network.{network.name}]',
        )
    return None


def look(network: NetworkSettings) -> Danger | None:
    """The danger of a network as it is now.

    Raises:
        OSError: the kernel could not be asked: nothing is known.
    """
    return judge(network, interface_state(network.interface))


def judge(network: NetworkSettings, seen: InterfaceState) -> Danger | None:
    """As `look`, of an interface that was looked at already.

    Raises:
        OSError: the kernel could not be asked for its routes.
    """
    asked = seen.present and network.default_route is DefaultRoute.REFUSE
    leads = asked and default_routes(network.interface, ipv6=False).ipv4
    return danger_of(network, seen, default_route=leads)


def dangers(networks: Iterable[NetworkSettings]) -> dict[str, Danger]:
    """The dangers of several networks by name; of one that nothing is known of, none."""
    found = {}
    for network in networks:
        with contextlib.suppress(OSError):
            if (danger := look(network)) is not None:
                found[network.name] = danger
    return found
