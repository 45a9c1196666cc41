"""What no Ignition 3.x would apply, beyond the shape: every rule notes all that breaks it. Pure.

The rules are those of Ignition's own validator (config/v3_x/types), and a few more for what fails only on the
machine: digests that are no hexadecimal digits, data that is not compressed as it says, hazardous user names.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Final

from appliance.matchbox.errors import Flaw, Keys
from appliance.matchbox.ignition_disks import disk_flaws
from appliance.matchbox.ignition_reading import Item, items, resource_flaws, section, text, texts, twice
from appliance.matchbox.ignition_values import mode_flaw, path_flaw
from appliance.matchbox.json_tree import JsonTree
from appliance.matchbox.unit_syntax import SUFFIXES, read_unit
from appliance.reading import shown

_NODES: Final = ("directories", "files", "links")
_UNIT_FOLDER: Final = "/etc/systemd/system/"
_NO_NAME: Final = re.compile(r"[\s:/\x00-\x1f\x7f]")
_SPECIAL_BITS: Final = 0o7000
_PROXIES: Final = ("http://", "https://")


def rule_flaws(tree: JsonTree, minor: int) -> Iterator[Flaw]:
    """What is wrong with a document whose shape is right."""
    root = tree.value
    assert isinstance(root, dict)
    yield from _ignition(tree, minor)
    storage, systemd, passwd = (section(root, name) for name in ("storage", "systemd", "passwd"))
    yield from _nodes(tree, storage, minor)
    yield from _through_links(tree, storage)
    yield from disk_flaws(tree, storage, minor)
    yield from _units(tree, systemd)
    yield from _beside_units(tree, storage, systemd)
    yield from _accounts(tree, passwd)
    if minor >= 3:
        yield from _kernel_arguments(tree, section(root, "kernelArguments"))


def _ignition(tree: JsonTree, minor: int) -> Iterator[Flaw]:
    assert isinstance(tree.value, dict)
    ignition = section(tree.value, "ignition")
    config = section(ignition, "config")
    lists: tuple[tuple[Keys, list[Item]], ...] = (
        (("ignition", "config", "merge"), items(config, "merge")),
        (
            ("ignition", "security", "tls", "certificateAuthorities"),
            items(section(section(ignition, "security"), "tls"), "certificateAuthorities"),
        ),
    )
    for keys, references in lists:
        for index, reference in enumerate(references):
            if not text(reference, "source"):
                yield tree.flaw((*keys, index, "source"), "a source is missing")
            yield from resource_flaws(tree, (*keys, index), reference, minor)
        yield from twice(tree, keys, [text(r, "source") for r in references], "source")
    yield from resource_flaws(tree, ("ignition", "config", "replace"), section(config, "replace"), minor)
    place = ("ignition", "proxy", "noProxy")
    yield from twice(tree, place, texts(section(ignition, "proxy"), "noProxy"))
    for key in ("httpProxy", "httpsProxy"):
        proxy = section(ignition, "proxy").get(key)
        if isinstance(proxy, str) and not proxy.startswith(_PROXIES):
            yield tree.flaw(("ignition", "proxy", key), f"{shown(proxy)} is no http or https URL")


def _nodes(tree: JsonTree, storage: Item, minor: int) -> Iterator[Flaw]:
    first: dict[str, Keys] = {}
    for kind in _NODES:
        for index, node in enumerate(items(storage, kind)):
            keys: Keys = ("storage", kind, index)
            path = text(node, "path")
            if wrong := path_flaw(path):
                yield tree.flaw((*keys, "path"), wrong)
            elif first.setdefault(path, keys) != keys:
                there = tree.line((*first[path], "path"))
                yield tree.flaw((*keys, "path"), f"{shown(path)} stands twice (first on line {there})")
            if kind != "links":
                yield from _mode(tree, keys, node, minor)
            for owner in ("user", "group"):
                whose = section(node, owner)
                if whose.get("id") is not None and text(whose, "name"):
                    yield tree.flaw((*keys, owner), "has both an id and a name: write one of the two")
    for index, file in enumerate(items(storage, "files")):
        yield from _file(tree, ("storage", "files", index), file, minor)
    for index, link in enumerate(items(storage, "links")):
        if not text(link, "target"):
            yield tree.flaw(("storage", "links", index, "target"), "a target is missing")


def _mode(tree: JsonTree, keys: Keys, node: Item, minor: int) -> Iterator[Flaw]:
    mode = node.get("mode")
    if mode is None:
        return
    if wrong := mode_flaw(mode):
        yield tree.flaw((*keys, "mode"), wrong, "0644 is 420, 0755 is 493, 0600 is 384")
    elif isinstance(mode, int) and mode & _SPECIAL_BITS and minor < 6:
        message = f"{mode} is {mode:#o}: its setuid, setgid or sticky bit does nothing before spec 3.6.0"
        yield tree.flaw((*keys, "mode"), message, "0644 is 420, 0755 is 493, 0600 is 384", fatal=False)


def _file(tree: JsonTree, keys: Keys, file: Item, minor: int) -> Iterator[Flaw]:
    contents = section(file, "contents")
    if file.get("overwrite") is True and contents.get("source") is None:
        yield tree.flaw((*keys, "overwrite"), "overwrites a file with nothing: give it contents")
    yield from resource_flaws(tree, (*keys, "contents"), contents, minor)
    for index, more in enumerate(items(file, "append")):
        yield from resource_flaws(tree, (*keys, "append", index), more, minor)


def _through_links(tree: JsonTree, storage: Item) -> Iterator[Flaw]:
    """Ignition follows no link that the same document makes, and makes no hard link to a directory."""
    links = {text(link, "path"): index for index, link in enumerate(items(storage, "links"))}
    directories = {text(d, "path") for d in items(storage, "directories")}
    for kind in _NODES:
        for index, node in enumerate(items(storage, kind)):
            above = text(node, "path")
            while "/" in above[1:]:
                above = above.rpartition("/")[0]
                if above in links:
                    line = tree.line(("storage", "links", links[above]))
                    message = f"lies below {shown(above)}, which is a link (line {line})"
                    yield tree.flaw(("storage", kind, index, "path"), message, "write the real path")
    for index, link in enumerate(items(storage, "links")):
        if link.get("hard") is not True:
            continue
        if text(link, "target") in directories:
            yield tree.flaw(("storage", "links", index, "target"), "is a directory: no hard link can be made")
        if any(section(link, owner) for owner in ("user", "group")):
            message = "its user and group do nothing: a hard link has those of its target"
            yield tree.flaw(("storage", "links", index), message, fatal=False)


def _units(tree: JsonTree, systemd: Item) -> Iterator[Flaw]:
    units = items(systemd, "units")
    by_name = {text(unit, "name"): unit for unit in units}
    for index, unit in enumerate(units):
        keys: Keys = ("systemd", "units", index)
        name = text(unit, "name")
        if not name:
            yield tree.flaw((*keys, "name"), "a name is missing")
        elif not name.endswith(SUFFIXES) or "/" in name:
            message = f"{shown(name)} is no name of a unit: it ends in none of {', '.join(SUFFIXES)}"
            yield tree.flaw((*keys, "name"), message)
        sections = yield from _unit_text(tree, (*keys, "contents"), unit)
        template, at, _ = name.partition("@")
        of = by_name.get(f"{template}@.service", {}) if at and not unit.get("contents") else {}
        if of is not unit and text(of, "contents"):
            sections = read_unit(text(of, "contents")).sections
        if unit.get("enabled") is True and sections and "Install" not in sections:
            message = f"{shown(name)} is enabled and has no [Install] section, so that nothing starts it"
            yield tree.flaw((*keys, "enabled"), message, "add [Install] with WantedBy=", fatal=False)
        for number, dropin in enumerate(items(unit, "dropins")):
            place = (*keys, "dropins", number)
            named = text(dropin, "name")
            if not named.endswith(".conf") or "/" in named:
                yield tree.flaw((*place, "name"), f"{shown(named)} is no name of a drop-in: it ends in .conf")
            yield from _unit_text(tree, (*place, "contents"), dropin)
        names = [text(dropin, "name") for dropin in items(unit, "dropins")]
        yield from twice(tree, (*keys, "dropins"), names, "name")
    yield from twice(tree, ("systemd", "units"), [text(unit, "name") for unit in units], "name")


def _unit_text(tree: JsonTree, keys: Keys, unit: Item) -> Generator[Flaw, None, tuple[str, ...]]:
    """Notes what is wrong with a unit's text; returns the names of its sections."""
    found = read_unit(text(unit, "contents"))
    if found.wrong:
        yield tree.flaw(keys, f"line {found.line} of the unit: {found.wrong}", fatal=found.fatal)
    return found.sections


