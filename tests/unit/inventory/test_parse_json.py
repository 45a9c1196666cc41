"""JSON: strict, with lines, and a key written twice is a problem."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Problem
from appliance.inventory.parse_json import read_json


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "is not JSON"),
        ('{"a": 1,\n}', 2, "is not JSON"),
        ("[1]", 1, "a table {…} is expected at the top, not a list"),
        ('{"a": 1,\n "b": 2,\n "a": 3}', 3, "the key 'a' is written twice, first on line 1"),
        ('{"a": 1,\n "\\u0061": 3}', 2, "the key 'a' is written twice, first on line 1"),
        ('{"a": NaN}', 1, "NaN is not a number"),
        ('{"a": "NaN",\n "b": [1,\n -Infinity]}', 3, "-Infinity is not a number"),
        ('{"a": 1,\n"b": ' + "9" * 5000 + "}", 2, "a number has too many digits"),
        ("[" * 200_000, 1, "nested more than 32 deep"),
        ("[\n" * 200_000, 33, "nested more than 32 deep"),
        ('{"a":\n' + "[" * 40 + "]" * 40 + "}", 2, "nested more than 32 deep"),
        ('{"a": "b\nc"}', 1, "is not JSON"),
        ('{"a": 1} {"b": 2}', 1, "is not JSON"),
    ],
)
def test_what_is_refused(text: str, line: int, words: str) -> None:
    problems: list[Problem] = []
    assert read_json(text, "f", problems) is None
    assert problems[0].line == line
    assert words in problems[0].message


def test_lines() -> None:
    document = read_json('{\n "machine": {\n  "node1": {"macs": [\n   "a",\n   "b"], "x": null}}}', "f", [])
    assert document is not None
    assert document.locate(("machine",)) == 2
    assert document.locate(("machine", "node1", "macs", 1)) == 5
    assert document.locate(("machine", "node1", "ip")) == 3


@given(st.text())
def test_any_text_gives_data_or_a_problem(text: str) -> None:
    problems: list[Problem] = []
    document = read_json(text, "f", problems)
    assert (document is None) == bool(problems)


_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
_TREES = st.recursive(
    _SCALARS, lambda below: st.lists(below) | st.dictionaries(st.text(), below), max_leaves=12
)


@given(st.dictionaries(st.text(), _TREES), st.sampled_from([None, 1]), st.booleans())
def test_the_walk_agrees_with_the_standard_library(
    tree: dict[str, object], indent: int | None, ascii_only: bool
) -> None:
    document = read_json(json.dumps(tree, indent=indent, ensure_ascii=ascii_only), "f", [])
    assert document is not None
    assert document.data == tree
