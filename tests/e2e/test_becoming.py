"""What a server becomes, for real: bonds, VLANs and routes made by systemd-networkd and by NetworkManager.

It needs QEMU, the lab's kernel, this host's systemd-networkd and Debian's network-manager, and never skips.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.inventory.becoming import network_files, way_home
from appliance.inventory.model import Netconf
from tests.e2e.network_programs import network_manager, networkd
from tests.e2e.small_machine import Nic, boot
from tests.networks import server, servers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

# The kernel's eth0 to eth6. Members come in another order than the inventory's, whose names none of them has.
NODE1 = (
    Nic("52:54:00:aa:00:01", "172.0.1.0/24", "172.0.1.21"),
    *(Nic(f"52:54:00:aa:00:0{last}") for last in (5, 2, 4, 3)),
    Nic("52:54:00:aa:00:06", "192.0.2.0/24", "192.0.2.9"),
    Nic("52:54:00:aa:00:07", "198.51.100.0/24", "198.51.100.9"),  # unknown to the inventory
)
NODE1_ADDRESSES = {
    "eth0": "172.0.1.21/24",
    "bond0.100": "10.0.100.21/24",
    "bond0.101": "10.0.101.21/24",
    "bond1": "10.0.30.21/24",
    "bond1.200": "10.0.200.21/24",
}
NODE1_DEVICES = ("bond0", "bond0.100", "bond0.101", "bond1", "bond1.200", "bond1.300", "eth0")

# The second PXE NIC, eth1, has no lease.
NODE2 = (
    Nic("52:54:00:bb:00:01", "172.0.2.0/24", "172.0.2.22"),
    Nic("52:54:00:bb:00:02"),
    *(Nic(f"52:54:00:bb:00:1{last}") for last in range(1, 9)),
)
NODE2_DEVICES = ("xor", "rr", "tlb", "alb", "cast", "eth8", "trunk.7", "trunk.8", "eth9")
NODE2_ADDRESSES = {
    "eth0": "172.0.2.22/24",
    **{name: f"10.{number}.0.22/24" for number, name in enumerate(NODE2_DEVICES, start=1)},
}
MODES = {
    "xor": "load balancing (xor)",
    "rr": "load balancing (round-robin)",
    "tlb": "transmit load balancing",
    "alb": "adaptive load balancing",
    "cast": "fault-tolerance (broadcast)",
}


def keyed(text: str) -> dict[str, str]:
    """KEY=value lines."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def addresses(said: dict[str, str]) -> dict[str, str]:
    """IPv4 addresses by device, without the loopback's; one that is there twice fails."""
    found = re.findall(r"inet (\S+) .*?(\S+)\n +valid", said["addresses"])
    assert len({device for _, device in found}) == len(found), found
    return {device: address for address, device in found if device != "lo"}


def routes(said: dict[str, str]) -> set[str]:
    """Routes through a router, one blank between words."""
    return {" ".join(line.split()) for line in said["routes"].splitlines() if " via " in line}


def vlans(said: dict[str, str]) -> set[tuple[str, str, str]]:
    """Device, id and what it is on."""
    return set(re.findall(r"^(\S+) +\| (\d+) +\| (\S+)$", said["vlans"], re.MULTILINE))


def members(said: dict[str, str], bond: str) -> set[str]:
    """The permanent MACs of a bond's members."""
    return set(re.findall(r"^Permanent HW addr: (\S+)$", said[f"bond {bond}"], re.MULTILINE))


def mtus(said: dict[str, str], *devices: str) -> list[int]:
    """The MTUs of some devices."""
    return [int(keyed(said[f"link {device}"])["MTU"]) for device in devices]


