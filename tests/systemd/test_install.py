"""`service install` and `service uninstall`: what they put on a host, refuse, take back, and leave alone."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.systemd.machine import CHECKOUT, Machine
from tests.systemd.operator import OPT, PROGRAM, install, write_configuration

pytestmark = pytest.mark.netns
UNIT = "pxe-appliance.service"
UNITS = "/usr/local/lib/systemd/system"
WATCHED = ("/etc", "/usr/local/bin", "/usr/local/lib", "/usr/local/share", "/var/lib", "/lib/systemd", "/opt")
# What accounts and systemd keep for themselves.
_OTHERS = (
    *("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid"),
    *("/etc/.pwd.lock", "/var/lib/systemd", "/var/lib/private"),
)


@dataclass(frozen=True)
class Entry:
    """A file, directory or link as it stands there; of a directory, its times say nothing."""

    mode: int
    owner: tuple[int, int]
    size: int = 0
    written: int = 0

    @property
    def directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


def _tree(host: Machine, *places: str) -> dict[str, Entry]:
    """Everything below these places."""
    found = {}
    root = str(host.root)
    for place in places:
        for folder, folders, files in os.walk(f"{root}{place}"):
            for name in (*folders, *files):
                path = f"{folder}/{name}"
                shown = path.removeprefix(root)
                if shown.startswith(_OTHERS) or "__pycache__" in shown:
                    continue
                facts = os.lstat(path)
                entry = Entry(facts.st_mode, (facts.st_uid, facts.st_gid))
                if not entry.directory:
                    entry = replace(entry, size=facts.st_size, written=facts.st_mtime_ns)
                found[shown] = entry
    return found


def _made(before: dict[str, Entry], after: dict[str, Entry]) -> set[str]:
    """The files that are there now, or are others than before."""
    return {path for path, entry in after.items() if not entry.directory and before.get(path) != entry}


def test_the_whole_life(bare: Machine) -> None:
    """Installed, used, installed again, uninstalled: what is left is the operator's, byte for byte."""
    bare.run("install", "--directory", "--mode=700", "/etc/pxe-appliance/secrets.d")
    bare.write("/etc/pxe-appliance/secrets.d/hook", "0123456789abcdef0123456789abcdef", mode=0o600)
    operators = _tree(bare, "/etc/pxe-appliance")
    before = _tree(bare, *WATCHED)

    shown = bare.run(PROGRAM, "service", "install", "--dry-run").stdout
    assert f"+ {UNITS}/{UNIT}\n" in shown
    assert f"$ systemctl start {UNIT}\n" in shown
    assert _tree(bare, *WATCHED) == before, "a dry run does nothing"

    said = install(bare)
    assert said.endswith("The service is installed.\n")
    assert f"ExecStart={PROGRAM} serve\n" in bare.read(f"{UNITS}/{UNIT}")
    assert bare.show(UNIT, "ActiveState", "UnitFileState") == {
        "ActiveState": "active",
        "UnitFileState": "enabled",
    }
    for name in (UNIT, "pxe-appliance-images.service", "pxe-appliance-images.timer"):
        said = bare.run("systemd-analyze", "verify", "--man=no", f"{UNITS}/{name}").stderr
        assert "pxe-appliance" not in said, said
    assert "NAME" in bare.run("man", "pxe-appliance-sync").stdout
    assert bare.run("pxe-appliance", "--version").stdout.startswith("pxe-appliance ")
    # The operator's folders were there before, and keep the modes that they had: doctor names this one.
    bare.run("chgrp", "pxe-appliance", "/etc/pxe-appliance/ignition.d")
    bare.run("chmod", "750", "/etc/pxe-appliance/ignition.d")
    findings = json.loads(bare.run("pxe-appliance", "doctor", "-o", "json", check=False).stdout)
    looked = [f for f in findings if f["id"].startswith(("unit-", "files-", "daemon-"))]
    assert [f for f in looked if f["verdict"] != "ok"] == []

    pid = bare.show(UNIT, "MainPID")
    again = install(bare)
    assert not [line for line in again.splitlines() if line.startswith(("+", "~", "-"))], again
    assert bare.show(UNIT, "MainPID") == pid

    said = bare.run("pxe-appliance", "service", "uninstall", "--yes").stdout
    assert "The service is removed." in said
    after = _tree(bare, *WATCHED)
    left = _made(before, after)
    assert "/var/lib/pxe-appliance/history.db" in left
    assert {path for path in left if not path.startswith("/var/lib/pxe-appliance/")} == set()
    assert before.keys() - after.keys() == set()
    assert not _made(operators, _tree(bare, "/etc/pxe-appliance"))
    assert "0123456789abcdef" in bare.read("/etc/pxe-appliance/secrets.d/hook")
    assert not (bare.root / "run/pxe-appliance").exists()
    assert bare.run("nft", "list", "ruleset").stdout == ""
    assert bare.run("systemctl", "status", UNIT, check=False).returncode == 4
    assert bare.processes(UNIT) == []
    twice = bare.run(PROGRAM, "service", "uninstall", "--yes", check=False)
    assert twice.returncode == 4
    assert "there is no record of it" in twice.stderr

    install(bare)
    assert "generation 1 is current" not in bare.log(f"--unit={UNIT}", "--boot=0").split("Stopped")[-1]
    bare.run("pxe-appliance", "service", "uninstall", "--yes", "--purge-state")
    assert not (bare.root / "var/lib/pxe-appliance").exists()
    assert (bare.root / "etc/pxe-appliance/appliance.toml").exists()


