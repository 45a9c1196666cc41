"""An operator's Ignition document with what the appliance adds to it, and the token of each boot. Pure.

The operator's part is parsed once and shared by all machines of a profile; the rest is put behind it for each
request, so that ten thousand machines do not keep ten thousand documents.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from appliance.matchbox.errors import IgnitionError
from appliance.provisioned import Provisioned, ProvisionedFile, ProvisionedUnit

# Stands in what is added where a boot's token goes. No percent-encoding changes it, nor any JSON.
PLACEHOLDER: Final = "pxe-appliance-token-of-this-boot"
# Where nothing of an operator's own is needed: what Flatcar since 3185 and all of Fedora CoreOS read.
EMPTY: Final = b'{"ignition":{"version":"3.3.0"}}'


@dataclass(frozen=True, slots=True)
class Base:
    """An operator's document, taken apart where entries are added: files and units, in the order they have.

    `parts` are the JSON texts before, between and behind the two places, the operator's own entries included.
    """

    parts: tuple[str, str, str]
    units_first: bool
    lists: tuple[bool, bool]  # whether there are files, and units, of the operator's own
    paths: frozenset[str]
    names: frozenset[str]
    spec: str
    whole: bytes  # as it was written

    @property
    def two(self) -> bool:
        """Whether it is Ignition 2.x, which names the file system of each file."""
        return self.spec.startswith("2.")


@dataclass(frozen=True, slots=True)
class Document:
    """One machine's document."""

    text: bytes

    def for_boot(self, token: str) -> bytes:
        """The document for one boot; what is no token of ours leaves a word that opens nothing.

        Where anybody may read it, anybody may write into the request what they like.
        """
        word = token if _TOKEN.fullmatch(token) else "none"
        return self.text.replace(PLACEHOLDER.encode(), word.encode())


_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FILES: Final = "pxe-appliance: files go here"
_UNITS: Final = "pxe-appliance: units go here"
# What each octet is in a URL (RFC 3986, unreserved), faster than the library's way.
_ESCAPED: Final = tuple(quote(bytes([octet]), safe="") for octet in range(256))


def read_base(content: bytes) -> Base:
    """Take a document apart that was judged already.

    Raises:
        IgnitionError: it is no Ignition document.
    """
    try:
        document = json.loads(content)
        version = str(document["ignition"]["version"])
        storage, systemd = document.get("storage") or {}, document.get("systemd") or {}
        files, units = storage.get("files") or [], systemd.get("units") or []
        nodes = [*files, *(storage.get("directories") or []), *(storage.get("links") or [])]
        paths = frozenset(str(node["path"]) for node in nodes)
        names = frozenset(str(unit["name"]) for unit in units)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IgnitionError("it is not an Ignition document") from error
    marked = {
        **document,
        "storage": {**storage, "files": [*files, _FILES]},
        "systemd": {**systemd, "units": [*units, _UNITS]},
    }
    text = _compact(marked)
    # The last ones: an operator's own text of that kind stands before them.
    places = (text.rindex(_compact(_FILES)), text.rindex(_compact(_UNITS)))
    first, second = sorted(places)
    lengths = {places[0]: len(_compact(_FILES)), places[1]: len(_compact(_UNITS))}
    parts = (text[:first], text[first + lengths[first] : second], text[second + lengths[second] :])
    return Base(parts, places[1] < places[0], (bool(files), bool(units)), paths, names, version, content)


def conflicts(base: Base, added: Provisioned) -> Iterator[str]:
    """What an operator's document already has of that which would be added."""
    yield from (file.path for file in added.files if file.path in base.paths)
    yield from (unit.name for unit in added.units if unit.name in base.names)


def merged(base: Base, added: Provisioned) -> Document:
    """The operator's document and what is added; byte for byte the operator's when nothing is.

    A path or unit that the operator's document has stays the operator's (see `conflicts`).
    """
    files = [_file(file, two=base.two) for file in added.files if file.path not in base.paths]
    units = [_unit(unit) for unit in added.units if unit.name not in base.names]
    if not files and not units:
        return Document(base.whole)
    # Each list ends in a comma where the operator has entries, and none of ours may follow.
    rows = [(",".join(files), base.lists[0]), (",".join(units), base.lists[1])]
    if base.units_first:
        rows.reverse()
    out = []
    for part, (entries, own) in zip(base.parts, rows, strict=False):
        out += [part if entries or not own else part.removesuffix(","), entries]
    return Document("".join([*out, base.parts[2]]).encode("ascii"))


@functools.lru_cache(256)
def data_url(text: str) -> str:
    """Text as RFC 2397 has it, readable where it can be."""
    return "data:," + "".join(map(_ESCAPED.__getitem__, text.encode("utf-8", "replace")))


def _file(file: ProvisionedFile, *, two: bool) -> str:
    found: dict[str, object] = {
        "path": file.path,
        "mode": file.mode,
        "contents": {"source": data_url(file.content)},
        # Spec 2 overwrites unless told otherwise, and knows the key since 2.2 only.
        **({"filesystem": "root"} if two else {"overwrite": True}),
    }
    return _compact(found)


def _unit(unit: ProvisionedUnit) -> str:
    return _compact({"name": unit.name, "enabled": True, "contents": unit.content})


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
