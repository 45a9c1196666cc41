"""Typed values out of untyped data: all problems, each at its place, and nothing unbounded in a message."""

from __future__ import annotations

from appliance.errors import Problem
from appliance.grammar import IPV4, MAC
from appliance.reading import Document, Reading, dotted, nearest, shown
from appliance.shapes import Field, Flag, ListOf, MapOf, NamedTables, Number, Row, Table, Text

_PORT = Field("port", Number("a port", 1, 65535), "a port")
_WORD = Text("a word", str, {}, 8)
_NAMES = Field("names", ListOf(_WORD, most=3, least=1), "names")
_LABELS = Field("labels", MapOf(_WORD, _WORD, most=2), "labels")
_ADDRESS = Field("address", IPV4, "an address", required=True)
_BELOW = Field("below", NamedTables(_WORD, Table("below", (_PORT,)), most=2), "tables below")
_ON = Field("on", Flag(), "on or off")
_TABLE = Table("a test", (_PORT, _NAMES, _LABELS, _ADDRESS, _BELOW, _ON))


def _read(data: dict[str, object], *, textual: bool = False) -> tuple[Row, list[Problem]]:
    problems: list[Problem] = []
    document = Document("f", data, lambda path: len(path), textual)
    row = _TABLE.read(data, Reading(document, problems), ())
    assert row is not None
    for wanted in _TABLE.fields:
        row.get(wanted)
    return row, problems


def _messages(data: dict[str, object], *, textual: bool = False) -> list[str]:
    return [f"{p.path}: {p.message}" for p in _read({"address": "10.0.0.1", **data}, textual=textual)[1]]


def test_values_come_out_typed() -> None:
    row, problems = _read({"port": 80, "names": ["a", "b"], "labels": {"k": "v"}, "address": "10.0.0.1"})
    assert problems == []
    assert row.get(_PORT) == 80
    assert row.get(_NAMES) == ("a", "b")
    assert row.get(_LABELS) == {"k": "v"}
    assert row.get(_BELOW) is None


def test_a_flag_is_true_or_false_and_nothing_else() -> None:
    assert _read({"address": "10.0.0.1", "on": False})[0].get(_ON) is False
    assert _read({"address": "10.0.0.1", "on": "true"}, textual=True)[0].get(_ON) is True
    assert _messages({"on": "true"}) == ["on: true or false is expected, not 'true'"]
    assert _messages({"on": 1}) == ["on: true or false is expected, not 1"]
    assert _messages({"on": "yes"}, textual=True) == ["on: true or false is expected, not 'yes'"]
    assert Flag().as_schema() == {"type": "boolean"}


def test_unknown_keys_name_the_nearest_known_one() -> None:
    _, problems = _read({"adress": "10.0.0.1", "zzz": 1})
    assert [(p.path, p.message, p.hint) for p in problems] == [
        ("adress", "is not a known key", "did you mean 'address'?"),
        ("zzz", "is not a known key", "known here: address, below, labels, names, on, port"),
        ("address", "is missing", "add the key address to this table"),
    ]


def test_thousands_of_unknown_keys_make_few_problems() -> None:
    messages = _messages({f"k{number}": 1 for number in range(5000)})
    assert len(messages) == 21
    assert messages[-1] == ": has 4980 more unknown keys"


def test_every_problem_at_once() -> None:
    assert _messages(
        {
            "port": 0,
            "names": ["a", 1, "toolongforit", "x"],
            "labels": [],
            "below": {"x": {"port": True}, "y": 3},
        }
    ) == [
        "port: 0 is not a port",
        "names: 1 to 3 entries are expected, not 4",
        "labels: a table is expected, not a list",
        "below.y: a table is expected, not 3",
    ]


def test_rows_below_are_read_even_under_a_bad_name() -> None:
    row, _ = _read({"address": "10.0.0.1", "below": {"much-too-long": {"port": 7}}})
    pairs = row.get(_BELOW)
    assert pairs is not None
    assert [(name, below.get(_PORT)) for name, below in pairs] == [(None, 7)]


def test_line_breaks_and_controls_never_pass() -> None:
    for bad in ("a\nb", "a\rb", "a\x00", "\x1b[31m", "a\u2028b", "\u202eabc", "a\x85", "\ud800"):
        (message,) = _messages({"names": [bad]})
        assert message.startswith("names[0]: ")
        assert message.isprintable()


def test_digits_are_numbers_only_where_a_format_has_no_others() -> None:
    assert _messages({"port": "80"}) == ["port: a port is expected, not '80'"]
    assert _messages({"port": "80"}, textual=True) == []
    assert _messages({"port": "080"}, textual=True) == ["port: a port is expected, not '080'"]
    assert _messages({"port": "٣"}, textual=True) == ["port: a port is expected, not '٣'"]


def test_a_list_holds_a_value_once() -> None:
    assert _messages({"names": ["a", "a"]}) == ["names[1]: 'a' is in the list twice"]


def test_an_absent_value_and_null_are_the_same() -> None:
    row, problems = _read({"address": None})
    assert [p.message for p in problems] == ["is missing"]
    assert not row.has(_ADDRESS)


def test_what_is_shown_is_short_and_printable() -> None:
    assert len(shown("x" * 1_000_000)) < 80
    assert shown(16**5000) == "a huge number"
    assert shown("a\nb") == "'a\\nb'"
    assert dotted(("machine", "a b\n", "macs", 0)) == 'machine."a b\\n".macs[0]'


def test_nearest_is_bounded() -> None:
    assert nearest("wrker", ["worker", "other"]) == "worker"
    assert nearest("x" * 100_000, ["worker"]) == ""
    assert nearest("w", (f"worker{n}" for n in range(100_000))) == ""


def test_a_mac_of_the_wrong_type_says_how_to_write_it() -> None:
    problems: list[Problem] = []
    document = Document("f", {}, lambda _: 1)
    assert MAC.read(525400000001, Reading(document, problems), ("mac",)) is None
    assert problems[0].hint == 'write it as a string: "525400000001"'
