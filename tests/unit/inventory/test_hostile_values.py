"""Whatever a file says, what reaches a Machine or a Profile is inside its grammar."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from appliance.inventory.keyfiles import keyfiles
from appliance.inventory.model import Bond, Inventory, KernelRef, Nic, Vlan
from appliance.inventory.networkd import networkd_files
from appliance.inventory.parse import Drafts
from appliance.inventory.parse_csv import read_csv
from appliance.inventory.parse_json import read_json
from appliance.inventory.parse_yaml import read_yaml
from appliance.inventory.rules import judge
from appliance.settings_parse import parse_settings
from appliance.toml_lines import read_toml
from tests.hostile import STRINGS

_SETTINGS = parse_settings('[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.0.0/8"\n', "s")
_MACHINE: dict[str, object] = {"mac": "52:54:00:aa:00:01", "ip": "172.0.1.21"}
_NIC = {"e2": {"mac": "52:54:00:aa:00:02"}}

_NAME = re.compile(r"(?!(?:[0-9]+[smhdw]?|ignore|infinite)$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_SCRIPT = re.compile(r"[A-Za-z0-9._=,:/@+%?~!-]+")
_DOMAIN = re.compile(r"(?=.{1,253}$)[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")


def _inside(inventory: Inventory | None) -> None:
    if inventory is None:
        return
    for machine in inventory.machines:
        assert _NAME.fullmatch(machine.name.text)
        assert _NAME.fullmatch(machine.hostname.text)
        assert machine.network == "pxe"
        assert machine.profile is None or _PLAIN.fullmatch(machine.profile)
        assert all(_PLAIN.fullmatch(key) and value.isprintable() for key, value in machine.labels.items())
        assert all(re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac.text) for mac in machine.macs)
        assert (machine.serial or "").isprintable()
        names = [nic.name for nic in machine.nics]
        for bond in machine.bonds:
            names += [bond.name, *bond.members, *(vlan.name for vlan in bond.vlans)]
        assert all(_PLAIN.fullmatch(name) and len(name) < 16 for name in names)
        carrying: list[Bond | Nic | Vlan] = [*machine.bonds, *machine.nics]
        for link in (*carrying, *(vlan for bond in machine.bonds for vlan in bond.vlans)):
            assert all(_DOMAIN.fullmatch(domain) for domain in link.layer3.search)
        # What is rendered from it stays in its line and in its folder, or there would be a ValueError.
        for file in (*networkd_files(machine), *keyfiles(machine)):
            assert all(
                re.fullmatch(r"\[[a-z0-9A-Z-]+\]|[A-Za-z0-9_-]+=\S.*|", x) for x in file.content.split("\n")
            )
    for profile in inventory.profiles.values():
        assert _PLAIN.fullmatch(profile.name)
        assert profile.ignition is None or _FILE.fullmatch(profile.ignition)
        sources = (
            (profile.source.kernel, *profile.source.initrd) if isinstance(profile.source, KernelRef) else ()
        )
        assert all(_SCRIPT.fullmatch(word) for word in (*profile.args, *sources))


def _through(data: object) -> None:
    drafts = Drafts()
    document = read_json(json.dumps(data), "f", drafts.problems)
    assert document is not None
    drafts.take(document)
    inventory = judge(drafts, _SETTINGS, {"x"})
    assert all(str(problem).isprintable() for problem in drafts.problems)
    _inside(inventory)


@given(st.sampled_from(["mac", "ip", "network", "profile", "serial", "uuid", "arch", "hostname"]), STRINGS)
def test_fields_of_a_machine(key: str, value: str) -> None:
    _through({"machine": {"node1": _MACHINE | {key: value}}})


@given(STRINGS, STRINGS, STRINGS)
def test_names_and_labels(name: str, key: str, value: str) -> None:
    _through({"machine": {name: _MACHINE | {"labels": {key: value}}}})


@given(STRINGS, STRINGS, STRINGS)
def test_nics_and_bonds(nic: str, bond: str, vlan: str) -> None:
    bonds = {bond: {"members": ["e2"], "vlans": {vlan: {"id": 5}}}}
    nics = {**_NIC, nic: {"mac": "52:54:00:aa:00:03"}}
    _through({"machine": {"node1": _MACHINE | {"nic": nics, "bond": bonds}}})


@given(
    st.sampled_from(["nic", "bond", "vlan"]),
    st.sampled_from(["address", "gateway", "mac", "primary", "hash_policy", "lacp_rate", "port", "mode"]),
    STRINGS,
    st.lists(STRINGS, max_size=2),
)
def test_what_a_machine_becomes(where: str, key: str, value: str, search: list[str]) -> None:
    carried = {"address": "10.0.0.2/24", "search": search}
    vlan = {"id": 5, **(carried if where == "vlan" else {}), **({key: value} if where == "vlan" else {})}
    bond = {"members": ["e2"], "vlans": {"x": vlan}, **({**carried, key: value} if where == "bond" else {})}
    nic = {"mac": "52:54:00:aa:00:03", **({**carried, key: value} if where == "nic" else {})}
    _through({"machine": {"node1": _MACHINE | {"nic": {**_NIC, "e3": nic}, "bond": {"b": bond}}}})


@given(
    STRINGS,
    st.sampled_from(["kernel", "image", "ignition", "boot", "netconf", "tuning", "call_home"]),
    STRINGS,
    STRINGS,
)
def test_profiles(name: str, key: str, value: str, arg: str) -> None:
    _through({"profile": {name: {key: value, "args": [arg]}}})


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["machine", "profile", "a", "mac", "macs", "ip", "nic", "bond", "vlans", "labels", "args"]
            )
            | st.text(max_size=3),
            below,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["machine", "profile"]), _JUNK))
def test_any_shape_of_data_gives_problems_only(data: dict[str, object]) -> None:
    _through(data)


@given(st.binary(max_size=300))
def test_any_bytes_give_problems_only(content: bytes) -> None:
    drafts = Drafts()
    text = content.decode("utf-8", "replace")
    for read in (read_toml, read_yaml, read_json, read_csv):
        document = read(text, "f", drafts.problems)
        if document is not None:
            drafts.take(document)
    _inside(judge(drafts, _SETTINGS, ()))
