"""What is left open when a machine comes: which file, which network, which address, which MAC."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from appliance.errors import OperatorError
from appliance.inventory.choosing import (
    chosen_network,
    file_for_new,
    like_neighbours,
    mac_change,
    machine_called,
    new_machine,
    next_address,
)
from appliance.inventory.parse import Drafts
from appliance.settings import Settings
from appliance.settings_parse import parse_settings
from appliance.toml_lines import read_toml

ONE = '[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/28"\nntp = ["172.0.1.6"]\n'
TWO = ONE + '[network.lab]\ninterface = "eth1"\nsubnet = "10.0.0.0/24"\n'


def settings(text: str = ONE) -> Settings:
    return parse_settings(text, "s")


def drafts(**files: str) -> Drafts:
    found = Drafts()
    for name, text in files.items():
        document = read_toml(text, f"{name}.toml", found.problems)
        assert document is not None
        found.take(document)
    assert not found.problems
    return found


def machine(number: int, ip: str, more: str = "") -> str:
    return f'[machine.node{number}]\nmac = "52:54:00:aa:00:{number:02x}"\nip = "{ip}"\n{more}\n'


def address(inventory: str, text: str = ONE, network: str | None = None, *held: str) -> str:
    found = settings(text)
    chosen = chosen_network(found, network)
    return str(next_address(chosen, drafts(a=inventory), found, {IPv4Address(ip) for ip in held}))


def test_the_next_address_is_the_lowest_free_one_above_the_others() -> None:
    assert address("") == "172.0.1.2"  # ours is the first
    assert address(machine(1, "172.0.1.9") + machine(2, "172.0.1.4")) == "172.0.1.10"
    assert address(machine(1, "172.0.1.4")) == "172.0.1.5"
    assert address(machine(1, "172.0.1.5")) == "172.0.1.7"  # .6 tells the time
    assert address(machine(1, "172.0.1.9"), ONE, None, "172.0.1.10", "172.0.1.11") == "172.0.1.12"
    assert address(machine(1, "172.0.1.14")) == "172.0.1.2"  # nothing is left above
    assert address(machine(1, "172.0.1.14"), ONE, "pxe", "172.0.1.2", "172.0.1.3") == "172.0.1.4"
    assert address(machine(1, "172.0.1.3") + machine(2, "10.0.0.9"), TWO, "lab") == "10.0.0.10"


def test_what_a_link_of_a_machine_has_is_not_free() -> None:
    more = (
        '[machine.node1.nic.eno2]\nmac = "52:54:00:aa:01:01"\naddress = "172.0.1.4/28"\n'
        'gateway = "172.0.1.5"\ndns = ["172.0.1.7"]\n'
        'routes = [{ to = "10.9.0.0/16", via = "172.0.1.8" }]\n'
        'vlans = { bmc = { id = 9, address = "172.0.1.9/28" } }\n'
        '[machine.node1.nic.eno3]\nmac = "52:54:00:aa:01:02"\n'
        '[machine.node1.bond.bond0]\nmembers = ["eno3"]\naddress = "172.0.1.10/28"\n'
    )
    assert address(machine(1, "172.0.1.3", more)) == "172.0.1.11"


def test_an_address_that_cannot_be_chosen_is_not() -> None:
    full = "".join(machine(n, f"172.0.1.{n}") for n in range(2, 15) if n != 6)
    with pytest.raises(OperatorError, match=r"none of 172\.0\.1\.0/28 is free"):
        address(full)
    with pytest.raises(OperatorError, match="another server gives the addresses"):
        address("", ONE + 'mode = "proxy"\n')
    relayed = ONE + 'relayed = [{ subnet = "172.0.2.0/24", router = "172.0.2.1" }]\n'
    with pytest.raises(OperatorError, match="has 2 subnets") as caught:
        address(machine(1, "172.0.2.7"), relayed)
    assert caught.value.hint == "say --ip 172.0.1.2 or --ip 172.0.2.8"


def test_the_network_is_the_one_that_is_named_or_the_only_one() -> None:
    assert chosen_network(settings(), None).name == "pxe"
    assert chosen_network(settings(TWO), "lab").name == "lab"
    with pytest.raises(OperatorError) as caught:
        chosen_network(settings(TWO), None)
    assert caught.value.hint == "say --network, one of lab, pxe"
    with pytest.raises(OperatorError) as caught:
        chosen_network(settings(TWO), "pxee")
    assert caught.value.hint == "did you mean pxe?"


def test_the_file_is_the_one_with_most_of_the_network() -> None:
    found = drafts(
        a=machine(1, "10.0.0.2") + machine(2, "172.0.1.2"),
        b=machine(3, "10.0.0.3") + machine(4, "10.0.0.4"),
    )
    where = settings(TWO)

    def file(ip: str) -> str:
        return file_for_new(new_machine("new", {"mac": "52:54:00:bb:00:01", "ip": ip}, found), found, where)

    assert file("10.0.0.9") == "b.toml"
    assert file("172.0.1.9") == "a.toml"
    assert (
        file_for_new(
            new_machine("n", {"mac": "52:54:00:bb:00:01", "ip": "10.0.0.9"}, Drafts()), Drafts(), where
        )
        == ""
    )


@pytest.mark.parametrize(
    ("neighbour", "named", "written"),
    [
        ("", True, False),
        ("", False, False),
        ('network = "pxe"', False, True),
        (None, True, True),
        (None, False, False),
    ],
)
def test_the_network_is_written_where_the_neighbours_have_it(
    neighbour: str | None, named: bool, written: bool
) -> None:
    found = drafts(a=machine(1, "172.0.1.2", neighbour)) if neighbour is not None else Drafts()
    raw = {"mac": "52:54:00:bb:00:01", "ip": "172.0.1.9", "network": "pxe", "profile": "p"}
    new = like_neighbours(new_machine("new", raw, found), "a.toml", found, settings(), named=named)
    assert list(new.data) == ["mac", "ip", *(["network"] if written else []), "profile"]
    contradicting = {**raw, "network": "lab"}
    kept = like_neighbours(
        new_machine("new", contradicting, found), "a.toml", found, settings(TWO), named=named
    )
    assert kept.data["network"] == "lab"  # for the rules to refuse


def test_what_is_typed_is_typed() -> None:
    new = new_machine("NODE9", {"macs": ["5254.00AA.0009", "52-54-00-aa-00-0A"], "ip": "172.0.1.9"}, Drafts())
    assert new.name.text == "node9"
    assert new.data == {"macs": ["52:54:00:aa:00:09", "52:54:00:aa:00:0a"], "ip": "172.0.1.9"}
    hostile = {"mac": "x\n[y]", "ip": "172.0.1.300", "profile": "a b", "labels": {"a b": "x\ny"}}
    with pytest.raises(OperatorError) as caught:
        new_machine('a"]\nb', hostile, Drafts())
    assert len(caught.value.problems) == 6
    assert {(p.file, p.line) for p in caught.value.problems} == {("the command line", 0)}


def test_what_is_somebody_elses_is_named_with_its_place() -> None:
    found = drafts(
        a=machine(1, "172.0.1.2", '[machine.node1.nic.eno2]\nmac = "52:54:00:cc:00:01"\n'),
        b=machine(2, "172.0.1.3", 'hostname = "extra"'),
    )
    raw = {"macs": ["52:54:00:cc:00:01", "52:54:00:aa:00:02"], "ip": "172.0.1.3"}
    with pytest.raises(OperatorError) as caught:
        new_machine("node1", raw, found)
    assert [str(p).partition(" (")[0] for p in caught.value.problems] == [
        "a.toml:1: machine.node1: a machine is called node1 already",
        "a.toml:5: machine.node1.nic.eno2.mac: 52:54:00:cc:00:01 is a NIC of node1 already",
        "b.toml:2: machine.node2.mac: 52:54:00:aa:00:02 is a NIC of node2 already",
        "b.toml:3: machine.node2.ip: 172.0.1.3 is the address of node2 already",
    ]
    with pytest.raises(OperatorError) as caught:
        new_machine("extra", {"mac": "52:54:00:cc:00:09", "ip": "172.0.1.9"}, found)
    assert "extra is its host name already" in str(caught.value.problems[0])


def test_a_machine_is_found_and_otherwise_the_nearest_named() -> None:
    found = drafts(a=machine(1, "172.0.1.2").replace("node1", "Node1"), b=machine(2, "172.0.1.3"))
    assert machine_called(found, "NODE1").origin.file == "a.toml"
    with pytest.raises(OperatorError) as caught:
        machine_called(found, "mode2")
    assert caught.value.hint == "did you mean node2?"
    with pytest.raises(OperatorError) as caught:
        machine_called(found, "x\n" * 5000)
    assert caught.value.hint == "pxe-appliance machines lists them"
    twice = drafts(a=machine(1, "172.0.1.2"), b=machine(1, "172.0.1.3"))
    with pytest.raises(OperatorError, match=r"two machines are called 'node1': a.toml:1 and b.toml:1"):
        machine_called(twice, "node1")


def test_which_mac_goes() -> None:
    nic = '[machine.node1.nic.eno2]\nmac = "52:54:00:cc:00:01"\n'
    found = drafts(
        a=machine(1, "172.0.1.2", nic)
        + machine(2, "172.0.1.3").replace("mac = ", 'macs = ["52:54:00:aa:00:12", ').replace('02"', '02"]', 1)
    )
    one, two = found.machines
    new = "DCAD.BEEF.0001"
    assert mac_change(one, new, None, found).old.text == "52:54:00:aa:00:01"
    assert mac_change(one, new, None, found).new.text == "dc:ad:be:ef:00:01"
    assert mac_change(one, new, "525400cc0001", found).old.text == "52:54:00:cc:00:01"
    with pytest.raises(OperatorError, match="node2 has several MACs") as caught:
        mac_change(two, new, None, found)
    assert caught.value.hint == "say which one goes: --old, of 52:54:00:aa:00:12, 52:54:00:aa:00:02"
    with pytest.raises(OperatorError, match="dc:ad:be:ef:00:01 is not a NIC of node1") as caught:
        mac_change(one, "dc:ad:be:ef:00:02", new, found)
    assert caught.value.hint == "its MACs are 52:54:00:aa:00:01, 52:54:00:cc:00:01 (eno2)"
    with pytest.raises(OperatorError, match=r"52:54:00:cc:00:01 is a NIC of node1 already, at a.toml:\d"):
        mac_change(two, "52:54:00:cc:00:01", "52:54:00:aa:00:12", found)
    for wrong in ("x", "01:00:5e:00:00:01", "00:00:00:00:00:00"):
        with pytest.raises(OperatorError):
            mac_change(one, wrong, None, found)
