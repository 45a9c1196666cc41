"""What a sync would change, as a value."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from appliance.addresses import Hostname, Mac
from appliance.image_ref import ImageRef
from appliance.inventory.model import (
    Bond,
    Layer3,
    Machine,
    Netconf,
    Nic,
    Profile,
    Route,
    Tuning,
    Vlan,
)
from appliance.settings import NetworkSettings
from appliance.sync.plan import (
    Desired,
    Plan,
    child_of,
    machine_facts,
    make_plan,
    network_facts,
    profile_facts,
)
from appliance.tree import Activation, RenderedFile, Tree
from tests.unit.sync.rooms import MOVED, RACK, SETTINGS, desired

RELAYED = SETTINGS + 'relayed = [{ subnet = "172.0.2.0/24", router = "172.0.2.1" }]\n'
TWO = SETTINGS + '[network.lab]\ninterface = "eno5"\nsubnet = "172.0.9.0/24"\n'
PROXY = SETTINGS + 'mode = "proxy"\n'


def rack(*machines: tuple[str, str, str]) -> str:
    """TOML of machines: name, MACs' last octets, last octet of the address."""
    text = ""
    for name, octets, ip in machines:
        macs = ", ".join(f'"52:54:00:aa:00:{octet}"' for octet in octets.split())
        text += f'[machine.{name}]\nmacs = [{macs}]\nip = "172.0.1.{ip}"\n'
    return text


def change(before: str | Desired | None, after: str | Desired) -> Plan:
    old = desired(inventory=before) if isinstance(before, str) else before
    new = desired(inventory=after) if isinstance(after, str) else after
    return make_plan(None if before is None else 4, old, new)


def said(plan: Plan) -> list[str]:
    return [f"{c.action.value} {c.kind} {c.name}" for c in plan.changes]


def releases(plan: Plan) -> list[str]:
    return [f"{r.ip} {str(r.mac)[-2:]}" for r in plan.releases]


def activations(plan: Plan) -> dict[str, str]:
    return {child: need.word for child, need in plan.activations.items()}


# ---- differences ----


def test_the_same_is_an_empty_plan() -> None:
    plan = change(RACK, RACK)
    assert plan.empty
    assert (plan.changes, plan.releases, activations(plan), plan.mass_change) == ((), (), {}, False)
    assert plan.activation is Activation.NONE


def test_comments_order_and_line_numbers_change_nothing() -> None:
    after = "# a comment\n\n" + RACK.replace('ip = "172.0.1.21"\n', '# moved\nip = "172.0.1.21"\n')
    assert change(RACK, after).empty
    assert change(RACK, desired(settings="# why\n" + SETTINGS)).empty


def test_the_first_plan_adds_everything() -> None:
    plan = change(None, RACK)
    assert plan.base is None
    assert said(plan)[:4] == ["add network pxe", "add profile lab", "add machine node1", "add machine node2"]
    assert set(said(plan)[4:]) == {
        "add file boot.json",
        "add file ignition/lab.ign",
        "add file tftp/dnsmasq.conf",
    }
    assert activations(plan) == {"dhcp:pxe": "restart", "tftp": "restart"}
    assert not plan.releases
    assert not plan.mass_change


def test_a_changed_machine_says_what_and_needs_a_reload() -> None:
    plan = change(RACK, MOVED)
    (one,) = plan.changes
    assert (one.action.value, one.kind, one.name) == ("change", "machine", "node1")
    assert one.before is not None
    assert one.after is not None
    assert (one.before["ip"], one.after["ip"]) == ("172.0.1.21", "172.0.1.29")
    assert activations(plan) == {"dhcp:pxe": "reload"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('ip = "172.0.1.21"', 'ip = "172.0.1.21"\nlabels = { rack = "r1" }', "machine node1"),
        ('ip = "172.0.1.21"', 'ip = "172.0.1.21"\nserial = "x"', "machine node1"),
        ('kernel = "/assets/lab/vmlinuz"', 'kernel = "/assets/lab/other"', "profile lab"),
        ('ignition = "lab.ign"', 'ignition = "lab.ign"\nboot = "always"', "profile lab"),
    ],
)
def test_what_dnsmasq_never_reads_needs_nothing_of_it(old: str, new: str, expected: str) -> None:
    plan = change(RACK, RACK.replace(old, new))
    assert said(plan) == [f"change {expected}"]
    assert activations(plan) == {}
    assert plan.activation is Activation.NONE


