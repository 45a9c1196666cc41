"""The second reader of hosts files, and the property that holds both together."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.addresses import Hostname, Mac
from appliance.dnsmasq.render import render_hosts
from appliance.dnsmasq.reparse import (
    HostsSyntax,
    Ignore,
    Reservation,
    expected,
    inlined,
    parse_hosts,
    untagged,
)
from appliance.errors import OperatorError
from appliance.inventory.model import Machine, Nic
from appliance.settings import NetworkMode
from tests.unit.dnsmasq.rooms import RACK, network

HOSTILE = st.one_of(
    st.text(max_size=80),
    st.text(alphabet='0123456789abcdef:.-,=#"\\\n\r\t *ignoretag:set:id:dhcp-script/', max_size=60),
    st.sampled_from(["7xk2m1", "0x10", "1e5", "12h3", "1-w", "0", "w", "dw"]),
    st.sampled_from(
        ["ignore", "infinite", "12h", "5d", "1234", "node9\ndhcp-script=/x", "net:known", "id:*", "set:x"]
    ),
)
MACS = st.integers(1, 2**46 - 1).map(lambda n: f"{(n << 1) & 0xFFFFFFFFFFFF:012x}")


def test_what_is_rendered_reads_back_as_the_inventory_has_it() -> None:
    for mode in NetworkMode:
        net = network(mode=mode)
        assert untagged(parse_hosts(render_hosts(RACK, net))) == expected(RACK, net)


def test_the_two_lines_it_knows() -> None:
    text = "52:54:00:00:00:01,52:54:00:00:00:02,10.0.0.7,n1\ntag:eno4.7,52:54:00:00:00:03,ignore\n"
    assert parse_hosts(text) == [
        Reservation(("52:54:00:00:00:01", "52:54:00:00:00:02"), "10.0.0.7", "n1"),
        Ignore("52:54:00:00:00:03", "eno4.7"),
    ]
    assert parse_hosts("") == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# a comment",
        "52:54:00:00:00:01",
        "52:54:00:00:00:01,10.0.0.7",
        "52:54:00:00:00:01,n1",
        "52-54-00-00-00-01,10.0.0.7,n1",
        "52:54:00:00:00:0A,10.0.0.7,n1",
        "53:54:00:00:00:01,10.0.0.7,n1",
        "00:00:00:00:00:00,10.0.0.7,n1",
        "52:54:00:*:*:*,10.0.0.7,n1",
        "52:54:00:00:00:01,10.0.0.300,n1",
        "52:54:00:00:00:01,10.0.0.011,n1",
        "52:54:00:00:00:01,10.0.0.7,infinite",
        "52:54:00:00:00:01,10.0.0.7,12h",
        "52:54:00:00:00:01,10.0.0.7,1234",
        "52:54:00:00:00:01,10.0.0.7,7w",
        "52:54:00:00:00:01,10.0.0.7,ignore",
        "52:54:00:00:00:01,10.0.0.7,n1,1h",
        "52:54:00:00:00:01,10.0.0.7,n1 # x",
        "52:54:00:00:00:01,10.0.0.7,n1\r",
        "52:54:00:00:00:01,10.0.0.7,n1-",
        "set:x,52:54:00:00:00:01,10.0.0.7,n1",
        "id:x,10.0.0.7,n1",
        "52:54:00:00:00:01,52:54:00:00:00:02,ignore",
        "52:54:00:00:00:01," * 60 + "10.0.0.7,n1",
    ],
)
def test_anything_else_is_refused_by_line(line: str) -> None:
    with pytest.raises(HostsSyntax, match="line 2"):
        parse_hosts(f"52:54:00:00:00:ee,10.9.9.9,first\n{line}\n")


@pytest.mark.parametrize("second", ["52:54:00:00:00:01,ignore", "52:54:00:00:00:02,10.0.0.7,n2"])
def test_the_same_mac_or_address_twice_is_refused(second: str) -> None:
    with pytest.raises(HostsSyntax, match=r"line 2 of the hosts file repeats .* of line 1"):
        parse_hosts(f"52:54:00:00:00:01,10.0.0.7,n1\n{second}\n")


def test_a_torn_file_is_refused() -> None:
    with pytest.raises(HostsSyntax, match="does not end"):
        parse_hosts("52:54:00:00:00:01,10.0.0.7,n1")


def test_inlined_replaces_the_hosts_file_by_its_lines() -> None:
    text = inlined("port=0\ndhcp-hostsfile=/x\nno-ping\n", "52:54:00:00:00:01,10.0.0.7,n1\n")
    assert text == "port=0\nno-ping\ndhcp-host=52:54:00:00:00:01,10.0.0.7,n1\n"
    with pytest.raises(HostsSyntax):
        inlined("port=0\n", "52:54:00:00:00:01,10.0.0.7,n1\nconf-file=/etc/shadow\n")


@given(
    name=HOSTILE,
    macs=st.lists(st.one_of(MACS, HOSTILE), min_size=1, max_size=3),
    nic=st.one_of(MACS, HOSTILE),
)
def test_no_inventory_string_changes_what_a_file_means(name: str, macs: list[str], nic: str) -> None:
    """Whatever is written in an inventory is refused on the way, or reads back as exactly what it says."""
    try:
        machine = Machine(
            Hostname.parse(name),
            Hostname.parse(name),
            tuple(Mac.parse(mac) for mac in macs),
            IPv4Address("172.0.1.7"),
            "pxe",
            nics=(Nic("eno2", Mac.parse(nic)),),
        )
    except ValueError:
        return
    net = network()
    text = render_hosts([machine], net)
    if len({*machine.macs, *(n.mac for n in machine.nics)}) < len(machine.macs) + 1:
        with pytest.raises(HostsSyntax, match="repeats"):  # the inventory's rules have refused it before
            parse_hosts(text)
        return
    entries = parse_hosts(text)
    assert untagged(entries) == expected([machine], net)


@given(text=HOSTILE)
def test_the_reader_never_breaks(text: str) -> None:
    try:
        entries = parse_hosts(text)
    except HostsSyntax:
        return
    assert len(entries) == text.count("\n")


@given(count=st.integers(1, 80))
def test_a_machine_with_many_nics_is_written_whole_or_refused(count: int) -> None:
    macs = tuple(Mac.parse(f"52540000{i:04x}") for i in range(count))
    machine = Machine(Hostname.parse("n"), Hostname.parse("n"), macs, IPv4Address("172.0.1.7"), "pxe")
    try:
        text = render_hosts([machine], network())
    except OperatorError:
        assert count > 50
        return
    assert parse_hosts(text) == [Reservation(tuple(map(str, macs)), "172.0.1.7", "n")]
