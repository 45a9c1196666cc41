"""Judges who listens on the ports that we need: 67, 69, 4011, HTTP, and 53 which we do not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appliance.doctor.finding import Finding, doubtful, fine, wrong
from appliance.settings import NetworkMode, NetworkSettings, Settings

_ANY = ("0.0.0.0", "::", "*")
_EAR = "255.255.255.255"  # where the daemon listens for other servers: it serves nobody there


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that takes packets or connections, and the process that has it (pid 0: not seen).

    `device` is the interface that it is bound to, empty when to none; `unit` its systemd unit, where known.
    """

    protocol: str  # udp, tcp
    address: str
    port: int
    pid: int = 0
    parent: int = 0
    name: str = ""
    unit: str = ""
    device: str = ""

    def __str__(self) -> str:
        on = f" on {self.device}" if self.device else ""
        of = f", {self.unit}" if self.unit else ""
        who = f"{self.name} (pid {self.pid}{of})" if self.pid else "a process that only root can see"
        return f"{self.protocol}/{self.port} {self.address}{on}: {who}"

    @property
    def who(self) -> str:
        """The process, for a sentence."""
        return f"{self.name} (pid {self.pid})" if self.pid else "another process"

    @property
    def stop(self) -> str:
        """The command that ends it."""
        if self.unit:
            return f"systemctl disable --now {self.unit}"
        return f"kill {self.pid}" if self.pid else f"ss -lpn 'sport = :{self.port}'"

    def meets(self, network: NetworkSettings) -> bool:
        """Whether what arrives on a network's interface can reach this socket."""
        if self.device:
            return self.device == network.interface
        return self.address in _ANY or self.address.removeprefix("::ffff:") == str(network.address)


@dataclass(frozen=True, slots=True)
class Ours:
    """Our own processes: the daemon's pid (None: it does not run) and those of its children."""

    daemon: int | None
    children: frozenset[int] = frozenset()

    def has(self, listener: Listener) -> bool:
        """Whether a socket is one of ours."""
        if self.daemon is None or not listener.pid:
            return False
        return listener.pid in self.children or self.daemon in (listener.pid, listener.parent)


def judge_ports(settings: Settings, listeners: Sequence[Listener], ours: Ours) -> Iterator[Finding]:
    """Who has each of our ports; and who else serves DHCP here."""
    networks = list(settings.networks.values())
    yield _judge_dns(listeners, ours)
    dhcp = [n for n in networks if n.mode is NetworkMode.DHCP]
    yield from _judge_port("port-67", "udp", 67, networks, listeners, ours)
    yield from _judge_port("port-69", "udp", 69, networks, listeners, ours)
    yield from _judge_proxy(networks, listeners, ours)
    yield from _judge_port("port-http", "tcp", settings.http.port, networks, listeners, ours)
    yield _judge_servers(dhcp, listeners, ours)


def _judge_dns(listeners: Sequence[Listener], ours: Ours) -> Finding:
    on = [one for one in listeners if one.port == 53]
    mine = [one for one in on if ours.has(one)]
    if mine:
        fix = "take port= out of the files in dnsmasq.d/, then pxe-appliance sync"
        return doubtful("port-53", "our dnsmasq answers DNS, which nobody asked for", fix, *map(str, mine))
    return fine("port-53", "we need no DNS; whoever has port 53 is in nobody's way", *map(str, on))


def _judge_port(
    identity: str,
    protocol: str,
    port: int,
    networks: Sequence[NetworkSettings],
    listeners: Sequence[Listener],
    ours: Ours,
) -> Iterator[Finding]:
    for network in networks:
        on = [x for x in listeners if (x.protocol, x.port) == (protocol, port) and x.meets(network)]
        strange = [x for x in on if x.pid and not ours.has(x)]
        unseen = [x for x in on if not x.pid]
        mine = [x for x in on if ours.has(x) and x.address != _EAR]
        seen = tuple(map(str, on))
        if strange:
            first = strange[0]
            whose = "beside us" if mine else "instead of us" if ours.daemon else "and the daemon needs it"
            words = f"{first.who} listens on {protocol}/{port} of {network.interface}, {whose}"
            yield wrong(identity, words, first.stop, *seen)
        elif ours.daemon is None:
            yield fine(identity, f"{protocol}/{port} is free for the daemon", *seen)
        elif mine or unseen:
            who = mine[0].who if mine else "somebody (root sees who)"
            yield fine(identity, f"{who} listens on {protocol}/{port} of {network.interface}", *seen)
        else:
            words = f"nobody listens on {protocol}/{port} of {network.interface}, though the daemon runs"
            yield wrong(identity, words, "pxe-appliance status", f"{protocol}/{port}: no socket")


def _judge_proxy(
    networks: Sequence[NetworkSettings], listeners: Sequence[Listener], ours: Ours
) -> Iterator[Finding]:
    proxies = [n for n in networks if n.mode is NetworkMode.PROXY]
    yield from _judge_port("port-4011", "udp", 4011, proxies, listeners, ours)
    for network in (n for n in networks if n.mode is NetworkMode.DHCP):
        on = [x for x in listeners if (x.protocol, x.port) == ("udp", 4011) and x.meets(network)]
        strange = [x for x in on if x.pid and not ours.has(x)]
        if strange:
            words = f"{strange[0].who} serves proxy DHCP on {network.interface}: firmware may believe it"
            yield doubtful("port-4011", words, strange[0].stop, *map(str, on))
        else:
            yield fine(
                "port-4011", f"{network.interface} needs no udp/4011: we give addresses and boot files"
            )


def _judge_servers(networks: Sequence[NetworkSettings], listeners: Sequence[Listener], ours: Ours) -> Finding:
    servers = [x for x in listeners if (x.protocol, x.port) == ("udp", 67) and not ours.has(x) and x.pid]
    harmful = [x for x in servers if any(x.meets(n) for n in networks)]
    if harmful:
        words = f"{harmful[0].who} is a second DHCP server on {harmful[0].device or 'every interface'}"
        return wrong("dhcp-servers", words, harmful[0].stop, *map(str, harmful))
    elsewhere = ", ".join(sorted({x.who for x in servers}))
    words = f"{elsewhere} serves other interfaces" if elsewhere else "no other process serves DHCP here"
    return fine("dhcp-servers", words, *map(str, servers))