@pytest.mark.parametrize(
    ("before", "after", "changes", "needs"),
    [
        (SETTINGS, RELAYED, ["change network pxe"], {"dhcp:pxe": "restart"}),
        (SETTINGS, SETTINGS + 'lease = "2h"\n', ["change network pxe"], {"dhcp:pxe": "restart"}),
        (
            SETTINGS,
            TWO,
            ["add network lab", "add file network/lab/hosts", "change file tftp/dnsmasq.conf"],
            {"dhcp:lab": "restart", "tftp": "restart"},
        ),
        (
            TWO,
            SETTINGS,
            ["remove network lab", "remove file network/lab/hosts", "change file tftp/dnsmasq.conf"],
            {"dhcp:lab": "restart", "tftp": "restart"},
        ),
        (
            SETTINGS,
            SETTINGS + "[http]\nport = 80\n",
            ["add settings http", "change file network/pxe/dnsmasq.conf"],
            {"dhcp:pxe": "restart"},
        ),
        (
            SETTINGS,
            SETTINGS + '[images.flatcar]\nmirror = "https://mirror.example.com"\n',
            ["add settings images.flatcar"],
            {},
        ),
    ],
)
def test_settings(before: str, after: str, changes: list[str], needs: dict[str, str]) -> None:
    plan = change(desired(before), desired(after))
    assert said(plan) == changes
    assert activations(plan) == needs


def test_a_child_needs_the_most_that_any_of_its_files_needs() -> None:
    plan = change(RACK, desired(RELAYED, MOVED))
    assert activations(plan) == {"dhcp:pxe": "restart"}
    assert plan.activation is Activation.RESTART


def test_one_network_s_machines_are_no_business_of_another_s_child() -> None:
    lab = RACK + '[machine.far]\nmac = "52:54:00:aa:00:31"\nip = "172.0.9.31"\n'
    plan = change(desired(TWO, RACK), desired(TWO, lab))
    assert activations(plan) == {"dhcp:lab": "reload"}


def test_a_file_that_no_value_explains_is_named() -> None:
    before = desired()
    other = RenderedFile("ignition/lab.ign", b"{}", 0o640)
    after = replace(before, tree=Tree.of(other, *(f for f in before.tree if f.path != other.path)))
    assert said(change(before, after)) == ["change file ignition/lab.ign"]
    hosts = RenderedFile("network/pxe/hosts", b"", activation=Activation.RELOAD)
    drifted = replace(before, tree=Tree.of(hosts, *(f for f in before.tree if f.path != hosts.path)))
    assert said(change(drifted, before)) == ["change file network/pxe/hosts"]


@pytest.mark.parametrize(
    ("path", "child"),
    [
        ("network/pxe/hosts", "dhcp:pxe"),
        ("network/pxe/dnsmasq.conf", "dhcp:pxe"),
        ("tftp/dnsmasq.conf", "tftp"),
        ("inventory.json", None),
        ("ignition/tftp", None),
        ("network/pxe", None),
        ("network/pxe/x/y", None),
    ],
)
def test_whose_file_it_is(path: str, child: str | None) -> None:
    assert child_of(path) == child


# ---- leases to take back ----

A = ("a", "01", "21")
B = ("b", "02", "22")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (rack(A, B), []),
        (rack(A), ["172.0.1.22 02"]),
        (rack(A, ("b", "02", "23")), ["172.0.1.22 02"]),
        (rack(A, ("b", "03", "22")), ["172.0.1.22 02"]),
        (rack(A, ("c", "02", "22")), []),
        (rack(A, ("b", "02 03", "22")), []),
        (rack(("a", "01", "22"), ("b", "02", "21")), ["172.0.1.21 01", "172.0.1.22 02"]),
        (rack(("a", "02", "21"), ("b", "01", "22")), ["172.0.1.21 01", "172.0.1.22 02"]),
        (rack(("a", "01 02", "21")), ["172.0.1.22 02"]),
        (rack(), ["172.0.1.21 01", "172.0.1.22 02"]),
    ],
    ids=[
        "same",
        "removed",
        "moved",
        "new-nic",
        "renamed",
        "more-nics",
        "ips-swapped",
        "macs-swapped",
        "merged",
        "none",
    ],
)
def test_leases_that_lose_their_owner_are_released(after: str, expected: list[str]) -> None:
    assert releases(change(rack(A, B), after)) == expected


