"""What the Butane translator covers: each key's name in Butane, its name in Ignition, its kind. Pure."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import yaml

from appliance.matchbox.butane_values import (
    Convert,
    Object,
    absolute,
    boolean,
    integer,
    list_of,
    mode,
    refusal,
    required_text,
    text_of,
)

# Stands in a filesystem until its mount unit is made; no Ignition has this key.
WITH_MOUNT_UNIT: Final = "with_mount_unit"


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
_TEXTS: Final = list_of(text_of)
_PARTITION: Final = Object(
    {
        "guid": ("guid", text_of),
        "label": ("label", text_of),
        "number": ("number", integer),
        "resize": ("resize", boolean),
        "should_exist": ("shouldExist", boolean),
        "size_mib": ("sizeMiB", integer),
        "start_mib": ("startMiB", integer),
        "type_guid": ("typeGuid", text_of),
        "wipe_partition_entry": ("wipePartitionEntry", boolean),
    }
)
_DISK: Final = Object(
    {
        "device": ("device", absolute),
        "partitions": ("partitions", list_of(_PARTITION)),
        "wipe_table": ("wipeTable", boolean),
    },
    ("device",),
)
_RAID: Final = Object(
    {
        "devices": ("devices", list_of(absolute)),
        "level": ("level", text_of),
        "name": ("name", required_text),
        "options": ("options", _TEXTS),
        "spares": ("spares", integer),
    },
    ("name", "level", "devices"),
)
_FILESYSTEM: Final = Object(
    {
        "device": ("device", absolute),
        "format": ("format", text_of),
        "label": ("label", text_of),
        "mount_options": ("mountOptions", _TEXTS),
        "options": ("options", _TEXTS),
        "path": ("path", text_of),
        "uuid": ("uuid", text_of),
        "wipe_filesystem": ("wipeFilesystem", boolean),
        "with_mount_unit": (WITH_MOUNT_UNIT, boolean),
    },
    ("device",),
)
_CLEVIS: Final = Object(
    {
        "custom": (
            "custom",
            Object(
                {
                    "config": ("config", text_of),
                    "needs_network": ("needsNetwork", boolean),
                    "pin": ("pin", text_of),
                }
            ),
        ),
        "tang": (
            "tang",
            list_of(
                Object(
                    {
                        "advertisement": ("advertisement", text_of),
                        "thumbprint": ("thumbprint", text_of),
                        "url": ("url", text_of),
                    }
                )
            ),
        ),
        "threshold": ("threshold", integer),
        "tpm2": ("tpm2", boolean),
    }
)
_LUKS: Final = Object(
    {
        "cex": ("cex", Object({"enabled": ("enabled", boolean)})),
        "clevis": ("clevis", _CLEVIS),
        "device": ("device", absolute),
        "discard": ("discard", boolean),
        "key_file": ("keyFile", _contents),
        "label": ("label", text_of),
        "name": ("name", required_text),
        "open_options": ("openOptions", _TEXTS),
        "options": ("options", _TEXTS),
        "uuid": ("uuid", text_of),
        "wipe_volume": ("wipeVolume", boolean),
    },
    ("name", "device"),
)
_IGNITION: Final = Object(
    {
        "config": (
            "config",
            Object({"merge": ("merge", list_of(_contents)), "replace": ("replace", _contents)}),
        ),
        "proxy": (
            "proxy",
            Object(
                {
                    "http_proxy": ("httpProxy", text_of),
                    "https_proxy": ("httpsProxy", text_of),
                    "no_proxy": ("noProxy", _TEXTS),
                }
            ),
        ),
        "security": (
            "security",
            Object(
                {
                    "tls": (
                        "tls",
                        Object({"certificate_authorities": ("certificateAuthorities", list_of(_contents))}),
                    )
                }
            ),
        ),
        "timeouts": (
            "timeouts",
            Object(
                {
                    "http_response_headers": ("httpResponseHeaders", integer),
                    "http_total": ("httpTotal", integer),
                }
            ),
        ),
    }
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
ROOT: Final = Object(
    {
        "variant": ("variant", text_of),
        "ignition": ("ignition", _IGNITION),
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
                    "disks": ("disks", list_of(_DISK)),
                    "raid": ("raid", list_of(_RAID)),
                    "filesystems": ("filesystems", list_of(_FILESYSTEM)),
                    "luks": ("luks", list_of(_LUKS)),
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
