from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.matchbox.errors import DataError
from appliance.matchbox.model import Boot
from appliance.matchbox.parse import parse_group, parse_profile


def test_keys_in_any_case_last_duplicate_wins_unknown_ignored() -> None:
    raw = (
        b'{"ID":"x","Profile":"a","profile":"b","extra":1,"selector":{"a":"1","b":"2"},"SELECTOR":{"a":"3"}}'
    )
    group = parse_group(raw, "g.json")
    assert (group.id, group.profile, dict(group.selector)) == ("x", "b", {"a": "3", "b": "2"})


def test_nulls_mean_absent() -> None:
    group = parse_group(b'{"id":null,"profile":"p","selector":null,"metadata":null}', "g.json")
    assert (group.id, dict(group.selector), dict(group.metadata)) == ("", {}, {})
    assert parse_profile(b'{"id":"p","boot":null}').boot is None
    assert parse_profile(b'{"id":"p","boot":{"initrd":null}}').boot == Boot()


def test_numbers_are_floats_and_selectors_of_mac_are_normalised() -> None:
    group = parse_group(b'{"selector":{"MAC":"52-54-00-AA-00-01"},"metadata":{"n":3}}', "g.json")
    assert group.selector == {"MAC": "52:54:00:aa:00:01"}
    assert isinstance(group.metadata["n"], float)


def test_lone_surrogates_cannot_come_in() -> None:
    group = parse_group(rb'{"profile":"\ud800x","metadata":{"\udfff":["\ud83d\ude00","\ud800"]}}', "g.json")
    assert group.profile == "�x"
    assert group.metadata == {"�": ["😀", "�"]}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "object"),
        (b'{"id":5}', "string"),
        (b'{"selector":{"a":5}}', "string"),
        (b'{"selector":{"mac":"not-a-mac"}}', "no request can match it"),
        (b'{"metadata":["a"]}', "object"),
        (b'{"id":"x"} garbage', "not JSON"),
        (b'\xef\xbb\xbf{"id":"x"}', "not JSON"),
        (b'{"metadata":{"a":NaN}}', "not JSON"),
        (b'{"metadata":{"a":1e999}}', "too large"),
        (b'{"metadata":' + b'{"a":' * 100 + b"1" + b"}" * 101, "deep"),
        (b"[" * 100_000, "deep"),
    ],
)
def test_what_is_no_group_says_why(raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_group(raw, "g.json")


def test_syntax_errors_name_their_line() -> None:
    with pytest.raises(DataError) as caught:
        parse_group(b'{\n"id": "x",\n}', "g.json")
    assert caught.value.line == 3


def test_a_profile_needs_an_id_and_camel_case_is_unknown() -> None:
    with pytest.raises(DataError, match="no id"):
        parse_profile(b'{"name":"x"}')
    assert parse_profile(b'{"id":"x","ignitionId":"a.ign"}').ignition_id == ""


def _reads_or_refuses(raw: bytes) -> None:
    for parse in (lambda: parse_group(raw, "g.json"), lambda: parse_profile(raw)):
        try:
            parse()
        except DataError:
            continue


@given(st.binary(max_size=200))
def test_octets_give_a_group_or_the_rooms_own_error(raw: bytes) -> None:
    _reads_or_refuses(raw)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["id", "profile", "selector", "metadata", "boot", "Boot"]), _JSON))
def test_json_of_any_shape_gives_a_group_or_the_rooms_own_error(value: dict[str, object]) -> None:
    _reads_or_refuses(json.dumps(value).encode())
