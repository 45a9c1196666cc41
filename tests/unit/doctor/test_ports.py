"""The judge of ports: ours, nobody's, somebody else's."""

from __future__ import annotations

from typing import Final

import pytest

from appliance.doctor.finding import merged
from appliance.doctor.ports import Listener, Ours, judge_ports
from tests.unit.doctor.rooms import PROXY, PXE, bad, settings, verdicts

OURS: Final = Ours(100, frozenset({101, 102}))
SERVED: Final = (
    Listener("udp", "0.0.0.0", 67, 101, 100, "dnsmasq", device="pxe0"),
    Listener("udp", "172.0.1.1", 69, 102, 100, "dnsmasq", device="pxe0"),
    Listener("tcp", "172.0.1.1", 8080, 100, 1, "pxe-appliance"),
)
LIBVIRT: Final = Listener("udp", "0.0.0.0", 67, 900, 1, "dnsmasq", "libvirtd.service", "virbr0")


def test_all_is_ours_and_libvirt_on_its_own_bridge_is_in_nobody_s_way() -> None:
    found = list(judge_ports(settings(), [*SERVED, LIBVIRT], OURS))
    assert set(verdicts(found).values()) == {"ok"}
    (servers,) = [f for f in found if f.id == "dhcp-servers"]
    assert "virbr0" in servers.evidence[0]
    assert len(merged(found)) == 6


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (Listener("udp", "0.0.0.0", 67, 900, 1, "dhcpd"), {"port-67": "error", "dhcp-servers": "error"}),
        (Listener("udp", "172.0.1.1", 69, 900, 1, "in.tftpd"), {"port-69": "error"}),
        (Listener("udp", "10.0.0.1", 69, 900, 1, "in.tftpd"), {}),
        (Listener("tcp", "::", 8080, 900, 1, "java"), {"port-http": "error"}),
        (Listener("tcp", "fe80::1", 8080, 900, 1, "java"), {}),
        (Listener("udp", "0.0.0.0", 4011, 900, 1, "pxe"), {"port-4011": "warning"}),
        (Listener("udp", "127.0.0.53", 53, 900, 1, "systemd-resolve"), {}),
        (Listener("udp", "0.0.0.0", 53, 101, 100, "dnsmasq"), {"port-53": "warning"}),
        (Listener("udp", "0.0.0.0", 67, 103, 100, "dnsmasq", device="pxe0"), {}),
    ],
)
def test_somebody_else(more: Listener, expected: dict[str, str]) -> None:
    assert bad(judge_ports(settings(), [*SERVED, more], OURS)) == expected


@pytest.mark.parametrize(("gone", "expected"), [(0, "port-67"), (1, "port-69"), (2, "port-http")])
def test_a_daemon_that_runs_and_does_not_listen(gone: int, expected: str) -> None:
    left = [one for number, one in enumerate(SERVED) if number != gone]
    assert bad(judge_ports(settings(), left, OURS)) == {expected: "error"}


def test_before_the_daemon_starts_its_ports_are_free_or_taken() -> None:
    nobody = Ours(None)
    assert not bad(judge_ports(settings(), [], nobody))
    taken = Listener("tcp", "0.0.0.0", 8080, 900, 1, "nginx", "nginx.service")
    (wrong,) = [f for f in judge_ports(settings(), [taken], nobody) if f.verdict != "ok"]
    assert (wrong.id, wrong.fix) == ("port-http", "systemctl disable --now nginx.service")


def test_a_proxy_needs_4011() -> None:
    on = [Listener("udp", "0.0.0.0", p, 101, 100, "dnsmasq", device="old0") for p in (67, 69)]
    on.append(Listener("tcp", "172.0.1.1", 8080, 100, 1, "pxe-appliance"))
    assert bad(judge_ports(settings(PROXY), on, OURS)) == {"port-4011": "error"}
    on.append(Listener("udp", "0.0.0.0", 4011, 101, 100, "dnsmasq", device="old0"))
    assert not bad(judge_ports(settings(PROXY), on, OURS))


def test_without_root_a_socket_is_seen_and_its_owner_is_not() -> None:
    hidden = [Listener(one.protocol, "172.0.1.1", one.port) for one in SERVED]
    assert not bad(judge_ports(settings(PXE), hidden, OURS))


def test_the_daemon_s_ear_for_other_servers_is_not_taken_for_a_server() -> None:
    ear = Listener("udp", "255.255.255.255", 67, 100, 1, "pxe-appliance", device="pxe0")
    assert bad(judge_ports(settings(), [*SERVED, ear], OURS)) == {}
    assert bad(judge_ports(settings(), [*SERVED[1:], ear], OURS)) == {"port-67": "error"}
