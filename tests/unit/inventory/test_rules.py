"""Every rule of the inventory, by the sentence and the line that an operator gets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from appliance.addresses import Hostname, Mac
from appliance.image_ref import ImageRef
from appliance.inventory.model import (
    Bond,
    BootPolicy,
    Inventory,
    KernelRef,
    Layer3,
    Machine,
    Netconf,
    Nic,
    Profile,
    Route,
    Tuning,
    Vlan,
)
from appliance.inventory.parse import Drafts
from appliance.inventory.parse_csv import read_csv
from appliance.inventory.parse_json import read_json
from appliance.inventory.parse_yaml import read_yaml
from appliance.inventory.rules import judge
from appliance.settings_parse import parse_settings
from appliance.toml_lines import read_toml

_SETTINGS = parse_settings(
    """\
[network.pxe]
interface = "eth0"
subnet = "172.0.1.0/24"
relayed = [{ subnet = "172.0.2.0/24", router = "172.0.2.1" }]
[network.lab]
interface = "eth1"
subnet = "10.0.0.0/24"
""",
    "appliance.toml",
)
_PROFILE = '[profile.worker]\nimage = "flatcar/stable"\nignition = "worker.bu"\n'
_READERS = {"toml": read_toml, "yaml": read_yaml, "json": read_json, "csv": read_csv}


def _judge(*files: str, ending: str = "toml") -> tuple[Inventory, list[str]]:
    drafts = Drafts()
    for number, text in enumerate(files):
        reader = read_toml if text.startswith("[") else _READERS[ending]
        document = reader(text, f"{'abc'[number]}.{ending}", drafts.problems)
        if document is None:
            drafts.complete = False
        else:
            drafts.take(document)
    inventory = judge(drafts, _SETTINGS, {"worker.bu", "control.bu"})
    assert (inventory is None) == bool(drafts.problems)
    return inventory or Inventory(), [str(problem) for problem in sorted(drafts.problems)]


def _machine(
    name: str = "node1", mac: str = "52:54:00:aa:00:01", ip: str = "172.0.1.21", more: str = ""
) -> str:
    return f'[machine.{name}]\nmac = "{mac}"\nip = "{ip}"\n{more}\n'


_FULL = """\
[profile.worker]
image    = "flatcar/stable@4593.2.5"
args     = ["console=ttyS0", "ip=172.0.1.1::172.0.1.254:255.255.255.0::eno1:none"]
ignition = "worker.bu"
boot     = "always"
netconf  = "none"
tuning   = "performance"
call_home = false
[profile.own]
kernel = "http://mirror.example.com:80/a/vmlinuz"
initrd = ["/assets/a/initrd.img", "b/initrd.img"]
[machine.Node1]
macs    = ["52-54-00-AA-00-01", "5254.00aa.0004"]
ip      = "172.0.2.21"
profile = "worker"
labels  = { rack = "r1", "a.b_c-d" = "ünï code" }
serial  = "S 1"
uuid    = "4C4C4544-0000-1000-8000-000000000001"
arch    = "x86_64"
hostname = "alpha"
port    = "leaf1 Ethernet1/1"
[machine.Node1.nic.eno2]
mac = "525400aa0002"
[machine.Node1.nic.eno3]
mac = "52:54:00:aa:00:03"
[machine.Node1.bond.bond0]
members = ["eno2", "eno3"]
mode    = "802.3ad"
vlans   = { control = { id = 100, address = "10.0.100.21/24", gateway = "10.0.100.1", \
search = ["cluster.example.com"], routes = [{ to = "10.64.0.0/12", via = "10.0.100.2" }, \
{ to = "10.9.9.9/32", via = "10.0.100.3", metric = 70 }] }, \
storage = { id = 200, address = "10.0.200.21/24", mtu = 9000, dns = ["10.0.200.1"] } }
mtu = 9000
lacp_rate = "slow"
hash_policy = "encap3+4"
min_links = 2
mac = "525400aa0002"
address = "10.0.30.21/24"
[machine.Node1.nic.eno4]
mac = "525400aa0005"
port = " leaf1 Ethernet1/7 "
address = "10.0.40.21/24"
dns = ["10.0.40.1"]
mtu = 9000
vlans = { far = { id = 7 } }
"""


def test_a_whole_inventory() -> None:
    inventory, problems = _judge(_FULL)
    assert problems == []
    vlan_100, vlan_200 = inventory.machines[0].bonds[0].vlans
    assert inventory.machines == (
        Machine(
            name=Hostname("node1"),
            hostname=Hostname("alpha"),
            macs=(Mac("52:54:00:aa:00:01"), Mac("52:54:00:aa:00:04")),
            ip=IPv4Address("172.0.2.21"),
            network="pxe",
            profile="worker",
            labels={"rack": "r1", "a.b_c-d": "ünï code"},
            serial="S 1",
            uuid="4c4c4544-0000-1000-8000-000000000001",
            arch="amd64",
            nics=(
                Nic("eno2", Mac("52:54:00:aa:00:02")),
                Nic("eno3", Mac("52:54:00:aa:00:03")),
                Nic(
                    "eno4",
                    Mac("52:54:00:aa:00:05"),
                    layer3=Layer3(IPv4Interface("10.0.40.21/24"), dns=(IPv4Address("10.0.40.1"),)),
                    mtu=9000,
                    vlans=(Vlan("far", 7),),
                    port="leaf1 Ethernet1/7",
                ),
            ),
            bonds=(
                Bond(
                    "bond0",
                    ("eno2", "eno3"),
                    "802.3ad",
                    (vlan_100, vlan_200),
                    layer3=Layer3(IPv4Interface("10.0.30.21/24")),
                    mtu=9000,
                    lacp_rate="slow",
                    hash_policy="encap3+4",
                    min_links=2,
                    mac=Mac("52:54:00:aa:00:02"),
                ),
            ),
            port="leaf1 Ethernet1/1",
        ),
    )
    control = Layer3(
        IPv4Interface("10.0.100.21/24"),
        IPv4Address("10.0.100.1"),
        search=("cluster.example.com",),
        routes=(
            Route(IPv4Network("10.64.0.0/12"), IPv4Address("10.0.100.2")),
            Route(IPv4Network("10.9.9.9/32"), IPv4Address("10.0.100.3"), 70),
        ),
    )
    assert vlan_100 == Vlan("control", 100, control)
    storage = Layer3(IPv4Interface("10.0.200.21/24"), dns=(IPv4Address("10.0.200.1"),))
    assert vlan_200 == Vlan("storage", 200, storage, 9000)
    assert dict(inventory.profiles) == {
        "own": Profile(
            "own",
            KernelRef("http://mirror.example.com:80/a/vmlinuz", ("/assets/a/initrd.img", "b/initrd.img")),
        ),
        "worker": Profile(
            "worker",
            ImageRef("flatcar", "stable", "4593.2.5"),
            ("console=ttyS0", "ip=172.0.1.1::172.0.1.254:255.255.255.0::eno1:none"),
            "worker.bu",
            BootPolicy.ALWAYS,
            Netconf.NONE,
            Tuning.PERFORMANCE,
            call_home=False,
        ),
    }
    assert str(inventory.machines[0].origin) == "a.toml:12"
    assert str(inventory.machines[0].nics[1].origin) == "a.toml:24"


def test_the_formats_say_the_same() -> None:
    text = _PROFILE + _machine(more='profile = "worker"\nlabels = { rack = "1" }')
    from_toml, _ = _judge(text)
    from_yaml, _ = _judge(
        "profile: {worker: {image: flatcar/stable, ignition: worker.bu}}\n"
        "machine:\n  node1:\n    mac: 52:54:00:aa:00:01\n    ip: 172.0.1.21\n    profile: worker\n"
        "    labels: {rack: 1}\n",
        ending="yaml",
    )
    from_json, _ = _judge(
        '{"profile": {"worker": {"image": "flatcar/stable", "ignition": "worker.bu"}}, "machine": {"node1": '
        '{"mac": "52:54:00:aa:00:01", "ip": "172.0.1.21", "profile": "worker", "labels": {"rack": "1"}}}}',
        ending="json",
    )
    from_csv, _ = _judge(
        _PROFILE,
        "name,mac,ip,profile,rack\nnode1,52-54-00-AA-00-01,172.0.1.21,worker,1\n",
        ending="csv",
    )
    assert len(from_toml.machines) == 1
    assert from_toml == from_yaml == from_json == from_csv


def test_yaml_numbers_are_digits() -> None:
    nic = "nic: {e2: {mac: 52:54:00:aa:00:02}}"
    bond = nic + ", bond: {bond0: {members: [e2], vlans: {control: {id: 100, mtu: 9000}}}}"
    inventory, problems = _judge(
        "machine: {node1: {mac: 52:54:00:aa:00:01, ip: 172.0.1.21, " + bond + "}}\n", ending="yaml"
    )
    assert problems == []
    assert inventory.machines[0].bonds[0].vlans[0].id == 100


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            (_machine("a"), _machine("b", ip="172.0.1.22")),
            "b.toml:2: machine.b.mac: 52:54:00:aa:00:01 is also a NIC of a at a.toml:2",
        ),
        (
            (_machine("a") + '[machine.a.nic.e2]\nmac = "52:54:00:AA:00:01"\n',),
            "a.toml:6: machine.a.nic.e2.mac: 52:54:00:aa:00:01 is also a NIC of a at a.toml:2",
        ),
        (
            (_machine("a"), _machine("b", "52:54:00:aa:00:02")),
            "b.toml:3: machine.b.ip: 172.0.1.21 is also the address of a at a.toml:3",
        ),
        (
            (_machine("a"), _machine("A", "52:54:00:aa:00:02", "172.0.1.22")),
            "b.toml:1: machine.A: the name a is also at a.toml:1",
        ),
        (
            (_machine("a"), _machine("b", "52:54:00:aa:00:02", "172.0.1.22", 'hostname = "a"')),
            "b.toml:4: machine.b.hostname: the host name a is also that of a at a.toml:1",
        ),
        ((_PROFILE, _PROFILE), "b.toml:1: profile.worker: the profile 'worker' is also at a.toml:1"),
        (
            (_machine(ip="192.168.0.1"),),
            "a.toml:3: machine.node1.ip: 192.168.0.1 is in no network (the networks are lab, pxe)",
        ),
        (
            (_machine(ip="10.0.0.9", more='network = "pxe"'),),
            "a.toml:3: machine.node1.ip: 10.0.0.9 is outside the network 'pxe': 172.0.1.0/24, 172.0.2.0/24",
        ),
        (
            (_machine(ip="172.0.1.0"),),
            "a.toml:3: machine.node1.ip: 172.0.1.0 is the network address of 172.0.1.0/24",
        ),
        (
            (_machine(ip="172.0.2.255"),),
            "a.toml:3: machine.node1.ip: 172.0.2.255 is the broadcast address of 172.0.2.0/24",
        ),
        (
            (_machine(ip="172.0.1.1"),),
            "a.toml:3: machine.node1.ip: 172.0.1.1 is our own on the network 'pxe'",
        ),
        (
            (_machine(ip="172.0.2.1"),),
            "a.toml:3: machine.node1.ip: 172.0.2.1 is that of the DHCP relay on 172.0.2.0/24",
        ),
        ((_machine(ip="172.0.1.021"),), "a.toml:3: machine.node1.ip: '172.0.1.021' is not an IPv4 address"),
        (
            (_machine(more='network = "pxee"'),),
            "a.toml:4: machine.node1.network: no network is called 'pxee' (did you mean 'pxe'?)",
        ),
        (
            (_PROFILE, _machine(more='profile = "wrker"')),
            "b.toml:4: machine.node1.profile: no profile is called 'wrker' (did you mean 'worker'?)",
        ),
        (
            ('[profile.p]\nimage = "flatcar/stable"\nignition = "workr.bu"\n',),
            "a.toml:3: profile.p.ignition: there is no workr.bu in ignition.d/ (did you mean 'worker.bu'?)",
        ),
        (
            (_machine(mac="01:00:5e:00:00:01"),),
            (
                "a.toml:2: machine.node1.mac: '01:00:5e:00:00:01' is a multicast or broadcast address, "
                "which no NIC can send from (copy it from the NIC's label or from ip link)"
            ),
        ),
        (
            (_machine(mac="00:00:00:00:00:00"),),
            "a.toml:2: machine.node1.mac: '00:00:00:00:00:00' is the zero address, which no NIC has",
        ),
        (('[machine.a]\nip = "172.0.1.9"\n',), "a.toml:1: machine.a.mac: is missing"),
        (('[machine.a]\nmac = "52:54:00:aa:00:01"\n',), "a.toml:1: machine.a.ip: is missing"),
        (
            (_machine(more='macs = ["52:54:00:aa:00:02"]'),),
            "a.toml:2: machine.node1.mac: stands beside macs (write one of the two)",
        ),
        (
            (_machine("ignore"),),
            "a.toml:1: machine.ignore: 'ignore' is a word that dnsmasq reads as a command, not as a name",
        ),
        (
            (_machine("12H"),),
            "a.toml:1: machine.12H: '12H' is a word that dnsmasq reads as a lease time, not as a name",
        ),
        (
            (_machine(more='prof = "x"'),),
            "a.toml:4: machine.node1.prof: is not a known key (did you mean 'profile'?)",
        ),
        (("[machin.a]\n",), "a.toml:1: machin: is not a known key (did you mean 'machine'?)"),
        (
            ("[profile.p]\n",),
            (
                "a.toml:1: profile.p: boots install-once and names nothing to boot "
                '(name an image or a kernel; boot = "disk" needs neither)'
            ),
        ),
        (
            ('[profile.p]\nimage = "flatcar/stable"\nkernel = "k"\n',),
            (
                "a.toml:2: profile.p.image: stands beside kernel or initrd "
                "(a profile boots one or the other: leave one out)"
            ),
        ),
        (
            ('[profile.p]\nimage = "flatcr/stable"\n',),
            (
                "a.toml:2: profile.p.image: 'flatcr' in 'flatcr/stable' is no operating system "
                "we have images of (did you mean 'flatcar'?)"
            ),
        ),
        (
            ('[profile.p]\nimage = "flatcar/stabel"\n',),
            (
                "a.toml:2: profile.p.image: 'stabel' in 'flatcar/stabel' is no stream of flatcar "
                "(it has stable, beta, alpha, lts)"
            ),
        ),
    ],
)
def test_rule(files: tuple[str, ...], expected: str) -> None:
    _, problems = _judge(*files)
    assert expected in {*problems, *(p.partition(" (")[0] for p in problems)}


def test_all_problems_of_all_files_at_once() -> None:
    _, problems = _judge(
        _machine("a", "bad", "bad", 'profile = "none"'),
        _machine("a", "52:54:00:aa:00:01", "172.0.1.1"),
        "x = 1\n",
    )
    assert [p.split(" ")[0] + " " + p.split(" ")[1] for p in problems] == [
        "a.toml:2: machine.a.mac:",
        "a.toml:3: machine.a.ip:",
        "a.toml:4: machine.a.profile:",
        "b.toml:1: machine.a:",
        "b.toml:3: machine.a.ip:",
        "c.toml:1: x:",
    ]


def test_an_unread_file_does_not_make_its_profiles_unknown() -> None:
    _, problems = _judge(_PROFILE + "[", _machine(more='profile = "worker"'))
    assert len(problems) == 1
    assert "is not TOML" in problems[0]


def test_local_images_and_profiles_for_the_disk() -> None:
    _, problems = _judge('[profile.p]\nimage = "local/my-image"\n[profile.disk]\nboot = "disk"\n')
    assert problems == []


_BAD_PROFILES = [
    (
        "args",
        ["a b", "a\\nb", "${x}", "a||b", "a&&b", "a;b", 'a\\"b', "a'b", "#x", "", "a\\u0000", "a|b", "`x`"],
    ),
    (
        "initrd",
        ["http://h/${mac}", "a b", "../x", "a/../b", "-x", "http://h", "file:///etc/shadow", "http://h/a&b"],
    ),
]


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in _BAD_PROFILES for value in values]
)
def test_nothing_can_be_smuggled_into_a_boot_script(key: str, value: str) -> None:
    _, problems = _judge(f'[profile.p]\nkernel = "k"\n{key} = ["{value}"]\n')
    assert len(problems) == 1
    assert problems[0].startswith(f"a.toml:3: profile.p.{key}[0]: ")


@pytest.mark.parametrize("value", ["../x.bu", "a/b", ".hidden", "", "a b", "-x", "a\\nb"])
def test_an_ignition_file_is_a_plain_name(value: str) -> None:
    _, problems = _judge(f'[profile.p]\nboot = "disk"\nignition = "{value}"\n')
    assert len(problems) == 1


@pytest.mark.parametrize(
    "labels", ['"a b" = "x"', '"" = "x"', f'{"k" * 64} = "x"', 'k = "a\\nb"', f'k = "{"v" * 257}"', "k = 1"]
)
def test_labels_are_bounded(labels: str) -> None:
    _, problems = _judge(_machine(more=f"labels = {{ {labels} }}"))
    assert len(problems) == 1
    assert problems[0].startswith("a.toml:4: machine.node1.labels.")
