"""An edit changes what it is about, and not a byte beside."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Sequence

import pytest
import yaml

from appliance.addresses import Hostname, Mac
from appliance.errors import OperatorError, Problem, Refused
from appliance.inventory.edit import FORMATS, Addition, MacChange, Removal, edited, macs_of, respelt
from appliance.reading import Document
from tests.unit.inventory.edits import CSV, FILES, JSON, TOML, YAML

NEW = Mac.parse("de:ad:be:ef:00:01")
DATA = {"mac": "52:54:00:00:00:99", "ip": "172.0.1.99", "profile": "worker", "labels": {"rack": "r9"}}
IDS = [f"{suffix[1:]}: {habit}" for suffix, habit, _ in FILES]

every_file = pytest.mark.parametrize(("suffix", "habit", "text"), FILES, ids=IDS)
endings = pytest.mark.parametrize("ending", ["as it is", "crlf", "no newline at the end"])


def as_ending(text: str, ending: str) -> str:
    if ending == "crlf":
        return text.replace("\n", "\r\n")
    return text.rstrip("\n") if ending == "no newline at the end" else text


def said(text: str, suffix: str) -> Document:
    problems: list[Problem] = []
    document = FORMATS[suffix].read(text, "f", problems)
    assert document is not None, problems
    return document


def machines(text: str, suffix: str) -> dict[str, dict[str, object]]:
    found = said(text, suffix).data.get("machine")
    return dict(found) if isinstance(found, dict) else {}


def changed(old: str, new: str) -> tuple[list[str], list[str]]:
    """The lines that went and the lines that came."""
    lines = list(difflib.ndiff(old.splitlines(keepends=True), new.splitlines(keepends=True)))
    return [x[2:] for x in lines if x[0] == "-"], [x[2:] for x in lines if x[0] == "+"]


def kept_in_order(lines: Sequence[str], within: Iterator[str]) -> bool:
    return all(line in within for line in lines)


@every_file
@endings
def test_a_machine_is_added_behind_the_others(suffix: str, habit: str, text: str, ending: str) -> None:
    old = as_ending(text, ending)
    new = edited(old, suffix, "f", Addition(Hostname.parse("node9"), DATA))
    before, after = machines(old, suffix), machines(new, suffix)
    assert list(after) == [*before, "node9"]
    assert after.pop("node9") == DATA
    assert after == before
    gone, _ = changed(old, new)
    # A line may get a comma behind it, or the line end that it lacked; a table in one line is one line.
    assert len(gone) <= 1
    if "\n" in text.rstrip("\n") and gone:
        stem = gone[0].rstrip("\r\n")
        assert any(line.startswith(stem.split(" }")[0].split("}")[0]) for line in new.splitlines())
    assert new.endswith("\n") == old.endswith("\n")
    if ending == "crlf":
        assert "\n" not in new.replace("\r\n", "")


@every_file
@endings
@pytest.mark.parametrize("name", ["node1", "node2", "Node-3"])
def test_a_machine_is_removed_with_all_that_is_its_own(
    suffix: str, habit: str, text: str, ending: str, name: str
) -> None:
    old = as_ending(text, ending)
    new = edited(old, suffix, "f", Removal(name))
    before, after = machines(old, suffix), machines(new, suffix)
    del before[name]
    assert after == before
    assert said(new, suffix).data.get("profile") == said(old, suffix).data.get("profile")
    if habit not in {"one table", "compact", "flow"}:
        gone, come = changed(old, new)
        assert len(come) <= 1  # the line that loses its comma
        assert name in "".join(gone)
        without_commas = [line.replace(",", "") for line in gone]
        assert all(line.replace(",", "") in without_commas for line in come)


@every_file
@endings
@pytest.mark.parametrize("name", ["node1", "node2", "Node-3"])
def test_a_mac_is_replaced_however_it_is_spelt(
    suffix: str, habit: str, text: str, ending: str, name: str
) -> None:
    old = as_ending(text, ending)
    for path, raw in macs_of(said(old, suffix).data, name):
        new = edited(old, suffix, "f", MacChange(name, Mac.parse(raw), NEW))
        found = dict(macs_of(said(new, suffix).data, name))
        assert Mac.parse(found[path]) == NEW
        assert found[path] == respelt(raw, NEW)
        gone, come = changed(old, new)
        assert len(gone) == len(come) == 1
        # Quotes come where YAML needs them, and three of TOML's become one.
        left, right = (line.replace('"', "") for line in (gone[0], come[0]))
        assert left.replace(raw.strip(), "") == right.replace(respelt(raw, NEW), "")


@every_file
def test_out_and_in_again_says_the_same(suffix: str, habit: str, text: str) -> None:
    new = edited(text, suffix, "f", Addition(Hostname.parse("node9"), DATA))
    assert machines(edited(new, suffix, "f", Removal("node9")), suffix) == machines(text, suffix)
    if suffix in {".toml", ".csv"} and habit != "one table":
        assert edited(new, suffix, "f", Removal("node9")) == text


@pytest.mark.parametrize("suffix", [".toml", ".yaml", ".yml", ".json", ".csv"])
def test_a_file_is_made_where_there_is_none(suffix: str) -> None:
    new = edited(None, suffix, "f", Addition(Hostname.parse("node9"), DATA))
    assert machines(new, suffix) == {"node9": DATA}
    assert new.endswith("\n")
    more = edited(new, suffix, "f", Addition(Hostname.parse("node10"), {**DATA, "ip": "172.0.1.100"}))
    assert list(machines(more, suffix)) == ["node9", "node10"]


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".toml", ""),
        (".toml", "# nothing yet\n"),
        (".toml", "# nothing yet"),
        (".toml", "[machine]\n"),
        (".toml", "machine = {}\n[profile.x]\n"),
        (".toml", '[profile.worker]\nimage = "flatcar/stable"\n# the end'),
        (".yaml", ""),
        (".yaml", "# nothing yet\n"),
        (".yaml", "---\n# nothing yet\n...\n"),
        (".yaml", "machine:\n# none\nprofile:\n  w: {image: flatcar/stable}\n"),
        (".yaml", "machine: {}\n"),
        (".yaml", "machine: { }   # none\n"),
        (".yaml", "{}"),
        (".yaml", "profile:\n  w: {image: flatcar/stable}\n...\n"),
        (".yaml", "machine: {\n  # none\n}\n"),
        (".json", "{}"),
        (".json", "{\n}\n"),
        (".json", '{"machine": {}}'),
        (".json", '{\n  "machine": null\n}\n'),
        (".json", '{\n  "profile": {"w": {"image": "flatcar/stable"}}\n}\n'),
        (".csv", "name,mac,ip,profile,rack\n"),
        (".csv", "# x\n\nname,mac,ip,profile,rack"),
    ],
)
def test_the_first_machine_of_a_file(suffix: str, text: str) -> None:
    new = edited(text, suffix, "f", Addition(Hostname.parse("node9"), DATA))
    assert machines(new, suffix) == {"node9": DATA}
    assert all(line in new for line in text.splitlines() if line.startswith("#"))
    again = edited(new, suffix, "f", Addition(Hostname.parse("node10"), DATA))
    assert list(machines(again, suffix)) == ["node9", "node10"]
    left = edited(edited(again, suffix, "f", Removal("node9")), suffix, "f", Removal("node10"))
    assert machines(left, suffix) == {}


def test_what_is_added_looks_like_what_is_there() -> None:
    def tail(suffix: str, text: str) -> str:
        new = edited(text, suffix, "f", Addition(Hostname.parse("node9"), DATA))
        return "".join(changed(text, new)[1])

    aligned = '[machine.a]\nmac     = "52:54:00:aa:00:01"\nip      = "172.0.1.21"\n'
    assert tail(".toml", aligned) == (
        '\n[machine.node9]\nmac     = "52:54:00:00:00:99"\nip      = "172.0.1.99"\n'
        'profile = "worker"\nlabels  = { rack = "r9" }\n'
    )
    assert tail(".yaml", YAML["block"]) == (
        '  node9:\n      mac: "52:54:00:00:00:99"\n      ip: 172.0.1.99\n      profile: worker\n'
        "      labels:\n          rack: r9\n"
    ).replace("  node9", "\n  node9", 1)
    assert tail(".yaml", YAML["flow machines"]) == (
        '    node9: {mac: "52:54:00:00:00:99", ip: 172.0.1.99, profile: worker, labels: {rack: r9}}\n'
    )
    assert '\t\t"node9": {\n\t\t\t"mac": "52:54:00:00:00:99",\n' in tail(".json", JSON["tabs"])
    assert tail(".csv", CSV["semicolons"]) == "node9;r9;172.0.1.99;52:54:00:00:00:99;worker;\n"
    assert tail(".csv", CSV["all in quotes"]) == '"r9","node9","52:54:00:00:00:99","172.0.1.99","worker"\n'


def test_comments_that_speak_of_others_stay() -> None:
    new = edited(TOML["sections"], ".toml", "f", Removal("node1"))
    assert "# Rack r1" in new
    assert "# ---- the second rack ----" in new
    assert "# The first one" not in new
    assert "# serial" not in new
    assert "# its other NICs" not in new
    assert "\n\n\n" not in new
    assert "# about the second" in edited(TOML["tight"], ".toml", "f", Removal("node1"))
    assert "# the end" in edited(TOML["sections"], ".toml", "f", Removal("node2"))
    new = edited(YAML["block"], ".yaml", "f", Removal("node1"))
    assert "# ---- the second rack ----" in new
    assert "# The first one" not in new
    assert "# serial" not in new


def test_a_comment_inside_one_machine_does_not_go_with_the_next() -> None:
    above, inside = "machine:\n a:\n  mac: 52:54:00:aa:00:01\n", "  # what is inside of a\n"
    text = f"{above}{inside} # of b\n b:\n  mac: 52:54:00:aa:00:02\n"
    assert edited(text, ".yaml", "f", Removal("b")) == above + inside
    assert edited(text, ".yaml", "f", Removal("a")) == "machine:\n # of b\n b:\n  mac: 52:54:00:aa:00:02\n"


@pytest.mark.parametrize("mac", ["52:54:00:00:00:99", "525400000099", "52:54:00:aa:00:99", "5254.0000.0099"])
@pytest.mark.parametrize("name", ["node9", "no", "12e3", "0x1f", "1e5", "on", "null", "y"])
def test_other_readers_of_yaml_see_strings(mac: str, name: str) -> None:
    data = {
        "macs": [mac],
        "ip": "172.0.1.99",
        "labels": {"rack": "007", "up": "yes", "at": "12:30", "x": "1e5"},
    }
    for text in YAML.values():
        new = edited(text, ".yaml", "f", Addition(Hostname.parse(name), data))
        assert yaml.safe_load(new)["machine"][name] == data
        assert all(f'"{number}"' in new for number in ("007", "12:30", "1e5", mac))  # YAML 1.2 reads others
        new = edited(text, ".yaml", "f", MacChange("Node-3", Mac.parse("52:54:00:aa:00:21"), Mac.parse(mac)))
        assert Mac.parse(yaml.safe_load(new)["machine"]["Node-3"]["mac"]) == Mac.parse(mac)


def test_the_other_formats_are_what_they_are_called() -> None:
    hostile = {**DATA, "labels": {"a.b": 'quote " and \\ and 😀 \u2028', "c": "#x = [y]"}}
    for text in TOML.values():
        new = edited(text, ".toml", "f", Addition(Hostname.parse("node9"), hostile))
        assert tomllib.loads(new)["machine"]["node9"] == hostile
    for text in JSON.values():
        new = edited(text, ".json", "f", Addition(Hostname.parse("node9"), hostile))
        assert json.loads(new)["machine"]["node9"] == hostile


def test_what_a_file_cannot_hold_is_refused_with_the_reason() -> None:
    name = Hostname.parse("node9")
    with pytest.raises(Refused, match="cannot edit f: there is no column 'role'"):
        edited(CSV["plain"], ".csv", "f", Addition(name, {**DATA, "labels": {"role": "x"}}))
    with pytest.raises(Refused, match=r"no column 'Rack', and a row .* 'rack' may be meant"):
        edited(CSV["plain"], ".csv", "f", Addition(name, {**DATA, "labels": {"Rack": "x"}}))
    with pytest.raises(Refused, match="a label cannot be called 'IP' there"):
        edited(CSV["plain"], ".csv", "f", Addition(name, {**DATA, "labels": {"IP": "x"}}))
    with pytest.raises(Refused, match="the result would not say what is meant"):
        edited(CSV["plain"], ".csv", "f", Addition(name, {**DATA, "labels": {"rack": " x "}}))
    with pytest.raises(Refused, match="node1 is in it already"):
        edited(TOML["tight"], ".toml", "f", Addition(Hostname.parse("node1"), DATA))
    with pytest.raises(Refused, match="node-3 is in it already"):
        edited(TOML["tight"], ".toml", "f", Addition(Hostname.parse("node-3"), DATA))
    with pytest.raises(Refused, match="de:ad:be:ef:00:01 is not a NIC of node1 in it"):
        edited(TOML["tight"], ".toml", "f", MacChange("node1", NEW, NEW))
    with pytest.raises(Refused, match="node1 does not begin a line"):
        edited("machine:\n  ? node1\n  : {mac: a, ip: b}\n", ".yaml", "f", Removal("node1"))


def test_a_file_that_is_wrong_is_not_touched() -> None:
    for suffix, text in ((".toml", "x = [\n"), (".yaml", "a: &x 1\n"), (".json", "{"), (".csv", "a,b\n")):
        with pytest.raises(OperatorError, match="cannot edit f: it is wrong as it is") as caught:
            edited(text, suffix, "f", Removal("node1"))
        assert caught.value.problems