def test_of_several_nics_only_the_one_that_goes_is_released() -> None:
    assert releases(change(rack(("a", "01 02 03", "21")), rack(("a", "01 03", "21")))) == ["172.0.1.21 02"]
    moved = change(rack(("a", "01 02", "21")), rack(("a", "01 02", "25")))
    assert releases(moved) == ["172.0.1.21 01", "172.0.1.21 02"]


def test_where_we_gave_nothing_nothing_is_released() -> None:
    assert releases(change(desired(PROXY, rack(A)), desired(PROXY, rack(B)))) == []
    lab = '[machine.far]\nmac = "52:54:00:aa:00:31"\nip = "172.0.9.31"\n'
    assert releases(change(desired(TWO, lab), desired(SETTINGS, rack(A)))) == [], "its child is gone as well"


def test_a_machine_that_changes_networks_is_released_on_the_old_one() -> None:
    before = '[machine.a]\nmac = "52:54:00:aa:00:01"\nip = "172.0.9.31"\n'
    (release,) = change(desired(TWO, before), desired(TWO, rack(A))).releases
    assert (str(release.ip), release.network) == ("172.0.9.31", "lab")


# ---- too much at once ----


def _many(count: int, *, gone: int = 0, renamed: int = 0) -> str:
    kept = range(gone, count)
    return rack(*((f"{'x' if n < gone + renamed else 'n'}{n}", f"{n:02x}", str(10 + n)) for n in kept))


@pytest.mark.parametrize(
    ("count", "gone", "refused"),
    [
        (1, 1, True),
        (2, 1, False),
        (2, 2, True),
        (3, 1, False),
        (3, 2, True),
        (4, 1, False),
        (10, 1, False),
        (10, 2, False),
        (10, 3, True),
        (10, 10, True),
        (15, 3, False),
        (15, 4, True),
        (100, 20, False),
        (100, 21, True),
    ],
)
def test_how_much_may_vanish(count: int, gone: int, refused: bool) -> None:
    plan = change(_many(count), _many(count, gone=gone))
    assert len(plan.vanished) == gone
    assert plan.remaining == count - gone
    assert plan.mass_change == refused


def test_a_new_name_or_a_new_address_is_no_loss() -> None:
    assert change(_many(10), _many(10, renamed=10)).vanished == ()
    moved = _many(10).replace("172.0.1.1", "172.0.1.10")
    assert change(_many(9), moved.replace("172.0.1.100", "172.0.1.200")).vanished == ()
    assert change(None, _many(10)).mass_change is False
    assert change("", "").mass_change is False


def test_all_new_machines_do_not_hide_that_the_old_ones_are_gone() -> None:
    other = _many(10).replace("aa:00", "bb:00").replace("machine.n", "machine.z")
    plan = change(_many(10), other)
    assert len(plan.vanished) == 10
    assert plan.mass_change


# ---- what a person agrees to ----


def test_a_fingerprint_is_of_what_is_done_and_where_it_starts() -> None:
    plan = change(RACK, MOVED)
    same = change(RACK, MOVED)
    other = change(RACK, RACK.replace("172.0.1.21", "172.0.1.28"))
    assert plan.fingerprint == same.fingerprint
    assert len({plan.fingerprint, other.fingerprint, replace(plan, base=5).fingerprint}) == 3


def test_the_public_shape() -> None:
    plan = change(RACK, RACK.replace("52:54:00:aa:00:01", "52:54:00:aa:00:05"))
    shape = plan.as_json()
    assert json.loads(json.dumps(shape)) == shape
    facts = {
        "macs": ["52:54:00:aa:00:01"],
        "ip": "172.0.1.21",
        "network": "pxe",
        "profile": "lab",
        "hostname": "node1",
        "labels": {},
    }
    assert shape["activation"] == "reload"
    assert shape["changes"] == [
        {
            "action": "change",
            "kind": "machine",
            "name": "node1",
            "before": facts,
            "after": facts | {"macs": ["52:54:00:aa:00:05"]},
        }
    ]
    assert shape["releases"] == [{"ip": "172.0.1.21", "mac": "52:54:00:aa:00:01"}]


def test_every_change_is_plain_json() -> None:
    plan = make_plan(None, None, desired(inventory=BONDED))
    shape = json.loads(json.dumps(plan.as_json()))
    (machine,) = [c for c in shape["changes"] if c["kind"] == "machine"]
    assert machine["after"]["nics"] == {"eno2": "52:54:00:aa:00:02", "eno3": "52:54:00:aa:00:03"}
    assert machine["after"]["bonds"] == {
        "bond0": {
            "members": ["eno2", "eno3"],
            "mode": "802.3ad",
            "vlans": {"storage": {"id": 200, "address": "10.0.200.21/24", "mtu": 9000}},
        }
    }


