"""Hostile inventories on a real wire: dnsmasq gives out exactly what they say, and runs nothing of them."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from appliance.dnsmasq.log import parse
from appliance.dnsmasq.records import HostsRejected
from appliance.dnsmasq.render import render_dhcp, render_hosts
from appliance.inventory.load import load_inventory
from appliance.inventory.model import Inventory
from appliance.inventory.parse import Drafts
from appliance.inventory.parse_json import read_json
from appliance.inventory.rules import judge
from appliance.settings_parse import parse_settings
from tests.figures import Figures
from tests.fuzz.inventories import Tree, as_json, as_toml, get, inline_tables, inventory, places, put
from tests.netns.appliance import INVENTORY, SETTINGS, Appliance
from tests.netns.conftest import ClientMaker, Dnsmasqs, Segment
from tests.netns.wire import OFFER, Packet, pxe_options, wait_until
from tests.seeds import seeded
from tests.unit.dnsmasq.rooms import TEMPLATES, network, selection

pytestmark = pytest.mark.netns

NODE1, STRANGER = "52:54:00:aa:00:01", "52:54:00:ee:00:01"
Sized = Callable[[int, int], int]
_READ: Final = parse_settings('[network.pxe]\ninterface = "pxe0"\nsubnet = "172.0.1.0/24"\n', "s")


def _discover(mac: str) -> bytes:
    return Packet(mac, options=pxe_options(7)).payload()


def _accepted(random: Random) -> Inventory:
    while True:
        drafts = Drafts()
        document = read_json(as_json(inventory(random)), "rack", drafts.problems)
        if document is not None:
            drafts.take(document)
            found = judge(drafts, _READ, ())
            if found is not None and found.machines:
                return found


@pytest.mark.timeout(3600)
def test_dnsmasq_gives_exactly_what_an_inventory_says(
    segment: Segment,
    dnsmasqs: Dnsmasqs,
    client_on: ClientMaker,
    open_tmp: Path,
    sized: Sized,
    figures: Figures,
) -> None:
    net, random, offers = network(), seeded("on the wire"), 0
    client = client_on(segment.wire(net.interface, str(net.address), "172.0.1.200"))
    hosts, log, conf = (open_tmp / name for name in ("hosts", "log", "conf"))
    hosts.write_text("")
    conf.write_text(
        render_dhcp(
            net,
            templates=TEMPLATES,
            boot_url="http://172.0.1.1:8080/boot.ipxe",
            http_port=8080,
            hosts_path=str(hosts),
            log_path=str(log),
            boot_files=selection().boot_files,
        )
    )
    dnsmasq = dnsmasqs.start(segment.server, conf, log, ready=f"read {hosts}")
    wanted = sized(50, 2000)
    for _ in range(wanted):
        found = _accepted(random)
        hosts.write_text(render_hosts(found.machines, net))
        dnsmasq.reload(hosts)
        macs = [(mac.text, str(machine.ip)) for machine in found.machines for mac in machine.macs]
        for mac, ip in macs:
            offer = client.expect(_discover(mac))
            assert (offer.kind, offer.yiaddr) == (OFFER, ip), found
        offers += len(macs)
        silent = [nic.mac.text for machine in found.machines for nic in machine.nics][:1]
        # A hostile word is the stranger's MAC: where it has become a machine's, it is no stranger's.
        strangers = {STRANGER}.difference(mac for mac, _ in macs)
        for mac in (*silent, *strangers):
            client.silence(_discover(mac), known=_discover(macs[0][0]))
    assert not [line for line in dnsmasq.lines() if isinstance(parse(line), HostsRejected)]
    figures.tell(
        "inventory", "hostile ones in a real dnsmasq, every reservation asked for", f"{wanted}", "50"
    )
    figures.tell("inventory", "offers of exactly the address that is written", f"{offers:,}")


_EVERYTHING: Final = f"""{INVENTORY}
[machine.node4]
macs = ["52:54:00:aa:00:31"]
ip = "172.0.1.24"
network = "pxe"
profile = "lab"
hostname = "host4"
serial = "S4"
uuid = "4c4c4544-0044-4210-8031-c2c04f4b3432"
arch = "amd64"
port = "leaf1 Ethernet1/7"
labels = {{ rack = "r1" }}

[machine.node4.nic.eno2]
mac = "52:54:00:aa:00:32"

[machine.node4.nic.eno3]
mac = "52:54:00:aa:00:33"
port = "leaf1 Ethernet1/8"

[machine.node4.bond.bond0]
members = ["eno2", "eno3"]
mode = "802.3ad"
hash_policy = "layer3+4"

