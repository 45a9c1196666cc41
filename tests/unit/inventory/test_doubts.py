"""What may not be meant is said, with its place, and stops nothing."""

from __future__ import annotations

from appliance.inventory.doubts import network_doubts
from appliance.inventory.parse import Drafts
from appliance.inventory.rules import judge
from appliance.settings_parse import parse_settings
from appliance.toml_lines import read_toml

_SETTINGS = parse_settings('[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\nvlan = 110\n', "s")
_BASE = """\
[machine.a]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
[machine.a.nic.eno2]
mac = "52:54:00:aa:00:02"
[machine.a.nic.eno3]
mac = "52:54:00:aa:00:03"
"""
_GOOD = '[machine.a.bond.b0]\nmembers = ["eno2"]\naddress = "10.0.0.2/24"\ngateway = "10.0.0.1"\n'


def _doubts(text: str) -> list[str]:
    drafts = Drafts()
    document = read_toml(_BASE + text, "f", drafts.problems)
    assert document is not None
    drafts.take(document)
    inventory = judge(drafts, _SETTINGS, ())
    assert inventory is not None, drafts.problems
    return [str(doubt) for doubt in network_doubts(inventory, _SETTINGS.networks)]


def test_a_server_that_is_clear() -> None:
    assert _doubts(_GOOD) == []


def test_a_machine_that_becomes_nothing_is_left_alone() -> None:
    assert _doubts("") == []


def test_no_way_out() -> None:
    text = '[machine.a.bond.b0]\nmembers = ["eno2"]\naddress = "10.0.0.2/24"\n'
    assert _doubts(text) == [
        (
            "f:1: machine.a: has no default route, and no other "
            "(write a gateway at one of its links: the PXE NIC is never the way out)"
        )
    ]
    assert _doubts(text + 'routes = [{ to = "10.0.0.0/8", via = "10.0.0.1" }]\n') == []


def test_several_gateways_are_named_in_their_order() -> None:
    text = (
        '[machine.a.bond.b0]\nmembers = ["eno2"]\n'
        'vlans = { x = { id = 5, address = "10.0.0.2/24", gateway = "10.0.0.1" } }\n'
        '[machine.a.nic.eno4]\nmac = "52:54:00:aa:00:04"\naddress = "10.1.0.2/24"\ngateway = "10.1.0.1"\n'
    )
    assert _doubts(text) == [
        (
            "f:11: machine.a.nic.eno4: has 2 gateways: 10.0.0.1 on b0.5, then 10.1.0.1 on eno4 when that "
            "link is gone (this is the order of the file; routes instead of a gateway leave one way out)"
        )
    ]


def test_a_bond_that_carries_nothing() -> None:
    (doubt, *_) = _doubts(_GOOD + '[machine.a.bond.b1]\nmembers = ["eno3"]\n')
    assert doubt == "f:12: machine.a.bond.b1: carries nothing: no address, no VLANs (write what it is for)"


def test_an_untagged_network_that_becomes_jumbo_for_a_vlan() -> None:
    jumbo = "vlans = { x = { id = 5, mtu = 9000 } }\n"
    assert _doubts(_GOOD + jumbo) == [
        (
            "f:8: machine.a.bond.b0: gets an MTU of 9000 for its VLANs, and so does its untagged network "
            "(write mtu = 9000 at b0 if that is meant, else move the address to a VLAN)"
        )
    ]
    assert _doubts(_GOOD + jumbo + "mtu = 9000\n") == []


def test_the_pxe_vlan_on_a_trunk() -> None:
    assert _doubts(_GOOD + "vlans = { x = { id = 110 } }\n") == [
        (
            "f:8: machine.a.bond.b0: carries VLAN 110, which is the PXE network 'pxe' "
            "(a PXE VLAN belongs on host ports only: take it off the trunk)"
        )
    ]


def test_one_untagged_address_on_two_machines() -> None:
    other = (
        '[machine.b]\nmac = "52:54:00:aa:00:11"\nip = "172.0.1.22"\n[machine.b.nic.e]\n'
        'mac = "52:54:00:aa:00:12"\naddress = "10.0.0.2/24"\ngateway = "10.0.0.1"\n'
    )
    assert _doubts(_GOOD + other) == [
        (
            "f:15: machine.b.nic.e: 10.0.0.2 is also an untagged address of a "
            "(leave it if the two are on different wires, else give one another address)"
        )
    ]
