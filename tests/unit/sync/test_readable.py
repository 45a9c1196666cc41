"""What root wrote with a narrow umask is named before a sync of the daemon's is refused."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from appliance.paths import Paths
from appliance.sync.inputs import examine
from appliance.sync.readable import closed_to_the_daemon, operators_files

DAEMON = 41117  # nobody's number


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A root with settings, an inventory, and a state that is the service's."""
    found = Paths(PurePosixPath(tmp_path))
    for directory in (found.inventory, found.ignition, found.dnsmasq_extra, found.state):
        Path(directory).mkdir(parents=True, mode=0o755)
    Path(found.settings).write_text('[network.pxe]\ninterface = "pxe0"\nsubnet = "172.0.1.0/24"\n')
    for name in ("fleet.toml", "more.toml"):
        Path(found.inventory / name).write_text("")
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    os.chown(found.state, DAEMON, DAEMON)
    return found


def told(paths: Paths) -> dict[str, str]:
    """What to do, by the name of what is closed."""
    found = closed_to_the_daemon(paths, operators_files(paths))
    assert all(f"uid {DAEMON}" in problem.message for problem in found)
    return {Path(problem.file).name: problem.hint for problem in found}


def test_all_is_open(paths: Paths) -> None:
    assert told(paths) == {}


@pytest.mark.parametrize("name", ["more.toml", "fleet.toml"])
def test_a_file_of_root_s(paths: Paths, name: str) -> None:
    file = Path(paths.inventory / name)
    file.chmod(0o600)
    assert told(paths) == {name: f"chgrp {DAEMON} {file} && chmod g+rX {file}"}
    problems, _, _ = examine(paths)
    assert f"{name}: cannot be read by the daemon, which runs as uid {DAEMON}" in str(problems[0])
    os.chown(file, 0, DAEMON)
    file.chmod(0o640)
    assert told(paths) == {}


@pytest.mark.parametrize("name", ["inventory.d", "pxe-appliance"])
def test_a_directory_on_the_way(paths: Paths, name: str) -> None:
    directory = Path(paths.inventory if name == "inventory.d" else paths.etc)
    directory.chmod(0o700)
    assert told(paths).keys() == {name}


def test_where_there_is_no_service_nothing_is_closed(paths: Paths) -> None:
    Path(paths.inventory / "more.toml").chmod(0o600)
    os.chown(paths.state, 0, 0)
    assert told(paths) == {}
    Path(paths.state).rmdir()
    assert told(paths) == {}
