"""Butane's `with_mount_unit`: the systemd unit that mounts a filesystem, or swaps to it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from appliance.matchbox.butane_tables import WITH_MOUNT_UNIT
from appliance.matchbox.butane_values import refusal

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")


def mount_units(root: yaml.Node, storage: Mapping[str, object]) -> list[dict[str, object]]:
    """The units for all filesystems that ask for one; takes the key out of them.

    Raises:
        IgnitionError: a filesystem that asks for it has no path or no format.
    """
    units = []
    filesystems, volumes = storage.get("filesystems"), storage.get("luks")
    remote = _opened_by_network(volumes if isinstance(volumes, list) else [])
    for index, filesystem in enumerate(filesystems if isinstance(filesystems, list) else []):
        if not filesystem.pop(WITH_MOUNT_UNIT, False):
            continue
        where = f"storage.filesystems[{index}]"
        for needed in ("device", "format", "path"):
            if not filesystem.get(needed) and (needed, filesystem.get("format")) != ("path", "swap"):
                raise refusal(root, f"{where}.{needed}", "is missing: with_mount_unit needs it")
        if filesystem["format"] == "none":
            raise refusal(root, f"{where}.with_mount_unit", "has nothing to mount: the format is none")
        units.append(_unit(filesystem, remote=filesystem["device"] in remote))
    return units


def unit_escape(path: str) -> str:
    """A path as part of a unit's name, as systemd-escape --path makes it (systemd.unit(5))."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        return "-"
    joined = "/".join(parts)
    out = []
    for index, octet in enumerate(joined.encode("utf-8", "replace")):
        letter = chr(octet)
        if letter == "/":
            out.append("-")
        elif letter in _PLAIN and not (letter == "." and index == 0):
            out.append(letter)
        else:
            out.append(f"\\x{octet:02x}")
    return "".join(out)


def _opened_by_network(volumes: list[Mapping[str, object]]) -> set[str]:
    """Devices of encrypted volumes whose key a server on the network keeps."""
    found = set()
    for volume in volumes:
        clevis = volume.get("clevis")
        if isinstance(clevis, dict) and clevis.get("tang"):
            name = volume.get("name", "")
            found |= {f"/dev/mapper/{name}", f"/dev/disk/by-id/dm-name-{name}"}
    return found


def _unit(filesystem: Mapping[str, object], *, remote: bool) -> dict[str, object]:
    device, given = str(filesystem["device"]), filesystem.get("mountOptions")
    options = [*map(str, given if isinstance(given, list) else []), *(["_netdev"] if remote else [])]
    line = [f"Options={','.join(options)}"] if options else []
    if filesystem["format"] == "swap":
        lines = ["[Swap]", f"What={device}", *line, "", "[Install]", "RequiredBy=swap.target"]
        name = f"{unit_escape(device)}.swap"
    else:
        check = f"systemd-fsck@{unit_escape(device)}.service"
        target = "remote-fs.target" if remote else "local-fs.target"
        lines = [
            *("[Unit]", f"Requires={check}", f"After={check}", ""),
            *("[Mount]", f"Where={filesystem['path']}", f"What={device}", f"Type={filesystem['format']}"),
            *(*line, "", "[Install]", f"RequiredBy={target}"),
        ]
        name = f"{unit_escape(str(filesystem['path']))}.mount"
    return {"name": name, "enabled": True, "contents": "\n".join(lines) + "\n"}
