"""An inventory as JSON text and back: what a generation keeps, and the daemon reads.

One machine or profile a line, sorted, so that two generations can be compared with any tool. Restoring builds
names and addresses through their own grammars: what is torn or altered is refused rather than half restored.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from types import MappingProxyType
from typing import Any, Final

from appliance.addresses import Hostname, Mac
from appliance.errors import SurroundingsError
from appliance.image_ref import ImageRef
from appliance.inventory.model import (
    Bond,
    BootPolicy,
    Inventory,
    KernelRef,
    Layer3,
    Machine,
    Netconf,
    Nic,
    Profile,
    Route,
    Tuning,
    Vlan,
)
from appliance.settings import Origin

_VERSION: Final = 1
_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
_Raw = dict[str, Any]


def dump_inventory(inventory: Inventory) -> str:
    """JSON text, the same for equal inventories, ending in a newline. Origins are kept."""
    machines = _lines(_machine_out(machine) for machine in inventory.machines)
    profiles = _lines(_profile_out(profile) for _, profile in sorted(inventory.profiles.items()))
    return f'{{"version":{_VERSION},"profiles":[{profiles}],"machines":[{machines}]}}\n'


def restore_inventory(text: str) -> Inventory:
    """The inventory that `dump_inventory` wrote.

    Raises:
        SurroundingsError: the text is not one of ours, or no longer whole.
    """
    try:
        raw: _Raw = json.loads(text)
        if raw["version"] != _VERSION:
            raise ValueError(f"it has version {raw['version']!r}, this program reads {_VERSION}")
        profiles = {p["name"]: _profile_in(p) for p in raw["profiles"]}
        machines = tuple(_machine_in(machine) for machine in raw["machines"])
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise SurroundingsError(
            f"cannot restore an inventory: {error}", hint="its generation is damaged: sync again"
        ) from error
    return Inventory(machines, MappingProxyType(profiles))


def _lines(rows: Iterable[_Raw]) -> str:
    text = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    return f"\n{text}\n" if text else ""


def _given(pairs: Iterable[tuple[str, object]]) -> _Raw:
    return {key: value for key, value in pairs if value not in (None, [], {})}


def _origin_out(origin: Origin) -> object:
    return [origin.file, origin.line] if origin.file else None


def _origin_in(raw: _Raw) -> Origin:
    file, line = raw.get("origin") or ("", 0)
    return Origin(str(file), int(line))


def _machine_out(machine: Machine) -> _Raw:
    return _given(_machine_items(machine))


def _machine_items(machine: Machine) -> Iterator[tuple[str, object]]:
    yield "name", machine.name.text
    if machine.hostname != machine.name:
        yield "hostname", machine.hostname.text
    yield "macs", [mac.text for mac in machine.macs]
    yield "ip", str(machine.ip)
    yield "network", machine.network
    yield "profile", machine.profile
    yield "labels", dict(sorted(machine.labels.items()))
    yield "serial", machine.serial
    yield "uuid", machine.uuid
    yield "arch", machine.arch
    yield "nics", [_nic_out(nic) for nic in machine.nics]
    yield "bonds", [_bond_out(bond) for bond in machine.bonds]
    yield "port", machine.port or None
    yield "origin", _origin_out(machine.origin)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _maybe(value: object) -> str | None:
    return None if value is None else _text(value)


def _texts(values: list[object]) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)


def _machine_in(raw: _Raw) -> Machine:
    name = Hostname.parse(raw["name"])
    labels = {_text(key): _text(value) for key, value in raw.get("labels", _NO_LABELS).items()}
    if not raw["macs"]:
        raise ValueError(f"{name} has no MAC address")
    return Machine(
        name=name,
        hostname=Hostname.parse(raw["hostname"]) if "hostname" in raw else name,
        macs=tuple([Mac.parse(mac) for mac in raw["macs"]]),
        ip=IPv4Address(raw["ip"]),
        network=_text(raw["network"]),
        profile=_maybe(raw.get("profile")),
        labels=MappingProxyType(labels) if labels else _NO_LABELS,
        serial=_maybe(raw.get("serial")),
        uuid=_maybe(raw.get("uuid")),
        arch=_maybe(raw.get("arch")),
        nics=tuple([_nic_in(*nic) for nic in raw.get("nics", ())]),
        bonds=tuple([_bond_in(bond) for bond in raw.get("bonds", ())]),
        port=_text(raw.get("port", "")),
        origin=_origin_in(raw),
    )


def _nic_out(nic: Nic) -> list[object]:
    """Three values, and a fourth where there is more to it: most have none, and there are many."""
    more = _given(
        {
            **_layer3_out(nic.layer3),
            "mtu": nic.mtu,
            "vlans": [_vlan_out(vlan) for vlan in nic.vlans],
            "port": nic.port or None,
        }.items()
    )
    return [nic.name, nic.mac.text, _origin_out(nic.origin), *([more] if more else [])]


def _nic_in(name: str, mac: str, origin: list[Any] | None, more: _Raw | None = None) -> Nic:
    raw = more or {}
    return Nic(
        _text(name),
        Mac.parse(mac),
        Origin(*origin) if origin else Origin(""),
        _layer3_in(raw),
        _number(raw.get("mtu")),
        tuple(_vlan_in(vlan) for vlan in raw.get("vlans", ())),
        _text(raw.get("port", "")),
    )


def _bond_out(bond: Bond) -> _Raw:
    return _given(
        {
            "name": bond.name,
            "members": list(bond.members),
            "mode": bond.mode,
            "vlans": [_vlan_out(vlan) for vlan in bond.vlans],
            **_layer3_out(bond.layer3),
            "mtu": bond.mtu,
            "lacp_rate": bond.lacp_rate,
            "hash_policy": bond.hash_policy,
            "min_links": bond.min_links,
            "primary": bond.primary,
            "mac": bond.mac.text if bond.mac else None,
            "origin": _origin_out(bond.origin),
        }.items()
    )


def _bond_in(raw: _Raw) -> Bond:
    return Bond(
        _text(raw["name"]),
        _texts(raw.get("members", [])),
        _text(raw["mode"]),
        tuple(_vlan_in(vlan) for vlan in raw.get("vlans", ())),
        _origin_in(raw),
        _layer3_in(raw),
        _number(raw.get("mtu")),
        _maybe(raw.get("lacp_rate")),
        _maybe(raw.get("hash_policy")),
        _number(raw.get("min_links")),
        _maybe(raw.get("primary")),
        Mac.parse(raw["mac"]) if "mac" in raw else None,
    )


def _vlan_out(vlan: Vlan) -> _Raw:
    return _given({"name": vlan.name, "id": vlan.id, **_layer3_out(vlan.layer3), "mtu": vlan.mtu}.items())


def _vlan_in(raw: _Raw) -> Vlan:
    return Vlan(_text(raw["name"]), int(raw["id"]), _layer3_in(raw), _number(raw.get("mtu")))


def _layer3_out(layer3: Layer3) -> _Raw:
    return {
        "address": str(layer3.address) if layer3.address else None,
        "gateway": str(layer3.gateway) if layer3.gateway else None,
        "dns": [str(server) for server in layer3.dns],
        "search": list(layer3.search),
        "routes": [[str(r.to), str(r.via), r.metric] for r in layer3.routes],
    }


def _layer3_in(raw: _Raw) -> Layer3:
    return Layer3(
        IPv4Interface(raw["address"]) if "address" in raw else None,
        IPv4Address(raw["gateway"]) if "gateway" in raw else None,
        tuple(IPv4Address(server) for server in raw.get("dns", ())),
        _texts(raw.get("search", [])),
        tuple(Route(IPv4Network(to), IPv4Address(via), metric) for to, via, metric in raw.get("routes", ())),
    )


def _number(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise TypeError(f"{value!r} is not a number")


def _profile_out(profile: Profile) -> _Raw:
    source = profile.source
    image = source if isinstance(source, ImageRef) else None
    kernel = source if isinstance(source, KernelRef) else None
    return _given(
        {
            "name": profile.name,
            "image": [image.os, image.stream, image.version] if image else None,
            "kernel": [kernel.kernel, list(kernel.initrd)] if kernel else None,
            "args": list(profile.args),
            "ignition": profile.ignition,
            "boot": profile.boot.value,
            "netconf": profile.netconf.value if profile.netconf else None,
            "tuning": profile.tuning.value if profile.tuning else None,
            "call_home": None if profile.call_home else False,
            "origin": _origin_out(profile.origin),
        }.items()
    )


def _profile_in(raw: _Raw) -> Profile:
    source: ImageRef | KernelRef | None = None
    if "image" in raw:
        os, stream, version = raw["image"]
        source = ImageRef(_text(os), _text(stream), _maybe(version))
    elif "kernel" in raw:
        kernel, initrd = raw["kernel"]
        source = KernelRef(_text(kernel), _texts(initrd))
    return Profile(
        name=_text(raw["name"]),
        source=source,
        args=_texts(raw.get("args", [])),
        ignition=_maybe(raw.get("ignition")),
        boot=BootPolicy(raw["boot"]),
        netconf=Netconf(raw["netconf"]) if "netconf" in raw else None,
        tuning=Tuning(raw["tuning"]) if "tuning" in raw else None,
        call_home=bool(raw.get("call_home", True)),
        origin=_origin_in(raw),
    )
