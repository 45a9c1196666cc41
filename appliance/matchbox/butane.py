"""Butane to Ignition, for the sections that provisioning needs. Pure.

Covered is what stands in `butane_tables`. Every other key is refused by name and line: a key that is dropped
silently is a machine that is not what its file says. There are two shapes: what the butane program itself
makes, for the appliance's own files; and that of Matchbox 0.11 (spec 3.4.0 for all older ones, empty objects
included), for an operator's Matchbox data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import yaml

from appliance.matchbox.butane_mounts import mount_units
from appliance.matchbox.butane_tables import ROOT, WITH_MOUNT_UNIT
from appliance.matchbox.butane_values import compose, in_butane, line_of, pairs, refusal
from appliance.matchbox.errors import Flaw, IgnitionError, Keys
from appliance.reading import dotted

# What each variant and version of Butane asks Ignition for (butane's docs, "specs").
_SPECS: Final[Mapping[tuple[str, str], str]] = {
    ("fcos", "1.0.0"): "3.0.0",
    ("fcos", "1.1.0"): "3.1.0",
    ("fcos", "1.2.0"): "3.2.0",
    ("fcos", "1.3.0"): "3.2.0",
    ("fcos", "1.4.0"): "3.3.0",
    ("fcos", "1.5.0"): "3.4.0",
    ("fcos", "1.6.0"): "3.5.0",
    ("fcos", "1.7.0"): "3.6.0",
    ("flatcar", "1.0.0"): "3.3.0",
    ("flatcar", "1.1.0"): "3.4.0",
}
_MOUNTABLE: Final = ("/etc/", "/var/")
_MOUNTS_CHECKED_SINCE: Final = "1.6.0"
_OLDEST_OF_MATCHBOX: Final = "3.4.0"
VERSIONS_HINT: Final = "fcos 1.0.0 to 1.7.0 and flatcar 1.0.0 to 1.1.0 are known"


def translate(content: bytes) -> bytes:
    """The Ignition document for a Butane file in the shape of Matchbox 0.11, as compact JSON.

    Raises:
        IgnitionError: with path and line: not YAML, no known variant and version, a key that is not covered,
            a value of the wrong kind.
    """
    version, found = _translated(content)
    whole = _skeleton(max(version, _OLDEST_OF_MATCHBOX))
    for key, value in found.items():
        whole[key] = {**whole[key], **value}
    _check_unique(whole)
    return _compact(whole)


def translate_as_butane(content: bytes) -> bytes:
    """The Ignition document for a Butane file as the butane program would make it, as compact JSON.

    Raises:
        IgnitionError: as for `translate`.
    """
    version, found = _translated(content)
    bare = {key: _bare(value) for key, value in found.items()}
    bare["ignition"] = {**(_mapping(bare.get("ignition"))), "version": version}
    return _compact({key: value for key, value in bare.items() if value})


def variant_of(content: bytes) -> str:
    """The variant that a Butane file names (fcos, flatcar); empty when it names none."""
    try:
        root = compose(content)
        return next((str(v.value) for k, v in pairs(root, "") if k.value == "variant"), "")
    except IgnitionError:
        return ""


def relocated(flaws: tuple[Flaw, ...], content: bytes) -> tuple[Flaw, ...]:
    """Flaws of a translated document, each with its line in the Butane file that it was made from."""
    try:
        root = compose(content)
    except IgnitionError:
        return flaws
    return tuple(
        replace(f, line=line_of(root, f.keys), path=dotted(in_butane(f.keys))) if f.keys else f for f in flaws
    )


def _translated(content: bytes) -> tuple[str, dict[str, dict[str, object]]]:
    """The spec that the file asks for, and its sections."""
    root = compose(content)
    head = {key.value: value.value for key, value in pairs(root, "") if isinstance(value, yaml.ScalarNode)}
    variant, version = head.get("variant", ""), head.get("version", "")
    if not variant:
        raise refusal(root, "variant", "is missing: fcos or flatcar is expected")
    if (variant, version) not in _SPECS:
        message = f"{variant} {version} is not a Butane version known here"
        raise refusal(root, "version", message, VERSIONS_HINT)
    found = ROOT(root, "")
    del found["variant"], found["version"]
    sections = {key: _mapping(value) for key, value in found.items()}
    _check_variant(root, variant, version, sections.get("storage", {}))
    if units := mount_units(root, sections.get("storage", {})):
        systemd = sections.setdefault("systemd", {})
        own = systemd.get("units")
        systemd["units"] = [*units, *(own if isinstance(own, list) else [])]
    return _SPECS[variant, version], sections


def _check_variant(root: yaml.Node, variant: str, version: str, storage: Mapping[str, object]) -> None:
    """What one of the systems cannot do, as the butane program has it."""
    volumes, filesystems = storage.get("luks"), storage.get("filesystems")
    for index, volume in enumerate(volumes if isinstance(volumes, list) else []):
        if variant == "flatcar" and volume.get("clevis"):
            raise _refused(root, ("storage", "luks", index, "clevis"), "is not in Flatcar")
    if variant != "fcos" or version < _MOUNTS_CHECKED_SINCE:
        return
    for index, filesystem in enumerate(filesystems if isinstance(filesystems, list) else []):
        path = filesystem.get("path")
        if path and filesystem.get(WITH_MOUNT_UNIT) and not f"{path}/".startswith(_MOUNTABLE):
            place = ("storage", "filesystems", index, "path")
            raise _refused(root, place, "has to lie below /etc or /var: all else is read-only there")


def _refused(root: yaml.Node, keys: Keys, message: str) -> IgnitionError:
    path = dotted(keys)
    return IgnitionError(f"{path} {message}", line=line_of(root, keys), path=path)


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _bare(value: object) -> object:
    """Without the empty objects and lists that say nothing."""
    if isinstance(value, dict):
        below = {key: _bare(item) for key, item in value.items()}
        return {key: item for key, item in below.items() if item not in ({}, [])}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value


def _compact(document: object) -> bytes:
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _skeleton(version: str) -> dict[str, dict[str, object]]:
    return {
        "ignition": {
            "config": {"replace": {"verification": {}}},
            "proxy": {},
            "security": {"tls": {}},
            "timeouts": {},
            "version": version,
        },
        "kernelArguments": {},
        "passwd": {},
        "storage": {},
        "systemd": {},
    }


def _check_unique(document: Mapping[str, Mapping[str, object]]) -> None:
    """One path, one entry: Ignition refuses a document in which two of them fight over it."""
    storage = document["storage"]
    seen: set[object] = set()
    for kind in ("directories", "files", "links"):
        listed = storage.get(kind, [])
        for item in listed if isinstance(listed, list) else []:
            path = item.get("path")
            if path is None or path in seen:
                wrong = "an entry has no path" if path is None else f"{path} stands twice"
                raise IgnitionError(f"storage.{kind}: {wrong}", path=f"storage.{kind}")
            seen.add(path)
