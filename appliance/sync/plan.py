"""What a sync would change: a value that can be compared, printed and refused.

Pure. A plan is the difference between the generation that is current and the tree that settings and
inventory ask for; it knows what each dnsmasq child needs and which leases are left without an owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import TypeAlias

from appliance.addresses import Mac
from appliance.inventory.model import Bond, Inventory, KernelRef, Layer3, Machine, Nic, Profile, Vlan
from appliance.settings import (
    DefaultRoute,
    Forwarding,
    HttpSettings,
    ImageSettings,
    LogSettings,
    MatchboxSettings,
    NetworkMode,
    NetworkSettings,
    OtherServers,
    Settings,
    WebhookSettings,
)
from appliance.system.safety import Danger
from appliance.tree import Activation, Tree

_NAMED = 20  # machines in a sentence; the JSON form names all
MASS_CHANGE = 0.20  # share of reservations that may vanish without being asked twice


class Action(StrEnum):
    """What happens to a thing."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"


Facts: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs. `before` and `after` are its public facts, None where it is not there."""

    action: Action
    kind: str
    name: str
    before: Facts | None
    after: Facts | None


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """A lease to take back: dnsmasq would keep `ip` from its new owner until the old one's lease ends."""

    ip: IPv4Address
    mac: Mac
    network: str


@dataclass(frozen=True, slots=True)
class MissingImage:
    """An image that machines need and that cannot be served to them now, and why."""

    image: str
    arch: str
    machines: tuple[str, ...]
    reason: str

    @property
    def remedy(self) -> str:
        """The command that brings it."""
        arch = "" if self.arch == "amd64" else f" --arch {self.arch}"
        return f"pxe-appliance images fetch {self.image}{arch}"

    def __str__(self) -> str:
        named = ", ".join(self.machines[:_NAMED])
        more = f" and {len(self.machines) - _NAMED} more" if len(self.machines) > _NAMED else ""
        return f"image {self.image} for {named}{more}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything a generation consists of: the wire's files and the values they were made from."""

    settings: Settings
    inventory: Inventory
    tree: Tree
    notes: tuple[str, ...] = ()  # what is worth saying and stops nothing
    refusals: tuple[str, ...] = ()  # client classes that get no boot file, and why
    missing: tuple[MissingImage, ...] = ()  # a sync is refused while machines need what is not there


@dataclass(frozen=True, slots=True)
class Plan:
    """The way from generation `base` (None: the first) to `desired`."""

    base: int | None
    desired: Desired
    changes: tuple[Change, ...]
    releases: tuple[Release, ...]
    activations: Mapping[str, Activation] = field(default_factory=lambda: MappingProxyType({}))
    damaged: bool = False  # the current generation is not what was written: it has to be written anew
    vanished: tuple[str, ...] = ()  # machines whose name and reservation are both gone
    remaining: int = 0  # of those that were there before
    unsafe: tuple[Danger, ...] = ()  # new or changed networks that must not be served: a sync is refused

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.changes and not self.damaged

    @property
    def fingerprint(self) -> str:
        """The same for two plans that do the same: what a person agreed to can be held against it."""
        digests = "".join(f"{f.path}:{f.digest}\n" for f in self.desired.tree)
        return hashlib.sha256(f"{self.base}\n{digests}".encode()).hexdigest()

    @property
    def mass_change(self) -> bool:
        """Whether so much vanishes that it looks like an accident: an empty or half-read source.

        More than a fifth of the machines, or all of them; one machine of several is everyday work.
        """
        before = len(self.vanished) + self.remaining
        many = len(self.vanished) > 1 and len(self.vanished) > MASS_CHANGE * before
        return many or (bool(self.vanished) and self.remaining == 0)

    @property
    def activation(self) -> Activation:
        """The most that any child needs."""
        return max(self.activations.values(), default=Activation.NONE)

    def as_json(self) -> dict[str, object]:
        """The public shape of `plan -o json`."""
        return {
            "activation": self.activation.word,
            "changes": [
                {
                    "action": c.action.value,
                    "kind": c.kind,
                    "name": c.name,
                    "before": dict(c.before) if c.before is not None else None,
                    "after": dict(c.after) if c.after is not None else None,
                }
                for c in self.changes
            ],
            "releases": [{"ip": str(r.ip), "mac": str(r.mac)} for r in self.releases],
            "notes": list(self.desired.notes),
            "unsafe": [d.message for d in self.unsafe],
            "refused_classes": list(self.desired.refusals),
            "missing_images": [
                {"image": m.image, "arch": m.arch, "machines": list(m.machines), "reason": m.reason}
                for m in self.desired.missing
            ],
        }


