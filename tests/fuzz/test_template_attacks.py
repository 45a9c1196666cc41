"""Template syntax in an operator's values is text: fifty payloads in every text of inventory and settings.

Where a value is taken it comes out of every template as it was written: out of the shipped dnsmasq
configuration (settings), an Ignition template, Matchbox's templates and metadata (inventory).
"""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Iterator
from typing import Final

from appliance.dnsmasq.render import render_dhcp
from appliance.errors import OperatorError, Problem
from appliance.inventory.model import Inventory
from appliance.inventory.parse import Drafts
from appliance.inventory.parse_json import read_json
from appliance.inventory.rules import judge
from appliance.matchbox.labels import parse_query
from appliance.matchbox.render import metadata_text, variables
from appliance.matchbox.template_parse import parse_template
from appliance.matchbox.template_run import run_template
from appliance.settings import Settings
from appliance.settings_parse import parse_settings
from appliance.sync.template import compile_template, render
from appliance.sync.variables import variables_of
from tests.figures import Figures
from tests.fuzz.inventories import Tree, get, inline_tables, inventory, places, put
from tests.seeds import seeded
from tests.unit.dnsmasq.rooms import TEMPLATES, selection

# What finds the engine, what reads of it, what runs in it: Jinja2 above all, and its neighbours.
PAYLOADS: Final = (
    *("{{7*7}}", "{{ 7*7 }}", "{{7*'7'}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{7*7}", "*{7*7}", "@(7*7)"),
    *("[[7*7]]", "$[7*7]", "{{{7*7}}}", "{#7*7#}", "{%print(7*7)%}", "{%if 7*7==49%}49{%endif%}"),
    *("${{7*7}}", "{% set x=7*7 %}{{x}}", "{% for i in [49] %}{{i}}{% endfor %}", "{{config}}", "{{self}}"),
    *("{{request}}", "{{self.__init__.__globals__}}", "{{''.__class__.__mro__[1].__subclasses__()}}"),
    *("{{cycler.__init__}}", "{{lipsum.__globals__['os'].popen('id').read()}}"),
    *("{{joiner.__init__.__globals__.os.popen('id')}}", "{{namespace.__init__.__globals__.os}}"),
    *("{{get_flashed_messages.__globals__}}", "{{url_for.__globals__}}", "{% include '/etc/passwd' %}"),
    *("{% import 'os' as os %}", "{% extends '/etc/passwd' %}", "{%raw%}49"),
    *("{% macro m() %}49{% endmacro %}{{m()}}", "{{[].__class__.__base__}}", "{{()|attr('__class__')}}"),
    *("{{''|attr(['__cl','ass__']|join)}}", "{{'a'*10**10}}", "{{range(10**9)|list}}"),
    *("{{x|center(10**9)}}", "{{.}}", "{{printf \"%s\" .}}", "{{template \"x\"}}"),
    *("{{define \"x\"}}49{{end}}", "{{.request.query}}", "{{range .}}{{end}}", "{{call .x}}", "{{html .}}"),
    *("<#assign x=49>${x}", "#set($x=49)$x", "{php}echo 49"),
)  # fmt: skip
_SETTINGS: Final = """
[network.pxe]
interface = "eth0"
subnet = "172.0.1.0/24"
address = "172.0.1.1"
mode = "dhcp"
lease = "1h"
ntp = ["172.0.1.1"]
relayed = [{ subnet = "172.0.2.0/24", router = "172.0.2.1" }]
[http]
hosts = ["boot.example.com"]
[matchbox]
endpoint = "builtin"
data = "/etc/pxe-appliance/matchbox"
[webhook.ops]
url = "https://alerts.example.com/hook"
secret = "ops"
[images.flatcar]
mirror = "https://mirror.example.com/{channel}"
keys = ["flatcar.asc"]
arch = ["amd64"]
"""
_READ: Final = parse_settings(_SETTINGS, "s")
_IGNITION: Final = "{% for v in labels.values() %}{{ v }}\n{% endfor %}{{ machine.serial | default('') }}"


