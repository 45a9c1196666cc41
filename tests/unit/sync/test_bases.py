"""An operator's files, finished: what each machine's document is made from, and whose fault is told how."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath

import pytest

from appliance.errors import Problem
from appliance.inventory.model import Inventory
from appliance.inventory.parse import Drafts
from appliance.inventory.rules import judge
from appliance.matchbox.ignition import finish
from appliance.matchbox.ignition_values import decode_data_url
from appliance.paths import Paths
from appliance.settings_parse import parse_settings
from appliance.sync.bases import Bases, make_bases, render_here, translate_here
from appliance.sync.ignition_tools import render_apart, translator
from appliance.sync.remembered import Remembered
from appliance.sync.variables import variables_of
from appliance.toml_lines import read_toml
from tests.fakes import butane
from tests.unit.sync.rooms import SETTINGS

RACK = """
[profile.w]
image = "flatcar/stable"
ignition = "w.bu.j2"
boot = "always"
[profile.p]
kernel = "/assets/k"
ignition = "p.ign"
[machine.node1]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
profile = "w"
labels = { rack = "r1" }
serial = "S1"
[machine.node1.nic.eno2]
mac = "52:54:00:aa:00:02"
[machine.node1.bond.bond0]
members = ["eno2"]
vlans = { control = { id = 100, address = "10.0.100.21/24", gateway = "10.0.100.1" } }
[machine.node2]
macs = ["52:54:00:aa:00:11", "52:54:00:aa:00:12"]
ip = "172.0.1.22"
profile = "w"
labels = { rack = "r1" }
[machine.node3]
mac = "52:54:00:aa:00:13"
ip = "172.0.1.23"
profile = "p"
"""
IGN = b'{"ignition": {"version": "3.3.0"}}'
BUTANE = """variant: flatcar
version: 1.0.0
storage:
  files:
    - path: /etc/hostname
      contents:
        inline: {{ machine.name | quote }}
