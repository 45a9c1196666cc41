"""The keys of Ignition 3.x, as a table: which there are, of what kind, and since which spec. Pure.

From the specification of Ignition 3.0 to 3.6. Ignition takes a key that its spec does not know for nothing,
with a warning that nobody reads; so such a key is a flaw here, though not a fatal one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from appliance.matchbox.errors import Flaw, Keys
from appliance.matchbox.json_tree import JsonTree
from appliance.reading import shown

NEWEST: Final = 6  # the newest stable minor of spec 3


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A single value of one Python type."""

    words: str
    kind: type


@dataclass(frozen=True, slots=True)
class _List:
    """A list of values of one shape."""

    item: _Scalar | _Object


@dataclass(frozen=True, slots=True)
class _Object:
    """An object: key to the minor of the spec that brought it, and its shape."""

    keys: Mapping[str, tuple[int, _Scalar | _List | _Object]]


_Shape = _Scalar | _List | _Object
_TEXT: Final = _Scalar("a string", str)
_NUMBER: Final = _Scalar("a whole number", int)
_FLAG: Final = _Scalar("true or false", bool)
_TEXTS: Final = _List(_TEXT)

_VERIFICATION: Final = _Object({"hash": (0, _TEXT)})
_HEADERS: Final = _List(_Object({"name": (1, _TEXT), "value": (1, _TEXT)}))


def _resource(compression: int) -> _Object:
    return _Object(
        {
            "compression": (compression, _TEXT),
            "httpHeaders": (1, _HEADERS),
            "source": (0, _TEXT),
            "verification": (0, _VERIFICATION),
        }
    )


_CONTENTS: Final = _resource(0)
_REFERENCE: Final = _resource(1)
_OWNER: Final = _Object({"id": (0, _NUMBER), "name": (0, _TEXT)})
_NODE: Final[Mapping[str, tuple[int, _Shape]]] = {
    "path": (0, _TEXT),
    "overwrite": (0, _FLAG),
    "user": (0, _OWNER),
    "group": (0, _OWNER),
}
_PARTITION: Final = _Object(
    {
        "guid": (0, _TEXT),
        "label": (0, _TEXT),
        "number": (0, _NUMBER),
        "resize": (2, _FLAG),
        "shouldExist": (0, _FLAG),
        "sizeMiB": (0, _NUMBER),
        "startMiB": (0, _NUMBER),
        "typeGuid": (0, _TEXT),
        "wipePartitionEntry": (0, _FLAG),
    }
)
_FILESYSTEM: Final = _Object(
    {
        "device": (0, _TEXT),
        "format": (0, _TEXT),
        "label": (0, _TEXT),
        "mountOptions": (1, _TEXTS),
        "options": (0, _TEXTS),
        "path": (0, _TEXT),
        "uuid": (0, _TEXT),
        "wipeFilesystem": (0, _FLAG),
    }
)
_CLEVIS: Final = _Object(
    {
        "custom": (2, _Object({"config": (2, _TEXT), "needsNetwork": (2, _FLAG), "pin": (2, _TEXT)})),
        "tang": (
            2,
            _List(_Object({"advertisement": (4, _TEXT), "thumbprint": (2, _TEXT), "url": (2, _TEXT)})),
        ),
        "threshold": (2, _NUMBER),
        "tpm2": (2, _FLAG),
    }
)
_LUKS: Final = _Object(
    {
        "cex": (5, _Object({"enabled": (5, _FLAG)})),
        "clevis": (2, _CLEVIS),
        "device": (2, _TEXT),
        "discard": (4, _FLAG),
        "keyFile": (2, _CONTENTS),
        "label": (2, _TEXT),
        "name": (2, _TEXT),
        "openOptions": (4, _TEXTS),
        "options": (2, _TEXTS),
        "uuid": (2, _TEXT),
        "wipeVolume": (2, _FLAG),
    }
)
_RAID: Final = _Object(
    {
        "devices": (0, _TEXTS),
        "level": (0, _TEXT),
        "name": (0, _TEXT),
        "options": (0, _TEXTS),
        "spares": (0, _NUMBER),
    }
)
_STORAGE: Final = _Object(
    {
        "directories": (0, _List(_Object({**_NODE, "mode": (0, _NUMBER)}))),
        "disks": (
            0,
            _List(
                _Object({"device": (0, _TEXT), "partitions": (0, _List(_PARTITION)), "wipeTable": (0, _FLAG)})
            ),
        ),
        "files": (
            0,
            _List(
                _Object(
                    {
                        **_NODE,
                        "mode": (0, _NUMBER),
                        "contents": (0, _CONTENTS),
                        "append": (0, _List(_CONTENTS)),
                    }
                )
            ),
        ),
        "filesystems": (0, _List(_FILESYSTEM)),
        "links": (0, _List(_Object({**_NODE, "target": (0, _TEXT), "hard": (0, _FLAG)}))),
        "luks": (2, _List(_LUKS)),
        "raid": (0, _List(_RAID)),
    }
)
_USER: Final = _Object(
    {
        "gecos": (0, _TEXT),
        "groups": (0, _TEXTS),
        "homeDir": (0, _TEXT),
        "name": (0, _TEXT),
        "noCreateHome": (0, _FLAG),
        "noLogInit": (0, _FLAG),
        "noUserGroup": (0, _FLAG),
        "passwordHash": (0, _TEXT),
        "primaryGroup": (0, _TEXT),
        "shell": (0, _TEXT),
        "shouldExist": (2, _FLAG),
        "sshAuthorizedKeys": (0, _TEXTS),
        "system": (0, _FLAG),
        "uid": (0, _NUMBER),
    }
)
_GROUP: Final = _Object(
    {
        "gid": (0, _NUMBER),
        "name": (0, _TEXT),
        "passwordHash": (0, _TEXT),
        "shouldExist": (2, _FLAG),
        "system": (0, _FLAG),
    }
)
_UNIT: Final = _Object(
    {
        "contents": (0, _TEXT),
        "dropins": (0, _List(_Object({"contents": (0, _TEXT), "name": (0, _TEXT)}))),
        "enabled": (0, _FLAG),
        "mask": (0, _FLAG),
        "name": (0, _TEXT),
    }
)
_IGNITION: Final = _Object(
    {
        "config": (0, _Object({"merge": (0, _List(_REFERENCE)), "replace": (0, _REFERENCE)})),
        "proxy": (1, _Object({"httpProxy": (1, _TEXT), "httpsProxy": (1, _TEXT), "noProxy": (1, _TEXTS)})),
        "security": (0, _Object({"tls": (0, _Object({"certificateAuthorities": (0, _List(_REFERENCE))}))})),
        "timeouts": (0, _Object({"httpResponseHeaders": (0, _NUMBER), "httpTotal": (0, _NUMBER)})),
        "version": (0, _TEXT),
    }
)
_ROOT: Final = _Object(
    {
        "ignition": (0, _IGNITION),
        "kernelArguments": (3, _Object({"shouldExist": (3, _TEXTS), "shouldNotExist": (3, _TEXTS)})),
        "passwd": (0, _Object({"groups": (0, _List(_GROUP)), "users": (0, _List(_USER))})),
        "storage": (0, _STORAGE),
        "systemd": (0, _Object({"units": (0, _List(_UNIT))})),
    }
)
# What spec 2 had at the top and spec 3 has not; Ignition drops it without a word.
_GONE: Final = {"networkd": "write the units as files below /etc/systemd/network (spec 3 has no networkd)"}


