"""Whatever an operator gets wrong, `check` says where, what, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from appliance.cli.check import check
from appliance.errors import ExitCode
from appliance.paths import Paths

_NETWORK = '[network.pxe]\ninterface = "eth0"\nsubnet = "172.0.1.0/24"\n'
_SECOND = '[network.b]\ninterface = "eth1"\nsubnet = "10.0.0.0/24"\n'
_NODE = '[machine.a]\nmac = "52:54:00:aa:00:01"\nip = "172.0.1.21"\n'
_TWIN = '[machine.b]\nmac = "52:54:00:aa:00:02"\nip = "172.0.1.22"\n'
_BOND = '[machine.a.nic.e1]\nmac = "52:54:00:aa:00:03"\n[machine.a.bond.b0]\nmembers = ["e1"]\n'

_SETTINGS = [
    "",
    "# nothing yet\n",
    "[network]\n",
    "[network.pxe]\n",
    "network = 1\n",
    "[network.pxe\n",
    'a = "\n',
    "x = " + "[" * 50_000 + "\n",
    _NETWORK + "a." * 40 + "b = 1\n",
    _NETWORK + "mtu = " + "9" * 5000 + "\n",
    _NETWORK + "mtu = 1\nmtu = 2\n",
    _NETWORK + "mtu = 1\n",
    _NETWORK + 'mtu = "big"\n',
    _NETWORK + "[network.pxe]\n",
    _NETWORK + 'intreface = "x"\n',
    _NETWORK + 'mode = "both"\n',
    _NETWORK + 'mode = "proxy"\nrelayed = [{ subnet = "10.1.0.0/24", router = "10.1.0.1" }]\n',
    _NETWORK + 'relayed = [{ subnet = "10.1.0.0/24", router = "10.2.0.1" }]\n',
    _NETWORK + 'relayed = [{ subnet = "172.0.1.0/25", router = "172.0.1.1" }]\n',
    _NETWORK + "relayed = [{}]\n",
    _NETWORK + 'lease = "1s"\n',
    _NETWORK + 'lease = "999d"\n',
    _NETWORK + 'lease = "soon"\n',
    _NETWORK + 'address = "172.0.1.0"\n',
    _NETWORK + 'address = "fe80::1"\n',
    _NETWORK + 'ntp = "172.0.1.1"\n',
    _NETWORK + 'ntp = ["172.0.1.1", "172.0.1.1"]\n',
    _NETWORK + _SECOND.replace("eth1", "eth0"),
    _NETWORK + _SECOND.replace("10.0.0.0/24", "172.0.0.0/16"),
    *(_NETWORK.replace("eth0", bad) for bad in ("lo", "", "-e", "eth0\\n", "x" * 2000)),
    *(
        _NETWORK.replace("172.0.1.0/24", bad)
        for bad in ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "0.0.0.0/8", "240.0.0.0/8", "x")
    ),
    *(_NETWORK.replace("172.0.1.0/24", bad) for bad in ("172.0.1.1/24", "172.0.1.0/31")),
    _NETWORK + "[http]\nport = 0\n",
    _NETWORK + '[matchbox]\nendpoint = "ftp://x"\n',
    _NETWORK + '[matchbox]\nendpoint = "http://h:99999"\n',
    _NETWORK + '[matchbox]\nendpoint = "http://h"\npush = "grpc"\n',
    _NETWORK + '[matchbox]\npush = "directory"\ngrpc = "h:1"\n',
    _NETWORK + '[matchbox]\npush = "rsync"\n',
    _NETWORK + '[matchbox]\ndata = "a b"\n',
    _NETWORK + '[images.flatcar]\nmirror = "x"\nkeys = ["../k"]\narch = ["mips"]\n',
    _NETWORK + "[images.flatcar]\narch = []\n",
    _NETWORK + "[images.debian]\n",
    _NETWORK + "".join(f"[x{n}]\n" for n in range(30)),
]

_INVENTORIES = [
    ("a.toml", "[machine.a]\n"),
    ("a.toml", "machine = 3\n"),
    ("a.toml", "machine.a = 3\n"),
    ("a.toml", "[machin.a]\n"),
    ("a.toml", _NODE + _TWIN.replace(":02", ":01")),
    ("a.toml", _NODE + _TWIN.replace(".22", ".21")),
    ("a.toml", _NODE + _TWIN.replace("machine.b", "machine.A")),
    ("a.toml", _NODE + _TWIN + 'hostname = "a"\n'),
    ("a.toml", _NODE + _NODE),
    *(("a.toml", _NODE.replace("172.0.1.21", bad)) for bad in ("172.0.1.0", "172.0.1.1", "10.9.9.9", "1.2")),
    *(("a.toml", _NODE.replace("52:54", bad)) for bad in ("01:00", "zz:00", "")),
    ("a.toml", _NODE.replace("52:54:00:aa:00:01", "00:00:00:00:00:00")),
    ("a.toml", _NODE.replace('"52:54:00:aa:00:01"', "525400000001")),
    ("a.toml", _NODE + 'macs = ["52:54:00:aa:00:02"]\n'),
    *(
        ("a.toml", _NODE.replace("machine.a", f'machine."{bad}"'))
        for bad in ("12h", "7", "ignore", "a_b", "ü")
    ),
    *(
        ("a.toml", _NODE + f'{key} = "-"\n')
        for key in ("network", "profile", "uuid", "arch", "hostname", "nic")
    ),
    ("a.toml", _NODE + 'network = "b"\n'),
    ("a.toml", _NODE + 'profile = "p"\n'),
    ("a.toml", _NODE + 'profile = "p"\n[profile.q]\nboot = "disk"\n'),
    ("a.toml", _NODE + f'serial = "{"x" * 500}"\n'),
    ("a.toml", _NODE + 'serial = "\\u202e"\n'),
    ("a.toml", _NODE + f'labels = {{ a = "{"x" * 500}", "b c" = "d" }}\n'),
    ("a.toml", _NODE + "labels = { " + ", ".join(f'k{n} = "v"' for n in range(70)) + " }\n"),
    ("a.toml", _NODE + _BOND + "mode = 1\n"),
    ("a.toml", _NODE + _BOND.replace('["e1"]', '["e2"]')),
    ("a.toml", _NODE + _BOND.replace('["e1"]', "[]")),
    ("a.toml", _NODE + _BOND.replace("bond.b0", "bond.e1")),
    ("a.toml", _NODE + _BOND + '[machine.a.bond.b1]\nmembers = ["e1"]\n'),
    ("a.toml", _NODE + _BOND + "vlans = { v = { id = 5000 }, w = {} }\n"),
    ("a.toml", _NODE + _BOND + 'vlans = { v = { id = 5, address = "10.0.0.0/24" } }\n'),
    ("a.toml", _NODE + _BOND + 'vlans = { v = { id = 5, gateway = "10.0.0.1" } }\n'),
    ("a.toml", _NODE + _BOND + 'vlans = { v = { id = 5, address = "10.0.0.2/24", gateway = "10.0.0.2" } }\n'),
    ("a.toml", _NODE + _BOND + 'vlans = { v = { id = 5, address = "10.0.0.2/24", gateway = "10.1.0.2" } }\n'),
    ("a.toml", _NODE + _BOND + 'vlans = { v = { id = 5 }, w = { id = 5, address = "x" } }\n'),
    ("a.toml", "[profile.p]\n"),
    ("a.toml", '[profile.p]\ninitrd = ["i"]\nboot = "disk"\n'),
    ("a.toml", '[profile.p]\nimage = "flatcar/stable"\nkernel = "k"\n'),
    *(
        ("a.toml", f'[profile.p]\nimage = "{bad}"\n')
        for bad in ("x", "flatcr/stable", "bsd/x", "flatcar/old")
    ),
    ("a.toml", '[profile.p]\nkernel = "a b"\ninitrd = "x"\nargs = ["a;b", "${x}"]\n'),
    ("a.toml", '[profile.p]\nboot = "never"\nignition = "../x"\n'),
    ("a.toml", '[profile.p]\nboot = "disk"\nignition = "missing.bu"\n'),
    ("a.toml", '[profile."p q"]\nboot = "disk"\n'),
    ("a.toml", b"a = '\xff'\n"),
    ("a.json", ""),
    ("a.json", '{"machine": {"a": NaN}}'),
    ("a.json", '{"machine": {"a": -Infinity}}'),
    ("a.json", '{"machine": ' + "9" * 5000 + "}"),
    ("a.json", "[" * 200_000),
    ("a.json", '{"a":' * 40 + "1" + "}" * 40),
    ("a.json", "[1]"),
    ("a.json", '{"machine": {}, "machine": {}}'),
    ("a.yaml", "a: [\n"),
    ("a.yaml", "- a\n"),
    ("a.yaml", "a: \0\n"),
    ("a.yaml", "machine: &x {a: *x}\n"),
    ("a.yaml", "machine: !!map {}\n"),
    ("a.yaml", "machine: {}\nmachine: {}\n"),
    ("a.yaml", "<<: {}\n? [a]\n: b\n"),
    ("a.yaml", "a: 1\n---\nb: 2\n"),
    ("a.yaml", "[" * 100 + "\n"),
    ("a.csv", ""),
    ("a.csv", "name,mac,ip,,x,x\n"),
    ("a.csv", "name,mac,ip\na,b,c,d\n"),
    ("a.csv", 'name,mac,ip\n"a,b\n'),
    ("a.csv", "name,mac,ip\na,52:54:00:aa:00:01,172.0.1.21\na,52:54:00:aa:00:02,172.0.1.22\n"),
    ("a.csv", "name,mac,ip," + ",".join(f"l{n}" for n in range(200)) + "\n"),
]
_ELSEWHERE = [
    ("ignition.d/w.bu", ""),
    ("ignition.d/w.bu", "variant: fcos\nversion: 1.5.0\nstorage: [\n"),
    ("ignition.d/w.bu", "variant: beos\nversion: 1.0.0\n"),
    ("ignition.d/w.ign", "{"),
    ("ignition.d/w.ign", '{"ignition": {"version": "9"}}'),
    ("ignition.d/w.ign", '{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "x"}]}}'),
    ("dnsmasq.d/a.conf", "# ours\nno-such-directive\n"),
    ("dnsmasq.d/a.conf", "dhcp-range=x\n"),
    ("dnsmasq.d/a.conf", b"# \xff\n"),
    ("dnsmasq.d/a.conf", "conf-file=/no/such/file\n"),
]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(PurePosixPath(tmp_path))
    for folder in (paths.inventory, paths.ignition, paths.dnsmasq_extra):
        Path(folder).mkdir(parents=True)
    Path(paths.settings).write_text(_NETWORK)
    return paths


def _write(paths: Paths, name: str, content: str | bytes) -> None:
    path = Path(paths.etc) / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _each_is_whole(paths: Paths, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert check(paths, "json") == ExitCode.OPERATOR
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert problems
    for problem in problems:
        assert problem["file"] == str(paths.etc / name)
        assert problem["line"] > 0, problem
        assert problem["message"], problem
        assert problem["hint"], problem
        assert problem["hint"] not in problem["message"], problem


@pytest.mark.parametrize("text", _SETTINGS)
def test_in_the_settings(paths: Paths, capsys: pytest.CaptureFixture[str], text: str) -> None:
    _write(paths, "appliance.toml", text)
    _each_is_whole(paths, capsys, "appliance.toml")


@pytest.mark.parametrize(("name", "content"), _INVENTORIES)
def test_in_the_inventory(
    paths: Paths, capsys: pytest.CaptureFixture[str], name: str, content: str | bytes
) -> None:
    _write(paths, f"inventory.d/{name}", content)
    _each_is_whole(paths, capsys, f"inventory.d/{name}")


@pytest.mark.parametrize(("name", "content"), _ELSEWHERE)
def test_in_what_they_name(
    paths: Paths, capsys: pytest.CaptureFixture[str], name: str, content: str | bytes
) -> None:
    file = name.rpartition("/")[2] if name.startswith("ignition.d") else "w.ign"
    _write(paths, "ignition.d/w.ign", '{"ignition": {"version": "3.4.0"}}')
    _write(paths, "inventory.d/a.toml", f'[profile.p]\nboot = "disk"\nignition = "{file}"\n')
    _write(paths, name, content)
    _each_is_whole(paths, capsys, name)