def check_two_bonds_and_four_vlans(said: dict[str, str]) -> None:
    """What the inventory says of node1 is what the kernel has."""
    assert addresses(said) == NODE1_ADDRESSES
    assert vlans(said) == {
        ("bond0.100", "100", "bond0"),
        ("bond0.101", "101", "bond0"),
        ("bond1.200", "200", "bond1"),
        ("bond1.300", "300", "bond1"),
    }
    assert mtus(said, "eth0", "eth1", "eth2", "eth3", "eth4") == [1500, 9000, 9000, 9000, 9000]
    assert mtus(said, "bond0", "bond0.100", "bond0.101") == [9000, 1500, 9000]
    assert mtus(said, "bond1", "bond1.200", "bond1.300") == [9000, 9000, 1500]
    for line in (
        "Bonding Mode: IEEE 802.3ad Dynamic link aggregation",
        "Transmit Hash Policy: layer3+4 (1)",
        "LACP rate: fast",
        "Min links: 1",
        "MII Polling Interval (ms): 100",
        "Up Delay (ms): 200",
    ):
        assert line in said["bond bond0"]
    assert members(said, "bond0") == {"52:54:00:aa:00:02", "52:54:00:aa:00:03"}
    assert "Bonding Mode: fault-tolerance (active-backup)" in said["bond bond1"]
    assert members(said, "bond1") == {"52:54:00:aa:00:04", "52:54:00:aa:00:05"}
    assert re.search(r" bond1: .*\n +link/ether 52:54:00:aa:00:04 ", said["links"])
    # The PXE NIC reaches its own network, behind everything else, and is no way out.
    pxe = [" ".join(line.split()) for line in said["routes"].splitlines() if " eth0 " in line]
    assert pxe == ["172.0.1.0/24 dev eth0 scope link src 172.0.1.21 metric 2048"]


def test_networkd_makes_two_bonds_and_four_vlans(tmp_path: Path) -> None:
    said = boot(
        NODE1,
        networkd(*NODE1_DEVICES, "eth5"),
        network_files(server("node1"), Netconf.NETWORKD),
        addresses=list(NODE1_ADDRESSES.values()),
        folder=tmp_path,
    )
    assert "yes" in said["online"], said
    # The DHCP server named a router and a name server, and the NIC took neither.
    assert "172.0.1.21/24, gateway 172.0.1.2 acquired" in said["log"]
    assert keyed(said["link eth0"])["DNS"] == ""
    assert keyed(said["link bond0.100"])["DNS"] == "10.0.100.2 10.0.100.3"
    assert keyed(said["link bond0.100"])["DOMAINS"] == "cluster.example.com"
    assert "ignoring" not in said["log"], "a line of ours that networkd does not know"
    check_two_bonds_and_four_vlans(said)
    assert routes(said) == {
        "default via 10.0.100.1 dev bond0.100 metric 50",
        "10.64.0.0/12 via 10.0.101.1 dev bond0.101",
        "10.80.0.0/12 via 10.0.101.2 dev bond0.101 metric 200",
    }
    assert "Primary Slave: eth1 (primary_reselect always)" in said["bond bond1"]
    assert "Currently Active Slave: eth1" in said["bond bond1"]
    # What the distribution would take DHCP on gets nothing, though a server would have answered.
    unused = keyed(said["link eth5"])
    assert unused["NETWORK_FILE"] == "/etc/systemd/network/30-eno6.network"
    assert (unused["ACTIVATION_POLICY"], unused["OPER_STATE"]) == ("always-down", "off")
    for name in ("eth6", "container0"):
        assert keyed(said[f"link {name}"])["ADMIN_STATE"] == "unmanaged"


def test_networkd_makes_every_other_mode_a_trunk_on_one_nic_and_a_way_home(tmp_path: Path) -> None:
    machine, networks = server("node2"), servers()[1]
    said = boot(
        NODE2,
        networkd("eth0", *NODE2_DEVICES),
        network_files(machine, Netconf.NETWORKD, home=way_home(machine, networks["pxe"])),
        addresses=list(NODE2_ADDRESSES.values()),
        folder=tmp_path,
    )
    assert "yes" in said["online"], said
    assert "ignoring" not in said["log"], "a line of ours that networkd does not know"
    check_the_other_server(said)
    assert "Primary Slave: eth5 (primary_reselect always)" in said["bond tlb"]
    assert routes(said) == {
        "default via 10.1.0.1 dev xor metric 50",
        "default via 10.6.0.1 dev eth8 metric 60",
        "172.0.1.1 via 172.0.2.2 dev eth0 metric 2048",  # the router that QEMU's DHCP server names
    }


