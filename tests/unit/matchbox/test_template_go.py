"""A table of small templates, and what Go's documentation (pkg.go.dev/text/template, fmt) says they give.

Two columns: the source, and the text; None where Go refuses it, which is a 404 for the machine.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.matchbox.errors import TemplateError
from appliance.matchbox.template_parse import parse_template
from appliance.matchbox.template_run import run_template
from appliance.matchbox.template_values import StringMap

# As a group's metadata, its selector and the request come to a template.
DATA: dict[str, Any] = {
    "domain": "example.com",
    "count": 3.0,
    "ratio": 0.25,
    "vlan": 100.0,
    "million": 1000000.0,
    "serial": 12345678.0,
    "on": True,
    "off": False,
    "none": None,
    "empty_text": "",
    "zero": 0.0,
    "keys": ["ssh-ed25519 A", "ssh-rsa B"],
    "mixed": ["a", 1.0, True, None, ["x"], {"k": "v"}],
    "no_items": [],
    "no_keys": {},
    "etcd": {"name": "node1", "peers": {"n2": "10.0.0.2", "n1": "10.0.0.1", "n10": "10.0.0.10"}},
    "hosts": [{"name": "a", "ip": "1"}, {"name": "b", "ip": "2"}],
    "script": "<a href='x'>\"&\"</a>",
    "mac": "52:54:00:aa:00:01",
    "request": {
        "query": StringMap({"mac": "52:54:00:aa:00:01", "os": "installed", "b": "a b&c"}),
        "raw_query": "mac=52-54-00-aa-00-01&os=installed",
    },
}

FIELDS = [
    ("{{.domain}}", "example.com"),
    ("{{ .etcd.peers.n1 }}", "10.0.0.1"),
    ("{{.request.query.os}} {{.request.raw_query}}", "installed mac=52-54-00-aa-00-01&os=installed"),
    ("{{$.domain}}{{$.etcd.name}}", "example.comnode1"),
    ("{{(.etcd).name}} {{(.etcd.peers).n2}}", "node1 10.0.0.2"),
    ("{{.count}} {{.ratio}} {{.vlan}} {{.million}} {{.serial}}", "3 0.25 100 1e+06 1.2345678e+07"),
    ("{{.on}} {{.off}} {{.none}}", "true false <no value>"),
    ("{{.keys}} {{.etcd.peers}}", "[ssh-ed25519 A ssh-rsa B] map[n1:10.0.0.1 n10:10.0.0.10 n2:10.0.0.2]"),
    ("{{.mixed}}", "[a 1 true <nil> [x] map[k:v]]"),
    ("{{.missing}}", None),
    ("{{.etcd.missing}}", None),
    ("{{.request.query.missing}}", None),
    ("{{.missing.deeper}}", None),
    ("{{.none.x}}", None),
    ("{{.domain.x}}", None),
    ("{{if .missing}}a{{end}}", None),
    ("{{with .missing}}a{{end}}", None),
    ("{{range .missing}}a{{end}}", None),
    ("{{or .missing 1}}", None),
    ("{{and .off .missing}}", "false"),
    ("{{or .on .missing}}", "true"),
    ("{{.a-b}}", None),
]
INDEX = [
    ('{{index . "domain"}}', "example.com"),
    ('{{index . "missing"}}', "<no value>"),
    ('{{index .request.query "missing"}}.', "."),
    ('{{if index . "missing"}}a{{else}}b{{end}}', "b"),
    ('{{if eq (index .request.query "os") "installed"}}a{{end}}', "a"),
    ('{{if eq (index .request.query "missing") ""}}a{{end}}', "a"),
    ("{{index .keys 0}}", "ssh-ed25519 A"),
    ("{{index .keys 2}}", None),
    ("{{index .keys -1}}", None),
    ("{{index .keys .zero}}", None),
    ('{{index .keys "0"}}', None),
    ('{{index .etcd "peers" "n1"}}', "10.0.0.1"),
    ('{{index .mixed 5 "k"}} {{index .mixed 4 0}}', "v x"),
    ('{{(index .hosts 1).name}} {{index (index .hosts 0) "ip"}}', "b 1"),
    ("{{index .etcd}}", "map[name:node1 peers:map[n1:10.0.0.1 n10:10.0.0.10 n2:10.0.0.2]]"),
    ('{{index "abc" 1}}', "98"),
    ("{{index .etcd 1}}", None),
    ("{{index 3 1}}", None),
    ('{{index (index . "missing") "x"}}', None),
    ("{{index}}", None),
]
IF = [
    ("{{if .on}}a{{end}}{{if .off}}b{{end}}", "a"),
    ("{{if .zero}}a{{else}}b{{end}}{{if .count}}c{{end}}", "bc"),
    ("{{if .empty_text}}a{{else if .domain}}b{{else}}c{{end}}", "b"),
    ("{{if .no_items}}a{{else if .no_keys}}b{{else if .none}}c{{else}}d{{end}}", "d"),
    ("{{if .keys}}a{{end}}{{if .etcd}}b{{end}}", "ab"),
    ("{{if and .on .domain}}a{{end}}", "a"),
    ("{{if not (or .off .zero)}}a{{end}}", "a"),
    ("{{if $x := .domain}}{{$x}}{{end}}", "example.com"),
    ("{{if $x := .off}}a{{else}}{{$x}}{{end}}", "false"),
    ("{{if .on}}{{if .off}}a{{else}}b{{end}}{{else}}c{{end}}", "b"),
    ("{{if .on}}a{{else}}b{{else}}c{{end}}", None),
    ("{{if .on}}a", None),
    ("{{if}}a{{end}}", None),
]
RANGE = [
    ("{{range .keys}}- {{.}}\n{{end}}", "- ssh-ed25519 A\n- ssh-rsa B\n"),
    ("{{range $i, $v := .keys}}{{$i}}={{$v}};{{end}}", "0=ssh-ed25519 A;1=ssh-rsa B;"),
    ("{{range $v := .keys}}{{$v}};{{end}}", "ssh-ed25519 A;ssh-rsa B;"),
    ("{{range .etcd.peers}}{{.}} {{end}}", "10.0.0.1 10.0.0.10 10.0.0.2 "),
    ("{{range $k, $v := .etcd.peers}}{{$k}}={{$v}},{{end}}", "n1=10.0.0.1,n10=10.0.0.10,n2=10.0.0.2,"),
    ("{{range $k, $v := .request.query}}{{$k}};{{end}}", "b;mac;os;"),
    ("{{range .no_items}}a{{else}}b{{end}}{{range .no_keys}}a{{else}}b{{end}}", "bb"),
    ("{{range .none}}a{{else}}b{{end}}", "b"),
    ("{{range .hosts}}{{.name}}:{{.ip}}@{{$.domain}} {{end}}", "a:1@example.com b:2@example.com "),
    ("{{range $i, $h := .hosts}}{{if $i}}, {{end}}{{$h.name}}{{end}}", "a, b"),
    (
        "{{range $i, $h := .hosts}}{{range $k, $v := $h}}{{$i}}{{$k}}{{$v}} {{end}}{{end}}",
        "0ip1 0namea 1ip2 1nameb ",
    ),
    ("{{range $i, $v := .no_items}}a{{else}}{{len $v}}{{end}}", "0"),
    ("{{$n := 0}}{{range $i, $v := .keys}}{{$n = $i}}{{end}}{{$n}}", "1"),
    ("{{$last := ``}}{{range $last = .keys}}{{end}}{{$last}}", "ssh-rsa B"),
    ("{{range .keys}}{{continue}}a{{end}}|{{range .keys}}{{.}}{{break}}{{end}}", "|ssh-ed25519 A"),
    ("{{range .hosts}}{{if eq .name `a`}}{{continue}}{{end}}{{.name}}{{end}}", "b"),
    ("{{range $x := 3}}{{$x}}{{end}}", "012"),
    ("{{range .domain}}a{{end}}", None),
    ("{{range .count}}a{{end}}", None),
    ("{{range .on}}a{{end}}", None),
    ("{{range $a, $b, $c := .keys}}a{{end}}", None),
    ("{{range .keys}}{{$x := .}}{{end}}{{$x}}", None),
    ("{{range .keys}}{{block `b` .}}{{break}}{{end}}{{end}}", None),
    ("{{continue}}", None),
]
WITH = [
    ("{{with .etcd}}{{.name}}{{end}}", "node1"),
    ("{{with .none}}a{{else}}{{.domain}}{{end}}", "example.com"),
    ("{{with $e := .etcd}}{{$e.name}}{{.name}}{{$.domain}}{{end}}", "node1node1example.com"),
    ('{{with index . "missing"}}a{{else}}b{{end}}', "b"),
    ("{{with .empty_text}}a{{else with .domain}}{{.}}{{end}}", "example.com"),
    ('{{with "a" | printf "%s%s" "b"}}{{.}}{{end}}', "ba"),
    ("{{with .etcd}}{{.domain}}{{end}}", None),
]
LOGIC = [
    ("{{and 1 2 3}} {{and 1 0 3}} {{or 0 2 3}} {{or 0 ``}}.", "3 0 2 ."),
    ("{{and}}", None),
    ("{{or}}", None),
    ("{{not 1}} {{not 0}} {{not ``}} {{not .none}} {{not .keys}}", "false true true true false"),
    ("{{not 1 2}}", None),
    ("{{and .on (eq .domain `example.com`)}}", "true"),
]
COMPARE = [
    ("{{eq 1 1}} {{eq 1 2}} {{eq 1 2 3 1}} {{eq `a` `a`}}", "true false true true"),
    ("{{eq .domain `example.com`}} {{eq .count 3.0}} {{eq .on true}}", "true true true"),
    ("{{eq .count 3}}", None),
    ("{{eq .count .domain}}", None),
    ("{{eq .none nil}} {{eq nil .none}} {{eq .domain nil}} {{eq nil .domain}}", "true true false false"),
    ("{{eq .etcd nil}} {{eq .keys nil}} {{ne .etcd nil}}", "false false true"),
    ("{{eq .etcd .etcd}}", None),
    ("{{eq .keys .etcd}}", None),
    ("{{eq .keys `a`}}", None),
    ("{{eq 1 1 `a`}}", "true"),
    ("{{eq 2 1 `a`}}", None),
    ("{{eq 1}}", None),
    ("{{ne 1 2}} {{ne `a` `a`}}", "true false"),
    ("{{ne 1 2 3}}", None),
    ("{{lt 1 2}} {{lt 2 1}} {{lt 1.5 2.5}} {{lt `a` `b`}} {{lt `B` `a`}}", "true false true true true"),
    ("{{le 2 2}} {{gt 3 2}} {{ge 2 2}} {{gt 2 2}} {{le 3 2}}", "true true true false false"),
    ("{{lt .count 5.0}} {{gt .vlan 99.5}}", "true true"),
    ("{{lt .count 5}}", None),
    ("{{lt true false}}", None),
    ("{{lt .none 1}}", None),
    ("{{lt .keys .keys}}", None),
    ("{{lt 'a' 98}}", "true"),
    ('{{eq (index "abc" 0) 97}}', "true"),
]
LENGTH = [
    ("{{len .domain}} {{len .keys}} {{len .etcd}} {{len .request.query}} {{len `é`}}", "11 2 2 3 2"),
    ("{{len .no_items}} {{len ``}}", "0 0"),
    ("{{len .count}}", None),
    ("{{len .none}}", None),
    ("{{len 3}}", None),
    ("{{if gt (len .keys) 1}}several{{end}}", "several"),
    ("{{slice `abcdef` 2}} {{slice `abcdef` 1 3}} {{slice `abc`}}", "cdef bc abc"),
    ("{{slice .keys 1}} {{slice .keys 0 1}}", "[ssh-rsa B] [ssh-ed25519 A]"),
    ("{{slice .keys 0 1 2}}", "[ssh-ed25519 A]"),
    ("{{slice `abc` 0 1 2}}", None),
    ("{{slice `abc` 2 1}}", None),
    ("{{slice `abc` 4}}", None),
    ("{{slice 3 1}}", None),
    ("{{slice .etcd 1}}", None),
    ("{{slice .keys .zero}}", None),
]
PRINT = [
    ("{{print `a` `b`}} {{print 1 2}} {{print `a` 1 2 `b`}} {{print .on .off}}", "ab 1 2 a1 2b true false"),
    ("{{println `a` 1}}{{println}}", "a 1\n\n"),
    ("{{print .none}} {{.none | print}} {{print nil}}", "<nil> <nil> <nil>"),
    ("{{print .keys .etcd.name}}", "[ssh-ed25519 A ssh-rsa B]node1"),
    ("{{printf `%s-%d` .domain 3}}", "example.com-3"),
    ("{{printf `%d` .count}}", "%!d(float64=3)"),
    ("{{printf `%.0f %v %g` .vlan .vlan .million}}", "100 100 1e+06"),
    ("{{printf `%03d|%-4d|%4d|%+d` 7 7 7 7}}", "007|7   |   7|+7"),
    ("{{printf `%q %q` .domain 'x'}}", "\"example.com\" 'x'"),
    ("{{printf `%t %v` .on .none}}", "true <nil>"),
    ("{{printf `%x %X %o %b` 255 255 8 5}}", "ff FF 10 101"),
    ("{{printf `%5.1f|%-6s|%6s` 2.25 `ab` `cd`}}", "  2.2|ab    |    cd"),
    ("{{printf `%v %s` .keys .keys}}", "[ssh-ed25519 A ssh-rsa B] [ssh-ed25519 A ssh-rsa B]"),
    ("{{printf `100%%`}}", "100%"),
    ("{{printf `%s`}}", "%!s(MISSING)"),
    ("{{printf `a` 1}}", "a%!(EXTRA int=1)"),
    ("{{printf `%T %T` .count .domain}}", "float64 string"),
    ("{{printf}}", None),
    ("{{printf 1}}", None),
]
ESCAPES = [
    ("{{html .script}}", "&lt;a href=&#39;x&#39;&gt;&#34;&amp;&#34;&lt;/a&gt;"),
    ("{{.script}}", "<a href='x'>\"&\"</a>"),
    ("{{js .script}}", "\\u003Ca href\\u003D\\'x\\'\\u003E\\\"\\u0026\\\"\\u003C/a\\u003E"),
    ('{{js "a\\nb\\\\é"}}', "a\\u000Ab\\\\é"),
    ("{{urlquery .request.query.b}} {{urlquery `a/é-_.~` 1}}", "a+b%26c a%2F%C3%A9-_.~1"),
    ("{{.script | html | len}}", "51"),
    ("{{html 1 `<`}} {{js}} {{html}}.", "1&lt;  ."),
    ("{{call .domain}}", None),
    ("{{call nil}}", None),
]
PIPES = [
    ('{{"out" | printf "%s-%s" "in"}}', "in-out"),
    ("{{.domain | len | printf `%d%s` 1}}", "1%!s(int=11)"),
    ("{{.domain | eq `example.com`}}", "true"),
    ("{{`a` | print `b` | print `c`}}", "cba"),
    ('{{printf "%d" (len (printf "%s" .domain))}}', "11"),
    ("{{(.etcd.peers).n1 | printf `%q`}}", '"10.0.0.1"'),
    ("{{((1))}} {{(`a`)}}", "1 a"),
    ("{{1 | 2}}", None),
    ("{{.domain | .count}}", None),
    ("{{.domain .count}}", None),
    ("{{| .domain}}", None),
    ("{{.domain |}}", None),
    ("{{(.domain}}", None),
    ("{{.domain)}}", None),
    ("{{nosuch .domain}}", None),
    ("{{join .keys `,`}}", None),
    ("{{.domain | toUpper}}", None),
]
VARIABLES = [
    ("{{$x := .domain}}{{$x}}", "example.com"),
    ("{{$x:=1}}{{$x}}", "1"),
    ("{{$e := .etcd}}{{$e.peers.n1}}", "10.0.0.1"),
    ("{{$x := 1}}{{$x = 2}}{{$x}}", "2"),
    ("{{$x := 1}}{{if .on}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
    ("{{$x := 1}}{{if .on}}{{$x = 2}}{{end}}{{$x}}", "2"),
    ("{{$x := `a`}}{{range .keys}}{{$x}}{{end}}", "aa"),
    ("{{$x := .domain | len}}{{$x}}", "11"),
    ("{{$x}}", None),
    ("{{$x = 1}}", None),
    ("{{if .on}}{{$x := 1}}{{end}}{{$x}}", None),
    ("{{$x := 1}}{{define `t`}}{{$x}}{{end}}{{template `t`}}", None),
]
TEMPLATES = [
    ('{{define "t"}}[{{.}}]{{end}}{{template "t" .domain}}{{template "t"}}', "[example.com][<no value>]"),
    ('{{template "t" .etcd}}{{define "t"}}{{.name}}{{end}}', "node1"),
    ('{{define "a"}}{{template "b" .}}{{end}}{{define "b"}}({{.}}){{end}}{{template "a" 1}}', "(1)"),
    ('{{block "b" .etcd}}{{.name}}{{end}}', "node1"),
    ('{{define "t"}}{{$.name}}{{end}}{{template "t" .etcd}}', "node1"),
    ("{{define `t`}}\nx\n{{end -}}\ny", "y"),
    ('{{template "none"}}', None),
    ("{{template .domain}}", None),
    ('{{define "t"}}{{.domain}}{{end}}{{template "t"}}', None),
    ('{{define "t"}}a', None),
    ('{{define "t"}}a{{end}}{{define "t"}}b{{end}}', None),
]
SPACE = [
    ("a {{/* comment */}} b", "a  b"),
    ("a {{- /* comment\nof two lines */ -}} b", "ab"),
    ("a\n{{- .count -}}\nb", "a3b"),
    ("a \t\r\n {{- 1}}\nb", "a1\nb"),
    ("{{1 -}} \n\t b", "1b"),
    ("{{-3}}", "-3"),
    ("{{- 3 -}}", "3"),
    ("{{- -3 -}}", "-3"),
    ("{{if .on -}}\n  a\n{{- end}}\n", "a\n"),
    ("{{range .keys -}}\n{{.}}\n{{- end}}", "ssh-ed25519 Assh-rsa B"),
    ("{{\n.domain\n}}", "example.com"),
    ("{{ /* c */ }}", None),
    ("{{/* c */ }}", None),
    ("{{/* c */ .domain}}", None),
    ("{{/* c", None),
    ("{{.domain", None),
    ("a }} b", "a }} b"),
    ("{ {a} }", "{ {a} }"),
    ('{{"{{"}}x{{"}}"}}', "{{x}}"),
    ("{{`{{`}}", "{{"),
    ("{{ 3-}}", None),
]
LITERALS = [
    ("{{1}} {{-1}} {{+1}} {{0x1F}} {{0b101}} {{0o17}} {{017}} {{1_000}}", "1 -1 1 31 5 15 15 1000"),
    ("{{1.5}} {{.5}} {{1e3}} {{1e6}} {{1e-5}} {{1.}}", "1.5 0.5 1000 1e+06 1e-05 1"),
    ("{{'a'}} {{'\\n'}} {{'é'}} {{'\\''}}", "97 10 233 39"),
    ('{{"a\\tb\\n\\"\\\\\\x41\\u00e9"}}', 'a\tb\n"\\Aé'),
    ('{{`a\\tb\n"c"`}}', 'a\\tb\n"c"'),
    ("{{true}} {{false}}", "true false"),
    ("{{nil}}", None),
    ('{{"a\nb"}}', None),
    ('{{"a}}', None),
    ("{{`a}}", None),
    ("{{'ab'}}", None),
    ("{{9223372036854775807}}", "9223372036854775807"),
    ("{{9223372036854775808}}", None),
    ("{{1x}}", None),
    ("{{08}}", None),
]
TABLES = {
    "fields": FIELDS,
    "index": INDEX,
    "if": IF,
    "range": RANGE,
    "with": WITH,
    "logic": LOGIC,
    "compare": COMPARE,
    "length": LENGTH,
    "print": PRINT,
    "escapes": ESCAPES,
    "pipes": PIPES,
    "variables": VARIABLES,
    "templates": TEMPLATES,
    "space": SPACE,
    "literals": LITERALS,
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "text"),
    [pytest.param(*row, id=f"{name}-{i}") for name, rows in TABLES.items() for i, row in enumerate(rows)],
)
def test_as_go_documents_it(source: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(TemplateError):
            run_template(parse_template(source), DATA)
    else:
        assert run_template(parse_template(source), DATA) == text


def test_a_real_ignition_template() -> None:
    source = """\
{
  "ignition": { "version": "3.3.0" },
  "passwd": {
    "users": [{
      "name": "core",
      "sshAuthorizedKeys": [
        {{- range $i, $key := .keys }}{{ if $i }},{{ end }}
        {{ printf "%q" $key }}
        {{- end }}
      ]
    }]
  },
  "storage": {
    "files": [
      {{- $last := len .hosts }}
      {{- range $i, $host := .hosts }}
      { "path": "/etc/hosts.d/{{ $host.name }}", "mode": 420,
        "contents": { "source": "data:,{{ urlquery $host.ip }}%20{{ $.domain }}" } }
      {{- if lt (len (slice $.hosts 0 $i)) 1 }},{{ end }}
      {{- end }}
    ]
  }
}
"""
    document = json.loads(run_template(parse_template(source), DATA))
    assert document["passwd"]["users"][0]["sshAuthorizedKeys"] == DATA["keys"]
    files = document["storage"]["files"]
    assert [file["path"] for file in files] == ["/etc/hosts.d/a", "/etc/hosts.d/b"]
    assert files[1]["contents"]["source"] == "data:,2%20example.com"
