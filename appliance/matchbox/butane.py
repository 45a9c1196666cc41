"""Butane to Ignition, for the sections that provisioning needs. Pure.

Covered: passwd users and groups; storage directories, files (inline or by URL) and links; systemd units and
drop-ins; kernel arguments. Every other key is refused by name and line: a key that is dropped silently is a
machine that is not what its file says. The result has the shape of Matchbox 0.11: spec 3.4.0 (3.5.0 where the
file's version asks for it), empty objects included.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import yaml

from appliance.matchbox.butane_values import (
    Convert,
    Object,
    absolute,
    boolean,
    compose,
    integer,
    list_of,
    mode,
    pairs,
    refusal,
    required_text,
    text_of,
)
from appliance.matchbox.errors import IgnitionError

# What each variant and version of Butane asks Ignition for; older ones are raised to 3.4.0 as Matchbox does.
_SPECS: Final[Mapping[tuple[str, str], str]] = {
    **{("fcos", f"1.{minor}.0"): "3.4.0" for minor in range(6)},
    **{("flatcar", f"1.{minor}.0"): "3.4.0" for minor in range(2)},
    ("fcos", "1.6.0"): "3.5.0",
}


def translate(content: bytes) -> bytes:
    """The Ignition document for a Butane file, as compact JSON.

    Raises:
        IgnitionError: with path and line: not YAML, no known variant and version, a key that is not covered,
            a value of the wrong kind.
    """
    root = compose(content)
    head = {key.value: value.value for key, value in pairs(root, "") if isinstance(value, yaml.ScalarNode)}
    variant, version = head.get("variant", ""), head.get("version", "")
    if not variant:
        raise refusal(root, "variant", "is missing: fcos or flatcar is expected")
    if (variant, version) not in _SPECS:
        raise refusal(root, "version", f"{variant} {version} is not a Butane version known here")
    found = _ROOT(root, "")
    del found["variant"], found["version"]
    document = {**_skeleton(_SPECS[variant, version]), **found}
    _check_unique(document)
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def _skeleton(version: str) -> dict[str, object]:
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


def _contents(node: yaml.Node, path: str) -> dict[str, object]:
    """A file's contents: text in place becomes the shortest data URL, as in Butane."""
    found = _RESOURCE(node, path)
    inline = found.pop("inline", None)
    if inline is None:
        return found
    if "source" in found or "compression" in found:
        raise refusal(node, path, "cannot have inline together with source or compression")
    source, compression = data_url(str(inline).encode("utf-8", "replace"))
    return {**found, "source": source, "compression": compression}


def data_url(content: bytes) -> tuple[str, str]:
    """The shortest data URL (RFC 2397) that Ignition decodes to `content`, and its compression."""
    plain = "," + quote(content, safe="")
    encoded = ";base64," + base64.b64encode(content).decode()
    packed = ";base64," + base64.b64encode(gzip.compress(content, mtime=0)).decode()
    shortest = plain if len(plain) <= len(encoded) else encoded
    if len(packed) < len(shortest):
        return f"data:{packed}", "gzip"
    return f"data:{shortest}", ""


def _check_unique(document: Mapping[str, object]) -> None:
    """One path, one entry: Ignition refuses a document in which two of them fight over it."""
    storage = document["storage"]
    assert isinstance(storage, dict)
    seen: set[str] = set()
    for kind in ("directories", "files", "links"):
        for item in storage.get(kind, []):
            if item["path"] in seen:
                raise IgnitionError(f"storage.{kind}: {item['path']} stands twice", path=f"storage.{kind}")
            seen.add(item["path"])


# The tables: what is covered, under its name in Butane, and what Ignition calls it


_OWNER: Final = Object({"id": ("id", integer), "name": ("name", text_of)})
_VERIFICATION: Final = Object({"hash": ("hash", text_of)})
_HEADERS: Final = list_of(Object({"name": ("name", required_text), "value": ("value", text_of)}, ("name",)))
_RESOURCE: Final = Object(
    {
        "inline": ("inline", text_of),
        "source": ("source", text_of),
        "compression": ("compression", text_of),
        "http_headers": ("httpHeaders", _HEADERS),
        "verification": ("verification", _VERIFICATION),
    },
    base={"verification": {}},
)
_NODE: Final[Mapping[str, tuple[str, Convert]]] = {
    "path": ("path", absolute),
    "overwrite": ("overwrite", boolean),
    "user": ("user", _OWNER),
    "group": ("group", _OWNER),
}
_NODE_BASE: Final[Mapping[str, object]] = {"user": {}, "group": {}}
_FILE: Final = Object(
    {
        **_NODE,
        "mode": ("mode", mode),
        "contents": ("contents", _contents),
        "append": ("append", list_of(_contents)),
    },
    ("path",),
    {**_NODE_BASE, "contents": {"verification": {}}},
)
_DIRECTORY: Final = Object({**_NODE, "mode": ("mode", mode)}, ("path",), _NODE_BASE)
_LINK: Final = Object(
    {**_NODE, "target": ("target", required_text), "hard": ("hard", boolean)}, ("path", "target"), _NODE_BASE
)
_USER: Final = Object(
    {
        "name": ("name", required_text),
        "password_hash": ("passwordHash", text_of),
        "ssh_authorized_keys": ("sshAuthorizedKeys", list_of(text_of)),
        "uid": ("uid", integer),
        "gecos": ("gecos", text_of),
        "home_dir": ("homeDir", text_of),
        "no_create_home": ("noCreateHome", boolean),
        "primary_group": ("primaryGroup", text_of),
        "groups": ("groups", list_of(text_of)),
        "no_user_group": ("noUserGroup", boolean),
        "no_log_init": ("noLogInit", boolean),
        "shell": ("shell", text_of),
        "should_exist": ("shouldExist", boolean),
        "system": ("system", boolean),
    },
    ("name",),
)
_GROUP: Final = Object(
    {
        "name": ("name", required_text),
        "gid": ("gid", integer),
        "password_hash": ("passwordHash", text_of),
        "should_exist": ("shouldExist", boolean),
        "system": ("system", boolean),
    },
    ("name",),
)
_DROPIN: Final = Object({"name": ("name", required_text), "contents": ("contents", text_of)}, ("name",))
_UNIT: Final = Object(
    {
        "name": ("name", required_text),
        "enabled": ("enabled", boolean),
        "mask": ("mask", boolean),
        "contents": ("contents", text_of),
        "dropins": ("dropins", list_of(_DROPIN)),
    },
    ("name",),
)
_ROOT: Final = Object(
    {
        "variant": ("variant", text_of),
        "version": ("version", text_of),
        "passwd": (
            "passwd",
            Object({"users": ("users", list_of(_USER)), "groups": ("groups", list_of(_GROUP))}),
        ),
        "storage": (
            "storage",
            Object(
                {
                    "directories": ("directories", list_of(_DIRECTORY)),
                    "files": ("files", list_of(_FILE)),
                    "links": ("links", list_of(_LINK)),
                }
            ),
        ),
        "systemd": ("systemd", Object({"units": ("units", list_of(_UNIT))})),
        "kernel_arguments": (
            "kernelArguments",
            Object(
                {
                    "should_exist": ("shouldExist", list_of(text_of)),
                    "should_not_exist": ("shouldNotExist", list_of(text_of)),
                }
            ),
        ),
    },
    ("variant", "version"),
)
