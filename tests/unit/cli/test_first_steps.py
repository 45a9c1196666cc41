"""`init`, `check` and `config show`, as a newcomer meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath

import pytest

from appliance.cli.check import check
from appliance.cli.config import config_show
from appliance.cli.init import init
from appliance.errors import ExitCode, OperatorError, Refused
from appliance.paths import Paths
from tests.fakes.keyrings import export


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(PurePosixPath(tmp_path))


def _uncommented(text: str) -> str:
    """The example, as an operator makes it true: one `# ` less in front of every line of it."""
    _, example = text.split("make it yours.\n")
    return re.sub(r"(?m)^# ?", "", example)


@pytest.mark.parametrize(
    ("subnet", "address"), [("172.0.1.0/24", None), ("10.0.0.0/8", "10.1.2.3"), ("10.0.0.0/30", "10.0.0.2")]
)
def test_check_passes_after_init(
    paths: Paths, capsys: pytest.CaptureFixture[str], subnet: str, address: str | None
) -> None:
    init(paths, "br-pxe.7", subnet, address)
    capsys.readouterr()
    assert check(paths) == ExitCode.FINE
    assert capsys.readouterr().out == "OK: 0 machines, 0 profiles, 1 network\n"
    assert all(Path(p).is_dir() for p in (paths.ignition, paths.matchbox, paths.keys, paths.dnsmasq_extra))


@pytest.mark.parametrize("subnet", ["172.0.1.0/24", "10.0.0.0/30"])
def test_the_example_works_as_it_stands(
    paths: Paths, capsys: pytest.CaptureFixture[str], subnet: str
) -> None:
    init(paths, "eth0", subnet)
    example = Path(paths.inventory) / "machines.toml"
    example.write_text(_uncommented(example.read_text()))
    capsys.readouterr()
    assert check(paths) == ExitCode.FINE
    assert capsys.readouterr().out == "OK: 1 machine, 1 profile, 1 network\n"


def test_every_setting_that_is_commented_out_is_a_real_one(paths: Paths) -> None:
    init(paths, "eth0", "172.0.1.0/24")
    settings = Path(paths.settings)
    settings.write_text(re.sub(r"(?m)^# (?=[a-z\[]+ *=|\[(?:images|log|webhook))", "", settings.read_text()))
    Path(paths.keys).mkdir(exist_ok=True)
    (Path(paths.keys) / "signing.pgp").write_bytes(export("ed25519").secret)
    assert check(paths) == ExitCode.FINE


@pytest.mark.parametrize("there", ["settings", "inventory"])
def test_init_overwrites_nothing(paths: Paths, there: str) -> None:
    path = Path(paths.settings) if there == "settings" else Path(paths.inventory) / "machines.toml"
    path.parent.mkdir(parents=True)
    path.write_text("# mine\n")
    with pytest.raises(Refused, match="it is there already"):
        init(paths, "eth0", "172.0.1.0/24")
    assert path.read_text() == "# mine\n"
    assert [p for p in Path(paths.etc).rglob("*") if p.is_file()] == [path]


@pytest.mark.parametrize(
    ("interface", "subnet", "address"),
    [
        ("eth0", "172.0.1.1/24", None),
        ("eth0", "nonsense", None),
        ("eth0", "172.0.1.0/24", "172.0.2.1"),
        ("eth0", "172.0.1.0/24", "x"),
        ("eth 0", "172.0.1.0/24", None),
        ('e"\nmtu = 1', "172.0.1.0/24", None),
        ('e", x = "', "172.0.1.0/24", None),
        ("e\\n", "172.0.1.0/24", None),
    ],
)
def test_init_writes_nothing_that_check_would_refuse(
    paths: Paths, interface: str, subnet: str, address: str | None
) -> None:
    with pytest.raises(OperatorError):
        init(paths, interface, subnet, address)
    assert not Path(paths.etc).exists()


def _break(paths: Paths) -> None:
    init(paths, "eth0", "172.0.1.0/24")
    broken = '[machine.a]\nmac = "x"\nip = "172.0.1.21"\nprfile = "p"\n'
    (Path(paths.inventory) / "machines.toml").write_text(broken)


def test_check_prints_a_line_for_each_problem(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    _break(paths)
    capsys.readouterr()
    assert check(paths) == ExitCode.OPERATOR
    printed = capsys.readouterr()
    file = f"{paths.inventory}/machines.toml"
    not_a_mac = "'x' is not a MAC address: six octets such as 52:54:00:aa:00:01 are expected"
    assert printed.out == ""
    where = "(copy it from the NIC's label or from ip link)"
    assert printed.err.splitlines() == [
        f"{file}:2: machine.a.mac: {not_a_mac} {where}",
        f"{file}:4: machine.a.prfile: is not a known key (did you mean 'profile'?)",
        "2 problems",
    ]


def test_check_as_json(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    _break(paths)
    capsys.readouterr()
    assert check(paths, "json") == ExitCode.OPERATOR
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert problems[1] == {
        "file": f"{paths.inventory}/machines.toml",
        "line": 4,
        "path": "machine.a.prfile",
        "message": "is not a known key",
        "hint": "did you mean 'profile'?",
    }


def test_check_before_init_points_to_init(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(paths, "json") == ExitCode.OPERATOR
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [problem["file"] for problem in problems] == [str(paths.settings), str(paths.inventory)]
    assert all("pxe-appliance init" in problem["hint"] for problem in problems)


def test_config_show(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    init(paths, "eth0", "172.0.1.0/24")
    capsys.readouterr()
    config_show(paths, origin=True, output="json")
    rows = {row["path"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["network.pxe.interface"] == {
        "path": "network.pxe.interface",
        "value": "eth0",
        "file": str(paths.settings),
        "line": 5,
    }
    assert rows["network.pxe.mtu"]["file"] == "default"
    config_show(paths, origin=True)
    assert f"eth0 {paths.settings}:5" in re.sub(r" +", " ", capsys.readouterr().out)
