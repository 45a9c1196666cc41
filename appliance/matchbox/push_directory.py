"""A push into the data directory of an external Matchbox: mounted here, or on the same host.

Matchbox reads its files anew for each request, and its own gRPC side rewrites them in place: one request in
four met a torn file under constant writes (measured). Ours appear by rename.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from appliance.errors import SurroundingsError
from appliance.matchbox.errors import DataError
from appliance.matchbox.model import Group, Profile
from appliance.matchbox.parse import parse_group, parse_profile
from appliance.matchbox.push_plan import (
    PREFIX,
    Delete,
    Document,
    Found,
    Kind,
    Objects,
    Put,
    Stored,
    is_own_ignition_name,
    stored_of,
)
from appliance.system.acting import acting_for, way_out
from appliance.system.files import fsync_directory, make_directory, read_regular, write_atomic

_MAX_JSON: Final = 1 << 20
_MAX_DOCUMENT: Final = 16 << 20
_FOLDERS: Final = ("groups", "profiles", "ignition", "generic", "cloud", "assets")
# What Go's encoding/json escapes besides what JSON demands: a file is to be what Matchbox would have made.
_ESCAPED: Final = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
_LEFTOVER: Final = re.compile(r"\.pxe-appliance-.+\.[0-9]+\.tmp", re.ASCII)


class DirectoryTarget:
    """The data directory of an external Matchbox. Every call blocks on what is mounted there."""

    parallel: Final = 1  # each file is durable before the next: there is nothing to be gained

    def __init__(self, data: Path) -> None:
        self._data = data

    def find(self, _wanted: Objects) -> Found:
        """What is there. Sweeps up what a write that was killed left behind.

        Raises:
            SurroundingsError: the directory cannot be read, or is none of Matchbox's.
        """
        self._check()
        try:
            groups = {
                name.removesuffix(".json"): self._group(name) for name in self._names("groups", ".json")
            }
            profiles = {
                name.removesuffix(".json"): self._profile(name)
                for name in self._names("profiles", ".json")
                if name.startswith(PREFIX)
            }
            ignition = {
                name: self._document(name)
                for name in self._names("ignition", ".ign")
                if is_own_ignition_name(name)
            }
        except OSError as error:
            raise SurroundingsError(
                f"cannot read {error.filename or self._data}: {error.strerror}",
                hint=f"the service has to be allowed to read and write below {self._data}",
            ) from error
        return Found(groups, profiles, ignition)

    def put(self, put: Put) -> None:
        """Write one object, whole or not at all.

        Raises:
            SurroundingsError: the disk, or what is mounted, did not do its part.
        """
        path = self._path(put.kind, put.id)
        make_directory(path.parent)
        write_atomic(path, text_of(put.value))

    def delete(self, delete: Delete) -> None:
        """Remove one object; that it is gone already is fine.

        Raises:
            SurroundingsError: as `put`.
        """
        path = self._path(delete.kind, delete.id)
        try:
            with acting_for(path.parent):
                path.unlink(missing_ok=True)
                fsync_directory(path.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            hint = way_out(error, path)
            raise SurroundingsError(f"cannot remove {path}: {error.strerror}", hint=hint) from error

    def _path(self, kind: Kind, name: str) -> Path:
        match kind:
            case Kind.IGNITION:
                return self._data / "ignition" / name
            case Kind.PROFILE:
                return self._data / "profiles" / f"{name}.json"
            case Kind.GROUP:
                return self._data / "groups" / f"{name}.json"

    def _check(self) -> None:
        """A share that is not mounted is an empty directory, and what is written there goes nowhere."""
        if any((self._data / folder).is_dir() for folder in _FOLDERS):
            return
        what = "there is no such directory"
        if self._data.is_dir():
            what = "none of Matchbox's folders (groups, profiles, ...) is in it"
        raise SurroundingsError(
            f"cannot push to {self._data}: {what}",
            hint=f"mount Matchbox's data directory there; if it is new, mkdir {self._data / 'groups'}",
        )

    def _names(self, folder: str, suffix: str) -> list[str]:
        try:
            with os.scandir(self._data / folder) as entries:
                names = sorted(entry.name for entry in entries)
        except FileNotFoundError:
            return []
        # Matchbox tries each of them as a group, and logs that at every request.
        with acting_for(self._data / folder):
            for name in filter(_LEFTOVER.fullmatch, names):
                (self._data / folder / name).unlink(missing_ok=True)
        return [name for name in names if name.endswith(suffix) and not name.startswith(".")]

    def _group(self, name: str) -> Group | None:
        try:
            return parse_group(read_regular(self._data / "groups" / name, _MAX_JSON), name)
        except (DataError, ValueError, FileNotFoundError, PermissionError):
            return None

    def _profile(self, name: str) -> Profile | None:
        try:
            return parse_profile(read_regular(self._data / "profiles" / name, _MAX_JSON))
        except (DataError, ValueError, FileNotFoundError, PermissionError):
            return None

    def _document(self, name: str) -> Stored:
        try:
            return stored_of(read_regular(self._data / "ignition" / name, _MAX_DOCUMENT))
        except (ValueError, FileNotFoundError, PermissionError):
            return Stored("", marked=False)


def text_of(value: Group | Profile | Document) -> bytes:
    """A file as Matchbox writes it: its keys, their order, tabs, no line break at the end."""
    match value:
        case Document():
            return value.make()
        case Group():
            found: dict[str, object] = {"id": value.id, "name": value.name, "profile": value.profile}
            found |= {"selector": _sorted(value.selector), "metadata": _sorted(value.metadata)}
        case Profile():
            found = {"id": value.id, "name": value.name, "ignition_id": value.ignition_id}
            if value.boot is not None:
                boot = {"kernel": value.boot.kernel, "initrd": value.boot.initrd, "args": value.boot.args}
                found["boot"] = {key: part for key, part in boot.items() if part}
    kept = {key: part for key, part in found.items() if part or key == "boot"}
    return json.dumps(kept, indent="\t", ensure_ascii=False).translate(_ESCAPED).encode()


def _sorted(mapping: Mapping[str, object]) -> dict[str, object]:
    """With the keys in Go's order of maps, all the way down."""
    return {
        key: _sorted(value) if isinstance(value, Mapping) else value for key, value in sorted(mapping.items())
    }
