"""Disks, partitions, arrays, filesystems and encrypted volumes of an Ignition 3.x document. Pure.

The rules are those of Ignition's own validator (config/v3_x/types): what it refuses is fatal, what it warns
of is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from appliance.matchbox.errors import Flaw, Keys
from appliance.matchbox.ignition_reading import Item, items, resource_flaws, section, text, texts, twice
from appliance.matchbox.ignition_values import guid_flaw, path_flaw
from appliance.matchbox.json_tree import JsonTree
from appliance.reading import shown

_LEVELS: Final = frozenset(
    {"linear", "raid0", "0", "stripe", "raid1", "1", "mirror", "raid4", "4", "raid5", "5", "raid6", "6"}
    | {"raid10", "10"}
)
_NO_SPARES: Final = frozenset({"linear", "raid0", "0", "stripe"})
# Format to the longest label its mkfs takes, in bytes.
_FORMATS: Final = {"ext4": 16, "btrfs": 256, "xfs": 12, "swap": 15, "vfat": 11, "none": 0}
_NONE_SINCE: Final = 3
_LONGEST_LUKS_LABEL: Final = 47  # LUKS2 keeps 48 bytes, the last one zero
_LONGEST_PART_LABEL: Final = 36  # UTF-16 code units of a GPT entry
_NEEDS_FORMAT: Final = ("path", "label", "uuid", "wipeFilesystem", "options", "mountOptions")


def disk_flaws(tree: JsonTree, storage: Item, minor: int) -> Iterator[Flaw]:
    """Everything below `storage` that is no file, directory or link."""
    for index, disk in enumerate(items(storage, "disks")):
        yield from _disk(tree, ("storage", "disks", index), disk)
    for index, array in enumerate(items(storage, "raid")):
        yield from _raid(tree, ("storage", "raid", index), array)
    whole = {text(d, "device"): d for d in items(storage, "disks")}
    for index, filesystem in enumerate(items(storage, "filesystems")):
        yield from _filesystem(tree, ("storage", "filesystems", index), filesystem, minor, whole)
    for index, volume in enumerate(items(storage, "luks") if minor >= 2 else []):
        yield from _luks(tree, ("storage", "luks", index), volume, minor)
    for kind, name in (("disks", "device"), ("raid", "name"), ("filesystems", "device"), ("luks", "name")):
        yield from twice(tree, ("storage", kind), [text(i, name) for i in items(storage, kind)], name)


def _disk(tree: JsonTree, keys: Keys, disk: Item) -> Iterator[Flaw]:
    if wrong := path_flaw(disk.get("device")):
        yield tree.flaw((*keys, "device"), wrong)
    partitions = items(disk, "partitions")
    for index, partition in enumerate(partitions):
        yield from _partition(tree, (*keys, "partitions", index), partition)
    numbers = [str(p.get("number") or f"any{i}") for i, p in enumerate(partitions)]
    yield from twice(tree, (*keys, "partitions"), numbers, "number")
    labels = [
        f"={text(p, 'label')}" if p.get("label") is not None else str(i) for i, p in enumerate(partitions)
    ]
    for flaw in twice(tree, (*keys, "partitions"), labels, "label"):
        yield tree.flaw(flaw.keys, "the label is that of another partition of this disk")
    yield from _overlaps(tree, (*keys, "partitions"), partitions)


def _partition(tree: JsonTree, keys: Keys, partition: Item) -> Iterator[Flaw]:
    label = partition.get("label")
    described = ("label", "typeGuid", "guid", "startMiB", "sizeMiB")
    if partition.get("shouldExist") is False and any(partition.get(k) not in (None, "") for k in described):
        yield tree.flaw(
            keys, f"shall not exist, and is described all the same: leave out {', '.join(described)}"
        )
    if not partition.get("number") and label is None:
        yield tree.flaw(keys, "has neither a number nor a label")
    if isinstance(label, str):
        if len(label.encode()) > _LONGEST_PART_LABEL:
            yield tree.flaw(
                (*keys, "label"), f"{shown(label)} is longer than {_LONGEST_PART_LABEL} characters"
            )
        if ":" in label:
            yield tree.flaw((*keys, "label"), f"{shown(label)} has a colon, at which sgdisk would cut it")
    for key in ("guid", "typeGuid"):
        if wrong := guid_flaw(text(partition, key)):
            yield tree.flaw((*keys, key), wrong)


def _overlaps(tree: JsonTree, keys: Keys, partitions: list[Item]) -> Iterator[Flaw]:
    """Partitions with given places that share a MiB; a start of 0 means wherever there is room."""
    placed: list[tuple[int, int, int]] = []
    for index, partition in enumerate(partitions):
        start, size = partition.get("startMiB"), partition.get("sizeMiB")
        if not isinstance(start, int) or not isinstance(size, int) or not start:
            continue
        end = start + size - 1 if size else start
        if any(start <= last and end >= first for first, last, _ in placed):
            yield tree.flaw((*keys, index), "overlaps with another partition of this disk")
        placed.append((start, end, index))


def _raid(tree: JsonTree, keys: Keys, array: Item) -> Iterator[Flaw]:
    level = text(array, "level")
    if level not in _LEVELS:
        yield tree.flaw(
            (*keys, "level"), f"{shown(level)} is no RAID level" if level else "a level is missing"
        )
    if level in _NO_SPARES and array.get("spares"):
        yield tree.flaw((*keys, "spares"), f"{level} arrays have no spares")
    if not text(array, "name"):
        yield tree.flaw((*keys, "name"), "a name is missing")
    devices = texts(array, "devices")
    if not devices:
        yield tree.flaw((*keys, "devices"), "devices are missing")
    for index, device in enumerate(devices):
        if wrong := path_flaw(device):
            yield tree.flaw((*keys, "devices", index), wrong)
    yield from twice(tree, (*keys, "devices"), devices)


def _filesystem(
    tree: JsonTree, keys: Keys, filesystem: Item, minor: int, disks: dict[str, Item]
) -> Iterator[Flaw]:
    device, shape = text(filesystem, "device"), text(filesystem, "format")
    if wrong := path_flaw(device):
        yield tree.flaw((*keys, "device"), wrong)
    if (path := text(filesystem, "path")) and (wrong := path_flaw(path)):
        yield tree.flaw((*keys, "path"), wrong)
    if not shape:
        named = [key for key in _NEEDS_FORMAT if filesystem.get(key)]
        if named:
            yield tree.flaw((*keys, "format"), f"is missing beside {', '.join(named)}")
    elif shape not in _FORMATS or (shape == "none" and minor < _NONE_SINCE):
        known = ", ".join(sorted(_FORMATS)) if minor >= _NONE_SINCE else "btrfs, ext4, swap, vfat, xfs"
        yield tree.flaw((*keys, "format"), f"{shown(shape)} is no format: {known} are")
    label, longest = text(filesystem, "label"), _FORMATS.get(shape, 0)
    if label and longest and len(label.encode()) > longest:
        yield tree.flaw((*keys, "label"), f"is longer than {longest} characters, the most of {shape}")
    disk = disks.get(device)
    if disk is not None and items(disk, "partitions"):
        yield tree.flaw((*keys, "device"), "would overwrite the partitions made above", fatal=False)
    elif disk is not None and disk.get("wipeTable") is True and filesystem.get("wipeFilesystem") is not True:
        message = "is wiped by the wipeTable of its disk: say wipeFilesystem, too"
        yield tree.flaw((*keys, "device"), message, fatal=False)


def _luks(tree: JsonTree, keys: Keys, volume: Item, minor: int) -> Iterator[Flaw]:
    name, clevis = text(volume, "name"), section(volume, "clevis")
    if not name or "/" in name:
        yield tree.flaw(
            (*keys, "name"), f"{shown(name)} is no name of a volume" if name else "a name is missing"
        )
    if len(text(volume, "label").encode()) > _LONGEST_LUKS_LABEL:
        yield tree.flaw((*keys, "label"), f"is longer than {_LONGEST_LUKS_LABEL} characters")
    if wrong := path_flaw(volume.get("device")):
        yield tree.flaw((*keys, "device"), wrong)
    yield from resource_flaws(tree, (*keys, "keyFile"), section(volume, "keyFile"), minor)
    yield from _clevis(tree, (*keys, "clevis"), clevis, minor)
    if section(volume, "cex").get("enabled") is True and (any(clevis.values()) or volume.get("keyFile")):
        yield tree.flaw((*keys, "cex"), "stands beside clevis or a key file: write one of them")


def _clevis(tree: JsonTree, keys: Keys, clevis: Item, minor: int) -> Iterator[Flaw]:
    custom, others = section(clevis, "custom"), [k for k in ("tang", "tpm2", "threshold") if clevis.get(k)]
    if any(custom.values()):
        for key in ("pin", "config"):
            if not text(custom, key):
                yield tree.flaw((*keys, "custom", key), "is missing")
        if others:
            yield tree.flaw(keys, f"has custom beside {', '.join(others)}: write one of them")
        pin = text(custom, "pin")
        if pin and minor < 6 and pin not in {"tpm2", "tang", "sss"}:
            yield tree.flaw((*keys, "custom", "pin"), f"{shown(pin)} is none of tpm2, tang, sss")
    for index, server in enumerate(items(clevis, "tang")):
        place = (*keys, "tang", index)
        if not text(server, "url").startswith(("http://", "https://")):
            yield tree.flaw((*place, "url"), "is no http or https URL")
        if not text(server, "thumbprint"):
            yield tree.flaw((*place, "thumbprint"), "is missing")
    yield from twice(tree, (*keys, "tang"), [text(t, "url") for t in items(clevis, "tang")], "url")
