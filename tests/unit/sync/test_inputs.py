"""What `check` looks at beside settings and inventory, with nothing touched."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from appliance.errors import Problem
from appliance.paths import Paths
from appliance.sync.inputs import Counts, examine
from tests.fakes.keyrings import export

_SETTINGS = '[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\n'
_NODE = '[machine.a]\nmac = "52:54:00:aa:00:01"\nip = "172.0.1.21"\nprofile = "p"\n'
_PROFILE = '[profile.p]\nboot = "disk"\nignition = "w.bu"\n'


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(PurePosixPath(tmp_path))
    for folder in (paths.inventory, paths.ignition, paths.dnsmasq_extra):
        Path(folder).mkdir(parents=True)
    Path(paths.settings).write_text(_SETTINGS)
    (Path(paths.inventory) / "a.toml").write_text(_NODE + _PROFILE)
    (Path(paths.ignition) / "w.bu").write_text("variant: fcos\nversion: 1.5.0\n")
    return paths


def _matchbox(paths: Paths, profile: dict[str, object], selector: dict[str, str]) -> Path:
    data = Path(paths.matchbox)
    for folder in ("groups", "profiles"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    group = {"id": "g", "profile": "q", "selector": selector}
    (data / "groups/g.json").write_text(json.dumps(group))
    (data / "profiles/q.json").write_text(json.dumps({"id": "q", **profile}))
    return data


def test_all_is_well(paths: Paths) -> None:
    (Path(paths.dnsmasq_extra) / "a.conf").write_text("# ours\nlog-dhcp\n")
    (Path(paths.dnsmasq_extra) / "notes.txt").write_text("not dnsmasq's\n")
    before = sorted(Path(paths.root).rglob("*"))
    assert examine(paths) == ([], [], Counts(machines=1, profiles=1, networks=1))
    assert sorted(Path(paths.root).rglob("*")) == before


def test_ignition_is_judged_even_beside_a_broken_inventory(paths: Paths) -> None:
    (Path(paths.inventory) / "b.toml").write_text("[machine.b]\n")
    (Path(paths.ignition) / "w.bu").write_text("variant: fcos\nversion: 1.5.0\nstorage: [\n")
    problems, _, counts = examine(paths)
    assert {Path(problem.file).name for problem in problems} == {"b.toml", "w.bu"}
    assert counts == Counts(networks=1)


def test_a_directive_is_refused_with_its_line(paths: Paths) -> None:
    file = Path(paths.dnsmasq_extra) / "at line 7 of x.conf"
    for line, message in (
        ("no-such-directive", "no-such-directive is not allowed here: nobody has judged it"),
        ("dhcp-lease-max=x", "dnsmasq refuses it: error"),
    ):
        file.write_text(f"# ours\n\n{line}\n")
        (problem,), _, _ = examine(paths)
        assert (problem.file, problem.line) == (str(file), 3)
        assert problem.message.startswith(message)


def test_nothing_that_a_file_names_is_run_or_read(paths: Paths, tmp_path: Path) -> None:
    """dnsmasq --test runs a conf-script, as whoever checks: often root."""
    script, ran = tmp_path / "canary", tmp_path / "ran"
    script.write_text(f"#!/bin/sh\n: > {ran}\n")
    script.chmod(0o755)
    (Path(paths.dnsmasq_extra) / "a.conf").write_text(f"conf-script={script}\nconf-file=/etc/shadow\n")
    problems, _, _ = examine(paths)
    assert [p.line for p in problems] == [1, 2]
    assert "root:" not in str(problems)
    assert not ran.exists()
    subprocess.run(["dnsmasq", "--test", f"--conf-file={paths.dnsmasq_extra}/a.conf"], check=False)
    assert ran.exists(), "the canary would have run"


def test_a_file_that_never_ends_keeps_nobody_waiting(paths: Paths) -> None:
    os.mkfifo(Path(paths.dnsmasq_extra) / "a.conf")
    os.mkfifo(Path(paths.ignition) / "x.ign")
    (Path(paths.inventory) / "a.toml").write_text(_PROFILE.replace("w.bu", "x.ign"))
    problems, _, _ = examine(paths)
    assert any("not a regular file" in problem.message for problem in problems)


def test_without_dnsmasq_the_directives_are_a_warning(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(paths.dnsmasq_extra) / "a.conf").write_text("dhcp-lease-max=x\n")
    monkeypatch.setenv("PATH", "/nonexistent")
    problems, (warning,), _ = examine(paths)
    assert problems == []
    assert "not installed" in warning.message
    assert warning.hint


def test_strangers_that_would_be_installed_are_a_problem(paths: Paths) -> None:
    data = _matchbox(
        paths, {"boot": {"kernel": "/k", "args": ["flatcar.first_boot=1", "coreos.inst=yes"]}}, {}
    )
    problems, warnings, _ = examine(paths)
    assert [(p.file, p.path) for p in problems] == [(str(data / "groups/g.json"), "selector")]
    assert not {str(p) for p in problems} & {str(w) for w in warnings}


def test_doubts_about_matchbox_data_are_warnings(paths: Paths) -> None:
    data = _matchbox(paths, {"ignition_id": "gone.ign"}, {"mac": "52:54:00:aa:00:09"})
    problems, (warning,), _ = examine(paths)
    assert problems == []
    assert warning.file == str(data / "profiles/q.json")
    assert warning.hint


def test_an_external_matchbox_has_its_own_data(paths: Paths) -> None:
    _matchbox(paths, {"ignition_id": "gone.ign"}, {})
    external = '[matchbox]\nendpoint = "http://matchbox.example.com:8080"\n'
    Path(paths.settings).write_text(_SETTINGS + external)
    assert examine(paths)[:2] == ([], [])


def test_problems_come_by_file_and_line(paths: Paths) -> None:
    Path(paths.settings).write_text(_SETTINGS + "mtu = 1\nlease = 1\n")
    (Path(paths.dnsmasq_extra) / "a.conf").write_text("nonsense\n")
    problems: list[Problem] = examine(paths)[0]
    assert problems == sorted(problems)
    assert len(problems) == 3


def test_a_keyring_that_cannot_sign_is_named(paths: Paths) -> None:
    file = Path(paths.keys) / "signing.pgp"
    file.parent.mkdir(parents=True)
    Path(paths.settings).write_text(f'{_SETTINGS}[matchbox]\nkeyring = "signing.pgp"\n')
    (problem,), warnings, _ = examine(paths)
    assert (problem.file, problem.message) == (str(file), "does not exist")
    assert problem.hint
    assert warnings == []
    file.write_bytes(export("ed25519").secret)
    file.chmod(0o640)
    assert examine(paths)[:2] == ([], [])
    file.chmod(0o644)
    _, (warning,), _ = examine(paths)
    assert "every user of this host" in warning.message


def test_an_encrypted_keyring_is_not_tried_without_its_passphrase(paths: Paths) -> None:
    file = Path(paths.root) / "elsewhere.pgp"
    file.write_bytes(export("ed25519", "hunter2").secret)
    file.chmod(0o600)
    Path(paths.settings).write_text(f'{_SETTINGS}[matchbox]\nkeyring = "{file}"\n')
    problems, (warning,), _ = examine(paths)
    assert problems == []
    assert (warning.file, warning.message[:18]) == (str(file), "is not checked: it")