"""


def finished(template: str = BUTANE, ign: bytes = IGN, rack: str = RACK, *, apart: bool = False) -> Bases:
    settings = parse_settings(SETTINGS, "appliance.toml")
    drafts = Drafts()
    document = read_toml(rack, "rack.toml", drafts.problems)
    assert document is not None
    drafts.take(document)
    files = {"w.bu.j2": template.encode(), "p.ign": ign}
    inventory = judge(drafts, settings, files.keys())
    assert inventory is not None, drafts.problems
    render = render_apart if apart else render_here
    return make_bases("/etc/ignition.d", settings, inventory, files, render, translate_here)


def told(bases: Bases) -> list[tuple[str, int, str, str]]:
    return [(p.file.rpartition("/")[2], p.line, p.path, p.message) for p in bases.problems]


@pytest.mark.parametrize("apart", [False, True])
def test_a_template_makes_one_document_for_each_machine_and_a_file_one_for_all(apart: bool) -> None:
    bases = finished(apart=apart)
    assert not bases.problems
    assert sorted(bases.files) == ["p.ign", "w.bu.j2/node1", "w.bu.j2/node2"]
    assert bases.files["p.ign"] == IGN
    document = json.loads(bases.files["w.bu.j2/node2"])
    assert document["storage"]["files"][0]["contents"]["source"] == "data:,node2"
    assert bases.variants == {"w.bu.j2": "flatcar"}


def test_files_without_the_ending_are_never_rendered() -> None:
    own = b'{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "{{x}}"}]}}'
    assert finished(ign=own).files["p.ign"] == own


def test_a_template_may_make_ignition() -> None:
    rack = RACK.replace("w.bu.j2", "w.ign.j2")
    settings = parse_settings(SETTINGS, "appliance.toml")
    drafts = Drafts()
    document = read_toml(rack, "rack.toml", drafts.problems)
    assert document is not None
    drafts.take(document)
    source = b"""{"ignition": {"version": "3.{{ 3 }}.0"},
"passwd": {"users": [{"name": {{ labels.rack | tojson }}}]}}"""
    inventory = judge(drafts, settings, {"w.ign.j2", "p.ign"})
    assert inventory is not None
    files = {"w.ign.j2": source, "p.ign": IGN}
    bases = make_bases("/x", settings, inventory, files, render_here, translate_here)
    assert json.loads(bases.files["w.ign.j2/node1"])["passwd"] == {"users": [{"name": "r1"}]}
    assert bases.variants == {}


# ---- whose fault ----


@pytest.mark.parametrize("apart", [False, True])
def test_an_undefined_name_is_told_with_line_and_machines(apart: bool) -> None:
    bases = finished(BUTANE + "# {{ machine.serial }}\n", apart=apart)
    assert told(bases) == [
        ("w.bu.j2", 8, "", "'dict object' has no attribute 'serial' (machine node2)"),
    ]


@pytest.mark.parametrize("apart", [False, True])
def test_what_a_template_made_wrong_is_told_with_the_template_s_line(apart: bool) -> None:
    template = BUTANE.replace("  files:\n", "  files:\n{% for vlan in [1, 2, 3] %}{% endfor %}\n").replace(
        "/etc/hostname", "{{ labels.rack }}"
    )
    template = template.replace("storage:\n", "{% if true %}\n\n\n{% endif %}\nstorage:\n")
    (problem,) = finished(template, apart=apart).problems
    assert problem.line == template.split("\n").index("    - path: {{ labels.rack }}") + 1
    assert problem.path == "storage.files[0].path"
    assert problem.message.endswith("(machine node1, node2)")
    assert problem.hint


def test_a_flaw_of_the_result_of_a_template_has_its_line_too() -> None:
    template = BUTANE + "systemd:\n  units:\n{% for m in machine.macs %}\n    - name: {{ m }}\n{% endfor %}\n"
    problems = finished(template).problems
    assert {(p.line, p.path) for p in problems} == {
        (11, "systemd.units[0].name"),
        (11, "systemd.units[1].name"),
    }


def test_all_files_at_once_and_raw_ignition_with_its_own_line() -> None:
    bases = finished("{{ nope }}", b'{"ignition": {"version": "3.3.0"},\n\n"networkd": {}}')
    assert [(p.file, p.line) for p in bases.problems] == [
        ("/etc/ignition.d/p.ign", 3),
        ("/etc/ignition.d/w.bu.j2", 1),
    ]


def test_a_template_that_is_no_text() -> None:
    settings = parse_settings(SETTINGS, "appliance.toml")
    bases = make_bases("/x", settings, Inventory(), {"a.bu.j2": b"a\n\xff"}, render_here, translate_here)
    assert [(p.line, p.message) for p in bases.problems] == [(2, "it is not UTF-8")]


def test_a_template_that_no_machine_has_is_read() -> None:
    settings = parse_settings(SETTINGS, "appliance.toml")
    files = {"a.bu.j2": b"x\n{% endif %}", "b.bu.j2": b"{{ x }}"}
    bases = make_bases("/x", settings, Inventory(), files, render_apart, translate_here)
    (problem,) = bases.problems
    assert isinstance(problem, Problem)
    assert (problem.file, problem.line) == ("/x/a.bu.j2", 2)


def test_many_machines_with_one_mistake_are_one_problem() -> None:
    machines = "".join(
        f'[machine.m{n}]\nmac = "52:54:00:bb:00:{n:02x}"\nip = "172.0.1.{n + 30}"\nprofile = "w"\n'
        for n in range(60)
    )
    (problem,) = finished("{{ nope }}", rack=RACK + machines).problems
    assert problem.message.endswith("(machine m0, m1, m10 and 59 more)")


# ---- variables ----


def test_the_variables_that_are_documented() -> None:
    settings = parse_settings(SETTINGS, "appliance.toml")
    drafts = Drafts()
    document = read_toml(RACK, "rack.toml", drafts.problems)
    assert document is not None
    drafts.take(document)
    inventory = judge(drafts, settings, {"w.bu.j2", "p.ign"})
    assert inventory is not None
    found = variables_of(settings, inventory, inventory.machines[0])
    assert json.loads(json.dumps(found)) == found
    assert found["network"] == {
        "name": "pxe",
        "subnet": "172.0.1.0/24",
        "netmask": "255.255.255.0",
        "prefix": 24,
        "address": "172.0.1.1",
        "ntp": [],
    }
    assert found["matchbox"] == {"url": "http://172.0.1.1:8080"}
    assert found["profile"] == {"name": "w", "boot": "always", "args": [], "image": "flatcar/stable"}
    assert found["labels"] == {"rack": "r1"}
    machine = found["machine"]
    assert isinstance(machine, dict)
    assert machine["bonds"]["bond0"]["vlans"]["control"]["ip"] == "10.0.100.21"
    assert machine["nics"]["eno2"]["mac"] == "52:54:00:aa:00:02"
    assert (machine["serial"], "uuid" in machine) == ("S1", False)
    page = re.findall(r"\w+", (Path(__file__).parents[3] / "docs/ignition.md").read_text())
    bond = machine["bonds"]["bond0"]
    for names in (found, machine, found["network"], found["profile"], bond, *bond["vlans"].values()):
        assert isinstance(names, dict)
        assert names.keys() - set(page) - {"control"} == set(), "docs/ignition.md does not name them"


def test_the_examples_in_the_documentation_work() -> None:
    page = (Path(__file__).parents[3] / "docs/ignition.md").read_text()
    template, installer = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    bases = finished(template, rack=RACK.replace('ip = "172.0.1.22"\nprofile = "w"', 'ip = "172.0.1.22"'))
    assert not bases.problems
    (file,) = json.loads(bases.files["w.bu.j2/node1"])["storage"]["files"]
    assert decode_data_url(file["contents"]["source"]) == b"NODE_IP=10.0.100.21\n\nRACK=r1\n"
    finish("installer.bu", installer.encode())


# ---- the butane program ----


def nothing(root: Path) -> Remembered:
    return Remembered(Paths(PurePosixPath(root)))


def test_a_text_is_translated_once_as_long_as_the_generation_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bin_ = butane.installed(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    text = (butane.CORPUS / "fcos-1.7.bu").read_bytes()
    remembered = nothing(tmp_path)
    made = translator(remembered)[0]({"w.bu.j2/node1": text})["w.bu.j2/node1"]
    assert isinstance(made, bytes)
    remembered.save()
    place = Path(Paths(PurePosixPath(tmp_path)).current) / "ignition/w.bu.j2/node1"
    place.parent.mkdir(parents=True)
    place.write_bytes(made)
    butane.installed(bin_, broken='[ "$1" = --version ] && echo Butane 0.29.0 && exit; exit 9')
    assert translator(nothing(tmp_path))[0]({"w.bu.j2/node1": text}) == {"w.bu.j2/node1": made}
    place.write_bytes(made + b" ")
    assert isinstance(translator(nothing(tmp_path))[0]({"w.bu.j2/node1": text})["w.bu.j2/node1"], tuple)


def test_without_the_program_our_own_translates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    translate, words = translator(nothing(tmp_path))
    assert "own translator" in words
    assert translate is translate_here


def test_the_program_translates_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{butane.installed(tmp_path)}:/usr/bin:/bin")
    translate, words = translator(nothing(tmp_path))
    assert "Butane 0.29.0" in words
    cases = {path.stem: path.read_bytes() for path in butane.CORPUS.glob("*.bu")}
    made = translate(cases)
    assert made.keys() == cases.keys()
    for name, result in made.items():
        if name.startswith("refused"):
            assert isinstance(result, tuple), name
        else:
            assert result == (butane.CORPUS / f"{name}.ign").read_bytes()
    several = made["refused-several"]
    assert isinstance(several, tuple)
    assert [flaw.line for flaw in several] == [8, 6, 10]
    assert "inline" in several[2].hint


@pytest.mark.parametrize("broken", ["exit 7", "echo oh >&2; exit 1", "kill -9 $$"])
def test_a_program_that_breaks_is_a_problem_of_the_file(
    broken: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{butane.installed(tmp_path, broken=broken)}:/usr/bin:/bin")
    translate, _ = translator(nothing(tmp_path))
    made = translate({"a": b"x"})["a"]
    assert isinstance(made, tuple)
    assert made[0].message


def test_the_program_s_words_are_told_with_file_and_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{butane.installed(tmp_path)}:/usr/bin:/bin")
    settings = parse_settings(SETTINGS, "appliance.toml")
    files = {"r.bu": (butane.CORPUS / "refused-relative.bu").read_bytes()}
    bases = make_bases("/x", settings, Inventory(), files, render_here, translator(nothing(tmp_path))[0])
    assert [(p.file, p.line, p.path) for p in bases.problems] == [
        ("/x/r.bu", 5, "storage.files[0].path"),
        ("/x/r.bu", 6, "storage.files[1].path"),
    ]