def test_before_there_are_settings(bare: Machine) -> None:
    bare.run("rm", "-r", "/etc/pxe-appliance")
    assert "There are no settings yet: pxe-appliance init" in install(bare)
    assert bare.show(UNIT, "ActiveState", "NRestarts") == {"ActiveState": "inactive", "NRestarts": "0"}
    bare.run("systemctl", "start", UNIT)
    assert bare.show(UNIT, "ActiveState", "NRestarts") == {"ActiveState": "inactive", "NRestarts": "0"}
    write_configuration(bare)
    bare.run("systemctl", "start", UNIT)
    assert bare.show(UNIT, "ActiveState") == {"ActiveState": "active"}


def test_refused(bare: Machine) -> None:
    """Nobody's program becomes a service but root's, and no unit that somebody else wrote is replaced."""
    before = _tree(bare, *WATCHED)

    def refused(words: str, *argv: str, user: str = "") -> None:
        done = bare.run(*(argv or (PROGRAM, "service", "install", "--yes")), check=False, user=user)
        assert done.returncode == 4, (words, done.stdout, done.stderr)
        assert words in done.stderr, done.stderr

    refused("this needs root", user="nobody")
    refused("units serve the host as a whole", PROGRAM, "--root", "/tmp/x", "service", "install")

    bare.run("cp", "-a", OPT, "/home/venv")
    home = "/home/venv/bin/python3"
    bare.run("sed", "-i", f"1s|.*|#!{home}|", "/home/venv/bin/pxe-appliance")
    refused("the service sees no home directories", "/home/venv/bin/pxe-appliance", "service", "install")
    bare.run("rm", "-r", "/home/venv")

    module = f"{OPT}/lib/python3.11/site-packages/appliance/errors.py"
    bare.run("chown", "nobody", module)
    refused("belongs to uid 65534")
    bare.run("chown", "root", module)
    library = f"{OPT}/lib/python3.11/site-packages/yaml/__init__.py"
    bare.run("chown", "nobody", library)
    refused(f"{library} belongs to uid 65534")
    bare.run("chown", "root", library)
    bare.run("chmod", "o+w", OPT)
    refused(f"every user of this host can change {OPT}")
    bare.run("chmod", "o-w", OPT)

    for place, words in (
        ("/lib/systemd/system", "apt remove pxe-appliance"),
        ("/etc/systemd/system", "would stand in front of the unit"),
    ):
        bare.write(f"{place}/{UNIT}", "[Service]\nExecStart=/bin/true\n")
        refused(words)
        bare.run("rm", f"{place}/{UNIT}")
    assert _tree(bare, *WATCHED) == before


def test_an_edited_unit_is_the_operators(bare: Machine) -> None:
    install(bare)
    place = f"{UNITS}/{UNIT}"
    edited = bare.read(place) + "# mine\n"
    bare.write(place, edited)
    done = bare.run(PROGRAM, "service", "install", "--yes", check=False)
    assert done.returncode == 4
    assert f"what somebody else wrote: {place}" in done.stderr
    assert bare.read(place) == edited
    said = bare.run(PROGRAM, "service", "uninstall", "--yes").stdout
    assert f"{place} was edited: it stays" in said
    assert bare.read(place) == edited


def test_a_step_that_fails_is_taken_back(bare: Machine) -> None:
    """Here systemd-tmpfiles does not do its part, after all files were written."""
    before = _tree(bare, *WATCHED)
    bare.write("/usr/local/sbin/systemd-tmpfiles", "#!/bin/sh\necho no room >&2\nexit 1\n", mode=0o755)
    done = bare.run(PROGRAM, "service", "install", "--yes", check=False)
    bare.run("rm", "/usr/local/sbin/systemd-tmpfiles")
    assert done.returncode == 5
    assert "no room; what was done before is taken back" in done.stderr
    after = _tree(bare, *WATCHED)
    assert _made(before, after) == set()
    assert bare.show(UNIT, "LoadState") == {"LoadState": "not-found"}
    install(bare)


def test_a_service_that_cannot_start_says_so(bare: Machine) -> None:
    bare.write("/etc/pxe-appliance/appliance.toml", "[network.pxe]\nsubnet = 7\n")
    done = bare.run(PROGRAM, "service", "install", "--yes", check=False)
    assert done.returncode == 5
    assert "the service is installed, and does not run: journalctl" in done.stderr
    # Nobody mends settings within a second: it is not tried again, and its words stand in the journal once.
    found = bare.show(UNIT, "ActiveState", "ExecMainStatus", "NRestarts")
    assert found == {"ActiveState": "failed", "ExecMainStatus": "3", "NRestarts": "0"}
    write_configuration(bare)
    bare.run("systemctl", "start", UNIT)


def test_the_units_ship_in_the_wheel(built: Path) -> None:
    names = set(zipfile.ZipFile(built).namelist())
    for file in (CHECKOUT / "systemd").iterdir():
        assert f"appliance/shipped/systemd/{file.name}" in names