def _beside_units(tree: JsonTree, storage: Item, systemd: Item) -> Iterator[Flaw]:
    made: dict[str, Keys] = {}
    for index, unit in enumerate(items(systemd, "units")):
        folder = _UNIT_FOLDER + text(unit, "name")
        if text(unit, "contents"):
            made[folder] = ("systemd", "units", index)
        for number, dropin in enumerate(items(unit, "dropins")):
            if text(dropin, "contents"):
                made[f"{folder}.d/{text(dropin, 'name')}"] = ("systemd", "units", index, "dropins", number)
    for kind in _NODES:
        for index, node in enumerate(items(storage, kind)):
            if (unit_at := made.get(text(node, "path"))) is not None:
                message = f"the unit on line {tree.line(unit_at)} makes the same file"
                yield tree.flaw(("storage", kind, index, "path"), message, "keep one of the two")


def _accounts(tree: JsonTree, passwd: Item) -> Iterator[Flaw]:
    for kind in ("users", "groups"):
        accounts = items(passwd, kind)
        for index, account in enumerate(accounts):
            keys: Keys = ("passwd", kind, index)
            name = text(account, "name")
            if not name:
                yield tree.flaw((*keys, "name"), "a name is missing")
            elif _NO_NAME.search(name):
                yield tree.flaw((*keys, "name"), f"{shown(name)} cannot be the name of a user or group")
            for key in ("sshAuthorizedKeys", "groups"):
                yield from twice(tree, (*keys, key), texts(account, key))
        yield from twice(tree, ("passwd", kind), [text(a, "name") for a in accounts], "name")


def _kernel_arguments(tree: JsonTree, arguments: Item) -> Iterator[Flaw]:
    wanted = texts(arguments, "shouldExist")
    yield from twice(tree, ("kernelArguments", "shouldExist"), wanted)
    yield from twice(tree, ("kernelArguments", "shouldNotExist"), texts(arguments, "shouldNotExist"))
    for index, argument in enumerate(texts(arguments, "shouldNotExist")):
        if argument in wanted:
            place: Keys = ("kernelArguments", "shouldNotExist", index)
            yield tree.flaw(place, f"{shown(argument)} is wanted by shouldExist, too")
