"""What must not be served: judged of values; and what netlink says, held against ip(8)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import pytest

from appliance.addresses import Mac
from appliance.settings import DefaultRoute, NetworkSettings
from appliance.system.network import InterfaceState
from appliance.system.routes import Defaults, default_routes
from appliance.system.safety import danger_of
from tests.netns.wire import inside

PXE: Final = NetworkSettings("pxe", "eno4", IPv4Network("172.0.1.0/24"), IPv4Address("172.0.1.1"))
SEEN: Final = InterfaceState("eno4", True, True, "52:54:00:aa:00:ff", 1500, ("172.0.1.1/24",))


def test_what_is_fit_and_what_is_not_there_is_no_danger() -> None:
    pinned = replace(PXE, mac=Mac.parse("52-54-00-AA-00-FF"))
    assert danger_of(PXE, SEEN, default_route=False) is None
    assert danger_of(pinned, SEEN, default_route=False) is None
    gone = InterfaceState("eno4", present=False)
    assert danger_of(replace(PXE, mac=Mac.parse("52:54:00:00:00:01")), gone, default_route=True) is None


def test_another_mac_than_the_pinned_one() -> None:
    found = danger_of(replace(PXE, mac=Mac.parse("52:54:00:00:00:01")), SEEN, default_route=False)
    assert found is not None
    assert found.id == "interface-mac"
    for word in ("eno4", "52:54:00:00:00:01", "52:54:00:aa:00:ff"):
        assert word in found.message
    assert "[network.pxe]" in found.fix


def test_the_default_route_unless_it_is_allowed() -> None:
    found = danger_of(PXE, SEEN, default_route=True)
    assert found is not None
    assert found.id == "interface-default-route"
    assert 'default_route = "allow" under [network.pxe]' in found.fix
    assert danger_of(replace(PXE, default_route=DefaultRoute.ALLOW), SEEN, default_route=True) is None


@pytest.fixture
def host() -> Iterator[str]:
    """A namespace with two interfaces."""
    name = f"pxe-rt{os.getpid()}"
    _ip("netns", "add", name)
    try:
        for device, net in (("net0", "172.0.1.1/24"), ("net1", "10.9.9.1/24")):
            _ip("-n", name, "link", "add", device, "type", "veth", "peer", "name", f"far-{device}")
            _ip("-n", name, "addr", "add", net, "dev", device)
            for end in (device, f"far-{device}"):
                _ip("-n", name, "link", "set", end, "up")
        yield name
    finally:
        _ip("netns", "del", name)


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True, timeout=20)


@pytest.mark.netns
def test_default_routes_of_every_form_are_seen(host: str) -> None:
    def told() -> tuple[Defaults, Defaults]:
        return inside(host, lambda: (default_routes("net0"), default_routes("net1")))

    def change(*argv: str) -> None:
        _ip("-n", host, *argv)

    assert told() == (Defaults(), Defaults())
    change("route", "add", "default", "via", "10.9.9.254", "dev", "net1")
    assert told() == (Defaults(), Defaults(ipv4=True))
    change("route", "add", "default", "via", "172.0.1.254", "dev", "net0", "metric", "900")
    assert told() == (Defaults(ipv4=True), Defaults(ipv4=True))
    change("route", "flush", "0/0")
    change("route", "add", "default", "nexthop", "via", "172.0.1.254", "nexthop", "via", "10.9.9.254")
    assert told() == (Defaults(ipv4=True), Defaults(ipv4=True))
    change("route", "flush", "0/0")
    change("route", "add", "0.0.0.0/1", "via", "172.0.1.254")  # as tunnels do
    change("route", "add", "128.0.0.0/1", "via", "172.0.1.254")
    assert told() == (Defaults(ipv4=True), Defaults())
    change("route", "flush", "0.0.0.0/1")
    change("route", "flush", "128.0.0.0/1")
    change("route", "add", "default", "dev", "net1", "table", "default")
    assert told() == (Defaults(), Defaults(ipv4=True))
    change("route", "flush", "table", "default")
    change("route", "add", "default", "dev", "net0", "table", "100")  # of somebody's policy routing
    change("route", "add", "blackhole", "0.0.0.0/0")
    change("-6", "route", "add", "default", "dev", "net0")
    assert told() == (Defaults(ipv6=True), Defaults())
    assert inside(host, lambda: default_routes("nowhere")) == Defaults()
