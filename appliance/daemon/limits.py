"""How much anybody may ask, as rules for nft(8): a flood must not crowd out machines. Pure.

dnsmasq reads one packet after the other from a socket that holds some 160 (measured), and its TFTP keeps a
slot for half a minute for whoever asks and does not acknowledge; our HTTP side accepts connections in the
one event loop that answers them. So strangers share a small allowance, and each machine has its own: by its
MAC, however many addresses that MAC says it has. Whoever forges a machine's MAC spends that machine's: only
a switch can tell. One that has many MACs forged has as many allowances.

What the kernel remembers askers by is a MAC or an address of the inventory alone. So nobody can fill its
sets, and what finds no room in one is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final, Self

from appliance.addresses import Mac
from appliance.daemon.served import Served
from appliance.settings import NetworkMode, NetworkSettings

LIMITED: Final = "limited"  # begins the comment of a rule that drops what is too much
STRANGERS_CONNECT: Final = "HTTP connections to strangers"
_DHCP: Final = "{ 67, 4011 }"
# Firmware asks some ten times a boot; dnsmasq answers 20,000 a second, and nobody shall have all of its time.
_MACHINE_ASKS: Final = "limit rate 8000/second burst 160 packets"
_STRANGERS_ASK: Final = "limit rate over 500/second burst 80 packets"
_RELAYS_ASK: Final = "limit rate over 2000/second burst 1000 packets"
# TFTP has 1,024 slots, and keeps one for 28 s for whoever does not acknowledge: strangers get at 820 of them,
# 400 at once, for what boots may come from NICs that nobody wrote down yet; a machine gets at 180. Who comes
# from behind a relay is told by an address, which anybody can write: all of them get at 630, and strangers
# then at 190.
_MACHINE_READS: Final = "limit rate 4/second burst 64 packets"
_STRANGERS_READ: Final = "limit rate over 15/second burst 400 packets"
_FEWER_READ: Final = "limit rate over 3/second burst 100 packets"
_RELAYED_READ: Final = "limit rate over 8/second burst 400 packets"
# A new connection costs the event loop a quarter of a millisecond; a machine that boots opens some ten. Whose
# first segment is dropped sends it again after a second (RFC 6298): he comes later, not never.
_MACHINE_CONNECTS: Final = "limit rate 200/second burst 600 packets"
_STRANGERS_CONNECT: Final = "limit rate over 200/second burst 400 packets"
_RELAYED_CONNECT: Final = "limit rate over 400/second burst 1000 packets"
_ROOM: Final = 65535
_GIADDR: Final = "@th,256,32"  # bits: the relay's address, 24 octets into BOOTP (RFC 951), 8 into UDP


@dataclass(frozen=True, slots=True)
class Known:
    """`macs`: of all NICs that the inventory names. `held`: which MAC may have which address."""

    macs: frozenset[Mac] = frozenset()
    held: frozenset[tuple[Mac, IPv4Address]] = frozenset()

    @classmethod
    def of(cls, served: Served) -> Self:
        """Everybody of a generation."""
        return cls(
            frozenset({*served.by_mac, *served.other_nics}),
            frozenset((mac, machine.ip) for mac, machine in served.by_mac.items()),
        )


def limits(networks: Sequence[NetworkSettings], known: Known, http_port: int) -> Iterator[str]:
    """Lines of a table: sets and chains."""
    if not networks:
        return
    far = {ip for _, ip in known.held if any(ip in r.subnet for n in networks for r in n.relayed)}
    near = [(mac, ip) for mac, ip in known.held if ip not in far]
    yield from _set("known", "ether_addr", (mac.text for mac in known.macs))
    yield from _set("reserved", "ether_addr . ipv4_addr", (f"{mac.text} . {ip}" for mac, ip in near))
    yield from _set("relayed", "ipv4_addr", map(str, far))
    # An entry that is over and not swept away yet takes room as well.
    room = max(_ROOM, 4 * (len(known.macs) + len(far)))
    for name in ("askers", "readers", "callers", "far_readers", "far_callers"):
        kind = "ipv4_addr" if name.startswith("far") else "ether_addr"
        yield f"\tset {name} {{ type {kind}; size {room}; flags dynamic,timeout; timeout 1m; }}"
    yield from _chain("machine_asks", _each("askers", "ether saddr", _MACHINE_ASKS, "a machine"))
    yield from _chain("machine_reads", _each("readers", "ether saddr", _MACHINE_READS, "TFTP to a machine"))
    yield from _chain(
        "relayed_reads", _each("far_readers", "ip saddr", _MACHINE_READS, "TFTP behind a relay")
    )
    yield from _chain(
        "machine_connects",
        _each("callers", "ether saddr", _MACHINE_CONNECTS, "HTTP connections to a machine"),
    )
    yield from _chain(
        "relayed_connects",
        _each("far_callers", "ip saddr", _MACHINE_CONNECTS, "HTTP connections behind a relay"),
    )
    yield from _chain("asking", _asking(networks))
    yield from _chain("reading", _reading(networks))
    yield from _chain("connecting", _connecting(networks))
    yield from _chain("limits", _arriving(networks, http_port))


def _arriving(networks: Sequence[NetworkSettings], http_port: int) -> Iterator[str]:
    interfaces = ", ".join(f'"{n.interface}"' for n in networks)
    own = ", ".join(str(n.address) for n in networks)
    yield "type filter hook input priority filter; policy accept;"
    # Our own questions come back by the interface they left by; from outside, Linux takes no address of ours.
    yield f'iifname {{ "lo", {interfaces} }} ip saddr {{ {own} }} return'
    yield f"iifname {{ {interfaces} }} udp dport {_DHCP} jump asking"
    yield f"iifname {{ {interfaces} }} udp dport 69 jump reading"
    begins = f"tcp dport {http_port} tcp flags & (fin | syn | rst | ack) == syn"
    yield f"iifname {{ {interfaces} }} ip daddr {{ {own} }} {begins} jump connecting"


def _asking(networks: Sequence[NetworkSettings]) -> Iterator[str]:
    yield "ether saddr @known goto machine_asks"
    relays = [far.router for n in networks for far in n.relayed]
    if relays:
        # A relay says its address of the clients' side in the packet, and sends by whichever leads here.
        said = ", ".join(f"{int(router):#010x}" for router in relays)
        subnets = ", ".join(str(far.subnet) for n in networks for far in n.relayed)
        for whom in (f"{_GIADDR} {{ {said} }}", f"ip saddr {{ {subnets} }}"):
            yield f"{whom} {_RELAYS_ASK} {_drop('relays')}"
            yield f"{whom} return"
    yield f"{_STRANGERS_ASK} {_drop('strangers')}"


def _reading(networks: Sequence[NetworkSettings]) -> Iterator[str]:
    yield from _machines(networks, "machine_reads")
    relayed = any(n.relayed for n in networks)
    if relayed:
        yield f"ip saddr @relayed {_RELAYED_READ} {_drop('TFTP behind relays')}"
        yield "ip saddr @relayed goto relayed_reads"
    yield f"{_FEWER_READ if relayed else _STRANGERS_READ} {_drop('TFTP to strangers')}"


def _connecting(networks: Sequence[NetworkSettings]) -> Iterator[str]:
    yield from _machines(networks, "machine_connects")
    if any(n.relayed for n in networks):
        yield f"ip saddr @relayed {_RELAYED_CONNECT} {_drop('HTTP connections behind relays')}"
        yield "ip saddr @relayed goto relayed_connects"
    yield f"{_STRANGERS_CONNECT} {_drop(STRANGERS_CONNECT)}"


def _machines(networks: Sequence[NetworkSettings], chain: str) -> Iterator[str]:
    """Who is a machine on the VLAN itself: its MAC at its reservation."""
    yield f"ether saddr . ip saddr @reserved goto {chain}"
    proxied = ", ".join(f'"{n.interface}"' for n in networks if n.mode is NetworkMode.PROXY)
    if proxied:  # another server gives the addresses
        yield f"iifname {{ {proxied} }} ether saddr @known goto {chain}"


def _each(name: str, key: str, limit: str, who: str) -> Iterator[str]:
    """One's own allowance. A set without room ends the first rule, too."""
    yield f"update @{name} {{ {key} {limit} }} return"
    yield _drop(who)


def _set(name: str, kind: str, elements: Iterable[str]) -> Iterator[str]:
    members = ", ".join(sorted(elements))
    yield f"\tset {name} {{"
    yield f"\t\ttype {kind};"
    if members:
        yield f"\t\telements = {{ {members} }}"
    yield "\t}"


def _chain(name: str, rules: Iterable[str]) -> Iterator[str]:
    yield f"\tchain {name} {{"
    yield from (f"\t\t{rule}" for rule in rules)
    yield "\t}"


def _drop(who: str) -> str:
    return f'counter drop comment "{LIMITED}: {who}"'
