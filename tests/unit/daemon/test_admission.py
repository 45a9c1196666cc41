"""Who asks: by address, lease and neighbour; every reason why somebody is not taken for a machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

import pytest

from appliance.addresses import Mac
from appliance.daemon.admission import Asker, another_named, asker_at, why_not_itself
from appliance.daemon.leases import Lease
from appliance.daemon.served import Served
from appliance.settings import Access, MatchboxSettings, NetworkMode
from tests.unit.daemon.rooms import AT, LAB, MAC, PXE, rack, served
from tests.unit.dnsmasq.rooms import machine, network

SERVED = served()
NODE1, NODE2, _ = rack()
IP1, IP2, NOBODY = IPv4Address("172.0.1.21"), IPv4Address("172.0.1.22"), IPv4Address("172.0.1.99")
LAPTOP = Mac.parse("00:1b:21:0a:0b:0c")
OWN_NIC, OTHERS_NIC = Mac.parse("52:54:00:bb:00:01"), Mac.parse("52:54:00:bb:00:02")
LOOSE = replace(SERVED, settings=replace(SERVED.settings, matchbox=MatchboxSettings(ignition=Access.LEASE)))
UUID1, UUID2 = "4c4c4544-0000-1000-8000-000000000001", "4c4c4544-0000-1000-8000-000000000002"
PROXY = served((replace(PXE, mode=NetworkMode.PROXY), LAB))
LEASE = Lease(IP1, MAC, "node1", "pxe", AT, AT + timedelta(hours=1))


def asks(
    address: IPv4Address = IP1,
    *,
    lease: Lease | None = LEASE,
    neighbour: Mac | None = MAC,
    now: Served = SERVED,
    strangers: frozenset[Mac] = frozenset(),
    after: float = 0.0,
) -> str:
    """Why whoever is at `address` is not taken for node1."""
    asker = asker_at(address, now, neighbour)
    return why_not_itself(asker, now.machines["node1"], now, lease, strangers, AT + timedelta(seconds=after))


def test_the_machine_itself() -> None:
    assert asks() == ""
    assert asks(after=3599) == ""


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (asks(IP2, neighbour=NODE2.mac), "172.0.1.22 is node2's address"),
        (asks(NOBODY), "172.0.1.99 is no machine's address"),
        (asks(IPv4Address("10.0.0.1")), "10.0.0.1 is no machine's address"),
        (asks(PXE.address), "this host asks"),
        (asks(LAB.address), "this host asks"),
        (asks(lease=None), "no lease of node1 at 172.0.1.21 is known"),
        (asks(after=3600), "no lease of node1"),
        (asks(lease=replace(LEASE, mac=LAPTOP)), "no lease of node1"),
        (asks(lease=replace(LEASE, mac=NODE2.mac)), "no lease of node1"),
        (asks(neighbour=NODE2.mac), "172.0.1.21 is answered for by 52:54:00:aa:00:02, which is node2's"),
        (
            asks(neighbour=LAPTOP, now=LOOSE, strangers=frozenset({LAPTOP})),
            "answered for by 00:1b:21:0a:0b:0c, which is no machine's",
        ),
        (asks(neighbour=NODE2.mac, now=LOOSE), "which is node2's"),
        (asks(neighbour=LAPTOP), "answered for by 00:1b:21:0a:0b:0c, which is no machine's"),
    ],
)
def test_nobody_else_and_the_reason_says_what_is_wrong(reason: str, why: str) -> None:
    assert why in reason


def test_a_mac_that_nobody_knows_may_be_a_switch_that_answers_for_all() -> None:
    """Private VLANs with local proxy ARP: `ignition = "lease"` is for them."""
    assert asks(neighbour=LAPTOP, now=LOOSE) == ""
    assert asks(neighbour=MAC, now=LOOSE) == ""
    assert asks(neighbour=OWN_NIC) == ""
    assert asks(neighbour=None) == ""


def test_another_nic_of_its_own_is_itself_and_one_of_another_machine_is_not() -> None:
    """Ignition may run on a bond, which speaks with the MAC of any of its members."""
    node2 = machine("node2", "52:54:00:aa:00:02", "172.0.1.22", nics=(("eno2", str(OTHERS_NIC)),))
    now = served(machines=(NODE1, node2))
    assert asks(neighbour=OWN_NIC, now=now) == ""
    assert "eno2 of node2" in asks(neighbour=OTHERS_NIC, now=now)


def test_where_the_kernel_knows_no_neighbour_the_lease_has_to_do() -> None:
    """Behind a relay there is a router in between."""
    relayed = network(relayed=(("172.0.2.0/24", "172.0.2.1"),))
    far = machine("far1", str(LAPTOP), "172.0.2.15")
    now = served((relayed,), (NODE1, far))
    asker = asker_at(far.ip, now, None)
    lease = Lease(far.ip, LAPTOP, "far1", "pxe", AT, AT + timedelta(hours=1))
    assert asker.machine == far
    assert why_not_itself(asker, far, now, lease, (), AT) == ""
    assert "no lease" in why_not_itself(asker, far, now, None, (), AT)


def test_any_of_its_macs_may_hold_the_lease() -> None:
    asker = asker_at(IP2, SERVED, NODE2.macs[0])
    lease = Lease(IP2, NODE2.macs[1], "node2", "pxe", AT, AT + timedelta(hours=1))
    assert why_not_itself(asker, NODE2, SERVED, lease, (), AT) == ""


def test_where_another_server_gives_the_addresses_the_neighbour_says_who_it_is() -> None:
    assert asks(NOBODY, lease=None, now=PROXY) == ""
    assert asks(IP1, lease=None, now=PROXY) == ""
    assert "node2's address" in asks(NOBODY, lease=None, neighbour=NODE2.mac, now=PROXY)
    assert "no machine's address" in asks(IP1, lease=None, neighbour=LAPTOP, now=PROXY)
    assert "no machine's address" in asks(IP1, lease=None, neighbour=None, now=PROXY)
    assert "this host" in asks(PXE.address, now=PROXY)


def test_without_an_ipv4_address_nobody_asks() -> None:
    assert asker_at(None, SERVED, MAC) == Asker(None)
    assert why_not_itself(Asker(None), NODE1, SERVED, LEASE, (), AT) != ""


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ({}, ""),
        ({"mac": str(MAC), "hostname": "node1", "uuid": UUID1.upper()}, ""),
        ({"mac": str(NODE2.mac)}, "is not node1's"),
        ({"uuid": UUID2}, "is not node1's"),
        ({"serial": "S2"}, "serial=s2 is node2's"),
        ({"hostname": "NODE2"}, "hostname=node2 is node2's"),
        ({"uuid": "", "serial": ""}, ""),
    ],
)
def test_a_machine_asks_for_itself_whatever_a_group_selects_by(labels: dict[str, str], why: str) -> None:
    """A group may select by uuid or serial: what a machine says of itself must not be another's."""
    node1 = replace(NODE1, uuid=UUID1)
    now = served(machines=(node1, replace(NODE2, uuid=UUID2, serial="S2")))
    assert why in another_named(labels, node1, now)
    assert bool(why) == bool(another_named(labels, node1, now))
