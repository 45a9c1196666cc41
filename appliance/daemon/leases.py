"""Who holds what, told from the events. Pure.

dnsmasq keeps no lease file of ours (it would be rewritten and fsynced whole at every change, and with static
reservations carries nothing that is needed), so this is the only record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address

from immutables import Map

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind, rfc3339
from appliance.daemon.served import Served


@dataclass(frozen=True, slots=True)
class Lease:
    """An address that was acknowledged to a MAC, until it expires, is released or refused."""

    ip: IPv4Address
    mac: Mac
    machine: str
    network: str
    granted: datetime
    expires: datetime

    def as_json(self) -> dict[str, object]:
        """The public shape of `leases`."""
        return {
            "ip": str(self.ip),
            "mac": str(self.mac),
            "machine": self.machine,
            "network": self.network,
            "granted": rfc3339(self.granted),
            "expires": rfc3339(self.expires),
        }


def after_event(leases: Map[str, Lease], event: Event, served: Served) -> Map[str, Lease]:
    """The leases by address after `event`. At most one per reservation is ever kept."""
    match event.kind:
        case EventKind.ACK if event.machine and event.mac and event.ip and event.network:
            network = served.settings.networks.get(event.network)
            if network is None or event.machine not in served.machines:
                return leases
            until = event.at + timedelta(seconds=network.lease)
            lease = Lease(event.ip, event.mac, event.machine, event.network, event.at, until)
            return leases.set(str(event.ip), lease)
        case EventKind.RELEASE | EventKind.DECLINE if event.ip is not None:
            held = leases.get(str(event.ip))
            if held is None or (event.mac is not None and held.mac != event.mac):
                return leases
            return leases.delete(str(event.ip))
        case _:
            return leases


def live(leases: Mapping[str, Lease], now: datetime) -> list[Lease]:
    """The leases that have not expired, by address."""
    return sorted((v for v in leases.values() if v.expires > now), key=lambda lease: lease.ip)