def make_plan(base: int | None, before: Desired | None, after: Desired) -> Plan:
    """Compare what is current with what is wanted."""
    empty = Desired(Settings(networks={}), Inventory(), Tree())
    old = before or empty
    things = (
        *_compare("settings", _settings(old.settings), _settings(after.settings)),
        *_compare("network", _networks(old.settings), _networks(after.settings)),
        *_compare("profile", _profiles(old.inventory), _profiles(after.inventory)),
        *_compare("machine", _machines(old.inventory), _machines(after.inventory)),
    )
    # These two keep what an operator wrote, comments and line numbers included: compared as values above.
    covered = {"inventory.json", "appliance.toml"}
    covered |= {f"network/{c.name}/dnsmasq.conf" for c in things if c.kind == "network"}
    if any(c.kind == "machine" for c in things):
        covered |= {path for path in after.tree.files if path.endswith("/hosts")}
        covered |= {path for path in old.tree.files if path.endswith("/hosts")}
    files = tuple(c for c in _compare("file", _files(old.tree), _files(after.tree)) if c.name not in covered)
    return Plan(
        base=base,
        desired=after,
        changes=(*things, *files),
        releases=tuple(sorted(_releases(old, after))),
        activations=MappingProxyType(dict(_activations(old.tree, after.tree))),
        vanished=(gone := tuple(_vanished(old.inventory, after.inventory))),
        remaining=len(old.inventory.machines) - len(gone),
    )


def child_of(path: str) -> str | None:
    """The dnsmasq child that a file of a generation belongs to: `dhcp:NETWORK`, `tftp`, or none."""
    match path.split("/"):
        case ["network", name, _]:
            return f"dhcp:{name}"
        case ["tftp", _]:
            return "tftp"
        case _:
            return None


