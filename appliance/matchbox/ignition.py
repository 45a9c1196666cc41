"""What may be handed out as Ignition. Pure.

A raw configuration is passed on byte for byte, in whatever 2.x or 3.x spec it was written: the machine's own
Ignition judges it. Checked here is what would certainly fail there, or worse, be taken as an empty
configuration (Matchbox 0.11 answers broken files with an empty one and status 200).
"""

from __future__ import annotations

import json
import re
from typing import Final

from appliance.matchbox.butane import translate
from appliance.matchbox.errors import IgnitionError

_VERSION: Final = re.compile(r"[23]\.\d{1,2}\.0(-experimental)?", re.ASCII)
_RAW_SUFFIXES: Final = (".ign", ".ignition")
_MAX_MODE: Final = 0o7777


def is_raw(name: str) -> bool:
    """Whether Matchbox takes a file of this name for finished Ignition (the case of the letters counts)."""
    return name.endswith(_RAW_SUFFIXES)


def finish(name: str, content: bytes) -> bytes:
    """The Ignition document that an operator's own file gives: raw Ignition as it is, all else as Butane.

    Raises:
        IgnitionError: with the line; such a file must not reach a machine.
    """
    if is_raw(name) or name.endswith(".json"):
        check_ignition(content)
        return content
    return translate(content)


def check_ignition(content: bytes) -> None:
    """Refuse what no Ignition would apply.

    Raises:
        IgnitionError: what is wrong, with its dotted path or its line.
    """
    if not content.strip():
        raise IgnitionError("the file is empty")
    try:
        document = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise IgnitionError("it is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise IgnitionError(f"it is not JSON: {error.msg}", line=error.lineno) from error
    except (RecursionError, ValueError) as error:
        raise IgnitionError("it is not usable JSON: nested too deeply, or a number is too long") from error
    if not isinstance(document, dict):
        raise IgnitionError("it is not a JSON object")
    version = _member(document, "ignition").get("version")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise IgnitionError(
            f"{version!r} is no Ignition spec version: 2.x.0 or 3.x.0 is expected", path="ignition.version"
        )
    _check_storage(_member(document, "storage"), strict=version.startswith("3"))
    _check_names(_member(document, "systemd"), "systemd", "units", strict=version.startswith("3"))
    _check_names(_member(document, "passwd"), "passwd", "users", strict=version.startswith("3"))
    _check_names(_member(document, "passwd"), "passwd", "groups", strict=version.startswith("3"))


def _check_storage(storage: dict[str, object], *, strict: bool) -> None:
    seen: set[str] = set()
    for kind in ("directories", "files", "links"):
        for i, item in enumerate(_members(storage, kind, "storage")):
            where = f"storage.{kind}[{i}]"
            path, mode = item.get("path"), item.get("mode")
            if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
                raise IgnitionError(f"{path!r} is not an absolute path", path=f"{where}.path")
            if mode is not None and not (type(mode) is int and 0 <= mode <= _MAX_MODE):
                raise IgnitionError(f"{mode!r} is no file mode", path=f"{where}.mode")
            if strict and path in seen:
                raise IgnitionError(f"{path} stands twice", path=f"{where}.path")
            seen.add(path)


def _check_names(section: dict[str, object], parent: str, kind: str, *, strict: bool) -> None:
    seen: set[str] = set()
    for i, item in enumerate(_members(section, kind, parent)):
        name = item.get("name")
        if not isinstance(name, str) or not name:
            raise IgnitionError("a name is missing", path=f"{parent}.{kind}[{i}].name")
        if strict and name in seen:
            raise IgnitionError(f"{name!r} stands twice", path=f"{parent}.{kind}[{i}].name")
        seen.add(name)


def _member(document: dict[str, object], key: str) -> dict[str, object]:
    found = document.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise IgnitionError("must be an object", path=key)
    return found


def _members(section: dict[str, object], key: str, parent: str) -> list[dict[str, object]]:
    found = section.get(key)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise IgnitionError("must be a list of objects", path=f"{parent}.{key}")
    return found
