"""An inventory survives being stored; what is damaged is refused rather than half restored."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.addresses import Hostname, Mac
from appliance.errors import SurroundingsError
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
from appliance.inventory.serialize import dump_inventory, restore_inventory
from appliance.settings import Origin

_MACS = st.integers(1, 2**40).map(
    lambda n: Mac(":".join(f"{n * 256:012x}"[i : i + 2] for i in range(0, 12, 2)))
)
_MACS = _MACS.filter(lambda mac: not mac.octets[0] & 1)
_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True).map(Hostname)
_WORDS = st.text(min_size=1, max_size=6)
_ORIGINS = st.builds(Origin, _WORDS, st.integers(0, 99))
_ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
_INTERFACES = st.tuples(_ADDRESSES, st.integers(0, 32)).map(lambda pair: IPv4Interface(pair))
_MTUS = st.none() | st.integers(576, 9216)
_ROUTES = st.builds(
    Route,
    st.integers(0, 2**16 - 1).map(lambda n: IPv4Network((n << 16, 16))),
    _ADDRESSES,
    st.none() | st.integers(1, 65535),
)
_CARRIED = st.builds(
    Layer3,
    st.none() | _INTERFACES,
    st.none() | _ADDRESSES,
    st.lists(_ADDRESSES, max_size=2).map(tuple),
    st.lists(_WORDS, max_size=2).map(tuple),
    st.lists(_ROUTES, max_size=2).map(tuple),
)
_VLANS = st.builds(Vlan, _WORDS, st.integers(1, 4094), _CARRIED, _MTUS)
_SOME_VLANS = st.lists(_VLANS, max_size=2).map(tuple)
_NICS = st.builds(Nic, _WORDS, _MACS, _ORIGINS, _CARRIED, _MTUS, _SOME_VLANS, st.text(max_size=4))
_BONDS = st.builds(
    Bond,
    _WORDS,
    st.lists(_WORDS, max_size=2).map(tuple),
    _WORDS,
    _SOME_VLANS,
    _ORIGINS,
    _CARRIED,
    _MTUS,
    st.none() | _WORDS,
    st.none() | _WORDS,
    st.none() | st.integers(1, 16),
    st.none() | _WORDS,
    st.none() | _MACS,
)
_MACHINES = st.builds(
    Machine,
    name=_NAMES,
    hostname=_NAMES,
    macs=st.lists(_MACS, min_size=1, max_size=3).map(tuple),
    ip=_ADDRESSES,
    network=_WORDS,
    profile=st.none() | _WORDS,
    labels=st.dictionaries(_WORDS, st.text(max_size=4), max_size=3),
    serial=st.none() | _WORDS,
    uuid=st.none() | _WORDS,
    arch=st.none() | st.sampled_from(["amd64", "arm64"]),
    nics=st.lists(_NICS, max_size=2).map(tuple),
    bonds=st.lists(_BONDS, max_size=2).map(tuple),
    port=st.text(max_size=4),
    origin=_ORIGINS,
)
_PROFILES = st.builds(
    Profile,
    name=_WORDS,
    source=st.none()
    | st.builds(ImageRef, _WORDS, _WORDS, st.none() | _WORDS)
    | st.builds(KernelRef, _WORDS, st.lists(_WORDS, max_size=2).map(tuple)),
    args=st.lists(_WORDS, max_size=2).map(tuple),
    ignition=st.none() | _WORDS,
    boot=st.sampled_from(BootPolicy),
    netconf=st.none() | st.sampled_from(Netconf),
    tuning=st.none() | st.sampled_from(Tuning),
    call_home=st.booleans(),
    origin=_ORIGINS,
)
_INVENTORIES = st.builds(
    Inventory,
    st.lists(_MACHINES, max_size=3).map(tuple),
    st.lists(_PROFILES, max_size=3).map(lambda profiles: {p.name: p for p in profiles}),
)


@given(_INVENTORIES)
def test_what_was_stored_comes_back(inventory: Inventory) -> None:
    text = dump_inventory(inventory)
    restored = restore_inventory(text)
    assert restored == inventory
    assert [m.origin for m in restored.machines] == [m.origin for m in inventory.machines]
    assert dump_inventory(restored) == text


def test_one_machine_a_line() -> None:
    names = ("a", "b")
    machines = tuple(
        Machine(Hostname(name), Hostname(name), (Mac.parse(f"52540000000{n}"),), IPv4Address(n), "pxe")
        for n, name in enumerate(names)
    )
    assert dump_inventory(Inventory(machines)) == (
        '{"version":1,"profiles":[],"machines":[\n'
        '{"name":"a","macs":["52:54:00:00:00:00"],"ip":"0.0.0.0","network":"pxe"},\n'
        '{"name":"b","macs":["52:54:00:00:00:01"],"ip":"0.0.0.1","network":"pxe"}\n'
        "]}\n"
    )


_GOOD: dict[str, object] = {"name": "a", "macs": ["52:54:00:00:00:00"], "ip": "10.0.0.1", "network": "pxe"}
_WRONG: list[dict[str, object]] = [
    {"name": "a\nb"},
    {"macs": ["52:54:00:00:00:00,ignore"]},
    {"macs": []},
    {"ip": "10.0.0.1\n"},
    {"network": None},
    {"network": 1},
    {"profile": []},
    {"labels": {"a": 1}},
    {"labels": [["a", "b"]]},
    {"nics": [["e0", "bad", None]]},
    {"bonds": [{"name": "b", "mode": "m", "vlans": [{"name": "v", "id": "x"}]}]},
]


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"version":2,"profiles":[],"machines":[]}',
        '{"version":1,"profiles":[],"machines":[',
        *(json.dumps({"version": 1, "profiles": [], "machines": [_GOOD | wrong]}) for wrong in _WRONG),
        "[" * 100_000,
    ],
)
def test_what_is_damaged_is_refused(damage: str) -> None:
    with pytest.raises(SurroundingsError, match="cannot restore an inventory"):
        restore_inventory(damage)


@given(st.text())
def test_any_text_is_an_inventory_or_refused(text: str) -> None:
    with pytest.raises(SurroundingsError):
        restore_inventory(text)
