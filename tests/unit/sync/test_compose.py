"""From an operator's files to the tree of a generation: whole trees, refusals, and hostile strings."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.boot.firmware import choose
from appliance.dnsmasq.reparse import expected, inlined, parse_hosts, untagged
from appliance.errors import OperatorError, SurroundingsError
from appliance.inventory.serialize import restore_inventory
from appliance.settings_parse import parse_settings
from appliance.sync.compose import compose
from appliance.sync.plan import Desired
from appliance.tree import Activation
from tests.goldens import assert_golden
from tests.hostile import STRINGS
from tests.unit.dnsmasq.rooms import MANIFEST
from tests.unit.sync.rooms import SETTINGS, case, ingredients


@pytest.mark.parametrize("name", ["compose-rack", "compose-external", "compose-bare"])
def test_golden(name: str) -> None:
    made = compose(case(name))
    assert_golden(name, {file.path: file.content for file in made.tree})


def test_who_may_read_a_file_and_what_its_change_costs() -> None:
    tree = compose(case("compose-rack")).tree
    assert {f.path: oct(f.mode) for f in tree if f.mode != 0o644} == {"ignition/worker.bu": "0o640"}
    assert {f.path: f.activation.word for f in tree if f.activation is not Activation.NONE} == {
        "network/lab/dnsmasq.conf": "restart",
        "network/lab/hosts": "reload",
        "network/pxe/dnsmasq.conf": "restart",
        "network/pxe/hosts": "reload",
        "tftp/dnsmasq.conf": "restart",
    }


def test_the_same_files_make_the_same_tree() -> None:
    assert compose(case("compose-rack")).tree == compose(case("compose-rack")).tree


def test_a_generation_can_be_read_back() -> None:
    given_ = case("compose-rack")
    tree = compose(given_).tree
    kept, inventory = tree.get("appliance.toml"), tree.get("inventory.json")
    assert kept is not None
    assert inventory is not None
    assert parse_settings(kept.content.decode(), "x") == given_.settings
    assert restore_inventory(inventory.content.decode()) == given_.inventory


def test_a_host_without_binaries_is_told_what_to_install() -> None:
    with pytest.raises(SurroundingsError, match=r"cannot serve BIOS \(0\): no undionly") as caught:
        compose(ingredients(chosen=choose(MANIFEST, {})))
    assert "apt" in caught.value.hint
    assert "ipxe" in caught.value.hint


def test_a_class_that_few_have_is_refused_by_name_and_stops_nothing() -> None:
    made = compose(ingredients())
    assert any("arm64 UEFI (11) is refused" in refusal for refusal in made.refusals)
    boot = made.tree.get("boot.json")
    assert boot is not None
    assert "11" in json.loads(boot.content)["refused"]


def test_every_ignition_that_cannot_be_used_is_named_with_its_place() -> None:
    inventory = """
    [profile.a]
    kernel = "/assets/k"
    ignition = "bad.ign"
    [profile.b]
    kernel = "/assets/k"
    ignition = "worse.bu"
    """
    with pytest.raises(OperatorError, match="as Ignition") as caught:
        compose(ingredients(inventory=inventory, ignition={"bad.ign": b"{", "worse.bu": b"variant: x\n"}))
    files = [problem.file.rpartition("/")[2] for problem in caught.value.problems]
    assert sorted(set(files)) == ["bad.ign", "worse.bu"]


def test_operator_s_directives_have_to_be_text() -> None:
    with pytest.raises(OperatorError, match=r"dnsmasq\.d") as caught:
        compose(ingredients(extra={"a.conf": b"\xff", "b.conf": b"no-ping\n", "c.conf": b"\xfe"}))
    assert [p.file.rpartition("/")[2] for p in caught.value.problems] == ["a.conf", "c.conf"]


@pytest.mark.parametrize("name", ["a.conf", "a\nconf-script=/bin/true\n.conf"])
def test_operator_s_directives_have_to_be_harmless(name: str) -> None:
    content = b"" if "\n" in name else b"no-ping\n\n conf-script=/bin/true\n"
    with pytest.raises(OperatorError, match=r"dnsmasq\.d") as caught:
        compose(ingredients(extra={name: content}))
    (problem,) = caught.value.problems
    assert problem.line == (0 if "\n" in name else 3)


def test_a_setting_that_would_be_ignored_is_refused() -> None:
    wanted = SETTINGS + '[matchbox]\nendpoint = "http://matchbox.example.com"\npush = "grpc"\n'
    with pytest.raises(OperatorError) as caught:
        compose(ingredients(wanted))
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("matchbox.push", 6)


# ---- no string of an inventory changes the meaning of a file ----


def _mostly(sound: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Sound values, and a hostile one now and then: with one in each field nothing would ever be composed."""
    return st.integers(0, 30).flatmap(lambda roll: STRINGS if roll == 30 else sound)


