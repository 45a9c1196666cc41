"""A generation with its indexes."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from appliance.addresses import Mac
from appliance.daemon.served import Served
from tests.unit.daemon.rooms import LAB, MAC, PXE, served


def test_every_index_leads_to_the_machine() -> None:
    now = served()
    node1, node2 = now.machines["node1"], now.machines["node2"]
    assert now.by_mac[MAC] is node1
    assert [now.by_mac[mac] for mac in node2.macs] == [node2, node2]
    assert now.by_ip[IPv4Address("172.0.1.22")] is node2
    owner, nic = now.other_nics[Mac.parse("52:54:00:bb:00:01")]
    assert (owner, nic.name) == (node1, "eno2")
    assert nic.mac not in now.by_mac


def test_children_are_one_a_network_and_one_for_tftp() -> None:
    now = served()
    assert now.children() == ("dhcp:lab", "dhcp:pxe", "tftp")
    assert now.network_of_child("dhcp:pxe") is PXE
    assert now.network_of_child("dhcp:lab") is LAB


@pytest.mark.parametrize("child", ["tftp", "dhcp:", "dhcp:gone", "pxe", "tftp:pxe", ""])
def test_other_names_lead_to_no_network(child: str) -> None:
    assert served().network_of_child(child) is None


def test_nothing_has_no_children() -> None:
    nothing = Served.nothing()
    assert nothing.children() == ()
    assert (nothing.id, nothing.proven) == (None, False)
