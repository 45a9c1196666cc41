"""Templates in ignition.d/: what they may say, where it went wrong, and that none keeps a sync waiting."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from appliance.matchbox.errors import Flaw
from appliance.sync.bases import Job, Rendered
from appliance.sync.ignition_tools import render_apart
from appliance.sync.template import CannotRender, compile_template, lines_of, quoted, render

VARIABLES = {"machine": {"name": "node1", "macs": ["a", "b"]}, "labels": {"rack": "r1"}}


def refused(source: str, variables: Mapping[str, object] = VARIABLES) -> CannotRender:
    with pytest.raises(CannotRender) as caught:
        render(compile_template(source), variables)
    return caught.value


def test_values_loops_and_conditions() -> None:
    source = (
        "{{ machine.name }}{% for m in machine.macs %} {{ m }}{% endfor %}"
        "{% if labels.rack is defined %}!{% endif %}{% if labels.row is defined %}?{% endif %}\n"
    )
    assert render(compile_template(source), VARIABLES) == "node1 a b!\n"


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("a\n{{ machine.serial }}", 2, "serial"),
        ("a\n\n{{ nope }}", 3, "'nope' is undefined"),
        ("a\n{{ x", 2, "unexpected end"),
        ("{% for x in y %}\n", 1, "for"),
        ("\n{{ 1 / 0 }}", 2, "division"),
        ("\n{{ machine.name | nofilter }}", 2, "nofilter"),
        ("{% include 'other' %}", 1, "cannot include"),
        ("\n{% import 'other' as o %}", 2, "cannot include"),
        ("{% extends 'other' %}", 1, "cannot include"),
        ("{{ ''.__class__.__mro__ }}", 1, "unsafe"),
        ("{{ machine.macs.append('c') }}", 1, "not safely callable|unsafe"),
        ("{% for i in range(1000000) %}{% endfor %}", 1, "range"),
    ],
)
def test_what_goes_wrong_is_told_with_its_line(source: str, line: int, message: str) -> None:
    found = refused(source)
    assert found.line == line
    assert re.search(message, found.message, re.IGNORECASE), found.message


def test_output_is_bounded() -> None:
    assert "MiB" in refused("{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}").message


def test_the_line_of_the_template_for_each_line_of_what_it_made() -> None:
    source = (
        "one\n"
        "{% for m in machine.macs %}\n"
        "  - {{ m }}\n"
        "{% endfor %}\n"
        "{% macro f(x) %}\n <{{ x }}>\n{% endmacro %}\n"
        "last: {{ machine.name }}\n"
        "{{ f('y') | indent(2) }}\n"
    )
    compiled = compile_template(source)
    text = render(compiled, VARIABLES)
    lines = lines_of(compiled, VARIABLES, text)
    found = {line.strip(): lines[index] for index, line in enumerate(text.split("\n")) if line.strip()}
    assert found == {"one": 1, "- a": 3, "- b": 3, "last: node1": 8, "<y>": 9}


def test_a_template_that_looks_at_its_own_output_has_no_lines() -> None:
    compiled = compile_template("{% set x %}ab{% endset %}{{ x|length }}")
    assert lines_of(compiled, {}, "wrong") == ()


@given(st.text())
def test_quoted_text_is_the_same_to_yaml_and_to_json(text: str) -> None:
    assert yaml.load(quoted(text), Loader=yaml.CSafeLoader) == text
    assert json.loads(quoted(text)) == text


def test_the_filters_quote_and_tojson() -> None:
    source = "{{ machine | tojson }} {{ machine.name | quote }} {{ 5 | quote }}"
    text = render(compile_template(source), {"machine": {"name": 'a"\u2028<😀'}})
    assert text == '{"name": "a\\"\\u2028<😀"} "a\\"\\u2028<😀" "5"'


# ---- in a process of its own ----


def apart(source: str, *variables: Mapping[str, object] | None, lines: bool = False) -> list[Rendered | Flaw]:
    return render_apart({"t": source}, [Job("t", v) for v in variables], lines=lines)


def test_apart_it_makes_the_same() -> None:
    assert apart("a\n{{ x }}\n", {"x": "é"}, {}, None, lines=True) == [
        Rendered("a\né\n", (1, 2, 3)),
        Flaw("'x' is undefined", 2),
        Rendered(""),
    ]
    assert apart("x") == []


def test_a_template_without_machines_is_read_all_the_same() -> None:
    (found,) = apart("\n{% if %}", None)
    assert isinstance(found, Flaw)
    assert found.line == 2


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
)
def test_one_that_never_ends_is_ended_for_all_machines_at_once(source: str) -> None:
    found = apart(source, *({"x": n} for n in range(30)))
    assert len(found) == 30
    assert {flaw.message for flaw in found if isinstance(flaw, Flaw)} == {
        "it does not come to an end within 2 s"
    }


@pytest.mark.parametrize("source", ["{{ 'x' * 10 ** 10 }}", "{{ 'x' | center(10 ** 10) }}"])
def test_one_that_wants_all_memory_gets_none_of_ours(source: str) -> None:
    (found,) = apart(source, {})
    assert isinstance(found, Flaw)
    assert "memory" in found.message