[machine.node4.bond.bond0.vlans.control]
id = 100
address = "10.0.100.21/24"
gateway = "10.0.100.1"
dns = ["10.0.0.1"]
search = ["a.b"]
"""
_SETTINGS_IN_FULL: Final = f"""{SETTINGS}
lease = "1h"
mode = "dhcp"
address = "172.0.1.1"
ntp = ["172.0.1.1"]
relayed = [{{ subnet = "172.0.2.0/24", router = "172.0.2.1" }}]
[http]
hosts = ["boot.example.com"]
[matchbox]
endpoint = "builtin"
data = "/etc/pxe-appliance/matchbox"
[log]
level = "info"
[images.flatcar]
mirror = "https://mirror.example.com/flatcar"
keys = ["flatcar.asc"]
"""


def _with_a_canary(tree: Tree, canary: Path) -> Iterator[tuple[str, Tree]]:
    """The tree with a newline and a directive in each of its texts, and in each name below the top."""
    smuggled = f"\ndhcp-script={canary}"
    for number, (holder, key) in enumerate(list(places(tree))):
        made = copy.deepcopy(tree)
        inside, _ = list(places(made))[number]
        if isinstance(get(holder, key), str):
            put(inside, key, f"{get(holder, key)}{smuggled}")
            yield str(key), made
        if isinstance(inside, dict) and isinstance(holder, dict) and isinstance(key, str) and "\n" not in key:
            named = copy.deepcopy(tree)
            inside, _ = list(places(named))[number]
            assert isinstance(inside, dict)
            inside[f"{key}{smuggled}"] = inside.pop(key)
            yield f"the name {key}", named


@pytest.mark.timeout(1800)
def test_a_newline_never_becomes_a_directive(
    appliance: Appliance,
    segment: Segment,
    client_on: ClientMaker,
    dnsmasqs: Dnsmasqs,
    sized: Sized,
    figures: Figures,
) -> None:
    """In every text of inventory and settings: synced for real, then an exchange that would run a script."""
    ran, canary = appliance.root.parent / "ran", appliance.root.parent / "canary"
    canary.write_text(f"#!/bin/sh\nid >> {ran}\n")
    canary.chmod(0o755)
    etc = appliance.root / "etc/pxe-appliance"
    appliance.write(settings=_SETTINGS_IN_FULL, inventory=_EVERYTHING)
    appliance.serve()
    client = client_on(segment.links[0])
    client.acquire(_discover(NODE1))
    racks = list(_with_a_canary(tomllib.loads(_EVERYTHING), canary))
    settings = list(_with_a_canary(tomllib.loads(_SETTINGS_IN_FULL), canary))
    every = sized(16, 1)  # each one is judged; so many are synced for real
    for number, (where, tree) in enumerate(racks):
        (etc / "inventory.d/rack.toml").write_text(as_toml(tree))
        with pytest.raises(Exception, match="cannot use the inventory"):
            load_inventory(etc / "inventory.d", _READ, {"lab.ign"})
        if number % every == 0:
            done = appliance.run("sync", "--yes", rc=3)
            assert re.search(r"rack\.toml:[0-9]+: ", done.stderr), where
            client.acquire(_discover(NODE1))
    (etc / "inventory.d/rack.toml").write_text(_EVERYTHING)
    for number, (where, tree) in enumerate(settings):
        if number % every == 0:
            (etc / "appliance.toml").write_text("\n".join(inline_tables(tree)))
            done = appliance.run("sync", "--yes", rc=3)
            assert "appliance.toml" in done.stderr, where
            client.acquire(_discover(NODE1))
    (etc / "appliance.toml").write_text(_SETTINGS_IN_FULL)
    appliance.run("sync", "--yes")
    client.acquire(_discover(NODE1))
    for file in (appliance.root / "var/lib/pxe-appliance").rglob("*"):
        assert not file.is_file() or b"dhcp-script" not in file.read_bytes(), file
    assert not ran.exists(), "the canary ran"
    tried = len(racks) + len(range(0, len(settings), every))
    figures.tell(
        "inventory", "texts with a newline and dhcp-script= in them", f"{tried}", "the canary never runs"
    )
    appliance.stop()
    _prove_that_it_would(segment, dnsmasqs, client_on, appliance.root.parent, canary)
    assert b"uid=" in ran.read_bytes()


def _prove_that_it_would(
    segment: Segment, dnsmasqs: Dnsmasqs, client_on: ClientMaker, place: Path, canary: Path
) -> None:
    """The same words where they would be a directive: a test that no canary could fail would say nothing."""
    log, conf = place / "bare.log", place / "bare.conf"
    lines = [
        "port=0",
        "interface=pxe0",
        "dhcp-range=172.0.1.0,static",
        f"log-facility={log}",
        "dhcp-authoritative",
    ]
    host = f"dhcp-host={NODE1},172.0.1.21,node1\ndhcp-script={canary}"
    conf.write_text("\n".join([*lines, "leasefile-ro", host, ""]))
    dnsmasqs.start(segment.server, conf, log, ready="started")
    client_on(segment.links[0]).acquire(_discover(NODE1))
    wait_until((place / "ran").exists, "the canary to run")
