"""The limits as the kernel takes them: who is told from whom, packet by packet, and what nobody can fill."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import pytest

from appliance.addresses import Mac
from appliance.daemon.guard_rules import ruleset
from appliance.daemon.limits import LIMITED, Known
from appliance.settings import HttpSettings, NetworkSettings, Relayed, Settings
from appliance.system import netfilter
from appliance.system.netfilter import FAMILY, TABLE
from tests.netns.conftest import Link, Segment, run
from tests.netns.wire import Packet, inside, ipv4, mac_bytes
from tests.wire.frames import frame, mac_at, sender

pytestmark = pytest.mark.netns

MANY: Final = 1200
NEAR, FAR = Mac.parse("52:54:00:aa:00:01"), Mac.parse("52:54:00:aa:00:02")
NEAR_IP, FAR_IP, RELAY = "172.0.1.21", "10.20.0.21", "10.20.0.1"
STRANGER: Final = mac_bytes("02:de:ad:be:ef:01")
KNOWN: Final = Known(
    frozenset({NEAR, FAR}), frozenset({(NEAR, IPv4Address(NEAR_IP)), (FAR, IPv4Address(FAR_IP))})
)
NETWORK: Final = NetworkSettings(
    "pxe",
    "pxe0",
    IPv4Network("172.0.1.0/24"),
    IPv4Address("172.0.1.1"),
    relayed=(Relayed(IPv4Network("10.20.0.0/24"), IPv4Address(RELAY)),),
)


@pytest.fixture
def link(segment: Segment) -> Link:
    """A wire with the limits at its server's end, and no server."""
    found = segment.wire("pxe0", "172.0.1.1", "172.0.1.200")
    run("ip", "-n", found.server, "route", "add", "10.20.0.0/24", "via", "172.0.1.254", "dev", "pxe0")
    rules = ruleset(Settings({"pxe": NETWORK}, http=HttpSettings(8080)), frozenset(), 998, KNOWN)
    inside(found.server, lambda: netfilter.load(rules))
    return found


def dropped(link: Link, frames: Iterable[bytes]) -> dict[str, int]:
    """Send them at once; what was dropped of them, by whose allowance."""
    before = counted(link)
    sock = sender(link)
    with sock:
        for one in frames:
            sock.send(one)
    return {who: n - before[who] for who, n in counted(link).items() if n > before[who]}


def counted(link: Link) -> dict[str, int]:
    table = inside(link.server, lambda: netfilter.table(FAMILY, TABLE))
    assert table is not None
    return {w.removeprefix(f"{LIMITED}: "): n for w, n in table.packets.items() if w.startswith(LIMITED)}


def remembered(link: Link, name: str) -> int:
    """How many elements a set of the kernel's has."""
    argv = ("ip", "netns", "exec", link.server, "nft", "-j", "list", "set", FAMILY, TABLE, name)
    return len(json.loads(run(*argv))["nftables"][1]["set"].get("elem", []))


def reads(link: Link, who: Iterable[tuple[bytes, str]]) -> Iterable[bytes]:
    server = mac_at(link.server, link.device)
    for number, (mac, ip) in enumerate(who):
        yield frame(b"\0\1x\0octet\0", source=ip, to="172.0.1.1", ports=(10_000 + number, 69), from_mac=mac,
                    to_mac=server)  # fmt: skip


def connects(
    link: Link, who: Iterable[tuple[bytes, str]], *, port: int = 8080, flags: int = 2
) -> Iterable[bytes]:
    """The first segment of a connection each; or other flags (RFC 9293, 3.1: SYN is 2, ACK is 16)."""
    server = mac_at(link.server, link.device)
    for number, (mac, ip) in enumerate(who):
        segment = struct.pack("!HHIIBBHHH", 10_000 + number, port, 1, 0, 5 << 4, flags, 1024, 0, 0)
        yield server + mac + b"\x08\x00" + ipv4(segment, ip, "172.0.1.1", socket.IPPROTO_TCP)


def test_connections_are_counted_by_their_first_segment(link: Link) -> None:
    near = bytes(NEAR.octets)
    assert dropped(link, connects(link, [(near, NEAR_IP)] * 500)) == {}, "a machine that boots opens ten"
    assert set(dropped(link, connects(link, [(near, NEAR_IP)] * 2 * MANY))) == {
        "HTTP connections to a machine"
    }
    forged = [(bytes([2, *n.to_bytes(5)]), f"172.0.1.{2 + n % 250}") for n in range(MANY)]
    assert set(dropped(link, connects(link, forged))) == {"HTTP connections to strangers"}
    far = dropped(link, connects(link, [(STRANGER, FAR_IP)] * 3 * MANY))
    assert set(far) == {"HTTP connections behind a relay", "HTTP connections behind relays"}
    assert dropped(link, connects(link, forged, flags=16)) == {}, "what belongs to a connection"
    assert dropped(link, connects(link, forged, port=22)) == {}, "another service of the host"
    assert (remembered(link, "callers"), remembered(link, "far_callers")) == (1, 1)


def asks(giaddr: str, source: str) -> Iterable[bytes]:
    packet = Packet("52:54:00:aa:00:02", giaddr=giaddr).payload()
    return [frame(packet, source=source, ports=(67, 67), from_mac=STRANGER)] * 400


def test_a_machine_is_its_mac_at_its_reservation(link: Link) -> None:
    near = bytes(NEAR.octets)
    assert set(dropped(link, reads(link, [(near, NEAR_IP)] * MANY))) == {"TFTP to a machine"}
    elsewhere = [(near, f"172.0.1.{2 + n % 19}") for n in range(MANY)]
    assert set(dropped(link, reads(link, elsewhere))) == {"TFTP to strangers"}
    taken = [(bytes([2, *n.to_bytes(5)]), NEAR_IP) for n in range(MANY)]
    assert set(dropped(link, reads(link, taken))) == {"TFTP to strangers"}


def test_who_is_behind_a_relay_is_an_address_and_all_of_them_have_a_bound(link: Link) -> None:
    one = dropped(link, reads(link, [(STRANGER, FAR_IP)] * MANY))
    assert set(one) == {"TFTP behind a relay", "TFTP behind relays"}
    others = [(STRANGER, f"10.20.0.{30 + n % 200}") for n in range(MANY)]
    assert set(dropped(link, reads(link, others))) == {"TFTP to strangers"}


def test_no_forger_makes_the_kernel_remember_him(link: Link) -> None:
    """A set that is full once let everybody pass."""
    forged = [(bytes([2, *n.to_bytes(5)]), f"172.0.1.{2 + n % 250}") for n in range(MANY)]
    forged += [(bytes(NEAR.octets), f"172.0.1.{2 + n % 250}") for n in range(MANY)]
    forged += [(STRANGER, f"10.20.0.{2 + n % 250}") for n in range(MANY)]
    assert dropped(link, reads(link, forged))
    assert (remembered(link, "readers"), remembered(link, "far_readers")) == (1, 1)


def test_a_relay_is_known_by_what_it_says_in_the_packet(link: Link) -> None:
    """It sends by the interface that leads here, whose address is another."""
    assert dropped(link, asks(RELAY, "172.0.1.254")) == {}
    assert dropped(link, asks("0.0.0.0", FAR_IP)) == {}, "a renewal, by unicast"
    assert set(dropped(link, asks("10.20.0.2", "172.0.1.254"))) == {"strangers"}
