"""release.json: what is written is what is read; whatever else stands there is refused, and never crashes."""

from __future__ import annotations

import copy
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.images.model import StoredRelease, is_file_name, is_version
from appliance.images.record import parse_record, render_record
from tests.unit.images.rooms import STORED

HASH = "0" * 128
GOOD: dict[str, Any] = {
    "format": 1,
    "os": "flatcar",
    "stream": "stable",
    "arch": "amd64",
    "version": "4593.2.5",
    "fetched_at": "2024-03-01T00:00:00+00:00",
    "files": [
        {
            "name": "k", "role": "kernel", "size": 1, "sha512": HASH, "url": "u", "signer": "", "subkey": "",
            "signed_at": None,
        }
    ],
    "evidence": {"k.sig": b64encode(b"signature").decode()},
    "certificates": [b64encode(b"certificate").decode()],
}  # fmt: skip


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    facts = copy.deepcopy(GOOD)
    change(facts)
    return json.dumps(facts).encode()


def with_file(**values: object) -> bytes:
    return changed(lambda facts: facts["files"][0].update(values))


@given(STORED)
def test_what_is_written_is_read(release: StoredRelease) -> None:
    raw = render_record(release)
    assert parse_record(raw) == release
    assert render_record(parse_record(raw)) == raw


def test_it_is_json_for_everybody_else() -> None:
    found = parse_record(json.dumps(GOOD).encode())
    assert (str(found.stream), found.version, found.files[0].size) == ("flatcar/stable", "4593.2.5", 1)
    assert (found.evidence["k.sig"], found.certificates) == (b"signature", (b"certificate",))
    assert json.loads(render_record(found)) == GOOD


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b"{}", b"3", b'"x"', b"{", b"\xff", b"[" * 100_000, b"NaN"]
)
def test_what_is_no_record(raw: bytes) -> None:
    with pytest.raises(ValueError):
        parse_record(raw)


@pytest.mark.parametrize("key", sorted(GOOD))
def test_nothing_may_be_missing(key: str) -> None:
    with pytest.raises(ValueError):
        parse_record(changed(lambda facts: facts.pop(key)))


@pytest.mark.parametrize("key", sorted(GOOD["files"][0]))
def test_nothing_of_a_file_may_be_missing(key: str) -> None:
    with pytest.raises(ValueError):
        parse_record(changed(lambda facts: facts["files"][0].pop(key)))


@pytest.mark.parametrize("key", sorted(GOOD))
@pytest.mark.parametrize("value", [None, 7, -1, "..", "../../etc", [], {}, [None], 1e300, "\ud800"])
def test_nothing_may_be_something_else(key: str, value: object) -> None:
    """Either the record is refused, or (an empty list where a list may be) it is one still."""
    try:
        found = parse_record(changed(lambda facts: facts.update({key: value})))
    except ValueError:
        return
    assert value in ([], {})
    assert key in {"evidence", "certificates"}
    assert found.version == GOOD["version"]


@pytest.mark.parametrize(
    "values",
    [
        {"name": "../k"}, {"name": "/etc/passwd"}, {"name": "release.json"}, {"name": ""}, {"name": "a/b"},
        {"name": "k\n"}, {"name": None}, {"role": "root"}, {"role": None}, {"size": "1"}, {"size": 1.0},
        {"size": None}, {"size": True}, {"size": -1}, {"sha512": "x"}, {"sha512": HASH[1:]}, {"sha512": None},
        {"signed_at": "yesterday"}, {"signed_at": 5}, {"signed_at": "2024-03-01T00:00:00"},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_file_cannot_be(values: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        parse_record(with_file(**values))


@pytest.mark.parametrize(
    "values",
    [
        {"os": "debian"}, {"os": "../flatcar"}, {"stream": ".."}, {"stream": "a/b"}, {"arch": "x86"},
        {"version": "../1"}, {"version": "current"}, {"format": 2}, {"format": "1"}, {"files": []},
        {"fetched_at": "soon"}, {"fetched_at": "2024-03-01T00:00:00"}, {"evidence": {"x": "%%%"}},
        {"evidence": {"x": 5}}, {"certificates": ["%%%"]}, {"certificates": [5]}, {"certificates": "QUJD"},
        {"files": [GOOD["files"][0]] * 2}, {"files": {"k": 1}},
    ],
    ids=lambda v: str(v)[:40],
)  # fmt: skip
def test_what_a_release_cannot_be(values: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        parse_record(changed(lambda facts: facts.update(values)))


KEYS = st.sampled_from(sorted(GOOD))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.recursive(LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=3)))
def test_any_json_is_refused_in_words(value: object) -> None:
    with pytest.raises(ValueError):
        parse_record(json.dumps(value).encode())


@given(st.integers(0, len(json.dumps(GOOD)) - 1), st.integers(1, 255))
def test_a_changed_byte_leads_nowhere(offset: int, bits: int) -> None:
    """It is refused, or it still names a release and files that lie inside of the store."""
    raw = bytearray(json.dumps(GOOD).encode())
    raw[offset] ^= bits
    try:
        found = parse_record(bytes(raw))
    except ValueError:
        return
    assert is_version(found.version)
    assert all(is_file_name(f.name) for f in found.files)
    assert not {"..", "/"} & set(found.stream.folder.parts)
