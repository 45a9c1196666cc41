"""Names, addresses, routes and MTUs that do not fit together are refused where they are written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.inventory.parse import Drafts
from appliance.inventory.rules import judge
from appliance.settings_parse import parse_settings
from appliance.toml_lines import read_toml

_SETTINGS = parse_settings(
    '[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\n'
    'relayed = [{ subnet = "172.0.2.0/24", router = "172.0.2.1" }]\n',
    "s",
)
_BASE = """\
[machine.a]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
[machine.a.nic.eno2]
mac = "52:54:00:aa:00:02"
"""
_B = '[machine.b]\nmac = "52:54:00:aa:00:11"\nip = "172.0.1.22"\n'


def _problems(text: str) -> list[str]:
    drafts = Drafts()
    document = read_toml(text, "f", drafts.problems)
    assert document is not None
    drafts.take(document)
    judge(drafts, _SETTINGS, ())
    assert all(problem.hint for problem in drafts.problems)
    return [str(replace(problem, hint="")) for problem in sorted(drafts.problems)]


def _nic(lines: str, name: str = "eno3", mac: str = "03") -> str:
    return f'[machine.a.nic."{name}"]\nmac = "52:54:00:aa:00:{mac}"\n{lines}\n'


def _bond(lines: str = "", name: str = "b0") -> str:
    return f'[machine.a.bond."{name}"]\nmembers = ["eno2"]\n{lines}\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Names.
        (
            _nic("vlans = { x = { id = 50 } }", "enp193s0f0np0"),
            (
                "f:8: machine.a.nic.enp193s0f0np0.vlans.x.id: its device would be called enp193s0f0np0.50: "
                "16 characters, and Linux has 15"
            ),
        ),
        (
            _nic("", "b0.5") + _bond("vlans = { x = { id = 5 } }"),
            "f:11: machine.a.bond.b0.vlans.x.id: its device would be called b0.5, as a NIC of this machine",
        ),
        (
            _bond("", "b0.5") + _nic("vlans = { x = { id = 5 } }", "b0"),
            "f:11: machine.a.nic.b0.vlans.x.id: its device would be called b0.5, as a bond of this machine",
        ),
        (_nic("", "pxe"), "f:6: machine.a.nic.pxe: pxe is what the NIC on the PXE VLAN is called"),
        (
            _bond("", "pxe"),
            "f:6: machine.a.bond.pxe: the NIC on the PXE VLAN of this machine is called pxe, too",
        ),
        *(
            (_bond("", name), f"f:6: machine.a.bond.{name}: {name} cannot be an interface's name")
            for name in ("all", "default", "100", "bonding_masters")
        ),
        # Addresses and what needs one.
        (
            _nic('address = "10.0.0.255/24"'),
            "f:8: machine.a.nic.eno3.address: 10.0.0.255 is the broadcast address of 10.0.0.0/24",
        ),
        *(
            (_nic(line), f"f:8: machine.a.nic.eno3.{key}: stands without an address")
            for key, line in (
                ("gateway", 'gateway = "10.0.0.1"'),
                ("dns", 'dns = ["10.0.0.1"]'),
                ("search", 'search = ["example.com"]'),
                ("routes[0].via", 'routes = [{ to = "10.1.0.0/16", via = "10.0.0.1" }]'),
            )
        ),
        (
            _bond('address = "10.0.0.2/24"\nvlans = { x = { id = 5, address = "10.0.0.3/16" } }'),
            (
                "f:9: machine.a.bond.b0.vlans.x.address: 10.0.0.0/16 overlaps 10.0.0.0/24 at f:8, "
                "another link of this machine"
            ),
        ),
        (
            _bond('address = "172.0.1.99/24"'),
            "f:8: machine.a.bond.b0.address: 172.0.1.0/24 overlaps 172.0.1.0/24, the machine's PXE network",
        ),
        (
            _bond('vlans = { x = { id = 5, address = "172.0.1.99/30" } }').replace(
                "172.0.1.99", "172.0.1.98"
            ),
            (
                "f:8: machine.a.bond.b0.vlans.x.address: 172.0.1.96/30 overlaps 172.0.1.0/24, "
                "the machine's PXE network"
            ),
        ),
        # Routes.
        (
            _nic('address = "10.0.0.2/24"\nroutes = [{ to = "10.1.0.0/16", via = "10.2.0.1" }]'),
            (
                "f:9: machine.a.nic.eno3.routes[0].via: cannot be reached from 10.0.0.2/24: "
                "10.2.0.1 is outside 10.0.0.0/24"
            ),
        ),
        (
            _nic('address = "10.0.0.2/24"\nroutes = [{ to = "10.1.0.0/16", via = "10.0.0.2" }]'),
            "f:9: machine.a.nic.eno3.routes[0].via: 10.0.0.2 is the machine's own address",
        ),
        (
            _nic('address = "10.0.0.2/24"\nroutes = [{ to = "0.0.0.0/0", via = "10.0.0.1" }]'),
            "f:9: machine.a.nic.eno3.routes[0].to: 0.0.0.0/0 is the default route",
        ),
        (
            _nic('address = "10.0.0.2/24"\nroutes = [{ to = "10.1.0.1/16", via = "10.0.0.1" }]'),
            "f:9: machine.a.nic.eno3.routes[0].to: '10.1.0.1/16' has host bits set",
        ),
        (
            _nic('address = "10.0.0.2/24"\nroutes = [{ to = "172.0.1.7/32", via = "10.0.0.1" }]'),
            (
                "f:9: machine.a.nic.eno3.routes[0].to: 172.0.1.7/32 lies in 172.0.1.0/24, "
                "the machine's PXE network"
            ),
        ),
        (
            _nic('address = "10.0.0.2/24"\nroutes = [{ to = "10.1.0.0/16", via = "10.0.0.1" }]')
            + _bond('address = "10.3.0.2/24"\nroutes = [{ to = "10.1.0.0/16", via = "10.3.0.1" }]'),
            (
                "f:9: machine.a.nic.eno3.routes[0].to: 10.1.0.0/16 is also a route at f:13, "
                "and neither comes first"
            ),
        ),
        # MTUs.
        (
            _bond("mtu = 1500\nvlans = { x = { id = 5, mtu = 9000 } }"),
            "f:9: machine.a.bond.b0.vlans.x.mtu: 9000 is more than the 1500 of b0 below it",
        ),
        (_bond("mtu = 100"), "f:8: machine.a.bond.b0.mtu: 100 is not an MTU"),
        # What stands on several machines.
        (
            _bond('vlans = { x = { id = 5, address = "10.0.0.2/24", gateway = "10.0.0.1" } }')
            + _B
            + '[machine.b.nic.e]\nmac = "52:54:00:aa:00:12"\n'
            + 'vlans = { x = { id = 5, address = "10.0.0.1/24" } }\n',
            "f:14: machine.b.nic.e.vlans.x.address: 10.0.0.1 is a router's on VLAN 5, at f:8",
        ),
        (
            _nic('search = ["-x.com"]\naddress = "10.0.0.2/24"'),
            "f:8: machine.a.nic.eno3.search[0]: '-x.com' is not a domain",
        ),
        (_nic('port = " "'), "f:8: machine.a.nic.eno3.port: a blank port is written"),
    ],
)
def test_rule(text: str, expected: str) -> None:
    assert _problems(_BASE + text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        _nic("vlans = { x = { id = 5 } }", "enp193s0f0np0"),  # 15 characters with its tag
        _nic('address = "10.0.0.2/24"\nroutes = [{ to = "10.1.0.0/16", via = "10.0.0.1" }]')
        + _bond('address = "10.3.0.2/24"\nroutes = [{ to = "10.1.0.0/16", via = "10.3.0.1", metric = 9 }]'),
        _bond("vlans = { x = { id = 5, mtu = 9000 } }"),  # the bond follows
        _bond('address = "172.0.2.99/24"'),  # another machine's PXE network
        _nic(
            'address = "10.0.0.2/24"\nroutes = [{ to = "172.0.0.0/16", via = "10.0.0.1" }]'
        ),  # less specific
        _nic('address = "10.0.0.2/31"\ngateway = "10.0.0.3"'),
        _bond('vlans = { x = { id = 5, address = "10.0.0.2/24", gateway = "10.0.0.1" } }')
        + _B
        + '[machine.b.nic.e]\nmac = "52:54:00:aa:00:12"\n'
        + 'vlans = { x = { id = 6, address = "10.0.0.1/24" } }\n',
    ],
)
def test_what_can_be_made(text: str) -> None:
    assert _problems(_BASE + text) == []


def test_every_problem_at_once() -> None:
    text = _bond(
        'mtu = 1500\naddress = "10.0.0.0/24"\nvlans = { x = { id = 5, mtu = 9000, gateway = "10.9.0.1" }, '
        'y = { id = 5, address = "172.0.1.5/24" } }'
    )
    assert [
        problem.split(": ")[1].removeprefix("machine.a.bond.b0.") for problem in _problems(_BASE + text)
    ] == [
        "address",
        "vlans.x.gateway",
        "vlans.x.mtu",
        "vlans.y.address",
        "vlans.y.id",
    ]
