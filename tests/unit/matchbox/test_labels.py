from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.matchbox.labels import hardware_address, parse_query


@pytest.mark.parametrize(
    ("raw", "labels"),
    [
        ("", {}),
        ("&&", {}),
        ("a=1&a=2", {"a": "1"}),
        ("a=1+2&b=%2B", {"a": "1 2", "b": "+"}),
        ("a=%zz&b=1", {"b": "1"}),
        ("a=1;b=2&c=3", {"c": "3"}),
        ("a", {"a": ""}),
        ("=v", {"": "v"}),
        ("%61=%C3%A9", {"a": "é"}),
        ("a=%ff", {"a": "�"}),
        ("a=b=c", {"a": "b=c"}),
        ("mac=52-54-00-AA-00-01", {"mac": "52:54:00:aa:00:01"}),
        ("MAC=5254.00aa.0001", {"MAC": "52:54:00:aa:00:01"}),
        ("mac=", {}),
        ("uuid=ABC", {"uuid": "ABC"}),
    ],
)
def test_query_becomes_labels(raw: str, labels: dict[str, str]) -> None:
    query = parse_query(raw)
    assert query.labels == labels
    assert query.malformed_mac is None


@pytest.mark.parametrize("raw", ["mac=zz:zz", "Mac=52:54:00:aa:00", "mac=52:54:00:aa:00:01%0a", "mac=%20"])
def test_a_mac_that_is_none_is_remembered_and_no_label(raw: str) -> None:
    query = parse_query(raw)
    assert query.labels == {}
    assert query.malformed_mac is not None


@pytest.mark.parametrize(
    "text",
    [
        "52:54:00:aa:bb:01",
        "02-00-5E-10-00-00-00-01",
        "0200.5e10.0000.0001",
        "00:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01",
        "525400aabb01",
    ],
)
def test_addresses_of_go_are_addresses(text: str) -> None:
    spelled = hardware_address(text)
    assert hardware_address(spelled) == spelled
    assert spelled.replace(":", "") == text.lower().replace(":", "").replace("-", "").replace(".", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "52:54-00:aa:bb:01",
        "52:54:00:aa:bb",
        "52:54:00:aa:bb:0",
        "52:54:00:aa:bb:01:",
        " 52:54:00:aa:bb:01",
        "52:54:00:aa:bb:01\n",
        "5254.00aa.bb0",
        "52:54:00:aa:bb:1",
        "５２:54:00:aa:bb:01",
        "5254:00aa:bb01",
    ],
)
def test_everything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a MAC address"):
        hardware_address(text)


@given(st.text(max_size=300))
def test_any_query_is_read_and_can_be_sent_back(raw: str) -> None:
    query = parse_query(raw.encode("utf-8", "replace").decode())
    for text in (query.raw, *query.labels, *query.labels.values()):
        text.encode("utf-8")


@given(st.binary(max_size=200))
def test_octets_of_any_kind_are_read(raw: bytes) -> None:
    query = parse_query(raw.decode("utf-8", "surrogateescape"))
    for text in (query.raw, *query.labels, *query.labels.values()):
        text.encode("utf-8")
