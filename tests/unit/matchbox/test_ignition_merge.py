"""An operator's document with what is added: nothing of it lost, ours behind it, the token at its place."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.matchbox.errors import IgnitionError
from appliance.matchbox.ignition import judge
from appliance.matchbox.ignition_merge import (
    EMPTY,
    PLACEHOLDER,
    conflicts,
    data_url,
    merged,
    read_base,
)
from appliance.matchbox.ignition_values import decode_data_url
from appliance.provisioned import Provisioned, ProvisionedFile, ProvisionedUnit

ADDED = Provisioned(
    (ProvisionedFile("/etc/x/env", f"TOKEN={PLACEHOLDER}\n", 0o600), ProvisionedFile("/etc/x/y", "é\n")),
    (ProvisionedUnit("x.service", "[Unit]\n[Install]\nWantedBy=multi-user.target\n"),),
)


def made(base: bytes, token: str = "secret", added: Provisioned = ADDED) -> Any:
    return json.loads(merged(read_base(base), added).for_boot(token))


def test_an_empty_document_gets_everything_and_is_sound() -> None:
    document = merged(read_base(EMPTY), ADDED).for_boot("secret")
    judge(document)
    found = json.loads(document)
    env, other = found["storage"]["files"]
    assert env == {
        "path": "/etc/x/env",
        "mode": 0o600,
        "overwrite": True,
        "contents": {"source": "data:,TOKEN%3Dsecret%0A"},
    }
    assert decode_data_url(other["contents"]["source"]) == "é\n".encode()
    (unit,) = found["systemd"]["units"]
    assert (unit["name"], unit["enabled"], unit["contents"]) == (
        "x.service",
        True,
        "[Unit]\n[Install]\nWantedBy=multi-user.target\n",
    )


def test_without_additions_it_is_the_operator_s_octet_by_octet() -> None:
    own = b'{ "ignition":\n {"version": "3.1.0"},\t"storage": {} }\n'
    assert merged(read_base(own), Provisioned()).for_boot("t") == own


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9), lambda b: st.lists(b), max_leaves=5
)
_NAMES = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), max_size=3, unique=True)


@given(_NAMES, _NAMES, st.booleans(), st.booleans(), st.booleans(), _JSON)
def test_nothing_of_the_operator_s_is_lost_and_ours_comes_behind(
    files: list[str], units: list[str], units_first: bool, with_files: bool, with_units: bool, more: object
) -> None:
    sections: list[tuple[str, Any]] = [
        ("storage", {"files": [{"path": f"/{name}"} for name in files], "disks": more}),
        ("systemd", {"units": [{"name": name} for name in units], "x": more}),
    ]
    own = dict([("ignition", {"version": "3.3.0"}), *(reversed(sections) if units_first else sections)])
    added = Provisioned(ADDED.files if with_files else (), ADDED.units if with_units else ())
    found = made(json.dumps(own).encode(), added=added)
    for section, key, name in (("storage", "files", "path"), ("systemd", "units", "name")):
        count = len(own[section][key])
        assert found[section][key][:count] == own[section][key]
        assert [entry[name] for entry in found[section][key][count:]] == [
            getattr(entry, name) for entry in getattr(added, key)
        ]
        del found[section][key], own[section][key]
    assert found == own


def test_an_operator_s_own_path_and_unit_stay_theirs_and_are_named() -> None:
    own = {
        "ignition": {"version": "3.3.0"},
        "storage": {"links": [{"path": "/etc/x/env", "target": "/a"}]},
        "systemd": {"units": [{"name": "x.service", "mask": True}]},
    }
    base = read_base(json.dumps(own).encode())
    assert list(conflicts(base, ADDED)) == ["/etc/x/env", "x.service"]
    found = json.loads(merged(base, ADDED).for_boot("t"))
    assert found["systemd"] == own["systemd"]
    assert [file["path"] for file in found["storage"]["files"]] == ["/etc/x/y"]


def test_spec_two_names_the_file_system() -> None:
    own = b'{"ignition": {"version": "2.2.0"}, "networkd": {"units": []}}'
    document = merged(read_base(own), ADDED).for_boot("t")
    judge(document)
    found = json.loads(document)
    assert {file["filesystem"] for file in found["storage"]["files"]} == {"root"}
    assert not any("overwrite" in file for file in found["storage"]["files"])
    assert found["networkd"] == {"units": []}


def test_a_boot_without_a_token_has_a_word_that_opens_nothing() -> None:
    assert PLACEHOLDER.encode() not in merged(read_base(EMPTY), ADDED).for_boot("")


def test_an_operator_s_words_that_look_like_ours_are_theirs() -> None:
    own = {
        "ignition": {"version": "3.3.0"},
        "x": ["pxe-appliance: files go here", "pxe-appliance: units go here"],
    }
    assert made(json.dumps(own).encode())["x"] == own["x"]


@given(st.text())
def test_data_urls_stand_for_what_went_in(text: str) -> None:
    assert decode_data_url(data_url(text)) == text.encode("utf-8", "replace")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"ignition": 1}', b"[" * 5000])
def test_what_is_no_document(content: bytes) -> None:
    with pytest.raises(IgnitionError):
        read_base(content)


def test_a_large_document_costs_a_request_little() -> None:
    own = {
        "ignition": {"version": "3.3.0"},
        "storage": {
            "files": [{"path": f"/f{n}", "contents": {"source": f"data:,{'x' * 200}"}} for n in range(400)]
        },
    }
    base = read_base(json.dumps(own).encode())
    before = time.process_time()
    for _ in range(200):
        merged(base, ADDED).for_boot("secret")
    assert (time.process_time() - before) / 200 < 0.002
