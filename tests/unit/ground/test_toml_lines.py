"""Every value of a TOML text can be found again by its line, and what is not TOML is said with its line."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Problem
from appliance.reading import Path
from appliance.toml_lines import TomlLines, read_toml

_TEXT = '''\
top = 1
dotted.key.here = 2

[machine.node1]
mac = "a"            # [machine.comment]
labels = { rack = "r1", role = "w" }
macs = [
  "one",
  "two",
]
note = """
[machine.inside]
mac = "no"
"""

[ machine . "node 2" ]
mac = "b"
nic.eno2.mac = "c"

[[network.pxe.relayed]]
subnet = "x"
[[network.pxe.relayed]]
subnet = "y"
[network.pxe.relayed.below]
deep = 1
[a.b.c]
'''

_LINES: list[tuple[Path, int]] = [
    (("top",), 1),
    (("dotted", "key", "here"), 2),
    (("dotted", "key"), 2),
    (("machine", "node1"), 4),
    (("machine", "node1", "mac"), 5),
    (("machine", "node1", "labels", "role"), 6),
    (("machine", "node1", "macs", 1), 7),
    (("machine", "node1", "ip"), 4),
    (("machine", "inside"), 4),
    (("machine", "node 2"), 16),
    (("machine", "node 2", "mac"), 17),
    (("machine", "node 2", "nic", "eno2", "mac"), 18),
    (("network", "pxe", "relayed", 0, "subnet"), 21),
    (("network", "pxe", "relayed", 1), 22),
    (("network", "pxe", "relayed", 1, "subnet"), 23),
    (("network", "pxe", "relayed", 1, "below", "deep"), 25),
    (("a", "b"), 26),
    (("a", "b", "c"), 26),
    (("nowhere",), 0),
]


@pytest.mark.parametrize(("path", "line"), _LINES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_path_has_its_line(path: Path, line: int, newline: str) -> None:
    text = _TEXT.replace("\n", newline)
    tomllib.loads(text)
    assert TomlLines(text)(path) == line


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a = 1\nb = \n", 2, "is not TOML"),
        ("a = 1\na = 2\n", 2, "is written twice, first at f:1"),
        ("[m.a]\nx = 1\n\n[m.a]\n", 4, "is written twice, first at f:1"),
        ("[m.a]\nx = 1\ny.z = 1\nx = 2\n", 4, "is written twice, first at f:2"),
        ("\nx = " + "9" * 5000, 2, "too many digits"),
        ("\n" + ".".join("k" * 40) + " = 1", 2, "more than 32 parts"),
        ("x = {" + ".".join("k" * 40) + " = 1}", 1, "more than 32 parts"),
        ("x = " + "[" * 50_000, 1, "nested too deeply"),
        ("x = 1\ny = " + "[" * 50_000 + "\nz = 1", 2, "nested too deeply"),
        ('x = """\n\n', 3, "is not TOML"),
        ("x = 'a\x00b'", 1, "is not TOML"),
    ],
)
def test_what_is_not_toml_is_said_with_its_line(text: str, line: int, words: str) -> None:
    problems: list[Problem] = []
    assert read_toml(text, "f", problems) is None
    (problem,) = problems
    assert problem.line == line
    assert words in problem.message


def test_every_table_written_twice_is_named_at_once() -> None:
    problems: list[Problem] = []
    read_toml("[m.a]\n[m.b]\n[m.a]\n[m.b]\n", "f", problems)
    assert [(p.line, p.path) for p in problems] == [(3, "m.a"), (4, "m.b")]


def test_byte_order_mark_is_passed_over() -> None:
    document = read_toml("\ufeffa = 1", "f", [])
    assert document is not None
    assert document.data == {"a": 1}


@given(st.text())
def test_any_text_gives_data_or_a_problem(text: str) -> None:
    problems: list[Problem] = []
    document = read_toml(text, "f", problems)
    assert (document is None) == bool(problems)


_NAMES = st.text("abc-_ .\"'é", min_size=1, max_size=4)


@given(st.dictionaries(_NAMES, st.dictionaries(_NAMES, st.integers(0, 9), min_size=1), min_size=1))
def test_lines_hold_for_any_names(tables: dict[str, dict[str, int]]) -> None:
    """Quoted as TOML basic strings, any names come back at the lines on which they were written."""

    def quoted(name: str) -> str:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    lines: list[str] = []
    expected: dict[Path, int] = {}
    for table, keys in tables.items():
        lines.append(f"[{quoted(table)}]")
        expected[table,] = len(lines)
        for key, value in keys.items():
            lines.append(f"{quoted(key)} = {value}")
            expected[table, key] = len(lines)
    locate = TomlLines("\n".join(lines))
    assert {path: locate(path) for path in expected} == expected
