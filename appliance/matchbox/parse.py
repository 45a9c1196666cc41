"""Group and profile files as Go's encoding/json reads them into Matchbox's structures. Pure.

Keys of the structures match in any case, the last duplicate wins, unknown keys are ignored, `null` means
absent; a value of the wrong type makes the whole file unusable.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from appliance.matchbox.errors import DataError
from appliance.matchbox.labels import hardware_address
from appliance.matchbox.model import Boot, Group, Profile

_DEPTH: Final = 64  # of nested metadata; deeper ones are a mistake or an attack


class _Pairs(tuple[tuple[str, object], ...]):
    """A JSON object with its duplicates, in file order."""


def parse_group(raw: bytes, file: str) -> Group:
    """Read `groups/*.json`.

    Raises:
        DataError: it is not a group; Matchbox ignores such a file, and says so at every request.
    """
    parts = _structure(_decode(raw), "a group")
    return Group(
        id=_string(parts.get("id"), "id"),
        profile=_string(parts.get("profile"), "profile"),
        name=_string(parts.get("name"), "name"),
        selector=MappingProxyType(_normalised(_strings_map(parts.get("selector"), "selector"))),
        metadata=MappingProxyType(_metadata(parts.get("metadata"))),
        file=file,
    )


def parse_profile(raw: bytes) -> Profile:
    """Read `profiles/*.json`.

    Raises:
        DataError: it is not a profile, or has no `id` (any will do; Matchbox finds profiles by file name).
    """
    parts = _structure(_decode(raw), "a profile")
    names = ("id", "name", "ignition_id", "generic_id", "cloud_id")
    texts = {name: _string(parts.get(name), name) for name in names}
    if not texts["id"]:
        raise DataError("the profile has no id", path="id")
    boot = parts.get("boot")
    return Profile(boot=None if boot is None else _boot(boot), **texts)


def _boot(value: object) -> Boot:
    parts = _structure(value, "boot")
    return Boot(
        kernel=_string(parts.get("kernel"), "boot.kernel"),
        initrd=_strings(parts.get("initrd"), "boot.initrd"),
        args=_strings(parts.get("args"), "boot.args"),
    )


def _decode(raw: bytes) -> object:
    try:
        return json.loads(
            raw.decode("utf-8", "replace"),
            object_pairs_hook=_Pairs,
            parse_int=_number,
            parse_float=_number,
            parse_constant=_no_constant,
        )
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg}", line=error.lineno) from error
    except RecursionError as error:
        raise DataError("nested too deeply") from error


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise DataError(f"the number {text[:40]} is too large")
    return value


def _no_constant(text: str) -> float:
    raise DataError(f"{text} is not JSON")


def _structure(value: object, what: str) -> dict[str, object]:
    """Key (folded) to value; a repeated object is merged key by key, as Go decodes into what is there."""
    if not isinstance(value, _Pairs):
        raise DataError(f"{what} must be a JSON object")
    found: dict[str, object] = {}
    for key, item in value:
        folded = key.casefold()
        before = found.get(folded)
        if folded in {"selector", "boot"} and isinstance(before, _Pairs) and isinstance(item, _Pairs):
            item = _Pairs((*before, *item))
        if item is not None or folded in {"selector", "boot", "metadata", "initrd", "args"}:
            found[folded] = item
    return found


def _string(value: object, path: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError("must be a string", path=path)
    return _clean(value)


def _strings(value: object, path: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise DataError("must be a list of strings", path=path)
    return tuple(_string(item, path) for item in value)


def _strings_map(value: object, path: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, _Pairs):
        raise DataError("must be an object of strings", path=path)
    return {_clean(key): _string(item, f"{path}.{key}") for key, item in value}


def _metadata(value: object) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, _Pairs):
        raise DataError("must be an object", path="metadata")
    return {_clean(key): _plain(item, 1) for key, item in value}


def _plain(value: object, depth: int) -> object:
    if depth > _DEPTH:
        raise DataError("nested too deeply", path="metadata")
    if isinstance(value, _Pairs):
        return {_clean(key): _plain(item, depth + 1) for key, item in value}
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in value]
    return _clean(value) if isinstance(value, str) else value


def _normalised(selector: Mapping[str, str]) -> dict[str, str]:
    found = dict(selector)
    for key, value in selector.items():
        if key.lower() == "mac":
            try:
                found[key] = hardware_address(value)
            except ValueError as error:
                raise DataError(f"{error}; no request can match it", path=f"selector.{key}") from error
    return found


def _clean(text: str) -> str:
    """The same text with lone surrogates (`"\\ud800"`) replaced, as Go does: they cannot be sent as UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
