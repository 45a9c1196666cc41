"""Which files a machine gets: whole renderings as goldens, and what decides which of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from appliance.addresses import Hostname, Mac
from appliance.image_ref import ImageRef
from appliance.inventory.becoming import (
    becomes_something,
    has_old_systemd,
    netconf_of,
    network_files,
    way_home,
)
from appliance.inventory.keyfiles import keyfiles
from appliance.inventory.model import Bond, KernelRef, Layer3, Machine, Netconf, Nic, Profile, Route, Vlan
from appliance.inventory.networkd import networkd_files
from appliance.provisioned import ProvisionedFile
from appliance.settings import Origin
from tests.goldens import assert_golden
from tests.networks import server, servers

_MAC = Mac.parse("52:54:00:00:00:01")
_BARE = Machine(Hostname("m"), Hostname("m"), (_MAC,), IPv4Address("172.0.1.9"), "pxe")
_NIC = Nic("e2", Mac.parse("52:54:00:00:00:02"))
_LAYER3 = Layer3(IPv4Interface("10.0.0.2/24"))


def _tree(files: Iterable[ProvisionedFile]) -> dict[str, bytes]:
    """Files by path, each with its mode on top."""
    return {f.path.lstrip("/"): f"# mode {f.mode:04o}\n{f.content}".encode() for f in files}


@pytest.mark.parametrize("name", ["node1", "node2"])
@pytest.mark.parametrize("netconf", [Netconf.NETWORKD, Netconf.NETWORKMANAGER])
def test_golden(name: str, netconf: Netconf) -> None:
    machine = server(name)
    files = network_files(machine, netconf, home=way_home(machine, servers()[1]["pxe"]))
    assert len({file.path for file in files}) == len(files)
    assert_golden(f"networks-{name}-{netconf.value}", _tree(files))


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (_BARE, False),
        (replace(_BARE, nics=(replace(_NIC, mtu=9000, port="leaf1 1"),)), False),
        (replace(_BARE, nics=(replace(_NIC, layer3=_LAYER3),)), True),
        (replace(_BARE, nics=(replace(_NIC, vlans=(Vlan("x", 5),)),)), True),
        (replace(_BARE, nics=(_NIC,), bonds=(Bond("b0", ("e2",)),)), True),
    ],
)
def test_only_a_machine_that_becomes_something_gets_files(machine: Machine, expected: bool) -> None:
    assert becomes_something(machine) is expected
    for netconf in (Netconf.NETWORKD, Netconf.NETWORKMANAGER):
        assert bool(network_files(machine, netconf)) is expected
    assert network_files(machine, Netconf.NONE) == network_files(machine, None) == ()


@pytest.mark.parametrize(
    ("profile", "variant", "expected"),
    [
        (Profile("p", ImageRef("flatcar", "stable")), None, Netconf.NETWORKD),
        (Profile("p", ImageRef("container-linux", "stable")), None, Netconf.NETWORKD),
        (Profile("p", ImageRef("fedora-coreos", "stable")), None, Netconf.NETWORKMANAGER),
        (Profile("p", ImageRef("fedora-coreos", "stable")), "flatcar", Netconf.NETWORKMANAGER),
        (Profile("p", ImageRef("local", "mine")), None, None),
        (Profile("p", ImageRef("local", "mine")), "flatcar", Netconf.NETWORKD),
        (Profile("p", KernelRef("/assets/k")), "fcos", Netconf.NETWORKMANAGER),
        (Profile("p", KernelRef("/assets/k")), "openshift", None),
        (Profile("p", ImageRef("flatcar", "stable"), netconf=Netconf.NONE), "flatcar", Netconf.NONE),
        (Profile("p", KernelRef("/assets/k"), netconf=Netconf.NETWORKD), "fcos", Netconf.NETWORKD),
    ],
)
def test_what_configures_networks(profile: Profile, variant: str | None, expected: Netconf | None) -> None:
    assert netconf_of(profile, variant) is expected


def test_container_linux_is_matched_by_what_its_systemd_knows() -> None:
    profile = Profile("p", ImageRef("container-linux", "stable"))
    assert has_old_systemd(profile)
    assert not has_old_systemd(Profile("p", ImageRef("flatcar", "lts")))
    files = network_files(server("node1"), Netconf.NETWORKD, old_systemd=True)
    assert not [file.path for file in files if "PermanentMACAddress" in file.content]
    nics = [file for file in files if "MACAddress=52" in file.content and file.path.endswith(".network")]
    assert all("Type=ether" in file.content for file in nics)
    assert len(nics) == 6


def test_the_way_home_leads_through_the_relay_and_nowhere_else() -> None:
    networks = servers()[1]
    route = way_home(server("node2"), networks["pxe"])
    assert route == Route(IPv4Network("172.0.1.1/32"), IPv4Address("172.0.2.1"), 2048)
    assert way_home(server("node1"), networks["pxe"]) is None
    # A systemd that does not know _dhcp4 is told the router.
    (pxe, *_) = networkd_files(server("node2"), home=route, old_systemd=True)
    assert pxe.content.endswith("[Route]\nDestination=172.0.1.1/32\nGateway=172.0.2.1\nMetric=2048\n")


def test_names_sort_as_networkd_reads_them() -> None:
    """The first file that fits is taken: names before MACs, ours before what a distribution ships."""
    names = [file.path.rpartition("/")[2] for file in networkd_files(server("node1"))]
    steps = [name.partition("-")[0] for name in sorted(names)]
    assert steps == sorted(steps)
    assert sorted([*names, "yy-pxe.network", "zz-default.network"])[-2:] == [
        "yy-pxe.network",
        "zz-default.network",
    ]
    assert max([*names, "wg0.network", "static.network"]) == "yx-pxe-appliance-others.network"


def test_the_pxe_nic_is_never_the_way_out() -> None:
    for name in ("node1", "node2"):
        (pxe, *_) = networkd_files(server(name))
        assert "UseGateway=no\nUseRoutes=no\nUseDNS=no\n" in pxe.content
        assert "RequiredForOnline=no" in pxe.content
        for file in keyfiles(server(name)):
            if "id=pxe" in file.content:
                assert "never-default=true\nignore-auto-routes=true\nignore-auto-dns=true\n" in file.content


@pytest.mark.parametrize(("line", "order"), [(20, ("10.0.0.1", "10.1.0.1")), (5, ("10.1.0.1", "10.0.0.1"))])
def test_the_first_gateway_of_the_file_wins(line: int, order: tuple[str, str]) -> None:
    """Whether it is a bond's or a NIC's."""
    gateway = Layer3(IPv4Interface("10.0.0.2/24"), IPv4Address("10.0.0.1"))
    other = Layer3(IPv4Interface("10.1.0.2/24"), IPv4Address("10.1.0.1"))
    nic = replace(_NIC, layer3=gateway, origin=Origin("f", 10))
    member = Nic("e3", Mac.parse("52:54:00:00:00:03"))
    bond = Bond("b0", ("e3",), layer3=other, origin=Origin("f", line))
    machine = replace(_BARE, nics=(nic, member), bonds=(bond,))
    units = "".join(file.content for file in networkd_files(machine))
    secrets = "".join(file.content for file in keyfiles(machine))
    for ip, metric in zip(order, (50, 60), strict=True):
        assert f"Gateway={ip}\nMetric={metric}\n" in units
        assert f"gateway={ip}\nroute-metric={metric}\n" in secrets


def test_keyfiles_are_secret_and_units_are_not() -> None:
    modes = {f.path.rpartition(".")[2]: f.mode for f in keyfiles(server("node1"))}
    assert modes == {"conf": 0o644, "nmconnection": 0o600}
    assert {file.mode for file in networkd_files(server("node1"))} == {0o644}


@pytest.mark.parametrize("render", [networkd_files, keyfiles])
@pytest.mark.parametrize("word", ["a\nb", "a\n[Match]", "x]", "a b\r", "é", "%n", "a\\nb", 'a"'])
def test_what_could_break_out_of_a_line_is_refused(
    word: str, render: Callable[[Machine], tuple[ProvisionedFile, ...]]
) -> None:
    """Inventories hold none such; a generation that was tampered with might."""
    searching = replace(_LAYER3, search=(word,))
    for machine in (
        replace(_BARE, nics=(replace(_NIC, name=word, layer3=_LAYER3),)),
        replace(_BARE, nics=(_NIC,), bonds=(Bond(word, ("e2",)),)),
        replace(_BARE, nics=(replace(_NIC, layer3=searching),)),
    ):
        with pytest.raises(ValueError, match="cannot be"):
            render(machine)


@pytest.mark.parametrize("render", [networkd_files, keyfiles])
@pytest.mark.parametrize("name", ["../a", "a/b", "/etc/passwd"])
def test_names_that_lead_out_of_the_folder_are_refused(
    name: str, render: Callable[[Machine], tuple[ProvisionedFile, ...]]
) -> None:
    with pytest.raises(ValueError, match="cannot be a file's name"):
        render(replace(_BARE, nics=(replace(_NIC, name=name, layer3=_LAYER3),)))


def test_ports_and_labels_are_never_rendered() -> None:
    machine = replace(
        _BARE, port="SECRET", labels={"a": "SECRET"}, nics=(replace(_NIC, layer3=_LAYER3, port="SECRET"),)
    )
    for render in (networkd_files, keyfiles):
        assert "SECRET" not in "".join(file.content for file in render(machine))
