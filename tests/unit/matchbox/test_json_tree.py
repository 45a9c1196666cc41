from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.matchbox.errors import IgnitionError
from appliance.matchbox.json_tree import JsonTree, read_json

_KEYS = st.text(max_size=4)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(_KEYS, below, max_size=4),
    max_leaves=20,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    yield path, value
    if isinstance(value, dict):
        for key, below in value.items():
            yield from places(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from places(below, (*path, index))


@given(_VALUES)
def test_everything_has_the_line_that_an_indenting_writer_gave_it(value: object) -> None:
    text = json.dumps(value, indent=1)
    _, tree = read_json(text.encode())
    assert tree.value == value
    assert not tree.twice
    for path, found in places(value):
        line = text.splitlines()[tree.line(path) - 1]
        if path and isinstance(path[-1], str):
            assert line.lstrip().startswith(json.dumps(path[-1]) + ":")
        elif not isinstance(found, dict | list):
            assert line.strip().rstrip(",") == json.dumps(found)


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    _, tree = read_json(b'{\n "a": [\n  {\n   "b": 1}]}')
    assert [tree.line(keys) for keys in ((), ("a",), ("a", 0), ("a", 0, "b"), ("a", 0, "c"), ("x",))] == [
        1, 2, 3, 4, 3, 1,
    ]  # fmt: skip


def test_a_key_twice_is_told_with_its_second_line() -> None:
    _, tree = read_json(b'{"a": 1,\n"b": {"c": 1,\n"c": 2},\n"a": {"x": 1}}')
    assert tree.twice == [(("b", "c"), 3), (("a",), 4)]


def test_brackets_and_quotes_in_strings_are_text() -> None:
    _, tree = read_json(b'{"]}\\"": "[{\\\\",\n"k\\u00e9": [1]}')
    assert tree.line(("ké", 0)) == 2
    assert isinstance(tree, JsonTree)


@pytest.mark.parametrize(
    ("content", "message", "line"),
    [
        (b" \n", "empty", 0),
        (b'{\n"a": \xff}', "UTF-8", 2),
        (b'{\n"a": 1,\n}', "not JSON", 3),
        (b'{"a": NaN}', "usable", 0),
        (b"[" * 100_000, "nested too deeply", 0),
        (b"[" * 80 + b"]" * 80, "nested too deeply", 0),
        (b"9" * 10_000, "number is too long", 0),
    ],
)
def test_what_is_no_json(content: bytes, message: str, line: int) -> None:
    with pytest.raises(IgnitionError, match=message) as caught:
        read_json(content)
    assert caught.value.line == line