def _rack() -> Tree:
    """One with every key that a machine and a profile may have."""
    random = seeded("templates")
    while True:
        made = inventory(random)
        found = _judged(made)
        if found is not None and _has_all(found):
            return made


def _has_all(found: Inventory) -> bool:
    machine = found.machines[0]
    return bool(machine.labels and machine.serial and machine.bonds)


def _judged(tree: Tree) -> Inventory | None:
    drafts = Drafts()
    document = read_json(json.dumps(tree), "rack", drafts.problems)
    assert document is not None
    drafts.take(document)
    return judge(drafts, _READ, ())


def _poisoned(tree: Tree, payload: str) -> Iterator[Tree]:
    """The tree with the payload in place of, before and behind each of its texts, and as each name."""
    for number, (holder, key) in enumerate(list(places(tree))):
        value = get(holder, key)
        texts = [payload, f"a{payload}", f"{payload}a"] if isinstance(value, str) else []
        for text in texts:
            made = copy.deepcopy(tree)
            put(*list(places(made))[number], text)
            yield made
        if isinstance(holder, dict) and isinstance(key, str):
            made = copy.deepcopy(tree)
            inside, _ = list(places(made))[number]
            assert isinstance(inside, dict)
            inside[payload] = inside.pop(key)
            yield made


def test_there_are_fifty() -> None:
    assert len(set(PAYLOADS)) >= 50


def test_every_text_of_an_inventory(figures: Figures) -> None:
    rack, template, go = _rack(), compile_template(_IGNITION), parse_template("{{.label}}\n")
    tried = taken = 0
    for payload in PAYLOADS:
        for tree in _poisoned(rack, payload):
            tried += 1
            found = _judged(tree)
            if found is None:
                continue
            taken += 1
            for machine in found.machines:
                said = "".join(f"{label}\n" for label in machine.labels.values())
                made = render(template, variables_of(_READ, found, machine))
                assert made == f"{said}{machine.serial or ''}"
                for label in machine.labels.values():
                    assert run_template(go, variables({"label": label}, {}, parse_query(""))) == f"{label}\n"
                    assert metadata_text({"label": label}) == f"LABEL={label}\n"
    assert taken, "no text takes any of them: nothing was tested but refusals"
    figures.tell(
        "inventory", "template payloads x texts of an inventory", f"{tried:,}", "refused, or as written"
    )
    figures.tell("inventory", "of them taken, as text", f"{taken:,}")


def test_every_text_of_the_settings(figures: Figures) -> None:
    """What dnsmasq is told has no other lines than with a harmless value, and no number that was computed."""
    plain, tried = len(_configuration(_READ)), 0
    for payload in PAYLOADS:
        for tree in _poisoned(tomllib.loads(_SETTINGS), payload):
            tried += 1
            settings, problems = _settings(tree)
            if settings is None:
                assert problems
                assert all(problem.line for problem in problems)
                continue
            assert payload in str(settings), "neither refused nor kept as it is"
            lines = _configuration(settings)
            assert len(lines) == plain
            assert not any("49" in line for line in lines if payload not in line)
    figures.tell(
        "inventory", "template payloads x texts of the settings", f"{tried:,}", "refused, or as written"
    )


def _settings(tree: Tree) -> tuple[Settings | None, tuple[Problem, ...]]:
    try:
        return parse_settings("\n".join(inline_tables(tree)), "appliance.toml"), ()
    except OperatorError as error:
        return None, error.problems


def _configuration(settings: Settings) -> list[str]:
    (network,) = settings.networks.values()
    text = render_dhcp(
        network,
        templates=TEMPLATES,
        boot_url=f"http://{network.address}:{settings.http.port}/boot.ipxe",
        http_port=settings.http.port,
        hosts_path="/h",
        log_path="/l",
        boot_files=selection().boot_files,
    )
    return text.splitlines()