def shape_flaws(tree: JsonTree, minor: int, *, unknown: bool = True) -> Iterator[Flaw]:
    """Every value of the wrong kind, and every key that spec 3.`minor` does not have."""
    yield from _object(tree, tree.value, _ROOT, (), minor, unknown)


def _object(
    tree: JsonTree, value: object, shape: _Object, keys: Keys, minor: int, unknown: bool
) -> Iterator[Flaw]:
    if not isinstance(value, dict):
        yield tree.flaw(keys, f"must be an object, not {shown(value)}", "write { … }")
        return
    for name, below in value.items():
        known = shape.keys.get(name)
        if known is None or known[0] > minor:
            if unknown:
                yield _unknown(tree, shape, (*keys, name), name, minor)
        elif below is not None:
            yield from _value(tree, below, known[1], (*keys, name), minor, unknown)


def _value(
    tree: JsonTree, value: object, shape: _Shape, keys: Keys, minor: int, unknown: bool
) -> Iterator[Flaw]:
    match shape:
        case _Object():
            yield from _object(tree, value, shape, keys, minor, unknown)
        case _List(item):
            if not isinstance(value, list):
                yield tree.flaw(keys, f"must be a list, not {shown(value)}", "write [ … ]")
                return
            for index, entry in enumerate(value):
                yield from _value(tree, entry, item, (*keys, index), minor, unknown)
        case _Scalar(words, kind):
            # JSON's true is no number, though Python's is.
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                yield tree.flaw(keys, f"must be {words}, not {shown(value)}")


def _unknown(tree: JsonTree, shape: _Object, keys: Keys, name: str, minor: int) -> Flaw:
    since = shape.keys.get(name)
    if since is not None:
        message = f"is not in spec 3.{minor}.0: Ignition would drop it without a word"
        return tree.flaw(keys, message, f"it came with 3.{since[0]}.0: raise ignition.version", fatal=False)
    near = difflib.get_close_matches(name[:60], [k for k, (s, _) in shape.keys.items() if s <= minor], n=1)
    gone = _GONE.get(name, "") if len(keys) == 1 else ""
    hint = gone or (f"did you mean {near[0]!r}?" if near else "remove it")
    message = "is a key that Ignition does not know and would drop without a word"
    return tree.flaw(keys, message, hint, fatal=False)