_NAMES = _mostly(st.sampled_from(["node1", "node2", "a", "x-9", "a" * 63]))
_MACS = _mostly(st.integers(0, 0xFFFF).map(lambda n: f"52:54:00:aa:{n >> 8:02x}:{n & 255:02x}"))
_LABELS = _mostly(st.sampled_from(["rack", "a.b", "role"]))
_MACHINES = st.fixed_dictionaries(
    {
        "macs": st.lists(_MACS, min_size=1, max_size=3),
        "ip": _mostly(st.integers(2, 254).map(lambda n: f"172.0.1.{n}")),
    },
    optional={
        "hostname": _NAMES,
        "network": _mostly(st.just("pxe")),
        "labels": st.dictionaries(_LABELS, STRINGS, max_size=1),
        "serial": _mostly(st.just("S3R1AL")),
        "nic": st.dictionaries(
            _mostly(st.sampled_from(["eno2", "eno3"])), st.fixed_dictionaries({"mac": _MACS}), max_size=2
        ),
    },
)
_PROFILES = st.fixed_dictionaries(
    {"kernel": _mostly(st.just("/assets/k"))},
    optional={"args": st.lists(_mostly(st.just("quiet")), max_size=2)},
)
_INVENTORIES = st.fixed_dictionaries(
    {"machine": st.dictionaries(_NAMES, _MACHINES, max_size=3)},
    optional={"profile": st.dictionaries(_mostly(st.just("p")), _PROFILES, max_size=2)},
)
_BARE = compose(ingredients(inventory=""))


def _text(made: Desired, path: str) -> str:
    file = made.tree.get(path)
    assert file is not None
    return file.content.decode()


def _composed(data: object) -> Desired | None:
    try:
        return compose(ingredients(inventory={"rack.json": json.dumps(data)}))
    except OperatorError as error:
        problems = error.problems
    assert problems
    assert all(str(problem).isprintable() for problem in problems)
    return None


@settings(max_examples=300, deadline=None)
@given(_INVENTORIES)
def test_an_inventory_is_refused_or_says_the_same_to_every_reader(data: object) -> None:
    made = _composed(data)
    if made is None:
        return
    network, machines = made.settings.networks["pxe"], made.inventory.machines
    hosts = _text(made, "network/pxe/hosts")
    assert untagged(parse_hosts(hosts)) == expected(machines, network)
    assert restore_inventory(_text(made, "inventory.json")) == made.inventory
    # Nothing of an inventory reaches a configuration, where a newline would be a directive.
    configuration = _text(made, "network/pxe/dnsmasq.conf")
    for path in ("network/pxe/dnsmasq.conf", "tftp/dnsmasq.conf", "boot.json"):
        assert _text(made, path) == _text(_BARE, path)
    added = set(inlined(configuration, hosts).splitlines()) - set(configuration.splitlines())
    assert all(line.startswith("dhcp-host=") for line in added)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(2, 250), unique=True, min_size=1, max_size=30), st.data())
def test_a_sound_inventory_is_never_refused(numbers: list[int], data: st.DataObject) -> None:
    profile = data.draw(st.sampled_from([None, "p"]))
    machines = {
        f"n{n}": {"mac": f"52:54:00:00:00:{n:02x}", "ip": f"172.0.1.{n}"}
        | ({"profile": profile} if profile else {})
        for n in numbers
    }
    made = _composed({"machine": machines, "profile": {"p": {"kernel": "/assets/k"}}})
    assert made is not None
    assert len(made.inventory.machines) == len(numbers)
