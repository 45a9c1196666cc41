"""Ignition 2.x, as Container Linux and Flatcar take it: what would certainly fail there. Pure.

Spec 2 is the past: its rules are fewer here. What its own validator lets pass with a warning is left alone
but for keys at the top, which are dropped without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from appliance.matchbox.errors import Flaw, Keys
from appliance.matchbox.ignition_reading import Item, items, section, text
from appliance.matchbox.ignition_values import hash_flaw, mode_flaw, path_flaw, url_flaw
from appliance.matchbox.json_tree import JsonTree
from appliance.matchbox.unit_syntax import SUFFIXES, read_unit
from appliance.reading import shown

NEWEST: Final = 4  # the newest stable minor of spec 2
_TOP: Final = frozenset({"ignition", "networkd", "passwd", "storage", "systemd"})
_NETWORK_UNITS: Final = (".link", ".netdev", ".network")


def flaws_of_two(tree: JsonTree) -> Iterator[Flaw]:
    """What is wrong with a document of spec 2."""
    root = tree.value
    assert isinstance(root, dict)
    for key, value in root.items():
        if key not in _TOP:
            message = "is a key that Ignition does not know and would drop without a word"
            yield tree.flaw((key,), message, "remove it", fatal=False)
        elif value is not None and not isinstance(value, dict):
            yield tree.flaw((key,), f"must be an object, not {shown(value)}")
    lists = (
        ("storage", "directories", True),
        ("storage", "files", True),
        ("storage", "links", True),
        ("systemd", "units", False),
        ("networkd", "units", False),
        ("passwd", "users", False),
        ("passwd", "groups", False),
    )
    for above, kind, is_node in lists:
        listed = section(root, above).get(kind)
        if listed is not None and not (isinstance(listed, list) and all(isinstance(i, dict) for i in listed)):
            yield tree.flaw((above, kind), "must be a list of objects")
            continue
        for index, item in enumerate(items(section(root, above), kind)):
            keys: Keys = (above, kind, index)
            yield from _node(tree, keys, item) if is_node else _named(tree, keys, item)


def _node(tree: JsonTree, keys: Keys, node: Item) -> Iterator[Flaw]:
    if wrong := path_flaw(node.get("path")):
        # Ignition 2 simplified paths by itself, and so has to be asked less than version 3.
        yield tree.flaw((*keys, "path"), wrong, fatal="shortest" not in wrong)
    if not text(node, "filesystem"):
        message = 'names no filesystem: "root" is meant where there is no other'
        yield tree.flaw((*keys, "filesystem"), message)
    if node.get("mode") is not None and (wrong := mode_flaw(node["mode"])):
        yield tree.flaw((*keys, "mode"), wrong, "0644 is 420, 0755 is 493, 0600 is 384")
    contents = section(node, "contents")
    source, digest = text(contents, "source"), section(contents, "verification").get("hash")
    if source and (wrong := url_flaw(source, 0)):
        yield tree.flaw((*keys, "contents", "source"), wrong)
    if isinstance(digest, str) and (wrong := hash_flaw(digest, 0)):
        yield tree.flaw((*keys, "contents", "verification", "hash"), wrong)


def _named(tree: JsonTree, keys: Keys, item: Item) -> Iterator[Flaw]:
    name, kind = text(item, "name"), keys[0]
    if not name:
        yield tree.flaw((*keys, "name"), "a name is missing")
        return
    suffixes = {"systemd": SUFFIXES, "networkd": _NETWORK_UNITS}.get(str(kind), ())
    if suffixes and not name.endswith(suffixes):
        yield tree.flaw((*keys, "name"), f"{shown(name)} ends in none of {', '.join(suffixes)}")
    if suffixes:
        found = read_unit(text(item, "contents"))
        if found.wrong:
            message = f"line {found.line} of the unit: {found.wrong}"
            yield tree.flaw((*keys, "contents"), message, fatal=found.fatal)
