"""The shipped schemas are those of the parser, and agree with it on real files."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from appliance.inventory.schema import inventory_schema, schema_text, settings_schema

_DOCS = Path(__file__).parents[3] / "docs"
_REFRESH = (
    "python -c 'from appliance.inventory import schema as s; from pathlib import Path as P; "
    'P("docs/inventory.schema.json").write_text(s.schema_text(s.inventory_schema())); '
    'P("docs/settings.schema.json").write_text(s.schema_text(s.settings_schema()))\''
)


@pytest.mark.parametrize(
    ("name", "schema"), [("inventory", inventory_schema()), ("settings", settings_schema())]
)
def test_shipped_schema_is_up_to_date(name: str, schema: dict[str, object]) -> None:
    Draft202012Validator.check_schema(schema)
    shipped = (_DOCS / f"{name}.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text(schema), f"make it anew: {_REFRESH}"


_GOOD = """\
[profile.worker]
image = "flatcar/stable"
args = ["console=ttyS0"]
netconf = "networkd"
tuning = "performance"
call_home = true
[machine.node1]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
labels = { rack = "r1" }
[machine.node1.nic.eno2]
mac = "5254.00aa.0002"
port = "leaf1 Ethernet1/7"
[machine.node1.bond.bond0]
members = ["eno2"]
lacp_rate = "slow"
min_links = 1
address = "10.0.30.21/24"
vlans = { control = { id = 100, address = "10.0.100.21/24", search = ["cluster.example.com"] } }
routes = [{ to = "10.64.0.0/12", via = "10.0.30.1" }]
"""


def test_schema_takes_what_the_parser_takes() -> None:
    Draft202012Validator(inventory_schema()).validate(tomllib.loads(_GOOD))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("172.0.1.21", "172.0.1.999"),
        ("52:54:00:aa:00:01", "52:54:00:aa:00"),
        ("mac = ", "mca = "),
        ("id = 100", "id = 5000"),
        ("flatcar/stable", "flatcar"),
        ('"networkd"', '"netplan"'),
        ("call_home = true", 'call_home = "true"'),
        ('"slow"', '"slower"'),
        ("cluster.example.com", "cluster..example.com"),
        ('via = "10.0.30.1"', "metric = 7"),
        ("console=ttyS0", "console=${x}"),
        ("machine.node1]", 'machine."node 1"]'),
    ],
)
def test_schema_refuses_what_the_parser_refuses(old: str, new: str) -> None:
    data = tomllib.loads(_GOOD.replace(old, new))
    assert not Draft202012Validator(inventory_schema()).is_valid(data)
