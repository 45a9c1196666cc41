"""`machine add|remove|replace-mac` and `strays adopt`, as an operator types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.addresses import Hostname
from appliance.errors import OperatorError, Refused
from appliance.inventory.amend import editor
from appliance.inventory.edit import Addition, Removal
from tests.fakes.full_disk import filled, small_disk
from tests.fakes.steps import run_to_step
from tests.unit.cli.command import COMMAND, Operator
from tests.unit.sync.rooms import RACK, SETTINGS

NODE3 = "52:54:00:aa:00:21"
STRAY: dict[str, object] = {
    "mac": NODE3, "network": "pxe", "owner": None, "machine": None, "clues": [],
    "reason": "not in the inventory", "reason_code": "not-in-inventory",
}  # fmt: skip
ADDED = '\n[machine.node3]\nmac = "52:54:00:aa:00:21"\nip = "172.0.1.23"\n'


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path)
    operator.write()
    return operator


def files(operator: Operator) -> dict[str, bytes]:
    folder = Path(operator.paths.inventory)
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def rack(operator: Operator) -> str:
    return (Path(operator.paths.inventory) / "rack.toml").read_text()


# ---- add ----


def test_add_shows_the_diff_and_the_plan_and_changes_nothing_else(operator: Operator) -> None:
    assert operator.run("sync", "--yes").rc == 0
    said = operator.run("machine", "add", "node3", "--mac", "5254.00AA.0021", "--profile", "lab")
    assert said.rc == 0, said.err
    assert rack(operator) == RACK + ADDED + 'profile = "lab"\n'
    path = operator.paths.inventory / "rack.toml"
    assert said.out.startswith(f"--- {path}\n+++ {path}\n@@ ")
    assert '\n+[machine.node3]\n+mac = "52:54:00:aa:00:21"\n' in said.out
    assert f"Wrote {path}." in said.out
    assert "+ machine node3: 52:54:00:aa:00:21 at 172.0.1.23, profile lab" in said.out
    assert said.out.endswith("\nTo apply it: pxe-appliance sync\n")
    assert "\x1b" not in said.out
    assert operator.run("plan", "--exit-code").rc == 10


def test_add_takes_everything_that_it_is_told(operator: Operator) -> None:
    args = (
        "--mac",
        NODE3,
        "--mac",
        "52-54-00-aa-00-22",
        "--ip",
        "172.0.1.99",
        "--label",
        "rack=r1",
        "--label",
        "n=a=b",
    )
    said = operator.call(
        "machine", "add", "Node3", *args, "--profile", "lab", "--file", "new.yaml", "--network", "pxe"
    )
    assert said.rc == 0, said.err
    assert files(operator)["new.yaml"].decode() == (
        "machine:\n  node3:\n"
        '    macs: ["52:54:00:aa:00:21", "52:54:00:aa:00:22"]\n    ip: 172.0.1.99\n    network: pxe\n'
        '    profile: lab\n    labels:\n      rack: r1\n      "n": "a=b"\n'
    )
    assert rack(operator) == RACK
    assert "--- /dev/null" in said.out


def test_dry_run_writes_nothing_and_json_has_three_parts(operator: Operator) -> None:
    before = files(operator)
    said = operator.call("machine", "add", "node3", "--mac", NODE3, "--dry-run", "-o", "json")
    assert said.rc == 0
    assert files(operator) == before
    facts = said.json()
    assert {"file", "diff", "plan"} <= facts.keys()
    assert facts["written"] is False
    assert [c["name"] for c in facts["plan"]["changes"] if c["kind"] == "machine"] == [
        "node1",
        "node2",
        "node3",
    ]
    assert operator.call("machine", "add", "node3", "--mac", NODE3, "-o", "json").json()["written"] is True
    # The diff is one: it turns the old file into the new one.
    old = Path(operator.root / "old.toml")
    old.write_bytes(before["rack.toml"])
    subprocess.run(["patch", "-s", str(old)], input=facts["diff"], text=True, check=True, timeout=10)
    assert old.read_bytes() == files(operator)["rack.toml"]
    plain = operator.call("machine", "remove", "node3", "--dry-run").out
    assert "Nothing was written." in plain
    assert "To apply it" not in plain


def test_a_terminal_gets_colours_and_nothing_else_does(operator: Operator) -> None:
    def args(name: str) -> tuple[str, ...]:
        return ("machine", "add", name, "--mac", NODE3, "--dry-run")

    assert "\x1b[32m+[machine.node3]" in operator.on_a_terminal(*args("node3"))
    assert "\x1b[32m" not in operator.on_a_terminal(*args("node3"), env={"NO_COLOR": "1"})
    assert "\x1b" not in operator.run(*args("node3")).out


def test_the_first_machine_goes_into_the_file_that_init_made(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    assert operator.call("init", "--interface", "eth0", "--subnet", "172.0.1.0/24").rc == 0
    template = files(operator)["machines.toml"].decode()
    assert operator.call("machine", "add", "node1", "--mac", NODE3).rc == 0
    assert files(operator)["machines.toml"].decode() == (
        f'{template}\n[machine.node1]\nmac = "{NODE3}"\nip = "172.0.1.2"\n'
    )
    (Path(operator.paths.inventory) / "machines.toml").unlink()
    assert operator.call("machine", "add", "node1", "--mac", NODE3).rc == 0
    assert list(files(operator)) == ["machines.toml"]


def test_what_exists_is_named_with_its_place(operator: Operator) -> None:
    before = files(operator)
    said = operator.call("machine", "add", "node1", "--mac", "52-54-00-AA-00-12", "--ip", "172.0.1.21")
    assert said.rc == 3
    assert re.findall(r"rack\.toml:(\d+): machine\.(\S+):", said.err) == [
        ("6", "node1"), ("8", "node1.ip"), ("12", "node2.macs[1]"),
    ]  # fmt: skip
    assert files(operator) == before


@pytest.mark.parametrize(
    ("args", "rc", "words"),
    [
        (("add", "node3", "--mac", "52:54:00:aa:00"), 3, "is not a MAC address"),
        (("add", "no de3", "--mac", NODE3), 3, "is not a host name"),
        (("add", 'x"]\n[machine.y', "--mac", NODE3), 3, "holds a line break"),
        (("add", "node3", "--mac", NODE3, "--ip", "172.0.1.1"), 3, "our own"),
        (("add", "node3", "--mac", NODE3, "--ip", "172.0.1.255"), 3, "broadcast"),
        (("add", "node3", "--mac", NODE3, "--ip", "10.0.0.9"), 3, "outside the network"),
        (("add", "node3", "--mac", NODE3, "--ip", "soon"), 3, "is not an IPv4 address"),
        (("add", "node3", "--mac", NODE3, "--profile", "labb"), 3, "did you mean 'lab'?"),
        (("add", "node3", "--mac", NODE3, "--network", "pxee"), 3, "did you mean pxe?"),
        (("add", "node3", "--mac", NODE3, "--label", "a b=x"), 3, "a label's name"),
        (("add", "node3", "--mac", NODE3, "--label", "a=x\ny"), 3, "unprintable"),
        (("add", "node3", "--mac", NODE3, "--label", "rack"), 2, "no NAME=VALUE"),
        (("add", "node3", "--mac", NODE3, "--label", "a=1", "--label", "a=2"), 2, "given twice"),
        (("add", "node3"), 2, "--mac"),
        (("add", "node3", "--mac", NODE3, "--dry-run", "--sync"), 2, "leave --sync out"),
        (("add", "node3", "--mac", NODE3, "--file", "x.txt"), 3, "would not be read"),
        (("add", "node3", "--mac", NODE3, "--file", ".x.toml"), 3, "would not be read"),
        (("add", "node3", "--mac", NODE3, "--file", "../appliance.toml"), 3, "is not in"),
        (("add", "node3", "--mac", NODE3, "--file", "link.toml"), 4, "it is a link"),
        (("add", "node3", "--mac", NODE3, "--file", "pipe.toml"), 3, "rack.toml"),
        (("remove", "nod1"), 3, "did you mean node1?"),
        (("replace-mac", "node2", NODE3), 3, "52:54:00:aa:00:11, 52:54:00:aa:00:12"),
        (("replace-mac", "node1", "52:54:00:aa:00:12"), 3, "is a NIC of node2 already"),
        (("replace-mac", "node1", NODE3, "--old", "52:54:00:aa:00:99"), 3, "is not a NIC of node1"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    operator: Operator, args: tuple[str, ...], rc: int, words: str
) -> None:
    folder = Path(operator.paths.inventory)
    if "link.toml" in args:
        (folder / "link.toml").symlink_to("rack.toml")
        (folder / "rack.toml").write_text("")
    if "pipe.toml" in args:
        words = "no regular file"
        rc = 4
        os.mkfifo(folder / "pipe.toml")
    names = sorted(p.name for p in folder.iterdir())
    before = rack(operator)
    said = operator.call("machine", *args)
    assert said.rc == rc, said.err
    assert words in " ".join(said.err.replace("│", "").split()).replace("NAME= VALUE", "NAME=VALUE")
    assert rack(operator) == before
    assert sorted(p.name for p in folder.iterdir()) == names


def test_an_inventory_that_is_wrong_elsewhere_is_not_added_to(operator: Operator) -> None:
    (Path(operator.paths.inventory) / "b.toml").write_text('[machine.b]\nmac = "x"\nip = "172.0.1.21"\n')
    before = files(operator)
    said = operator.call("machine", "add", "node3", "--mac", NODE3)
    assert said.rc == 3
    assert "b.toml:2: machine.b.mac" in said.err
    assert "nothing was written" in said.err
    assert files(operator) == before
    assert operator.call("machine", "remove", "b").rc == 0  # which mends it
    assert files(operator) == before | {"b.toml": b""}


# ---- remove and replace-mac ----


def test_remove_takes_all_that_is_the_machines(operator: Operator) -> None:
    nic = '\n# its other one\n[machine.node1.nic.eno2]\nmac = "52:54:00:aa:00:02"\n'
    operator.write(RACK.replace("\n[machine.node2]", nic + "\n[machine.node2]"))
    said = operator.call("machine", "remove", "NODE1")
    assert said.rc == 0, said.err
    assert rack(operator) == RACK.replace(
        '[machine.node1]\nmac = "52:54:00:aa:00:01"\nip = "172.0.1.21"\nprofile = "lab"\n\n', ""
    )
    assert "-# its other one" in said.out


def test_replace_mac_replaces_one(operator: Operator) -> None:
    assert operator.call("machine", "replace-mac", "node1", "DE:AD:BE:EF:00:01").rc == 0
    assert rack(operator) == RACK.replace("52:54:00:aa:00:01", "de:ad:be:ef:00:01")
    assert operator.call("machine", "replace-mac", "node2", NODE3, "--old", "525400aa0012").rc == 0
    assert f'macs = ["52:54:00:aa:00:11", "{NODE3}"]' in rack(operator)


def test_a_fixed_mac_of_a_bond_stays_and_that_is_said(operator: Operator) -> None:
    more = (
        '[machine.node1.nic.eno2]\nmac = "52:54:00:aa:00:02"\n'
        '[machine.node1.bond.bond0]\nmembers = ["eno2"]\nmac = "52:54:00:aa:00:02"\n'
    )
    operator.write(RACK + more)
    said = operator.call("machine", "replace-mac", "node1", NODE3, "--old", "52:54:00:aa:00:02")
    assert said.rc == 0, said.err
    assert "warning: bond0 of node1 keeps its fixed MAC 52:54:00:aa:00:02" in said.err
    assert rack(operator) == RACK + more.replace("52:54:00:aa:00:02", NODE3, 1)


# ---- sync at once ----


def test_sync_applies_it_at_once(operator: Operator) -> None:
    said = operator.call("machine", "add", "node3", "--mac", NODE3, "--sync", "--yes")
    assert said.rc == 0, said.err
    assert "Generation 1 is applied" in said.out
    assert "To apply it" not in said.out
    assert operator.call("plan", "--exit-code").rc == 0
    (generation,) = operator.call("generations", "-o", "json").json()
    assert generation["why"] == "machine add node3"
    facts = operator.call("machine", "remove", "node3", "--sync", "--yes", "-o", "json").json()
    assert facts["sync"]["generation"] == 2


def test_what_a_sync_refuses_is_written_and_said(operator: Operator) -> None:
    with operator.daemon(
        post_sync=(409, {"kind": "Refused", "message": "not now", "hint": ""}), leases=(200, [])
    ):
        said = operator.call("machine", "add", "node3", "--mac", NODE3, "--sync", "--yes", "-o", "json")
    assert said.rc == 4
    assert "not now" in said.err
    assert said.json()["sync"] is None
    assert rack(operator) == RACK + ADDED


def test_the_plan_is_left_out_where_it_cannot_be_told(operator: Operator) -> None:
    assert operator.run("sync", "--yes").rc == 0
    for path in Path(operator.paths.generations).rglob("inventory.json"):
        path.write_text("{")
    said = operator.call("machine", "add", "node3", "--mac", NODE3)
    assert said.rc == 0, said.err
    assert rack(operator) == RACK + ADDED


# ---- leases, and strays ----


def test_auto_passes_by_what_is_leased(operator: Operator) -> None:
    leases = [{"ip": "172.0.1.23"}, {"ip": "172.0.1.24"}, {"ip": "?"}, {}]
    with operator.daemon(leases=(200, leases)):
        assert operator.call("machine", "add", "node3", "--mac", NODE3).rc == 0
    assert 'ip = "172.0.1.25"' in rack(operator)


def test_adopt_takes_the_network_from_the_ledger(operator: Operator) -> None:
    operator.write(RACK, SETTINGS + '[network.lab]\ninterface = "pxe1"\nsubnet = "10.0.0.0/24"\n')
    with operator.daemon(
        **{f"strays/{NODE3}": (200, STRAY | {"network": "lab"}), "leases": (200, [])}
    ) as daemon:
        said = operator.call("strays", "adopt", "525400AA0021", "--name", "node3", "--profile", "lab")
        assert said.rc == 0, said.err
        assert said.err == ""
        assert f"GET /v1/strays/{NODE3}" in [asked for asked, _ in daemon.asked]
    assert rack(operator) == RACK
    assert files(operator)["machines.toml"].decode() == (
        f'[machine.node3]\nmac = "{NODE3}"\nip = "10.0.0.2"\nprofile = "lab"\n'
    )


def test_adopt_says_what_is_odd_and_goes_on(operator: Operator) -> None:
    said = operator.call("strays", "adopt", NODE3, "--name", "node3")
    assert said.rc == 0
    assert "the daemon is not running" in said.err
    unknown = {"kind": "Refused", "message": f"{NODE3} is no stray: it is not on the ledger", "hint": ""}
    operator.write()
    with operator.daemon(**{f"strays/{NODE3}": (409, unknown), "leases": (200, [])}):
        said = operator.call("strays", "adopt", NODE3, "--name", "node3")
    assert said.rc == 0
    assert "is not on the ledger; it is added all the same" in said.err
    beside = STRAY | {"clues": [{"kind": "neighbour", "text": "one above node2's", "machine": "node2"}]}
    operator.write()
    with operator.daemon(**{f"strays/{NODE3}": (200, beside), "leases": (200, [])}):
        said = operator.call("strays", "adopt", NODE3, "--name", "node3")
    assert said.rc == 0
    assert "warning: it may be known: one above node2's" in said.err
    assert rack(operator) == RACK + ADDED


@pytest.mark.parametrize("kind", ["uuid", "typo", "name", None])
def test_a_machine_with_a_new_board_is_not_adopted(operator: Operator, kind: str | None) -> None:
    text = "UUID of node1 with a new MAC: replaced board or NIC"
    clues = [{"kind": kind, "text": text, "machine": "node1"}] if kind else []
    row = STRAY | {"owner": text, "machine": "node1", "clues": clues}
    with operator.daemon(**{f"strays/{NODE3}": (200, row), "leases": (200, [])}):
        said = operator.call("strays", "adopt", NODE3, "--name", "node3")
        assert said.rc == 4
        assert f"seems to be node1 itself: {text}" in said.err
        assert f"pxe-appliance machine replace-mac node1 {NODE3}" in said.err
        assert rack(operator) == RACK
        assert operator.call("strays", "adopt", NODE3, "--name", "node3", "--anyway").rc == 0
    assert rack(operator) == RACK + ADDED


# ---- the file itself ----


def test_marks_line_ends_mode_and_owner_stay(operator: Operator) -> None:
    path = Path(operator.paths.inventory) / "rack.toml"
    content = b"\xef\xbb\xbf" + RACK.replace("\n", "\r\n").encode()
    path.write_bytes(content)
    path.chmod(0o640)
    os.chown(path, 65534, 65533)
    assert operator.call("machine", "add", "node3", "--mac", NODE3).rc == 0
    assert path.read_bytes() == content + ADDED.replace("\n", "\r\n").encode()
    found = path.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, 65534, 65533)


def test_a_change_in_between_is_not_overwritten(operator: Operator) -> None:
    path = Path(operator.paths.inventory) / "rack.toml"
    with editor(operator.paths) as desk:
        amendment = desk.amend(path, Removal("node1"))
        path.write_text(RACK + "# mine\n")
        with pytest.raises(Refused, match="changed in the meantime"):
            desk.write(amendment)
    assert path.read_text() == RACK + "# mine\n"


def test_what_is_written_is_judged_with_everything_else(operator: Operator) -> None:
    path = Path(operator.paths.inventory) / "rack.toml"
    twin = Addition(Hostname.parse("node3"), {"mac": "52:54:00:aa:00:01", "ip": "172.0.1.21"})
    with editor(operator.paths) as desk, pytest.raises(OperatorError) as caught:
        desk.amend(path, twin)
    assert [p.path for p in caught.value.problems] == ["machine.node3.mac", "machine.node3.ip"]
    assert all("rack.toml" in p.message for p in caught.value.problems)
    path.write_bytes(b"# \xff\n")
    with editor(operator.paths) as desk, pytest.raises(OperatorError, match="not UTF-8"):
        desk.amend(path, twin)


def test_several_at_once_all_come_in(operator: Operator) -> None:
    def add(number: int) -> int:
        return operator.run("machine", "add", f"extra{number}", "--mac", f"52:54:00:bb:00:{number:02x}").rc

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(add, range(5))) == [0] * 5
    said = operator.call("check", "-o", "json")
    assert said.json()["problems"] == []
    assert len(set(re.findall(r'ip = "(\S+)"', rack(operator)))) == 7


def test_nothing_is_lost_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        operator = Operator(disk)
        operator.write()
        before = files(operator)
        with filled(disk):
            said = operator.call("machine", "add", "node3", "--mac", NODE3)
            assert said.rc == 5, said.err
            assert "No space left on device" in said.err
            assert files(operator) == before
        assert operator.call("machine", "add", "node3", "--mac", NODE3).rc == 0


def test_killed_at_any_step_the_inventory_is_whole(operator: Operator) -> None:
    argv = [COMMAND, "--root", str(operator.root), "machine", "add", "node3", "--mac", NODE3]
    folder = Path(operator.paths.inventory)
    steps = len(run_to_step(argv, folder, None).calls)
    assert steps >= 4
    for step in range(1, steps + 1):
        operator.write()
        assert run_to_step(argv, folder, step).killed
        assert rack(operator) in (RACK, RACK + ADDED)
        assert operator.call("check").rc == 0
    operator.write()
    assert operator.call("machine", "add", "node3", "--mac", NODE3).rc == 0
    assert list(files(operator)) == ["rack.toml"]


def test_other_formats_by_the_command(operator: Operator) -> None:
    folder = Path(operator.paths.inventory)
    (folder / "rack.toml").unlink()
    (folder / "a.csv").write_text("name,mac,ip,rack\n# here\nnode1,52:54:00:aa:00:01,172.0.1.21,r1\n")
    said = operator.call("machine", "add", "node3", "--mac", NODE3, "--network", "pxe", "--label", "rack=r2")
    assert said.rc == 0, said.err
    assert files(operator)["a.csv"].decode().endswith(f"r1\nnode3,{NODE3},172.0.1.22,r2\n")
    said = operator.call("machine", "add", "node4", "--mac", "52:54:00:aa:00:22", "--label", "role=x")
    assert said.rc == 4
    assert "there is no column 'role'" in said.err
    said = operator.call("machine", "replace-mac", "node1", "52:54:00:aa:00:99", "-o", "json")
    assert json.loads(said.out)["file"].endswith("a.csv")
