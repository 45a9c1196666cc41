"""What a template in ignition.d/ may ask for: a machine and its surroundings as plain values. Pure.

What an operator has not written is not there, so that asking for it is an error and no empty string. The
names are documented in docs/ignition.md.
"""

from __future__ import annotations

from appliance.inventory.model import Bond, Inventory, KernelRef, Layer3, Machine, Nic, Profile, Vlan
from appliance.settings import Settings
from appliance.sync.handover import machine_url

Values = dict[str, object]


def variables_of(settings: Settings, inventory: Inventory, machine: Machine) -> Values:
    """The variables of one machine, all of them JSON."""
    network = settings.networks[machine.network]
    subnet = network.subnet_of(machine.ip) or network.subnet
    profile = inventory.profiles.get(machine.profile or "")
    labels = dict(machine.labels)
    return {
        "machine": _machine(machine, labels),
        "labels": labels,
        "network": {
            "name": network.name,
            "subnet": str(subnet),
            "netmask": str(subnet.netmask),
            "prefix": subnet.prefixlen,
            "address": str(network.address),
            "ntp": [str(server) for server in network.ntp],
            **_given(mtu=network.mtu),
        },
        "profile": _profile(profile) if profile else {},
        "matchbox": {"url": machine_url(settings, network)},
    }


def _machine(machine: Machine, labels: dict[str, str]) -> Values:
    return {
        "name": str(machine.name),
        "hostname": str(machine.hostname),
        "ip": str(machine.ip),
        "mac": str(machine.mac),
        "macs": [str(mac) for mac in machine.macs],
        "network": machine.network,
        "labels": labels,
        "arch": machine.arch or "amd64",
        "nics": {nic.name: _nic(nic) for nic in machine.nics},
        "bonds": {bond.name: _bond(bond) for bond in machine.bonds},
        **_given(serial=machine.serial, uuid=machine.uuid, profile=machine.profile),
    }


def _nic(nic: Nic) -> Values:
    return {"mac": str(nic.mac), **_layer3(nic.layer3), "vlans": _vlans(nic.vlans), **_given(mtu=nic.mtu)}


def _bond(bond: Bond) -> Values:
    return {
        "members": list(bond.members),
        "mode": bond.mode,
        "vlans": _vlans(bond.vlans),
        **_layer3(bond.layer3),
        **_given(mtu=bond.mtu, mac=str(bond.mac) if bond.mac else None),
    }


def _vlans(vlans: tuple[Vlan, ...]) -> Values:
    return {vlan.name: {"id": vlan.id, **_layer3(vlan.layer3), **_given(mtu=vlan.mtu)} for vlan in vlans}


def _layer3(carried: Layer3) -> Values:
    address = carried.address
    return {
        "dns": [str(server) for server in carried.dns],
        "search": list(carried.search),
        **_given(
            address=str(address) if address else None,
            ip=str(address.ip) if address else None,
            gateway=str(carried.gateway) if carried.gateway else None,
        ),
    }


def _profile(profile: Profile) -> Values:
    source = profile.source
    named = None if source is None or isinstance(source, KernelRef) else str(source)
    return {
        "name": profile.name,
        "boot": profile.boot.value,
        "args": list(profile.args),
        **_given(image=named),
    }


def _given(**values: object) -> Values:
    return {key: value for key, value in values.items() if value is not None}
