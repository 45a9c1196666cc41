"""Other DHCP servers on our networks: who they are, how that is known, when they are gone. Pure.

On a network that we own there must be none. On one in proxy mode another server gives the addresses: there
it is its absence that is worth a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final, TypeAlias

from appliance.addresses import Mac
from appliance.boot.events import Event, EventKind, rfc3339
from appliance.daemon import signals as s
from appliance.settings import NetworkMode, NetworkSettings, Settings

MOST: Final = 64  # all that is known of them is what somebody on the wire says
CLEAN: Final = 2  # probes without it, and without a sign of it in between: then it is gone
_NAMED: Final = 8  # as problems of their own
_WEAKEST_FIRST: Final = ("request", "broadcast", "probe")

Key: TypeAlias = tuple[str, IPv4Address | None]


@dataclass(frozen=True, slots=True)
class Rogue:
    """One of them. `how` is the best evidence so far: request, broadcast or probe.

    `address` is None when all that is known is that a client chose another server than ours.
    """

    network: str
    address: IPv4Address | None
    first: datetime
    last: datetime
    how: str
    mac: Mac | None = None
    offered: IPv4Address | None = None
    boot_file: str = ""
    clean: int = 0

    @property
    def strength(self) -> int:
        """How good the evidence is, from 0."""
        return _WEAKEST_FIRST.index(self.how)

    def as_json(self) -> dict[str, object]:
        """The public shape, in `status`."""
        return {
            "ip": str(self.address) if self.address else None,
            "mac": str(self.mac) if self.mac else None,
            "network": self.network,
            "first": rfc3339(self.first),
            "last": rfc3339(self.last),
            "how": self.how,
            "offered": str(self.offered) if self.offered else None,
            "boot_file": self.boot_file or None,
        }


@dataclass(frozen=True, slots=True)
class Givers:
    """Who gives addresses on a network in proxy mode, and how many probes in a row found nobody."""

    servers: tuple[s.OtherServer, ...] = ()
    silent: int = 0


@dataclass(frozen=True, slots=True)
class Rogues:
    """All that is known of other servers."""

    known: Mapping[Key, Rogue] = field(default_factory=lambda: MappingProxyType({}))
    givers: Mapping[str, Givers] = field(default_factory=lambda: MappingProxyType({}))

    def __len__(self) -> int:
        return len(self.known)

    def as_json(self) -> list[dict[str, object]]:
        """The public shape: `rogue_servers` of `status`, the newest first."""
        return [rogue.as_json() for rogue in sorted(self.known.values(), key=lambda r: r.first, reverse=True)]


def heard(
    rogues: Rogues, signal: s.ServerHeard, settings: Settings, at: datetime
) -> tuple[Rogues, list[Event]]:
    """After another server was heard or named; an event when that is news."""
    network = settings.networks.get(signal.network)
    if network is None or network.mode is not NetworkMode.DHCP:
        return rogues, []
    return _noted(rogues, network, signal.server, signal.how, at)


def probed(
    rogues: Rogues, signal: s.ServersProbed, settings: Settings, at: datetime
) -> tuple[Rogues, list[Event]]:
    """After a probe: those that answered are there, those that did not so twice are gone."""
    network = settings.networks.get(signal.network)
    if network is None:
        return rogues, []
    servers = signal.servers
    if network.mode is NetworkMode.PROXY:
        # One that answers a PXE client and gives no address is in our own place.
        giving = tuple(server for server in servers if server.offered is not None)
        servers = tuple(server for server in servers if server.offered is None)
        before = rogues.givers.get(network.name, Givers())
        after = Givers(giving, 0 if giving else before.silent + 1)
        rogues = replace(rogues, givers=MappingProxyType({**rogues.givers, network.name: after}))
    events: list[Event] = []
    for server in servers:
        rogues, more = _noted(rogues, network, server, "probe", at)
        events += more
    there = {server.address for server in servers}
    known = dict(rogues.known)
    for key, rogue in rogues.known.items():
        if rogue.network != network.name or rogue.address in there:
            continue
        known[key] = replace(rogue, clean=rogue.clean + 1)
        if known[key].clean >= CLEAN:
            del known[key]
            words = f"{_name(rogue)} is no longer seen on {network.name} ({network.interface})"
            events.append(_event(rogue, at, {"what": "gone", "message": words}))
    return replace(rogues, known=MappingProxyType(known)), events


def refused(rogues: Rogues, event: Event, settings: Settings) -> Rogues:
    """After dnsmasq refused a client because that had chosen another server (an event `rogue-server`).

    Its log does not say which one; the client's broadcast does, and takes the place of this as it is heard.
    """
    network = settings.networks.get(event.network or "")
    if network is None or network.mode is not NetworkMode.DHCP:
        return rogues
    named = [key for key in rogues.known if key[0] == network.name and key[1] is not None]
    if named:
        return rogues
    before = rogues.known.get((network.name, None))
    rogue = Rogue(
        network.name, None, before.first if before else event.at, event.at, "request", offered=event.ip
    )
    return _put(rogues, rogue)


def within(rogues: Rogues, settings: Settings) -> Rogues:
    """What still counts when the settings are these: a network may be gone, or in another mode."""
    modes = {n.name: n.mode for n in settings.networks.values()}
    known = {
        key: rogue
        for key, rogue in rogues.known.items()
        if (mode := modes.get(rogue.network)) is NetworkMode.DHCP
        or (mode is NetworkMode.PROXY and rogue.how == "probe" and rogue.offered is None)
    }
    givers = {n: g for n, g in rogues.givers.items() if modes.get(n) is NetworkMode.PROXY}
    return Rogues(MappingProxyType(known), MappingProxyType(givers))


def problems(rogues: Rogues, settings: Settings) -> list[dict[str, str]]:
    """What `status` has to say, in its public shape; the best evidence first."""
    found = []
    worst = sorted(rogues.known.values(), key=lambda r: (-r.strength, r.first))
    for rogue in worst[:_NAMED]:
        network = settings.networks.get(rogue.network)
        if network is not None:
            found.append(_problem("rogue-server", "error", words_about(rogue, network), _fix(rogue, network)))
    if len(worst) > _NAMED:
        words = f"{len(worst) - _NAMED} more DHCP servers were seen or named"
        found.append(_problem("rogue-server", "error", words, "pxe-appliance status -o json"))
    for name, givers in sorted(rogues.givers.items()):
        network = settings.networks.get(name)
        if network is not None:
            found += _about_givers(network, givers)
    return found


def words_about(rogue: Rogue, network: NetworkSettings) -> str:
    """One sentence: who it is, on which network, what it gave."""
    place = f"{network.name} ({network.interface})"
    if rogue.address is None:
        wanted = f": it asked for {rogue.offered}" if rogue.offered else ""
        return f"a client on {place} chose another DHCP server, whose address is not known{wanted}"
    if rogue.how == "request":
        return (
            f"a client on {place} chose another DHCP server: {_who(rogue, network)}; "
            "the server itself was not heard, and anybody on the wire can forge a client's word"
        )
    if network.mode is NetworkMode.PROXY:
        return f"another server gives boot information on {place}: {_who(rogue, network)}{_gift(rogue)}"
    return f"another DHCP server answers on {place}: {_who(rogue, network)}{_gift(rogue)}"


def as_rogues(network: NetworkSettings, servers: Iterable[s.OtherServer], at: datetime) -> tuple[Rogue, ...]:
    """Those that answered a probe, as what they are on a network of ours."""
    return tuple(
        Rogue(network.name, x.address, at, at, "probe", x.mac, x.offered, x.boot_file) for x in servers
    )


def _noted(
    rogues: Rogues, network: NetworkSettings, server: s.OtherServer, how: str, at: datetime
) -> tuple[Rogues, list[Event]]:
    before = rogues.known.get((network.name, server.address))
    if before is None:
        rogue = Rogue(network.name, server.address, at, at, how, server.mac, server.offered, server.boot_file)
        rogues = _made_room(rogues, rogue)
        if len(rogues) >= MOST:
            return rogues, []
    else:
        best = max(how, before.how, key=_WEAKEST_FIRST.index)
        rogue = replace(
            before,
            last=at,
            how=best,
            mac=server.mac or before.mac,
            offered=server.offered or before.offered,
            boot_file=server.boot_file or before.boot_file,
            clean=0,
        )
    without = {key: value for key, value in rogues.known.items() if key != (network.name, None)}
    rogues = _put(replace(rogues, known=without), rogue)
    same = before is not None and (before.mac is None or before.mac == rogue.mac)
    if same:
        return rogues, []
    detail = {"how": how, "message": words_about(rogue, network)}
    if rogue.offered:
        detail["offered"] = str(rogue.offered)
    if rogue.boot_file:
        detail["boot_file"] = rogue.boot_file
    return rogues, [_event(rogue, at, detail)]


def _made_room(rogues: Rogues, newcomer: Rogue) -> Rogues:
    """Where all places are taken, better evidence takes that of worse; a flood of forgeries drops itself."""
    if len(rogues) < MOST:
        return rogues
    weakest = min(rogues.known.items(), key=lambda item: (item[1].strength, item[1].last))
    if weakest[1].strength >= newcomer.strength:
        return rogues
    return replace(rogues, known=MappingProxyType({k: r for k, r in rogues.known.items() if k != weakest[0]}))


def _put(rogues: Rogues, rogue: Rogue) -> Rogues:
    known = {**rogues.known, (rogue.network, rogue.address): rogue}
    return replace(rogues, known=MappingProxyType(known))


def _event(rogue: Rogue, at: datetime, detail: Mapping[str, str]) -> Event:
    said = {"server": str(rogue.address), **detail} if rogue.address else detail
    return Event(
        at, EventKind.ROGUE_SERVER, None, rogue.mac, rogue.address, rogue.network, MappingProxyType(said)
    )


def _name(rogue: Rogue) -> str:
    if rogue.address is None:
        return "the other DHCP server that clients chose"
    return f"the other DHCP server {rogue.address}" + (f", MAC {rogue.mac}" if rogue.mac else "")


def _who(rogue: Rogue, network: NetworkSettings) -> str:
    ours = ", which is our own address" if rogue.address == network.address else ""
    if rogue.mac is None:
        return f"{rogue.address}{ours}, MAC not known (nobody answers for its address)"
    return f"{rogue.address}{ours}, MAC {rogue.mac}" + (f" ({rogue.mac.vendor})" if rogue.mac.vendor else "")


def _gift(rogue: Rogue) -> str:
    gifts = [str(rogue.offered)] if rogue.offered else []
    gifts += [f"the boot file {rogue.boot_file}"] if rogue.boot_file else []
    return f"; it offers {' and '.join(gifts)}" if gifts else ""


def _fix(rogue: Rogue, network: NetworkSettings) -> str:
    if rogue.mac is None:
        return f"tcpdump -eni {network.interface} udp src port 67 shows its MAC; then find its switch port"
    digits = rogue.mac.text.replace(":", "")
    dotted = ".".join(digits[i : i + 4] for i in (0, 4, 8))
    return (
        f"find the switch port of {rogue.mac} (show mac address-table address {dotted}), stop that server; "
        "DHCP snooping on the switches keeps others away"
    )


def _about_givers(network: NetworkSettings, givers: Givers) -> list[dict[str, str]]:
    place = f"{network.name} ({network.interface})"
    if givers.silent >= CLEAN:
        words = f"no DHCP server answers on {place}: in proxy mode another server has to give the addresses"
        fix = f'start that server, or own addressing: mode = "dhcp" under [network.{network.name}]'
        return [_problem("no-dhcp-server", "warning", words, fix)]
    if len(givers.servers) > 1:
        names = ", ".join(str(server.address) for server in givers.servers[:_NAMED])
        words = f"{len(givers.servers)} DHCP servers give addresses on {place}: {names}"
        fix = "stop all but one, unless they share their leases"
        return [_problem("several-dhcp-servers", "warning", words, fix)]
    return []


def _problem(identity: str, severity: str, message: str, fix: str) -> dict[str, str]:
    return {"id": identity, "severity": severity, "message": message, "fix": fix}
