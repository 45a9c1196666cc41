"""Whether whoever asks is the machine: by the address, by the lease at it, by who answers for it. Pure.

Where we give the addresses, an address is a reservation, and its lease says which MAC took it. Where
another server does, the kernel's neighbour says who it is. Neither stops a thief who takes another's
MAC as well; that is what an isolated VLAN and port security are for (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address

from appliance.addresses import Mac
from appliance.daemon.leases import Lease
from appliance.daemon.served import Served
from appliance.inventory.model import Machine
from appliance.settings import Access, NetworkMode, NetworkSettings

NO_LEASE = "no lease of"  # what a reason begins with that the machine's next DHCP exchange takes away


@dataclass(frozen=True, slots=True)
class Asker:
    """Who is at the other end of a connection.

    `local`: this very host. `machine`: whose reservation the address is or, where another server gives
    addresses, whose NIC the neighbour is. `neighbour` is the MAC by which the kernel reaches the address,
    None where it knows none or a router stands between. `proof`: this host asks in the machine's place.
    """

    address: IPv4Address | None
    local: bool = False
    machine: Machine | None = None
    network: NetworkSettings | None = None
    neighbour: Mac | None = None
    proof: bool = False


def asker_at(address: IPv4Address | None, served: Served, neighbour: Mac | None) -> Asker:
    """Who is at `address`."""
    if address is None:
        return Asker(None)
    if any(address == network.address for network in served.settings.networks.values()):
        return Asker(address, local=True)
    network = served.settings.network_of(address)
    if network is None:
        return Asker(address)
    reserved = served.by_ip.get(address)
    if network.mode is NetworkMode.PROXY:
        reserved = served.by_mac.get(neighbour) if neighbour else None
    return Asker(address, machine=reserved, network=network, neighbour=neighbour)


def another_named(labels: Mapping[str, str], machine: Machine, served: Served) -> str:
    """What in a request's labels names somebody else than `machine`, which asks; empty when nothing does.

    An operator's groups may select by any of them. What the inventory does not know cannot be told.
    """
    own = {
        "mac": [mac.text for mac in machine.macs],
        "uuid": [machine.uuid] if machine.uuid else [],
        "serial": [machine.serial] if machine.serial else [],
    }
    for key, values in own.items():
        said = labels.get(key, "")
        if said and values and said.lower() not in {value.lower() for value in values}:
            return f"{key}={said[:64]} is not {machine.name}'s"
    claims = {key: labels.get(key, "").lower() for key in ("uuid", "serial", "hostname")}
    for other in served.machines.values() if any(claims.values()) else ():
        known = {"uuid": other.uuid, "serial": other.serial, "hostname": other.hostname.text}
        same = [key for key, value in known.items() if value and value.lower() == claims[key]]
        if same and other.name != machine.name:
            return f"{same[0]}={claims[same[0]][:64]} is {other.name}'s"
    return ""


def why_not_itself(
    asker: Asker,
    machine: Machine,
    served: Served,
    lease: Lease | None,
    strangers: Container[Mac],
    now: datetime,
) -> str:
    """Why `asker` is not taken for `machine`; empty when it is.

    Args:
        asker: who asks.
        machine: whom it should be.
        served: everybody who is known.
        lease: what is held at the address.
        strangers: MACs that asked for an address and are nobody's.
        now: to see whether the lease still lasts.
    """
    if asker.local:
        return "this host asks, not the machine"
    if asker.machine is None or asker.machine.name != machine.name:
        whose = f"{asker.machine.name}'s address" if asker.machine else "no machine's address"
        return f"{asker.address} is {whose}"
    if asker.network is not None and asker.network.mode is NetworkMode.PROXY:
        return ""  # the neighbour told already
    if lease is None or lease.expires <= now or lease.mac not in machine.macs:
        return f"{NO_LEASE} {machine.name} at {asker.address} is known: it has to ask for its address first"
    seen = asker.neighbour
    if seen is None or seen in machine.macs:
        return ""
    owner = served.by_mac.get(seen)
    if owner is not None:
        return f"{asker.address} is answered for by {seen}, which is {owner.name}'s"
    other = served.other_nics.get(seen)
    if other is None:
        # A switch with local proxy ARP (private VLANs) answers for every host with a MAC of its own.
        suspect = seen in strangers or served.settings.matchbox.ignition is not Access.LEASE
        return f"{asker.address} is answered for by {seen}, which is no machine's" if suspect else ""
    if other[0].name == machine.name:
        return ""  # a bond of a running system can speak with the MAC of another of its members
    return f"{asker.address} is answered for by {seen}, which is {other[1].name} of {other[0].name}"
