"""CSV as spreadsheets write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Problem
from appliance.inventory.parse_csv import read_csv

_HEADER = "name,mac,ip,profile,network,rack,role\n"
_ROW = "node1,52:54:00:aa:00:01,172.0.1.21,worker,pxe,r1,w\n"
_MACHINE = {
    "mac": "52:54:00:aa:00:01",
    "ip": "172.0.1.21",
    "profile": "worker",
    "network": "pxe",
    "labels": {"rack": "r1", "role": "w"},
}


def _read(text: str) -> tuple[object, list[Problem]]:
    problems: list[Problem] = []
    document = read_csv(text, "f.csv", problems)
    return document.data["machine"] if document else None, problems


@pytest.mark.parametrize(
    "text",
    [
        _HEADER + _ROW,
        (_HEADER + _ROW).replace(",", ";"),
        (_HEADER + _ROW).replace(",", "\t"),
        (_HEADER + _ROW).replace("\n", "\r\n"),
        "# machines\n\n" + _HEADER.replace("name", "Name").replace("ip", " IP ") + ",,,,,,\n" + _ROW,
        _HEADER + _ROW.rstrip(),
        _HEADER + _ROW.replace("worker", '"worker"'),
    ],
)
def test_the_spellings_of_one_table(text: str) -> None:
    assert _read(text) == ({"node1": _MACHINE}, [])


def test_empty_cells_are_absent_and_own_keys_are_keys() -> None:
    text = "name,mac,ip,serial,uuid,asset,port\nnode1,aa bb,172.0.1.21,S1,,,leaf1 Eth1\n"
    own = {"macs": ["aa", "bb"], "ip": "172.0.1.21", "serial": "S1", "port": "leaf1 Eth1"}
    assert _read(text)[0] == {"node1": own}


def test_rows_may_be_short() -> None:
    assert _read("name,mac,ip,rack\nnode1,aa,172.0.1.21\n")[0] == {"node1": {"mac": "aa", "ip": "172.0.1.21"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            ["f.csv:1: has no column 'name'", "f.csv:1: has no column 'mac'", "f.csv:1: has no column 'ip'"],
        ),
        ("name,macs,ip\n", ["f.csv:1: has no column 'mac'"]),
        ("name,mac,ip,rack,rack\n", ["f.csv:1: the column 'rack' is there twice"]),
        ("name,mac,ip,\n", ["f.csv:1: column 4 has no name"]),
        (
            "name,mac,ip\na,b,c,d\n",
            ["f.csv:2: has 4 cells, the header has 3"],
        ),
        ("name,mac,ip\na,b,c\n\na,d,e\n", ["f.csv:4: the name 'a' is written twice, first on line 2"]),
        ('name,mac,ip\n"a,b\n', ["f.csv:2: is not CSV: unexpected end of data"]),
    ],
)
def test_what_is_refused(text: str, expected: list[str]) -> None:
    data, problems = _read(text)
    assert data is None
    assert [f"{p.file}:{p.line}: {p.message}" for p in problems] == expected
    assert all(p.hint for p in problems)


def test_lines_count_the_lines_of_quoted_cells() -> None:
    document = read_csv('name,mac,ip,note\na,b,c,"two\nlines"\nd,e,f,\n', "f.csv", [])
    assert document is not None
    assert document.locate(("machine", "a", "mac")) == 2
    assert document.locate(("machine", "d")) == 4


@given(st.text())
def test_any_text_gives_data_or_a_problem(text: str) -> None:
    for body in (text, _HEADER + text):
        data, problems = _read(body)
        assert (data is None) == bool(problems)
