"""What dnsmasq is given, file by file."""

from __future__ import annotations

import pytest

from appliance.boot.firmware import Selection
from appliance.dnsmasq.render import render_dhcp, render_hosts, render_tftp
from appliance.inventory.model import Machine
from appliance.settings import NetworkMode, NetworkSettings
from tests.goldens import assert_golden
from tests.unit.dnsmasq.rooms import RACK, TEMPLATES, everything, machine, network, selection


def _many(count: int) -> tuple[Machine, ...]:
    return tuple(
        machine(f"n{i}", f"52:54:00:00:{i // 256:02x}:{i % 256:02x}", f"10.0.{i // 250}.{i % 250 + 2}")
        for i in range(1, count + 1)
    )


def _files(
    networks: tuple[NetworkSettings, ...], machines: tuple[Machine, ...], chosen: Selection, extra: str = ""
) -> dict[str, str]:
    files = {}
    for net in networks:
        files[f"{net.name}.conf"] = render_dhcp(
            net,
            templates=TEMPLATES,
            boot_url=f"http://{net.address}:8080/boot.ipxe",
            http_port=8080,
            hosts_path=f"/var/lib/pxe-appliance/current/network/{net.name}/hosts",
            log_path=f"/run/pxe-appliance/log/dhcp-{net.name}.log",
            boot_files=chosen.boot_files,
            extra=extra,
        )
        files[f"{net.name}.hosts"] = render_hosts(machines, net)
    files["tftp.conf"] = render_tftp(
        networks,
        templates=TEMPLATES,
        tftp_root="/var/lib/pxe-appliance/tftp",
        log_path="/run/pxe-appliance/log/tftp.log",
    )
    return files


RELAYED = (("172.0.2.0/24", "172.0.2.1"), ("172.0.4.0/22", "172.0.4.1"))
CASES = {
    "dnsmasq-owned": lambda: _files((network(),), RACK, selection()),
    "dnsmasq-all-classes": lambda: _files((network(),), RACK, everything()),
    "dnsmasq-proxy": lambda: _files((network(mode=NetworkMode.PROXY),), RACK, selection()),
    "dnsmasq-two-networks": lambda: _files(
        (network(), network("lab", "eno4.7", "172.0.9.0/24", "172.0.9.1")), RACK, selection()
    ),
    "dnsmasq-relayed": lambda: _files((network(relayed=RELAYED),), RACK, selection()),
    "dnsmasq-mtu-ntp": lambda: _files(
        (network(mtu=9000, ntp=("172.0.1.1", "192.0.2.7")),), RACK, selection()
    ),
    "dnsmasq-extra": lambda: _files(
        (network(),), RACK, selection(), "dhcp-option=option:router,172.0.1.254\n"
    ),
    "dnsmasq-empty": lambda: _files((network(),), (), selection()),
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    assert_golden(case, {name: text.encode() for name, text in CASES[case]().items()})


def test_above_a_thousand_machines_every_line_carries_the_interface() -> None:
    net = network(subnet="10.0.0.0/16", address="10.0.0.1")
    thousand = render_hosts(_many(1000), net).splitlines()
    assert all(line.startswith("tag:!declined,52:54:00:") for line in thousand)
    more = render_hosts(_many(1001), net).splitlines()
    assert all(line.startswith("tag:pxe0,tag:!declined,52:54:00:") for line in more)
    assert [line.removeprefix("tag:pxe0,") for line in more][:1000] == thousand