def test_what_a_profile_and_a_network_do_not_use_is_not_shown() -> None:
    plain = Profile("p", ImageRef("flatcar", "stable"))
    assert not profile_facts(plain).keys() & {"netconf", "tuning", "call_home"}
    used = replace(plain, netconf=Netconf.NONE, tuning=Tuning.PERFORMANCE, call_home=False)
    assert profile_facts(used) == {
        **profile_facts(plain),
        "netconf": "none",
        "tuning": "performance",
        "call_home": False,
    }
    network = NetworkSettings("pxe", "eth0", IPv4Network("172.0.1.0/24"), IPv4Address("172.0.1.1"))
    assert "vlan" not in network_facts(network)
    assert network_facts(replace(network, vlan=110))["vlan"] == 110


def test_what_other_servers_mean_is_a_fact_when_it_is_unusual() -> None:
    told = change(desired(), desired(settings=SETTINGS + 'other_servers = "tell"\n'))
    assert [(c.kind, c.name) for c in told.changes] == [("network", "pxe")]
    assert told.activation is Activation.NONE
    network = NetworkSettings("pxe", "eth0", IPv4Network("172.0.1.0/24"), IPv4Address("172.0.1.1"))
    assert "other_servers" not in network_facts(network)


@pytest.mark.parametrize(
    "words", ['mac = "52:54:00:00:00:01"', 'default_route = "allow"', 'forwarding = "allow"']
)
def test_what_keeps_production_safe_is_a_change_of_its_own(words: str) -> None:
    told = change(desired(), desired(settings=f"{SETTINGS}{words}\n"))
    assert [(c.kind, c.name) for c in told.changes] == [("network", "pxe")]
    assert told.activation is Activation.NONE
    network = NetworkSettings("pxe", "eth0", IPv4Network("172.0.1.0/24"), IPv4Address("172.0.1.1"))
    assert not {"mac", "default_route", "forwarding"} & network_facts(network).keys()


def test_every_change_of_what_a_machine_becomes_is_one_of_the_plan() -> None:
    carried = Layer3(
        IPv4Interface("10.0.0.2/24"),
        IPv4Address("10.0.0.1"),
        (IPv4Address("10.0.0.3"),),
        ("example.com",),
        (Route(IPv4Network("10.1.0.0/16"), IPv4Address("10.0.0.4"), 7),),
    )
    nic = Nic("e2", Mac("52:54:00:aa:00:02"))
    bond = Bond("b0", ("e2",), vlans=(Vlan("x", 5),))
    machine = Machine(
        Hostname("m"), Hostname("m"), (Mac("52:54:00:aa:00:01"),), IPv4Address("172.0.1.9"), "pxe"
    )
    whole = replace(machine, nics=(nic,), bonds=(bond,))
    changed = [
        replace(whole, port="leaf1 1"),
        *(
            replace(whole, nics=(one,))
            for one in (
                replace(nic, port="leaf1 2"),
                replace(nic, mtu=9000),
                replace(nic, layer3=carried),
                replace(nic, vlans=(Vlan("y", 6),)),
            )
        ),
        *(
            replace(whole, bonds=(one,))
            for one in (
                replace(bond, mtu=9000),
                replace(bond, layer3=carried),
                replace(bond, lacp_rate="slow"),
                replace(bond, hash_policy="layer2"),
                replace(bond, min_links=1),
                replace(bond, mode="active-backup", primary="e2"),
                replace(bond, mac=Mac("52:54:00:aa:00:09")),
                replace(bond, vlans=(Vlan("x", 5, carried),)),
                replace(bond, vlans=(Vlan("x", 5, mtu=1400),)),
                *(
                    replace(bond, layer3=less)
                    for less in (
                        replace(carried, routes=()),
                        replace(carried, search=()),
                        replace(carried, dns=()),
                        replace(carried, gateway=None),
                    )
                ),
            )
        ),
    ]
    facts = [json.dumps(machine_facts(one), sort_keys=True) for one in (whole, *changed)]
    assert len(set(facts)) == len(facts)


BONDED = (
    rack(A)
    + """
[machine.a.nic.eno2]
mac = "52:54:00:aa:00:02"
[machine.a.nic.eno3]
mac = "52:54:00:aa:00:03"
[machine.a.bond.bond0]
members = ["eno2", "eno3"]
vlans = { storage = { id = 200, address = "10.0.200.21/24", mtu = 9000 } }
"""
)
