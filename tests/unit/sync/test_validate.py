"""Every machine's final document, judged: by our rules, by the real ignition-validate, and only once."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from appliance.errors import OperatorError, Problem
from appliance.paths import Paths
from appliance.sync.documents import final_documents, shown_document
from appliance.sync.inputs import examine
from appliance.sync.remembered import Remembered
from appliance.sync.run import Request, desire, plan, sync
from tests.unit.sync.rooms import SETTINGS

RACK = """
[profile.w]
kernel = "/assets/k"
ignition = "{name}"
netconf = "networkd"
{more}
[machine.node1]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
profile = "w"
[machine.node1.nic.eno2]
mac = "52:54:00:aa:00:02"
[machine.node1.bond.bond0]
members = ["eno2"]
vlans = {{ a = {{ id = 100, address = "10.0.0.2/24", gateway = "10.0.0.1" }} }}
[machine.node2]
mac = "52:54:00:aa:00:11"
ip = "172.0.1.22"
profile = "w"
"""
SOUND = '{"ignition": {"version": "3.3.0"}}'


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(PurePosixPath(tmp_path))


def write(paths: Paths, ignition: str, name: str = "w.ign", more: str = "") -> None:
    for folder in (paths.inventory, paths.ignition, paths.dnsmasq_extra):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path(paths.settings).write_text(SETTINGS)
    (Path(paths.inventory) / "a.toml").write_text(RACK.format(name=name, more=more))
    for old in Path(paths.ignition).iterdir():
        old.unlink()
    (Path(paths.ignition) / name).write_text(ignition)


def program(folder: Path, script: str) -> Path:
    """An ignition-validate of another kind."""
    folder.mkdir()
    place = folder / "ignition-validate"
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)
    return folder


def asked(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def counting(folder: Path, log: Path, before: str = "") -> Path:
    """The real program behind a script that notes each document it is given."""
    lines = ('[ "$1" = -version ] && echo counted && exit', f"echo x >>{log}", before)
    script = "\n".join((*lines, 'exec /usr/bin/ignition-validate "$@"'))
    return program(folder, script)


def test_what_ignition_itself_finds_in_order_needs_no_words(paths: Paths) -> None:
    write(paths, SOUND)
    assert not any("ignition-validate" in note for note in desire(paths).notes)
    assert examine(paths)[0] == []


def test_a_spec_that_the_program_does_not_know_is_said_and_left_to_us(paths: Paths) -> None:
    write(paths, SOUND.replace("3.3.0", "3.4.0"))
    (note,) = [note for note in desire(paths).notes if "ignition-validate" in note]
    assert "does not know spec 3.4.0" in note
    assert "2 machines" in note
    counts = examine(paths)[2]
    assert note in counts.notes


def test_without_the_program_it_is_said(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(paths, SOUND)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert any(
        "is not installed" in note and "apt install ignition" in note for note in examine(paths)[2].notes
    )


def test_what_only_the_whole_document_shows_is_told_at_the_operator_s_file(paths: Paths) -> None:
    """The appliance's files lie below a directory that the operator made a link of."""
    document = """{"ignition": {"version": "3.3.0"},
"storage": {
 "links": [{"path": "/etc/systemd/network", "target": "/srv"}]}}"""
    write(paths, document)
    for problems in (examine(paths)[0], _refused(paths)):
        assert {p.file for p in problems} == {str(paths.ignition / "w.ign")}
        assert all(p.line >= 2 for p in problems)
        (first, *_) = problems
        assert "/etc/systemd/network/" in first.message
        assert "lies below '/etc/systemd/network', which is a link" in first.message
        assert first.message.endswith("(machine node1)")


def _refused(paths: Paths) -> tuple[Problem, ...]:
    with pytest.raises(OperatorError, match="as Ignition") as caught:
        plan(paths, Request())
    return caught.value.problems