def test_network_manager_makes_two_bonds_and_four_vlans(tmp_path: Path) -> None:
    said = boot(
        NODE1,
        network_manager(*NODE1_DEVICES),
        network_files(server("node1"), Netconf.NETWORKMANAGER),
        addresses=list(NODE1_ADDRESSES.values()),
        folder=tmp_path,
    )
    check_no_complaint(said)
    check_two_bonds_and_four_vlans(said)
    metric = r"( metric \d+)$"  # NetworkManager gives one to every route
    assert {re.sub(metric, "", route) for route in routes(said)} == {
        "default via 10.0.100.1 dev bond0.100",
        "10.64.0.0/12 via 10.0.101.1 dev bond0.101",
        "10.80.0.0/12 via 10.0.101.2 dev bond0.101",
    }
    assert "default via 10.0.100.1 dev bond0.100 metric 50" in routes(said)
    assert "10.80.0.0/12 via 10.0.101.2 dev bond0.101 metric 200" in routes(said)
    assert re.findall(r"^nameserver (\S+)", said["resolv.conf"], re.MULTILINE) == ["10.0.100.2", "10.0.100.3"]
    assert "search cluster.example.com" in said["resolv.conf"]
    states = dict(line.split(":")[:2] for line in said["devices"].splitlines() if line)
    assert (states["eth5"], states["eth6"]) == ("unmanaged", "disconnected")


def test_network_manager_makes_every_other_mode_a_trunk_on_one_nic_and_a_way_home(tmp_path: Path) -> None:
    machine, networks = server("node2"), servers()[1]
    said = boot(
        NODE2,
        network_manager("eth0", *NODE2_DEVICES),
        network_files(machine, Netconf.NETWORKMANAGER, home=way_home(machine, networks["pxe"])),
        addresses=list(NODE2_ADDRESSES.values()),
        folder=tmp_path,
    )
    check_no_complaint(said)
    check_the_other_server(said)
    assert routes(said) >= {
        "default via 10.1.0.1 dev xor metric 50",
        "default via 10.6.0.1 dev eth8 metric 60",
        "172.0.1.1 via 172.0.2.1 dev eth0 metric 2048",
    }
    assert sum("default" in route for route in routes(said)) == 2


def check_the_other_server(said: dict[str, str]) -> None:
    """What the inventory says of node2 is what the kernel has."""
    assert addresses(said) == NODE2_ADDRESSES
    modes = {name: re.findall(r"^Bonding Mode: (.*)$", said[f"bond {name}"], re.MULTILINE) for name in MODES}
    assert modes == {name: [mode] for name, mode in MODES.items()}
    assert members(said, "xor") == {"52:54:00:bb:00:12", "52:54:00:bb:00:13"}
    assert "Transmit Hash Policy: layer2+3 (2)" in said["bond xor"]
    assert vlans(said) == {("trunk.7", "7", "eth8"), ("trunk.8", "8", "eth8")}
    assert mtus(said, "eth8", "trunk.7", "trunk.8", "eth9", "xor") == [9000, 9000, 1500, 1400, 1500]


def check_no_complaint(said: dict[str, str]) -> None:
    """NetworkManager understood every line of ours: a keyfile's, and those of its own configuration."""
    complaints = re.findall(r"^<(?:warn|error)> .*(?:keyfile|config).*$", said["log"], re.MULTILINE)
    assert complaints == []
    assert "(etc: 90-pxe-appliance.conf)" in said["log"]
