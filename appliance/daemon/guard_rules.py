"""The guard as text for nft(8): what may not leave, arrive or pass, whatever else goes wrong. Pure.

All rules are about our interfaces and our addresses on them; every policy is accept. So the guard takes
nothing from the host's other services, among them DHCP servers for other networks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from typing import Final

from appliance.daemon.limits import Known, limits
from appliance.settings import Forwarding, NetworkSettings, Settings
from appliance.system.netfilter import FAMILY, TABLE

FORWARDED: Final = "forwarded"  # begins the comment of a rule that stops what is routed
_NAME: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}", re.ASCII)
_LABEL: Final = re.compile(r"[A-Za-z0-9-]{1,63}", re.ASCII)
_BOOT_PORTS: Final = "{ 67, 69, 4011 }"


def ruleset(settings: Settings, withheld: Set[str], uid: int, known: Known | None = None) -> str:
    """The whole table, replacing the one before it in one transaction.

    Args:
        settings: of what is served.
        withheld: networks that are not to be answered now.
        uid: of the user that serves; 0 (root) has other servers on the host, and says nothing.
        known: who need not share what strangers may ask; None: no limits.
    """
    networks = sorted(settings.networks.values(), key=lambda n: n.name)
    for network in networks:
        if not _NAME.fullmatch(network.interface) or not _LABEL.fullmatch(network.name):
            raise ValueError(f"{network.interface!r} of {network.name!r} cannot stand in a rule")
    served = [n.interface for n in networks if n.name not in withheld]
    lines = [
        f"add table {FAMILY} {TABLE}",
        f"delete table {FAMILY} {TABLE}",
        f"table {FAMILY} {TABLE} {{",
        *_chain("output", _leaving(networks, settings.http.port, withheld, served, uid)),
        *_chain("input", _arriving(networks, settings.http.port, withheld)),
        *_chain("forward", _passing(networks)),
        *(limits(networks, known, settings.http.port) if known is not None else ()),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _chain(hook: str, rules: Iterable[str]) -> Iterator[str]:
    yield f"\tchain {hook} {{"
    yield f"\t\ttype filter hook {hook} priority filter; policy accept;"
    yield from (f"\t\t{rule}" for rule in rules)
    yield "\t}"


def _leaving(
    networks: Iterable[NetworkSettings], port: int, withheld: Set[str], served: list[str], uid: int
) -> Iterator[str]:
    yield 'oifname "lo" return'
    for n in networks:
        yield f'ip saddr {n.address} oifname != "{n.interface}" {_drop("source", n)}'
        if n.name in withheld:
            yield f"ip saddr {n.address} udp sport {_BOOT_PORTS} {_drop('withheld', n)}"
            yield f"ip saddr {n.address} tcp sport {port} {_drop('withheld', n)}"
    if uid != 0:
        elsewhere = f"oifname != {{ {', '.join(_quoted(served))} }} " if served else ""
        yield f'meta skuid {uid} udp sport {_BOOT_PORTS} {elsewhere}counter drop comment "answers"'


def _arriving(networks: Iterable[NetworkSettings], port: int, withheld: Set[str]) -> Iterator[str]:
    """Linux answers for every address of the host on every interface; ours are on theirs alone."""
    yield 'iifname "lo" return'
    for n in networks:
        yield f'ip daddr {n.address} iifname != "{n.interface}" {_drop("address", n)}'
        if n.name in withheld:
            yield f"ip daddr {n.address} udp dport {_BOOT_PORTS} {_drop('withheld', n)}"
            yield f"ip daddr {n.address} tcp dport {port} {_drop('withheld', n)}"


def _passing(networks: Iterable[NetworkSettings]) -> Iterator[str]:
    """Between two ports of a bridge nothing is routed: there both names are the bridge's."""
    for n in networks:
        if n.forwarding is Forwarding.DENY:
            yield f'iifname "{n.interface}" oifname != "{n.interface}" {_drop(f"{FORWARDED} from", n)}'
            yield f'oifname "{n.interface}" iifname != "{n.interface}" {_drop(f"{FORWARDED} to", n)}'


def _drop(what: str, network: NetworkSettings) -> str:
    return f'counter drop comment "{what} {network.name}"'


def _quoted(names: Iterable[str]) -> Iterator[str]:
    return (f'"{name}"' for name in names)