def _compare(kind: str, old: Mapping[str, Facts], new: Mapping[str, Facts]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        action = Action.ADD if before is None else Action.REMOVE if after is None else Action.CHANGE
        yield Change(action, kind, name, before, after)


def _files(tree: Tree) -> dict[str, Facts]:
    return {f.path: {"sha256": f.digest} for f in tree}


def _settings(settings: Settings) -> dict[str, Facts]:
    """What is set besides the networks, by table; what stands at its default is left out."""
    tables = {
        "http": _set(settings.http, HttpSettings()),
        "matchbox": _set(settings.matchbox, MatchboxSettings()),
        "log": _set(settings.log, LogSettings()),
    }
    tables |= {f"webhook.{name}": _hook(hook) for name, hook in settings.webhooks.items()}
    tables |= {f"images.{name}": _set(image, ImageSettings()) for name, image in settings.images.items()}
    return {name: facts for name, facts in tables.items() if facts}


def _hook(hook: WebhookSettings) -> Facts:
    """What a plan says of a webhook: that its URL is another one, and not what it is."""
    url = hashlib.sha256(hook.url.encode()).hexdigest()
    facts: Facts = {"url": hook.place, "url_sha256": url, "secret": hook.secret, "events": [*hook.events]}
    return {**facts, "ca": hook.ca} if hook.ca else facts


def _set(table: HttpSettings | MatchboxSettings | ImageSettings | LogSettings, default: object) -> Facts:
    found = ((f.name, getattr(table, f.name), getattr(default, f.name)) for f in fields(table))
    return {n: list(v) if isinstance(v, tuple) else v for n, v, usual in found if v != usual}


def _networks(settings: Settings) -> dict[str, Facts]:
    return {name: network_facts(network) for name, network in settings.networks.items()}


def network_facts(network: NetworkSettings) -> Facts:
    """The public facts of a network."""
    return {
        "interface": network.interface,
        "subnet": str(network.subnet),
        "address": str(network.address),
        "mode": network.mode.value,
        "lease": network.lease,
        "mtu": network.mtu,
        "ntp": [str(a) for a in network.ntp],
        "relayed": [
            f"{r.subnet} via {r.router}" + (f", VLAN {r.vlan}" if r.vlan else "") for r in network.relayed
        ],
        **({"vlan": network.vlan} if network.vlan else {}),
        **({"other_servers": "tell"} if network.other_servers is OtherServers.TELL else {}),
        **({"mac": str(network.mac)} if network.mac else {}),
        **({"default_route": "allow"} if network.default_route is DefaultRoute.ALLOW else {}),
        **({"forwarding": "allow"} if network.forwarding is Forwarding.ALLOW else {}),
    }


def _profiles(inventory: Inventory) -> dict[str, Facts]:
    return {name: profile_facts(profile) for name, profile in inventory.profiles.items()}


def profile_facts(profile: Profile) -> Facts:
    """The public facts of a profile."""
    facts: dict[str, object] = {
        "source": _source(profile),
        "args": list(profile.args),
        "ignition": profile.ignition,
        "boot": profile.boot.value,
    }
    if profile.netconf:
        facts["netconf"] = profile.netconf.value
    if profile.tuning:
        facts["tuning"] = profile.tuning.value
    if not profile.call_home:
        facts["call_home"] = False
    return facts


def _source(profile: Profile) -> str | None:
    match profile.source:
        case None:
            return None
        case KernelRef(kernel, initrd):
            return " + ".join([kernel, *initrd])
        case image:
            return str(image)


def _machines(inventory: Inventory) -> dict[str, Facts]:
    return {str(m.name): machine_facts(m) for m in inventory.machines}


def machine_facts(machine: Machine) -> Facts:
    """The public facts of a machine, as its operator wrote them."""
    facts: dict[str, object] = {
        "macs": [str(m) for m in machine.macs],
        "ip": str(machine.ip),
        "network": machine.network,
        "profile": machine.profile,
        "hostname": str(machine.hostname),
        "labels": dict(machine.labels),
    }
    optional = {"serial": machine.serial, "uuid": machine.uuid, "arch": machine.arch}
    facts.update({k: v for k, v in optional.items() if v is not None})
    if machine.nics:
        facts["nics"] = {n.name: _nic_facts(n) for n in machine.nics}
    if machine.bonds:
        facts["bonds"] = {b.name: _bond_facts(b) for b in machine.bonds}
    if machine.port:
        facts["port"] = machine.port
    return facts


def _nic_facts(nic: Nic) -> object:
    more = {"port": nic.port, "mtu": nic.mtu, **_layer3_facts(nic.layer3), "vlans": _vlans_facts(nic.vlans)}
    said = {key: value for key, value in more.items() if value}
    return {"mac": str(nic.mac), **said} if said else str(nic.mac)


def _bond_facts(bond: Bond) -> Facts:
    more = {
        "mtu": bond.mtu,
        "lacp_rate": bond.lacp_rate,
        "hash_policy": bond.hash_policy,
        "min_links": bond.min_links,
        "primary": bond.primary,
        "mac": str(bond.mac) if bond.mac else None,
        **_layer3_facts(bond.layer3),
    }
    said = {key: value for key, value in more.items() if value}
    return {"members": list(bond.members), "mode": bond.mode, **said, "vlans": _vlans_facts(bond.vlans)}


def _vlans_facts(vlans: Iterable[Vlan]) -> Facts:
    return {v.name: _vlan_facts(v) for v in vlans}


def _vlan_facts(vlan: Vlan) -> Facts:
    facts = {
        "id": vlan.id,
        "mtu": vlan.mtu,
        **_layer3_facts(vlan.layer3),
    }
    return {key: value for key, value in facts.items() if value}


def _layer3_facts(layer3: Layer3) -> Facts:
    return {
        "address": str(layer3.address) if layer3.address else None,
        "gateway": str(layer3.gateway) if layer3.gateway else None,
        "dns": [str(server) for server in layer3.dns],
        "search": list(layer3.search),
        "routes": [f"{r.to} via {r.via} metric {r.metric or 'default'}" for r in layer3.routes],
    }


def _releases(old: Desired, new: Desired) -> Iterator[Release]:
    kept = {(m.ip, mac) for m in new.inventory.machines for mac in m.macs}
    for machine in old.inventory.machines:
        network = new.settings.networks.get(machine.network)
        if network is None or network.mode is not NetworkMode.DHCP:
            continue
        for mac in machine.macs:
            if (machine.ip, mac) not in kept:
                yield Release(machine.ip, mac, machine.network)


def _activations(old: Tree, new: Tree) -> Iterator[tuple[str, Activation]]:
    needs: dict[str, Activation] = {}
    for path in old.files.keys() | new.files.keys():
        before, after = old.get(path), new.get(path)
        child = child_of(path)
        if child is None or (before and after and before.digest == after.digest):
            continue
        costs = (f.activation for f in (before, after) if f is not None)
        # A file that comes or goes belongs to a child that comes or goes.
        need = max(costs) if before and after else Activation.RESTART
        needs[child] = max(needs.get(child, Activation.NONE), need)
    yield from sorted(needs.items())


def _vanished(old: Inventory, new: Inventory) -> Iterator[str]:
    names = {m.name for m in new.machines}
    pairs = {(m.ip, mac) for m in new.machines for mac in m.macs}
    for machine in old.machines:
        if machine.name not in names and not any((machine.ip, mac) in pairs for mac in machine.macs):
            yield str(machine.name)
