"""What the real Matchbox was asked and answered, how an answer is compared with it, and where we differ.

Where Matchbox is wrong we refuse, with the reason in the record; where its versions differ we may be like
another one than v0.11.0. Each entry must go on differing, and docs/matchbox.md must have it.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.matchbox_endpoint import Reply, ask

HERE = Path(__file__).parent / "matchbox"
CASES: list[dict[str, Any]] = json.loads((HERE / "cases.json").read_text("utf-8"))["cases"]


@dataclass(frozen=True)
class Deviation:
    """What docs/matchbox.md calls it, and what the record says at run time."""

    what: str
    reason: str


MALFORMED_MAC = Deviation(
    "a malformed MAC is not handed to a default group", "is not a MAC address, and only"
)
BROKEN_IGNITION = Deviation("a broken Ignition file is never an empty configuration", "ignition/")
UNKNOWN_KEY = Deviation("an unknown Butane key is refused, not dropped", "ignition/unknownkey.yaml:3: bogus")
LINK_OUT = Deviation("a symbolic link does not lead out of the assets", "a symbolic link leads out of")
DEVIATIONS = {
    "mac-mixedsep-ipxe": MALFORMED_MAC,
    "mac-mixedsep-ignition": MALFORMED_MAC,
    "mac-space-ignition": MALFORMED_MAC,
    "mac-trail-ipxe": MALFORMED_MAC,
    "mac-trail-ignition": MALFORMED_MAC,
    "mac-trail-metadata": MALFORMED_MAC,
    "mac-invalid-ignition": MALFORMED_MAC,
    "ignition-ign99": BROKEN_IGNITION,
    "ignition-ignbad": BROKEN_IGNITION,
    "ignition-igninvalid": BROKEN_IGNITION,
    "ignition-b-unknownkey": UNKNOWN_KEY,
    "assets-symlink-out": LINK_OUT,
}
RAW = "raw Ignition is passed on as it is written"
NO_SEPARATORS = "a MAC without separators is read"
_RAW_CASES = (
    "method-ignition-POST", "method-ignition-PUT", "method-ignition-PATCH", "method-ignition-TRACE",
    "method-ignition-FOO", "mac-upper-colon-ignition", "mac-upper-dash-ignition", "mac-dot-ignition",
    "mac-empty-ignition", "mac-unknown-ignition", "mac-twice-first-wins", "group-noid-ignition",
    "group-idmismatch-ignition", "group-capskeys-ignition", "group-nullmeta-ignition", "group-txt-ignition",
    "ignition-ign30", "ignition-ign35", "ignition-igntmpl", "ignition-ignition-suffix",
    "ignition-accept-fcos", "ignition-accept-encoding",
)  # fmt: skip
# Cases that v0.11.0 answers otherwise, and another version as we do.
LIKE_ANOTHER = {
    "mac-nosep-metadata": ("main", NO_SEPARATORS),
    **dict.fromkeys(_RAW_CASES, ("v0.9.0", RAW)),
}
# Like main in the one half (the MAC is read) and like v0.9.0 in the other: then it is that case's answer.
SAME_AS = {"mac-nosep-ignition": ("mac-upper-colon-ignition", "v0.9.0", NO_SEPARATORS)}
BASELINE = "v0.11.0"


def asked(port: int, case: dict[str, Any], host: str = "127.0.0.1") -> Reply:
    """What is answered to the request of a case."""
    return ask(
        port,
        case["target"].encode("utf-8"),
        method=case["method"],
        headers=case["request_headers"],
        body=case["request_body"] or "",
        host=host,
    )


def judged(case: dict[str, Any], reply: Reply) -> str:
    """What is wrong with `reply`; empty when it is like v0.11.0's, or differs as the lists here say."""
    name, found = case["id"], complaints(case, reply)
    if name in DEVIATIONS:
        if reply.status != 404 or reply.body not in {b"404 page not found\n", b""}:
            return f"{name}: {reply.status} {reply.body!r} is no refusal"
        return "" if all(found.values()) else f"{name} is listed as a deviation, and is none"
    if name in SAME_AS:
        other, version, _ = SAME_AS[name]
        (twin,) = (candidate for candidate in CASES if candidate["id"] == other)
        if not all(found.values()):
            return f"{name} is listed as like another case, and is like its own"
        return complaints(twin, reply)[version]
    if name in LIKE_ANOTHER:
        version, _ = LIKE_ANOTHER[name]
        return found[version] or ("" if found[BASELINE] else f"{name} is listed as unlike {BASELINE}")
    return found[BASELINE] and f"{name}: {found[BASELINE]}"


def complaints(case: dict[str, Any], reply: Reply) -> dict[str, str]:
    """How the reply differs from each recorded version's; empty where it does not."""
    versions = {BASELINE: case["response"], **case["variants"]}
    return {version: difference(case, recorded, reply) for version, recorded in versions.items()}


def difference(case: dict[str, Any], recorded: dict[str, Any], reply: Reply) -> str:
    if reply.status != recorded["status"]:
        return f"status {reply.status}, not {recorded['status']}"
    for name, value in recorded["headers"].items():
        if name == "Content-Length" and not case["compare"].startswith("exact"):
            continue
        if name == "Content-Type" and (
            case.get("mime_depends_on_host") or case["compare"] == "multipart_byteranges"
        ):
            continue
        if name == "Last-Modified" and case["compare"].startswith("links"):
            continue
        if reply.header(name) != value:
            return f"{name} is {reply.header(name)!r}, not {value!r}"
    if reply.header("Server") is not None:
        return "the answer names its server"
    wanted = base64.b64decode(recorded["body_b64"]) if "body_b64" in recorded else recorded["body"].encode()
    ours, theirs = _comparable(case, reply, wanted), _comparable(case, None, wanted)
    return "" if ours == theirs else f"body {ours!r}, not {theirs!r}"


def _comparable(case: dict[str, Any], reply: Reply | None, wanted: bytes) -> object:
    body = wanted if reply is None else reply.body
    how = case["compare"]
    if how.startswith("json_semantic") and body.startswith(b"{"):
        try:
            document = json.loads(body)
        except ValueError:
            return body
        return _unpacked(document) if "gzip" in how else document
    if how == "unordered_lines":
        return sorted(body.split(b"\n"))
    if how.startswith("links"):
        return re.findall(rb'<a href="([^"]*)">([^<]*)</a>', body)
    if how == "multipart_byteranges":
        boundary = re.match(rb"--([0-9a-f]+)\r\n", body)
        assert boundary
        return body.replace(boundary[1], b"BOUNDARY")
    return body


def _unpacked(value: object) -> object:
    """Deflate's octets depend on its implementation: compare what they stand for."""
    if isinstance(value, dict):
        source = value.get("source")
        if value.get("compression") == "gzip" and isinstance(source, str):
            packed = base64.b64decode(source.partition(",")[2])
            return {**value, "source": gzip.decompress(packed).decode()}
        return {key: _unpacked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    return value
