"""docs/networks.md says what is so: its inventory is one, and its table is what comes out of it."""

from __future__ import annotations

import re
from pathlib import Path

from appliance.inventory.bond_modes import MODES, Bundle
from appliance.inventory.doubts import network_doubts
from appliance.inventory.model import Inventory
from appliance.inventory.parse import Drafts
from appliance.inventory.rules import judge
from appliance.inventory.switchports import switch_ports
from appliance.settings_parse import parse_settings
from appliance.toml_lines import read_toml

_PAGE = (Path(__file__).parents[3] / "docs/networks.md").read_text()
_SETTINGS = parse_settings('[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\nvlan = 110\n', "s")


def _block(mark: str) -> str:
    (found,) = re.findall(rf"<!-- {mark} -->\n```\w*\n(.*?)```", _PAGE, re.DOTALL)
    return str(found)


def _inventory() -> Inventory:
    drafts = Drafts()
    document = read_toml(_block("inventory"), "docs", drafts.problems)
    assert document is not None
    drafts.take(document)
    inventory = judge(drafts, _SETTINGS, ())
    assert inventory is not None, drafts.problems
    return inventory


def test_the_inventory_is_one_and_leaves_no_doubt() -> None:
    assert network_doubts(_inventory(), _SETTINGS.networks) == []


def test_the_table_is_what_comes_out() -> None:
    head, *rows = [re.split(r" {2,}", line) for line in _block("ports").splitlines()]
    keys = [column.lower().replace(" ", "_") for column in head]
    said = [row.as_json() for row in switch_ports(_inventory(), _SETTINGS.networks)]
    assert rows == [["-" if row[key] is None else str(row[key]) for key in keys] for row in said]


def test_the_table_of_modes_is_that_of_the_program() -> None:
    rows = re.findall(r"^\| (`.*`) \| (one LACP|one static|no channel)", _PAGE, re.MULTILINE)
    words = {"one LACP": Bundle.LACP, "one static": Bundle.STATIC, "no channel": Bundle.NONE}
    said = {mode: words[what] for modes, what in rows for mode in re.findall(r"`([^`]+)`", modes)}
    assert said == {name: mode.bundle for name, mode in MODES.items()}
    (hashing,) = re.findall(r"^\| bond in (.*) \| `hash_policy`", _PAGE, re.MULTILINE)
    assert set(re.findall(r"`([^`]+)`", hashing)) == {name for name, mode in MODES.items() if mode.hashes}
    (preferring,) = re.findall(r"^\| bond in (.*) \| `primary`", _PAGE, re.MULTILINE)
    assert set(re.findall(r"`([^`]+)`", preferring)) == {name for name, mode in MODES.items() if mode.prefers}