def test_whatever_the_program_says_counts_and_has_its_line(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = "warning at $.storage.files.0.path, line 9 col 9: nobody should"
    folder = program(
        tmp_path / "bin", f'[ "$1" = -version ] && echo v && exit\ngrep -q files && echo "{said}"; exit 0'
    )
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin:/usr/sbin:/sbin")
    write(
        paths,
        "variant: fcos\nversion: 1.4.0\nstorage:\n  files:\n    - {mode: 0644,\n       path: /a}\n",
        "w.bu",
    )
    problems = examine(paths)[0]
    assert [(p.file.rpartition("/")[2], p.line, p.path) for p in problems] == [
        ("w.bu", 6, "storage.files[0].path")
    ]
    assert "ignition-validate: nobody should (machine node1, node2)" in problems[0].message


@pytest.mark.parametrize("script", ["exit 3", "kill -9 $$", "echo v; sleep 0; kill -9 $$"])
def test_a_program_that_does_not_work_is_said_and_stops_nothing(
    script: str, paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = program(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin:/usr/sbin:/sbin")
    write(paths, SOUND)
    problems, _, counts = examine(paths)
    assert problems == []
    assert any("ignition-validate" in note for note in counts.notes)


# ---- once ----


def test_a_document_is_asked_about_once(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    folder = counting(tmp_path / "bin", log)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin:/usr/sbin:/sbin")
    write(paths, SOUND)
    sync(paths, Request(), None)
    first = asked(log)
    assert first == 3, "the spec, and two machines"
    sync(paths, Request(), None)
    assert asked(log) == first + 1, "the spec alone"
    write(paths, SOUND.replace("}}", '}, "systemd": {}}'))
    sync(paths, Request(), None)
    assert asked(log) == first + 1 + 3


def test_looking_writes_nothing(paths: Paths) -> None:
    write(paths, SOUND)
    examine(paths)
    plan(paths, Request())
    assert not Path(paths.state).exists()


def test_machines_with_one_document_are_asked_about_together(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    folder = counting(tmp_path / "bin", log)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin:/usr/sbin:/sbin")
    write(paths, SOUND, more="call_home = false")
    rack = Path(paths.inventory) / "a.toml"
    more = "".join(
        f'[machine.m{n}]\nmac = "52:54:00:bb:00:{n:02x}"\nip = "172.0.1.{n + 30}"\nprofile = "w"\n'
        for n in range(20)
    )
    rack.write_text(rack.read_text() + more)
    desire(paths)
    assert asked(log) == 3, "the spec, node1 with its bond, and all others"


def test_verdicts_are_kept_bounded_and_a_broken_cache_is_an_empty_one(paths: Paths) -> None:
    Path(paths.state).mkdir(parents=True)
    place = Path(paths.state) / "ignition-verdicts.json"
    for content in ("", "{", '{"known": 1}', "[]", '{"version": 1, "known": {"x": 3}}'):
        place.write_text(content)
        cache = Remembered(paths)
        assert not cache.knows("v1", b"a")
        cache.learn("v1", b"a")
        cache.save()
        again = Remembered(paths)
        assert again.knows("v1", b"a")
        assert not again.knows("v2", b"a"), "another validator may think otherwise"
        assert not again.knows("v1", b"b")
    assert place.stat().st_mode & 0o777 == 0o600


# ---- the documents themselves ----


def test_what_is_shown_is_what_is_served_with_a_word_for_the_token(paths: Paths) -> None:
    write(paths, SOUND, more='tuning = "performance"')
    desired = desire(paths)
    ignition = {"w.ign": SOUND.encode()}
    finals = {f.machine: f for f in final_documents(desired.settings, desired.inventory, ignition)}
    shown = shown_document(desired.settings, desired.inventory, ignition, "node1")
    assert shown == finals["node1"].text
    document = json.loads(shown)
    found = {file["path"] for file in document["storage"]["files"]}
    assert {"/etc/pxe-appliance/call-home", "/etc/pxe-appliance/tuning"} <= found
    assert any(path.startswith("/etc/systemd/network/") for path in found)
    assert b"TOKEN%3DTOKEN-OF-THE-BOOT" in shown
    assert finals["node2"].shape != finals["node1"].shape
    names = [unit["name"] for unit in document["systemd"]["units"]]
    assert names == ["pxe-appliance-tuning.service", "pxe-appliance-call-home.service"]


def test_networks_that_nobody_renders_are_a_warning_with_a_place(paths: Paths) -> None:
    write(paths, SOUND)
    rack = Path(paths.inventory) / "a.toml"
    rack.write_text(rack.read_text().replace('netconf = "networkd"\n', ""))
    warnings = [w for w in examine(paths)[1] if "not rendered" in w.message]
    assert [(w.file, w.line, w.path) for w in warnings] == [(str(rack), 2, "profile.w")]
    assert "netconf" in warnings[0].hint
    assert any("not rendered" in note for note in desire(paths).notes)


def test_the_variant_of_butane_tells_what_configures_networks(paths: Paths) -> None:
    write(paths, "variant: fcos\nversion: 1.4.0\n", "w.bu")
    rack = Path(paths.inventory) / "a.toml"
    rack.write_text(rack.read_text().replace('netconf = "networkd"\n', ""))
    desired = desire(paths)
    made = desired.tree.get("ignition/w.bu")
    assert made is not None
    shown = shown_document(desired.settings, desired.inventory, {"w.bu": made.content}, "node1")
    assert shown is not None
    assert b"/etc/NetworkManager/system-connections/" in shown


def test_an_operator_s_own_file_stays_and_is_named(paths: Paths) -> None:
    unit = '"systemd": {"units": [{"name": "pxe-appliance-call-home.service"}]}'
    write(paths, f'{{"ignition": {{"version": "3.3.0"}}, {unit}}}')
    counts = examine(paths)[2]
    assert any("its own pxe-appliance-call-home.service stays" in note for note in counts.notes)
