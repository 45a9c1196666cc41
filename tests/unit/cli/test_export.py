"""`export switchports`, as the network team gets it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.goldens import assert_golden
from tests.networks import CASE

COMMAND = str(Path(sys.executable).with_name("pxe-appliance"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(CASE, tmp_path / "etc/pxe-appliance")
    return tmp_path


def export(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "--root", str(root), "export", "switchports", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_golden(root: Path) -> None:
    """The table in each of its forms; a row is a line in a pipe, whatever its length."""
    forms = {"table.txt": (), "table.csv": ("-o", "csv"), "table.json": ("-o", "json")}
    said = {name: export(root, *words) for name, words in forms.items()}
    assert {done.returncode for done in said.values()} == {0}
    lines = {
        name: "".join(f"{row.rstrip()}\n" for row in done.stdout.splitlines()) for name, done in said.items()
    }
    assert_golden("networks-switchports", {name: text.encode() for name, text in lines.items()})


def test_all_forms_say_the_same(root: Path) -> None:
    rows = json.loads(export(root, "-o", "json").stdout)
    plain = list(csv.DictReader(io.StringIO(export(root, "-o", "csv").stdout)))
    assert plain == [{key: "" if v is None else str(v) for key, v in row.items()} for row in rows]
    table = export(root).stdout.splitlines()
    assert table[0].split()[:4] == ["MACHINE", "NIC", "MAC", "PORT"]
    assert len(table) == len(rows) + 1


def test_what_is_wrong_is_named_and_nothing_is_printed(root: Path) -> None:
    path = root / "etc/pxe-appliance/inventory.d/10-two-bonds.toml"
    path.write_text(path.read_text().replace("mtu     = 9000\naddress", "mtu     = 1500\naddress"))
    done = export(root)
    assert (done.returncode, done.stdout) == (3, "")
    assert "9000 is more than the 1500 of bond1 below it" in done.stderr


def test_warnings_stop_nothing_and_stand_in_check(root: Path) -> None:
    command = [COMMAND, "--root", str(root), "check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "machine.node2.nic.trunk: has 2 gateways: 10.1.0.1 on xor, then 10.6.0.1 on trunk" in done.stderr
