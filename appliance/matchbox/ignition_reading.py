"""How the rules read an Ignition document: its parts by key, and what they have in common. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from appliance.matchbox.errors import Flaw, Keys
from appliance.matchbox.ignition_values import hash_flaw, packed_flaw, url_flaw
from appliance.matchbox.json_tree import JsonTree
from appliance.reading import shown

Item = Mapping[str, object]

_HEADERS_NEED: Final = ("http", "https")


def section(value: Item, key: str) -> Item:
    """The object below a key; empty when there is none."""
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def items(value: Item, key: str) -> list[Item]:
    """The list of objects below a key; empty when there is none."""
    found = value.get(key)
    return [i if isinstance(i, dict) else {} for i in found] if isinstance(found, list) else []


def texts(value: Item, key: str) -> list[str]:
    """The list of strings below a key."""
    found = value.get(key)
    return [str(i) for i in found] if isinstance(found, list) else []


def text(value: Item, key: str) -> str:
    """The string below a key; empty when there is none."""
    found = value.get(key)
    return found if isinstance(found, str) else ""


def twice(tree: JsonTree, keys: Keys, names: Iterable[str], step: str = "") -> Iterator[Flaw]:
    """Of a list's entries, those whose name an earlier one has; `step` is the key that holds the name."""
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if (earlier := first.setdefault(name, index)) != index:
            where: Keys = (*keys, index, step) if step else (*keys, index)
            line = tree.line((*keys, earlier))
            yield tree.flaw(
                where, f"{shown(name)} stands twice (first on line {line})", "keep one of the two"
            )


def resource_flaws(tree: JsonTree, keys: Keys, value: Item, minor: int) -> Iterator[Flaw]:
    """What is wrong with something that is fetched or carried as a data URL."""
    source, compression = text(value, "source"), text(value, "compression")
    if compression not in {"", "gzip"}:
        message = f"{shown(compression)} is no compression that Ignition knows: gzip, or leave it out"
        yield tree.flaw((*keys, "compression"), message)
    wrong = url_flaw(source, minor) if source else ""
    if wrong or (compression == "gzip" and source.startswith("data:") and (wrong := packed_flaw(source))):
        yield tree.flaw((*keys, "source"), wrong)
    digest = section(value, "verification").get("hash")
    if isinstance(digest, str):
        place = (*keys, "verification", "hash")
        if value.get("source") is None:
            yield tree.flaw(place, "stands without a source to verify")
        if wrong := hash_flaw(digest, minor):
            yield tree.flaw(place, wrong)
    yield from _headers(tree, keys, value, source)


def _headers(tree: JsonTree, keys: Keys, value: Item, source: str) -> Iterator[Flaw]:
    headers = items(value, "httpHeaders")
    place = (*keys, "httpHeaders")
    if headers and source.partition(":")[0] not in _HEADERS_NEED:
        yield tree.flaw(place, "are for http and https only, and the source is neither")
    for index, header in enumerate(headers):
        if not text(header, "name"):
            yield tree.flaw((*place, index, "name"), "a header's name is missing")
        if header.get("value") == "":
            yield tree.flaw((*place, index, "value"), "must not be empty; leave it out to remove a header")
    yield from twice(tree, place, [text(h, "name") for h in headers], "name")
