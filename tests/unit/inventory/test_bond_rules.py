"""Bonds and VLANs that could not be made are refused before anything is rendered from them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.inventory.parse import Drafts
from appliance.inventory.rules import judge
from appliance.settings_parse import parse_settings
from appliance.toml_lines import read_toml

_SETTINGS = parse_settings('[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\n', "s")
_BASE = """\
[machine.a]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
[machine.a.nic.eno2]
mac = "52:54:00:aa:00:02"
[machine.a.nic.eno3]
mac = "52:54:00:aa:00:03"
"""


def _problems(text: str) -> list[str]:
    drafts = Drafts()
    document = read_toml(_BASE + text, "f", drafts.problems)
    assert document is not None
    drafts.take(document)
    judge(drafts, _SETTINGS, ())
    assert all(problem.hint for problem in drafts.problems)
    return [str(replace(problem, hint="")) for problem in sorted(drafts.problems)]


def _vlan(text: str, name: str = "control") -> str:
    return f'[machine.a.bond.b0]\nmembers = ["eno2"]\nvlans = {{ {name} = {{ {text} }} }}\n'


def _options(lines: str) -> str:
    return f'[machine.a.bond.b0]\nmembers = ["eno2"]\n{lines}\n'


def _member(lines: str) -> str:
    """What stands at the table of eno3, of which b0 is made."""
    return f'{lines}\n[machine.a.bond.b0]\nmembers = ["eno3"]\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[machine.a.bond.b0]\nmembers = ["eno2", "eno4"]\n',
            "f:9: machine.a.bond.b0.members[1]: this machine has no NIC 'eno4'",
        ),
        (
            '[machine.a.bond.b0]\nmembers = ["eno2"]\n[machine.a.bond.b1]\nmembers = ["eno2"]\n',
            "f:11: machine.a.bond.b1.members[0]: eno2 is already a member of b0",
        ),
        (
            '[machine.a.bond.eno2]\nmembers = ["eno3"]\n',
            "f:8: machine.a.bond.eno2: a NIC of this machine is called eno2, too",
        ),
        (
            "[machine.a.bond.b0]\nmembers = []\n",
            "f:9: machine.a.bond.b0.members: 1 to 16 entries are expected, not 0",
        ),
        ("[machine.a.bond.b0]\n", "f:8: machine.a.bond.b0.members: is missing"),
        (
            '[machine.a.bond.b0]\nmembers = ["eno2"]\nmode = "lacp"\n',
            "f:10: machine.a.bond.b0.mode: 'lacp' is not a bond mode",
        ),
        (_vlan("id = 0"), "f:10: machine.a.bond.b0.vlans.control.id: 0 is not a VLAN id"),
        (_vlan("id = 4095"), "f:10: machine.a.bond.b0.vlans.control.id: 4095 is not a VLAN id"),
        (
            _vlan('id = 1, address = "10.0.0.1"'),
            "f:10: machine.a.bond.b0.vlans.control.address: '10.0.0.1' is not an address with its prefix",
        ),
        (
            _vlan('id = 1, address = "10.0.0.0/24"'),
            "f:10: machine.a.bond.b0.vlans.control.address: 10.0.0.0 is the network address of 10.0.0.0/24",
        ),
        (
            _vlan('id = 1, address = "10.0.0.2/24", gateway = "10.0.1.1"'),
            (
                "f:10: machine.a.bond.b0.vlans.control.gateway: cannot be reached from 10.0.0.2/24: "
                "10.0.1.1 is outside 10.0.0.0/24"
            ),
        ),
        (
            _vlan('id = 1, gateway = "10.0.1.1"'),
            "f:10: machine.a.bond.b0.vlans.control.gateway: stands without an address",
        ),
        (
            _vlan("id = 7 }, storage = { id = 7"),
            "f:10: machine.a.bond.b0.vlans.storage.id: 7 is already the id of the VLAN 'control'",
        ),
        (
            _vlan('id = 7, address = "10.0.0.2/24"')
            + '[machine.b]\nmac = "52:54:00:aa:00:04"\nip = "172.0.1.22"\nnic.e.mac = "52:54:00:aa:00:05"\n'
            + '[machine.b.bond.b0]\nmembers = ["e"]\n[machine.b.bond.b0.vlans.x]\n'
            + 'id = 7\naddress = "10.0.0.2/24"\n',
            "f:19: machine.b.bond.b0.vlans.x.address: 10.0.0.2 is also an address on VLAN 7 at f:10",
        ),
        (
            _options('mode = "active-backup"\nlacp_rate = "fast"'),
            (
                "f:11: machine.a.bond.b0.lacp_rate: means nothing in mode active-backup: "
                "only 802.3ad speaks LACP"
            ),
        ),
        (
            _options('mode = "balance-xor"\nmin_links = 1'),
            (
                "f:11: machine.a.bond.b0.min_links: means nothing in mode balance-xor: "
                "only 802.3ad counts its links"
            ),
        ),
        *(
            (
                _options(f'mode = "{mode}"\nhash_policy = "layer2"'),
                (
                    f"f:11: machine.a.bond.b0.hash_policy: means nothing in mode {mode}: "
                    "it does not choose members by a hash"
                ),
            )
            for mode in ("active-backup", "balance-rr", "balance-alb", "broadcast")
        ),
        *(
            (
                _options(f'mode = "{mode}"\nprimary = "eno2"'),
                f"f:11: machine.a.bond.b0.primary: means nothing in mode {mode}: it prefers no member",
            )
            for mode in ("802.3ad", "balance-rr", "balance-xor", "broadcast")
        ),
        (
            _options('mode = "active-backup"\nprimary = "eno3"'),
            "f:11: machine.a.bond.b0.primary: eno3 is not a member of b0",
        ),
        (
            _options("min_links = 2"),
            "f:10: machine.a.bond.b0.min_links: 2 links of 1: it would never come up",
        ),
        (_options('lacp_rate = "quick"'), "f:10: machine.a.bond.b0.lacp_rate: 'quick' is not an LACP rate"),
        (
            _options('mac = "52:54:00:aa:00:03"'),
            "f:10: machine.a.bond.b0.mac: 52:54:00:aa:00:03 is that of eno3 of a",
        ),
        (
            _options('mac = "52:54:00:aa:00:01"'),
            "f:10: machine.a.bond.b0.mac: 52:54:00:aa:00:01 is that of pxe of a",
        ),
        (
            _options('mac = "52:54:00:aa:00:09"') + '[machine.a.bond.b1]\nmembers = ["eno3"]\n'
            'mac = "52:54:00:aa:00:09"\n',
            "f:13: machine.a.bond.b1.mac: 52:54:00:aa:00:09 is that of b0 of a",
        ),
        *(
            (
                _member(line),
                f"f:8: machine.a.nic.eno3.{key}: eno3 is a member of b0, and carries nothing by itself",
            )
            for key, line in (
                ("address", 'address = "10.0.0.2/24"'),
                ("mtu", "mtu = 9000"),
                ("vlans", "vlans = { x = { id = 5 } }"),
                ("search", 'search = ["example.com"]'),
            )
        ),
    ],
)
def test_rule(text: str, expected: str) -> None:
    assert _problems(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        'mode = "802.3ad"\nlacp_rate = "slow"\nhash_policy = "layer2+3"\nmin_links = 1',
        'mode = "active-backup"\nprimary = "eno2"',
        'mode = "balance-tlb"\nprimary = "eno2"\nhash_policy = "layer3+4"',
        'mode = "balance-alb"\nprimary = "eno2"',
        'mode = "balance-xor"\nhash_policy = "encap2+3"',
        'mac = "52:54:00:aa:00:02"',
        'mac = "52:54:00:aa:00:09"',
    ],
)
def test_options_that_the_mode_has(text: str) -> None:
    assert _problems(_options(text)) == []


def test_several_problems_of_a_member_stand_at_their_keys() -> None:
    assert [
        problem.split(": ")[1] for problem in _problems(_member('mtu = 9000\nport = "x"\nvlans = {}'))
    ] == ["machine.a.nic.eno3.mtu"]


def test_a_bond_that_can_be_made() -> None:
    assert _problems(_vlan('id = 100, address = "10.0.0.2/24", gateway = "10.0.0.1", mtu = 9000')) == []
