"""What Go's text/template prints for the same source and data; the expectations come from Go's documentation
and from recorded answers of Matchbox."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.matchbox.errors import TemplateError
from appliance.matchbox.template_parse import parse_template
from appliance.matchbox.template_run import run_template
from appliance.matchbox.template_values import StringMap, show_float

DATA: dict[str, Any] = {
    "name": "node1",
    "n": 3.0,
    "big": 1000000.0,
    "t": True,
    "nul": None,
    "l": ["a", "b", "c"],
    "m": {"z": 1.0, "a": 2.0},
    "nest": {"a": {"b": "deep"}},
    "h": "<b>&\"'",
    "empty": [],
    "request": {"query": StringMap({"os": "installed"}), "raw_query": "os=installed"},
}


def render(source: str, **more: object) -> str:
    return run_template(parse_template(source), {**DATA, **more})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain {} } text", "plain {} } text"),
        ("{{.name}}", "node1"),
        ("{{ .nest.a.b }}", "deep"),
        ("{{.nul}}|{{index . `nope`}}|{{print .nul}}", "<no value>|<no value>|<nil>"),
        ('{{index .request.query "nope"}}|{{index .request.query "os"}}', "|installed"),
        ("{{.n}} {{.big}} {{.t}} {{.l}} {{.m}}", "3 1e+06 true [a b c] map[a:2 z:1]"),
        ("a  {{- 1 -}}  b", "a1b"),
        ("a {{- /* c */ -}} b{{/* d */}}.", "ab."),
        ("{{  1   -}}  x", "1x"),
        ("{{if .t}}y{{else}}n{{end}}", "y"),
        ("{{if .empty}}y{{else if .n}}z{{else}}n{{end}}", "z"),
        ("{{if false}}a{{else if false}}b{{else if true}}c{{end}}", "c"),
        ("{{range .l}}[{{.}}]{{end}}", "[a][b][c]"),
        ("{{range $i, $e := .l}}{{if $i}},{{end}}{{$e}}{{end}}", "a,b,c"),
        ("{{range $k, $v := .m}}{{$k}}={{$v}};{{end}}", "a=2;z=1;"),
        ("{{range .empty}}x{{else}}none{{end}}{{range .nul}}x{{else}}nil{{end}}", "nonenil"),
        ("{{range .l}}{{if eq . `b`}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
        ("{{range .l}}{{if eq . `b`}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{with .nest}}{{.a.b}} {{$.name}}{{end}}", "deep node1"),
        ("{{with $x := .name}}{{$x}}{{end}}{{with .empty}}x{{else with .n}}{{.}}{{end}}", "node13"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{$y := 3}}{{end}}{{$x}}", "2"),
        ('{{define "T"}}<{{.}}>{{end}}{{template "T" .name}}{{template "T"}}', "<node1><<no value>>"),
        ('{{block "B" .n}}({{.}}){{end}}', "(3)"),
        ('{{"abc" | printf "%q"}} {{printf "%s-%s" "a" "b" | len}}', '"abc" 3'),
        ("{{and 1 0}} {{or 0 2}} {{not 0}} {{and .t .name}} {{or .empty `x`}}", "0 2 true node1 x"),
        ("{{eq 1 2 1}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}}", "true true true true false"),
        ("{{or true (index .nul `x`)}} {{and false (index .nul `x`)}}", "true false"),
        ("{{len .l}} {{len .m}} {{len `hé`}}", "3 2 3"),
        ("{{slice .l 1}} {{slice .l 1 2}} {{slice `abcd` 1 3}}", "[b c] [b] bc"),
        ("{{index .l 1}} {{index .m `z`}} {{(index .nest `a`).b}}", "b 1 deep"),
        ("{{html .h}}", "&lt;b&gt;&amp;&#34;&#39;"),
        ("{{js .h}}", "\\u003Cb\\u003E\\u0026\\\"\\'"),
        ("{{urlquery .h `a b`}}", "%3Cb%3E%26%22%27a+b"),
        ("{{print 1 2 `a` 3 4}}|{{println `x` 1}}", "1 2a3 4|x 1\n"),
        (r'{{"\x41\u00e9\n\"\101"}}{{`\n`}}', 'Aé\n"A\\n'),
        (
            "{{1.5e3}} {{0x1F}} {{017}} {{0b11}} {{1_000}} {{'a'}} {{-3}} {{1e6}} {{.5}}",
            "1500 31 15 3 1000 97 -3 1e+06 0.5",
        ),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{eq nil .nul}}{{eq .nul `x`}}", "truefalse"),
        ("{{true}}{{false}}", "truefalse"),
    ],
)
def test_prints_what_go_prints(source: str, text: str) -> None:
    assert render(source) == text


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ('"%v %v" nil 3', "<nil> 3"),
        ('"%5.2f|%-5d|%05d|%+d|% d" 1.5 3 42 7 7', " 1.50|3    |00042|+7| 7"),
        ('"%q|%s|%x|%X" "a\\n\\u00e9\\x01" "z" "hi" "hi"', '"a\\né\\x01"|z|6869|6869'),
        ('"%d %x %o %b %c %U %#x" 10 255 8 5 65 233 255', "10 ff 10 101 A U+00E9 0xff"),
        ('"%t %v" true false', "true false"),
        ('"%e %g %.3g %G" 1500.0 1500.0 1234.5 1e6', "1.500000e+03 1500 1.23e+03 1E+06"),
        ('"%d" "x"', "%!d(string=x)"),
        ('"%s" 3', "%!s(int=3)"),
        ('"%d" .n', "%!d(float64=3)"),
        ('"%s %d" "a"', "a %!d(MISSING)"),
        ('"%s" "a" "b" 1', "a%!(EXTRA string=b, int=1)"),
        ('"%s|%q" .l .l', '[a b c]|["a" "b" "c"]'),
        (
            '"%T %T %T %T" .n .l .m .request.query',
            "float64 []interface {} map[string]interface {} map[string]string",
        ),
        ('"100%%"', "100%"),
        ('"%"', "%!(NOVERB)"),
        ('"%z" 1', "%!z(int=1)"),
        ('"%.0f %v" .big .n', "1000000 3"),
        ('"%6.2s|%-6s|" "abc" "d"', "    ab|d     |"),
    ],
)
def test_printf_like_go(call: str, text: str) -> None:
    assert render(f"{{{{printf {call}}}}}") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (123456.0, "123456"),
        (1234567.0, "1.234567e+06"),
        (1e21, "1e+21"),
        (12345678901234567890.0, "1.2345678901234567e+19"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.5, "1.5"),
        (-7.25, "-7.25"),
        (1e100, "1e+100"),
        (5e-324, "5e-324"),
        (0.1, "0.1"),
        (100.0, "100"),
        (100000.0, "100000"),
    ],
)
def test_floats_like_go(value: float, text: str) -> None:
    assert show_float(value) == text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{", "unclosed action"),
        ("{{.x", "unclosed action"),
        ("\n{{if}}x{{end}}", "missing value for if"),
        ("{{if .t}}x", "never ended"),
        ("x{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{nope .x}}", "not defined"),
        ("{{$x}}", "undefined variable"),
        ("{{/* c }}", "unclosed comment"),
        ("{{/* c */ .x}}", "comment ends before"),
        ("{{'ab'}}", "character constant"),
        ('{{"\\q"}}', "escape"),
        ('{{"a}}', "unterminated string"),
        ("{{1 | 2}}", "non executable"),
        ("{{.x | }}", "missing value"),
        ("{{(.x}}", "unclosed left parenthesis"),
        ("{{break}}", "outside of range"),
        ("{{define .x}}{{end}}", "quoted name"),
        ("{{if .t}}{{define `x`}}{{end}}{{end}}", "inside another block"),
        ("{{define `x`}}1{{end}}{{define `x`}}2{{end}}", "multiple definition"),
        ("{{$a, $b := .l}}", "undefined variable"),
        ("{{.x!}}", "bad character"),
        ("{{`a``b`}}", "operand"),
        ("{{99999999999999999999}}", "bad number"),
        ("{{if true}}" * 60 + "{{end}}" * 60, "nested more than"),
        ("{{" + "(" * 60 + "1" + ")" * 60 + "}}", "nested more than"),
        ("{{1i}}", "bad character"),
    ],
)
def test_mistakes_are_found_when_the_file_is_read(source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message.replace("{", r"\{")) as caught:
        parse_template(source)
    assert caught.value.line >= 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("before {{.nope}} after", "no entry for key 'nope'"),
        ("{{.request.query.nope}}", "no entry"),
        ("{{.nul.x}}", "nil data"),
        ("{{.name.x}}", "can't evaluate field x in type string"),
        ("{{index .request.query 5}}", "should be string"),
        ("{{index .l 5}}", "out of range"),
        ("{{index .l .n}}", "cannot index slice/array with type float64"),
        ("{{index .nul `a`}}", "untyped nil"),
        ("{{eq .n 3}}", "incompatible types"),
        ("{{eq .l .l}}", "non-comparable"),
        ("{{lt .t true}}", "invalid type"),
        ("{{eq 1}}", "missing argument"),
        ("{{not}}", "wrong number of args"),
        ("{{.name 1}}", "no function"),
        ("{{nil}}", "nil is not a command"),
        ("{{range .name}}{{end}}", "can't iterate"),
        ("{{template `x`}}", "not defined"),
        ("{{call .name}}", "non-function"),
        ("{{printf 1}}", "expected string"),
        ("{{printf `%[1]d` 1}}", "not supported"),
        ("{{printf `%999999d` 1}}", "width"),
        ("{{range 100000000}}x{{end}}", "steps"),
        ("{{define `r`}}{{template `r`}}{{end}}{{template `r`}}", "nested more than"),
        ("{{$x := `ab`}}{{range 64}}{{$x = print $x $x}}{{end}}", "longer than"),
        ("{{range 9000}}{{printf `%4000d` 1}}{{end}}", "output is larger"),
        ("{{slice .l 2 1}}", "invalid slice"),
        ("{{len .n}}", "len of type"),
    ],
)
def test_mistakes_at_a_request_give_no_output(source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        render(source)


def test_a_long_chain_of_else_ifs_is_no_nesting() -> None:
    links = "".join(f"{{{{else if eq .name `n{i}`}}}}{i}" for i in range(500))
    assert render(f"{{{{if false}}}}{links}{{{{else}}}}last{{{{end}}}}", name="n499") == "499"


def test_errors_name_their_line() -> None:
    with pytest.raises(TemplateError) as caught:
        render("a\nb\n{{if .t}}\n{{.nope}}{{end}}")
    assert caught.value.line == 4


def test_octets_that_are_no_utf8_pass_through() -> None:
    source = b"\xff{{.name}}\xfe".decode("utf-8", "surrogateescape")
    assert render(source).encode("utf-8", "surrogateescape") == b"\xffnode1\xfe"


_PIECES = st.sampled_from(
    [
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        "\n",
        "if",
        "else",
        "end",
        "range",
        "with",
        "define",
        "template",
        "block",
        "|",
        ".",
        ".name",
        ".l",
        "$",
        "$x",
        ":=",
        "=",
        ",",
        "(",
        ")",
        '"a"',
        "`b`",
        "'c'",
        "1",
        "2.5",
        "nil",
        "true",
        "index",
        "printf",
        "%d",
        "eq",
        "and",
        "slice",
        "break",
        "continue",
        "/*",
        "*/",
        "text",
        "\\",
        '"',
        "é",
        "\x00",
        "urlquery",
    ]
)


@settings(max_examples=400)
@given(st.lists(_PIECES, max_size=25).map("".join) | st.text(max_size=60))
def test_any_source_renders_or_is_refused(source: str) -> None:
    try:
        render(source)
    except TemplateError:
        return


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.lists(st.text(max_size=3), max_size=2)
)


@settings(max_examples=200)
@given(st.text(max_size=30), st.lists(_SCALARS, max_size=4))
def test_any_format_prints_or_is_refused(text: str, values: list[object]) -> None:
    names = [f"v{i}" for i in range(len(values))]
    source = "{{printf .f " + " ".join(f".{name}" for name in names) + "}}"
    try:
        run_template(parse_template(source), {"f": text, **dict(zip(names, values, strict=True))})
    except TemplateError:
        return
