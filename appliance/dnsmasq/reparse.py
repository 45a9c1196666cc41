"""Reading a rendered hosts file back, with a grammar of its own that knows far less than dnsmasq's.

dnsmasq guesses what each field of a line is and skips what it cannot read. This reader knows the two lines
that we mean to write and refuses everything else, so that a hosts file which passes here says the same to
both. It shares no code with the renderer on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from appliance.inventory.model import Machine
from appliance.settings import NetworkMode, NetworkSettings

_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_LINE: Final = re.compile(
    r"(?:tag:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}),)?(?:tag:!declined,)?"
    r"(?P<macs>[0-9a-f][02468ace](?::[0-9a-f]{2}){5}(?:,[0-9a-f][02468ace](?::[0-9a-f]{2}){5})*),"
    rf"(?:(?P<ignore>ignore)|(?P<ip>{_OCTET}(?:\.{_OCTET}){{3}}),(?P<name>[a-z0-9](?:[a-z0-9-]{{0,61}}[a-z0-9])?))",
    re.ASCII,
)
# What dnsmasq takes for something else where a name would stand.
_NO_NAME: Final = re.compile(r"[0-9]+[smhdw]?|ignore|infinite", re.ASCII)
_LONGEST: Final = 1000


class HostsSyntax(ValueError):
    """A hosts file holds a line that we never mean to write."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line} of the hosts file {reason}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Reservation:
    """`macs` get `ip` and the name; on ingress by `tag` only, when there is one."""

    macs: tuple[str, ...]
    ip: str
    name: str
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Ignore:
    """`mac` gets no answer."""

    mac: str
    tag: str | None = None


def parse_hosts(text: str) -> list[Reservation | Ignore]:
    """Read a rendered hosts file.

    Raises:
        HostsSyntax: for the first line that is neither a reservation nor a silenced NIC, or that names a
            MAC or an address for the second time.
    """
    if text and not text.endswith("\n"):
        raise HostsSyntax(text.count("\n") + 1, "does not end")
    entries: list[Reservation | Ignore] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        entry = _parse_line(number, line)
        entries.append(entry)
        for key in _keys(entry):
            if key in seen:
                raise HostsSyntax(number, f"repeats {key} of line {seen[key]}")
            seen[key] = number
    return entries


def expected(machines: Iterable[Machine], network: NetworkSettings) -> set[Reservation | Ignore]:
    """What the hosts file of a network has to say, without the tags, straight from the inventory."""
    entries: set[Reservation | Ignore] = set()
    for machine in machines:
        if machine.network != network.name:
            continue
        macs = tuple(str(mac) for mac in machine.macs)
        entries.add(Reservation(macs, str(machine.ip), str(machine.hostname)))
        if network.mode is NetworkMode.DHCP:
            entries |= {Ignore(str(nic.mac)) for nic in machine.nics}
    return entries


def untagged(entries: Iterable[Reservation | Ignore]) -> set[Reservation | Ignore]:
    """The same entries without their tags, to compare with `expected`."""
    return {
        Ignore(entry.mac) if isinstance(entry, Ignore) else Reservation(entry.macs, entry.ip, entry.name)
        for entry in entries
    }


def inlined(conf: str, hosts: str) -> str:
    """A scratch configuration with the reservations inside, for `dnsmasq --test`.

    dnsmasq's own test does not look into hosts files. In the main file a bad line could act as a directive,
    so the hosts text has to pass `parse_hosts` first.

    Raises:
        HostsSyntax: when it does not.
    """
    parse_hosts(hosts)
    kept = [line for line in conf.splitlines() if not line.startswith("dhcp-hostsfile=")]
    return "".join(f"{line}\n" for line in [*kept, *(f"dhcp-host={line}" for line in hosts.splitlines())])


def _parse_line(number: int, line: str) -> Reservation | Ignore:
    if len(line) > _LONGEST:
        raise HostsSyntax(number, f"has {len(line)} bytes, more than dnsmasq reads in one piece")
    found = _LINE.fullmatch(line)
    if not found:
        raise HostsSyntax(number, f"is none of ours: {line[:80]!r}")
    macs = tuple(found["macs"].split(","))
    if "00:00:00:00:00:00" in macs:
        raise HostsSyntax(number, "reserves for the zero address")
    if found["ignore"]:
        if len(macs) != 1:
            raise HostsSyntax(number, "silences several NICs at once")
        return Ignore(macs[0], found["tag"])
    if _NO_NAME.fullmatch(found["name"]):
        raise HostsSyntax(number, f"has the host name {found['name']}, a word of dnsmasq's")
    return Reservation(macs, found["ip"], found["name"], found["tag"])


def _keys(entry: Reservation | Ignore) -> tuple[str, ...]:
    if isinstance(entry, Ignore):
        return (entry.mac,)
    return (*entry.macs, entry.ip)
