"""YAML: strings stay strings, and the attacks of its long history are refused by name, with a line."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Problem
from appliance.inventory.parse import Drafts
from appliance.inventory.parse_yaml import read_yaml

_LAUGHS = "a: &a [lol, lol]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"

# name, text, line of the first problem, words of its message
_ATTACKS = [
    ("billion laughs", _LAUGHS, 1, "an anchor (&a) is not allowed"),
    ("deep flow nesting", "a:\n " + "[" * 200_000, 2, "nested more than 32 deep"),
    ("deep flow mappings", "{a: " * 200_000, 1, "nested more than 32 deep"),
    ("deep block nesting", "a:\n  " + "- " * 100_000, 2, "nested more than 32 deep"),
    ("duplicate keys", "a: 1\nb: 2\na: 3\n", 3, "the key 'a' is written twice, first on line 1"),
    (
        "duplicate keys, spelled apart",
        'a: 1\n"\\x61": 3\n',
        2,
        "the key 'a' is written twice, first on line 1",
    ),
    ("python tag", "a: !!python/object/apply:os.system [id]\n", 1, "a tag (tag:yaml.org,2002:python/object"),
    ("local tag", "a: !include /etc/shadow\n", 1, "a tag (!include) is not allowed"),
    ("merge keys", "a: 1\n<<: {b: 2}\n", 2, "a merge key (<<) is not allowed"),
    ("alias to nothing", "a: *nothing\n", 1, "an alias (*nothing) is not allowed"),
    ("recursive alias", "&a [*a]\n", 1, "an anchor (&a) is not allowed"),
    ("mapping as key", "{a: b}: c\n", 1, "a key must be a plain string"),
    ("list as key", "? [a]\n: c\n", 1, "a key must be a plain string"),
    ("several documents", "a: 1\n---\nb: 2\n", 2, "has a second YAML document"),
    ("NUL", "a: 1\nb: \0\n", 2, "is not YAML"),
    ("escape sequence", "a: ü\nb: \x1b[31m\n", 2, "is not YAML"),
    ("tabs for indentation", "a:\n\tb: 1\n", 2, "is not YAML"),
    ("unclosed", "a: [1\nb: 2\n", 2, "is not YAML"),
    ("top is a list", "- a\n", 1, "a table is expected at the top, not a list"),
    ("top is a word", "hello\n", 1, "a table is expected at the top, not 'hello'"),
    ("half of a surrogate pair", "a: 1\nb: \ud800", 2, "is not text"),
]


@pytest.mark.parametrize(("text", "line", "words"), [a[1:] for a in _ATTACKS], ids=[a[0] for a in _ATTACKS])
def test_attack_is_refused_by_name(text: str, line: int, words: str) -> None:
    problems: list[Problem] = []
    assert read_yaml(text, "f.yaml", problems) is None
    assert problems[0].line == line
    assert words in problems[0].message
    assert all(problem.message.isprintable() for problem in problems)


def test_scalars_stay_strings() -> None:
    text = """\
base60: 52:54:00:00:00:01
no: no
octal: 010
hex: 0x10
float: 1e3
date: 2024-01-01
null: ~
huge: 99999999999999999999999999999999
quoted: ""
nothing:
"""
    document = read_yaml(text, "f.yaml", [])
    assert document is not None
    assert document.data == {
        "base60": "52:54:00:00:00:01",
        "no": "no",
        "octal": "010",
        "hex": "0x10",
        "float": "1e3",
        "date": "2024-01-01",
        "null": "~",
        "huge": "9" * 32,
        "quoted": "",
        "nothing": None,
    }


def test_a_byte_order_mark_is_passed_over() -> None:
    document = read_yaml("\ufeffa: 1\n", "f.yaml", [])
    assert document is not None
    assert document.data == {"a": "1"}


def test_a_scalar_of_a_mebibyte_is_refused_in_one_short_line() -> None:
    document = read_yaml("machine:\n  node1:\n    mac: " + "5" * 2**20 + "\n    ip: 10.0.0.1\n", "f.yaml", [])
    assert document is not None
    drafts = Drafts()
    drafts.take(document)
    assert [str(p) for p in drafts.problems] == [
        (
            "f.yaml:3: machine.node1.mac: a MAC address of at most 32 characters is expected, not 1048576 "
            "(write a shorter one)"
        )
    ]


def test_lines() -> None:
    document = read_yaml(
        "machine:\n  node1:\n    macs:\n    - a\n    - b\n  node2: {mac: c,\n    ip: d}\n", "f", []
    )
    assert document is not None
    assert document.locate(("machine",)) == 1
    assert document.locate(("machine", "node1", "macs")) == 3
    assert document.locate(("machine", "node1", "macs", 1)) == 5
    assert document.locate(("machine", "node1", "ip")) == 2
    assert document.locate(("machine", "node2", "ip")) == 7
    assert document.locate(("other",)) == 0


def test_several_problems_at_once() -> None:
    problems: list[Problem] = []
    read_yaml("a: &x 1\na: !t 2\n<<: 3\n", "f", problems)
    assert [p.line for p in problems] == [1, 2, 2, 3]


@given(st.text())
def test_any_text_gives_data_or_a_problem(text: str) -> None:
    problems: list[Problem] = []
    document = read_yaml(text, "f", problems)
    assert (document is None) == bool(problems)


_WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
_TREES = st.recursive(_WORDS, lambda below: st.lists(below) | st.dictionaries(_WORDS, below), max_leaves=12)


@given(st.dictionaries(_WORDS, _TREES))
def test_what_was_dumped_is_read_back(tree: dict[str, object]) -> None:
    text = yaml.safe_dump(tree, default_style='"', allow_unicode=False)
    problems: list[Problem] = []
    document = read_yaml(text, "f", problems)
    if "<<" in str(tree):
        return
    assert document is not None
    assert document.data == tree
