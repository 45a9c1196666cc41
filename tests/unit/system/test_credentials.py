"""Where a secret is read: its own file, or the copy that systemd made of it for a service that may not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.system.credentials import closed, given, only_for_the_service


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    made = tmp_path / "secrets.d"
    made.mkdir(mode=0o700)
    (made / "hook").write_bytes(b"original")
    return made


def _as_nobody(tmp_path: Path, expression: str) -> str:
    """What another user of this host gets."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from appliance.system.credentials import *\n"
        f"os.setgid(65534); os.setuid(65534)\nT = Path({str(tmp_path)!r})\nprint({expression})"
    )
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path.name:
            path.chmod(path.stat().st_mode | 0o011)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_file_that_can_be_read_counts_itself(secrets: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets.d_hook").write_bytes(b"copy")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert given(secrets / "hook", secrets, environ) == secrets / "hook"
    assert given(secrets / "hook", secrets, {}) == secrets / "hook"


def test_one_that_cannot_is_read_from_its_copy(secrets: Path, tmp_path: Path) -> None:
    for name in ("secrets.d_hook", "secrets.d_sub_key"):
        (tmp_path / name).write_bytes(b"copy")
    place = "{'CREDENTIALS_DIRECTORY': str(T)}"
    assert (
        _as_nobody(tmp_path, f"given(T/'secrets.d/hook', T/'secrets.d', {place})")
        == f"{tmp_path}/secrets.d_hook"
    )
    nested = f"given(T/'secrets.d/sub/key', T/'secrets.d', {place})"
    assert _as_nobody(tmp_path, nested) == f"{tmp_path}/secrets.d_sub_key"
    without = f"given(T/'secrets.d/other', T/'secrets.d', {place})"
    assert _as_nobody(tmp_path, without) == f"{secrets}/other", "the operator's name for it, to complain of"
    elsewhere = f"given(T/'keys.d/hook', T/'secrets.d', {place})"
    assert _as_nobody(tmp_path, elsewhere) == f"{tmp_path}/keys.d/hook"


def test_what_is_kept_from_a_person_is_not_looked_at(secrets: Path, tmp_path: Path) -> None:
    assert not only_for_the_service(secrets / "hook", secrets, {})
    asked = "only_for_the_service(T/'secrets.d/hook', T/'secrets.d', {})"
    assert _as_nobody(tmp_path, asked) == "True"
    in_service = "only_for_the_service(T/'secrets.d/hook', T/'secrets.d', {'CREDENTIALS_DIRECTORY': '/x'})"
    assert _as_nobody(tmp_path, in_service) == "False"


def test_a_closed_directory_closes_its_files(secrets: Path, tmp_path: Path) -> None:
    (secrets / "hook").chmod(0o644)
    assert closed(secrets / "hook", secrets)
    assert not closed(tmp_path / "hook", secrets)
    secrets.chmod(0o750)
    assert not closed(secrets / "hook", secrets)
    assert not closed(secrets / "hook", tmp_path / "none")
