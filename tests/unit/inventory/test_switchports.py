"""The table for the network team, port by port."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from appliance.inventory.model import Bond, Inventory, Layer3, Machine, Nic, Vlan
from appliance.inventory.switchports import PortMode, SwitchPort, compressed, switch_ports
from tests.networks import server, servers


def _rows(machine: Machine) -> dict[str, SwitchPort]:
    return {row.nic: row for row in switch_ports(Inventory((machine,)), servers()[1])}


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([], ""),
        ([5], "5"),
        ([300, 100, 101, 100], "100-101,300"),
        ([1, 2, 3, 5, 7, 8, 4094], "1-3,5,7-8,4094"),
    ],
)
def test_vlans_as_switches_take_them(ids: list[int], text: str) -> None:
    assert compressed(ids) == text


def test_the_pxe_nic_has_a_host_port_in_the_pxe_vlan() -> None:
    row = _rows(server("node1"))["pxe"]
    assert (row.mode, row.untagged, row.tagged, row.lag) == (PortMode.HOST, "110 (pxe)", "", "none")
    assert row.spanning_tree == "edge (portfast)"
    assert "it must be an edge port" in row.remarks
    assert (row.port, row.mtu) == ("leaf1 Ethernet1/1", 1500)


def test_a_machine_behind_a_relay_stands_in_the_relays_vlan() -> None:
    rows = _rows(server("node2"))
    assert rows["pxe"].untagged == rows["pxe-2"].untagged == "111 (pxe, behind the relay 172.0.2.1)"
    assert (rows["pxe"].port, rows["pxe-2"].port) == ("leaf3 Ethernet1/1", "")
    assert "any of the PXE NICs of this machine may boot" in rows["pxe-2"].remarks


def test_without_a_number_a_vlan_has_the_networks_name() -> None:
    networks = {name: replace(n, vlan=None, relayed=(), mtu=9000) for name, n in servers()[1].items()}
    (row,) = switch_ports(Inventory((replace(server("bare"), nics=()),)), networks)
    assert (row.untagged, row.mtu) == ("pxe", 9000)
    assert "frames of 9018 bytes" in row.remarks


def test_members_of_an_lacp_bond_are_trunks_in_one_channel() -> None:
    rows = _rows(server("node1"))
    for name in ("eno2", "eno3"):
        row = rows[name]
        assert (row.mode, row.untagged, row.tagged) == (PortMode.TRUNK, "none", "100-101")
        assert row.lag == "LACP active, rate fast, channel node1-bond0"
        assert row.spanning_tree == "edge trunk (portfast trunk)"
        assert row.mtu == 9000
        assert "no LACP fallback needed: PXE has its own port" in row.remarks
        assert "spans leaf1 and leaf2: they need MLAG" in row.remarks
        assert "frames of 9022 bytes" in row.remarks


def test_members_on_one_switch_need_no_mlag() -> None:
    node = server("node1")
    nics = tuple(replace(nic, port="leaf1 Ethernet1/9" if nic.port else "") for nic in node.nics)
    assert "MLAG" not in "".join(row.remarks for row in _rows(replace(node, nics=nics)).values())


@pytest.mark.parametrize("mode", ["active-backup", "balance-tlb", "balance-alb"])
def test_modes_that_no_switch_may_bundle(mode: str) -> None:
    node = server("node1")
    bond = replace(node.bonds[1], mode=mode)
    row = _rows(replace(node, bonds=(node.bonds[0], bond)))["eno4"]
    assert (row.lag, row.tagged) == ("none", "200,300")
    assert row.untagged == "the VLAN of 10.0.30.0/24"
    assert "eno4, eno5 must NOT be in a LAG" in row.remarks
    assert "MLAG" not in row.remarks
    assert "eno5 is used while it is up" in row.remarks


@pytest.mark.parametrize("mode", ["balance-rr", "balance-xor", "broadcast"])
def test_modes_that_a_switch_has_to_bundle_without_lacp(mode: str) -> None:
    node = server("node1")
    bond = Bond("bond0", ("eno2", "eno3"), mode, vlans=(Vlan("x", 7),))
    row = _rows(replace(node, bonds=(bond,)))["eno2"]
    assert row.lag == "static (mode on, no LACP), channel node1-bond0"
    assert "fallback" not in row.remarks
    assert "they need MLAG" in row.remarks


def test_a_nic_of_its_own_and_one_that_carries_nothing() -> None:
    rows = _rows(server("node2"))
    trunk, access = rows["trunk"], rows["access"]
    assert (trunk.mode, trunk.untagged, trunk.tagged, trunk.lag, trunk.mtu) == (
        PortMode.TRUNK,
        "the VLAN of 10.6.0.0/24",
        "7-8",
        "none",
        9000,
    )
    assert (access.mode, access.tagged, access.mtu) == (PortMode.HOST, "", 1500)
    unused = _rows(server("node1"))["eno6"]
    assert (unused.mode, unused.spanning_tree, unused.mtu) == (PortMode.UNUSED, "", None)
    assert unused.as_json()["untagged"] is None


def test_every_nic_has_one_row() -> None:
    inventory, networks = servers()
    rows = switch_ports(inventory, networks)
    macs = [mac for m in inventory.machines for mac in (*m.macs, *(nic.mac for nic in m.nics))]
    assert sorted(row.mac for row in rows) == sorted(macs)
    assert len({(row.machine, row.nic) for row in rows}) == len(rows)


def test_an_untagged_bond_is_a_host_port() -> None:
    node = server("node1")
    bond = Bond("bond0", ("eno2",), layer3=Layer3(IPv4Interface("10.0.0.2/24")))
    nic = Nic("eno2", node.nics[0].mac, port="leaf1 1")
    row = _rows(replace(node, nics=(nic,), bonds=(bond,)))["eno2"]
    assert (row.mode, row.untagged, row.spanning_tree) == (
        PortMode.HOST,
        "the VLAN of 10.0.0.0/24",
        "edge (portfast)",
    )
