"""Every recorded answer of the real Matchbox, asked again of our endpoint.

A case passes when our answer has the status of v0.11.0 and equals that of any recorded version. Where
Matchbox is wrong we do otherwise on purpose: those cases are listed here with the reason, and
docs/matchbox.md must name each reason.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from appliance.matchbox.assets import AssetRoot
from tests.fakes.matchbox_endpoint import Reply, Served, ask, serving

HERE = Path(__file__).parent / "matchbox"
CASES: list[dict[str, Any]] = json.loads((HERE / "cases.json").read_text("utf-8"))["cases"]

MALFORMED_MAC = "a malformed MAC is not handed to a default group"
BROKEN_IGNITION = "a broken Ignition file is never an empty configuration"
UNKNOWN_KEY = "an unknown Butane key is refused, not dropped"
LINK_OUT = "a symbolic link does not lead out of the assets"
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
# Like one version in one half and like another in the other: a MAC without separators is read (as on main),
# and the raw Ignition that it leads to is not rewritten (as in v0.9.0). Then it must be that case's answer.
SAME_AS = {"mac-nosep-ignition": "mac-upper-colon-ignition"}
# Not like any Matchbox yet, and not on purpose: the HTTP parser knows the registered methods only.
NOT_YET = {
    case["id"]: "aiohttp's parser refuses methods that nobody registered"
    for case in CASES
    if case["method"] == "FOO"
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Served]]:
    root = tmp_path_factory.mktemp("matchbox")
    with tarfile.open(HERE / "data.tar") as archive:
        archive.extractall(root)  # its links point out of the assets on purpose
    with ExitStack() as stack:
        found = {}
        for dataset, mode in sorted({(case["dataset"], case["server_mode"]) for case in CASES}):
            data = root / "data" / dataset
            roots = [AssetRoot(data / "assets")] if mode == "normal" else []
            found[dataset, mode] = stack.enter_context(serving(data, roots))
        yield found


def _ask(served: dict[tuple[str, str], Served], case: dict[str, Any]) -> Reply:
    target = case["target"]
    return ask(
        served[case["dataset"], case["server_mode"]].port,
        target.encode("utf-8"),
        method=case["method"],
        headers=case["request_headers"],
        body=case["request_body"] or "",
    )


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_answers_like_a_matchbox(case: dict[str, Any], served: dict[tuple[str, str], Served]) -> None:
    reply = _ask(served, case)
    if other := SAME_AS.get(case["id"]):
        case = next(candidate for candidate in CASES if candidate["id"] == other)
    # An older version's 404 for what it could not do yet must not excuse ours.
    status = case["response"]["status"]
    versions = [case["response"], *(v for v in case["variants"].values() if v["status"] == status)]
    complaints = [found for version in versions if (found := _difference(case, version, reply))]
    like = len(complaints) < len(versions)
    if case["id"] in DEVIATIONS:
        assert reply.status == 404
        assert reply.body in {b"404 page not found\n", b""}
        assert _reason(served, case), "a refusal must say why"
        assert not like, "listed as a deviation, and is none"
    elif case["id"] in NOT_YET:
        assert not like, "listed as missing, and is there"
    else:
        assert like, complaints


def test_lists_name_real_cases() -> None:
    ids = {case["id"] for case in CASES}
    assert DEVIATIONS.keys() <= ids
    assert not DEVIATIONS.keys() & NOT_YET.keys()
    assert not [case["id"] for case in CASES if case["tier"] == "core" and case["id"] in NOT_YET]


def test_each_deviation_is_documented() -> None:
    text = re.sub(r"\s+", " ", (HERE.parents[2] / "docs/matchbox.md").read_text("utf-8"))
    for case, reason in DEVIATIONS.items():
        assert f"`{case}`" in text
        assert reason in text


def _reason(served: dict[tuple[str, str], Served], case: dict[str, Any]) -> str | None:
    return served[case["dataset"], case["server_mode"]].records[-1].reason


def _difference(case: dict[str, Any], recorded: dict[str, Any], reply: Reply) -> str:
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
