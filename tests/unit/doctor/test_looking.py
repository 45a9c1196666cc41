"""The gatherers, with /proc and /sys put elsewhere, without rights, and with subjects that fail."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from appliance.doctor.examine import examine
from appliance.doctor.finding import Finding
from appliance.doctor.look_host import look_at_host
from appliance.doctor.look_links import look_at_kernel, look_at_links, look_at_routes
from appliance.doctor.reach import Reach
from appliance.errors import SurroundingsError
from appliance.paths import Paths
from tests.unit.sync.rooms import Site


def put(root: Path, path: str, text: str) -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


@pytest.fixture
def reach(tmp_path: Path) -> Reach:
    return Reach(proc=tmp_path / "proc", sys=tmp_path / "sys")


def test_routes_of_the_kernel(reach: Reach) -> None:
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    rows = "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    rows += "pxe0\t000100AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    rows += "gone\t000200AC\t00000000\t0000\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    put(reach.proc, "net/route", head + rows)
    assert [str(route) for route in look_at_routes(reach)] == [
        "default via 10.0.0.1 dev eth0",
        "172.0.1.0/24 dev pxe0",
    ]


def test_settings_of_the_kernel(reach: Reach) -> None:
    assert look_at_kernel(reach).ip_forward is False
    put(reach.proc, "sys/net/ipv4/ip_forward", "1\n")
    put(reach.proc, "sys/net/ipv4/conf/pxe0.7/forwarding", "1\n")
    put(reach.proc, "sys/net/ipv4/conf/all/rp_filter", "2\n")
    put(reach.proc, "sys/net/bridge/bridge-nf-call-iptables", "1\n")
    kernel = look_at_kernel(reach)
    assert (kernel.ip_forward, kernel.bridge_calls) == (True, True)
    assert kernel.forwarding["pxe0.7"] is True
    assert kernel.rp_filter["all"] == 2


def test_what_an_interface_stands_on_and_whose_member_it_is(reach: Reach) -> None:
    net = reach.sys / "class/net"
    put(net, "lo/uevent", "DEVTYPE=vlan\nINTERFACE=lo\n")
    put(net, "lo/flags", "0x1002\n")
    put(net, "eno4/flags", "0x1003\n")
    put(net, "eno4/carrier", "0\n")
    put(net, "eno4/mtu", "1280\n")
    put(net, "bond0/bonding/mode", "802.3ad 4\n")
    (net / "lo/lower_eno4").symlink_to("../eno4")
    (net / "lo/master").symlink_to("../bond0")
    (link,) = [x for x in look_at_links(reach) if x.name == "lo"]
    assert (link.kind, link.master, link.master_kind, link.up) == ("vlan", "bond0", "bond", False)
    (below,) = link.beneath
    assert (below.name, below.up, below.carrier, below.mtu) == ("eno4", True, False, 1280)


def test_processors_and_limits(reach: Reach, tmp_path: Path) -> None:
    for number in (0, 1):
        put(reach.sys, f"devices/system/cpu/cpu{number}/cpufreq/scaling_governor", "powersave\n")
        put(reach.sys, f"devices/system/cpu/cpu{number}/cpufreq/scaling_driver", "intel_pstate\n")
    put(reach.proc, "sys/net/core/rmem_default", "212992\n")
    facts = look_at_host(reach, Paths(PurePosixPath(tmp_path)), 7)
    assert facts.governors == {
        "cpu0": ("powersave", "intel_pstate"),
        "cpu1": ("powersave", "intel_pstate"),
    }
    assert (facts.rmem_default, facts.neighbours, facts.machines) == (212992, None, 7)


def nobody_answers(_: str) -> object:
    raise SurroundingsError("the daemon is not running")


def as_nobody(paths: Paths) -> list[Finding]:
    """A round of a user without rights, in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            found = [f.as_json() for f in examine(paths, nobody_answers).findings]
            os.write(writing, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        rows = json.load(stream)
    os.waitpid(child, 0)
    return [Finding(r["id"], r["verdict"], r["message"], tuple(r["evidence"]), r["fix"]) for r in rows]


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A directory that every user can enter (pytest's own is closed to others)."""
    path = Path(tempfile.mkdtemp(prefix="pxe-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_without_rights_it_does_what_it_can_and_says_what_it_could_not_see(open_root: Path) -> None:
    site = Site(open_root)
    site.write()
    Path(site.paths.state).mkdir(parents=True)
    Path(site.paths.state).chmod(0o700)
    Path(site.paths.run).mkdir(parents=True)
    Path(site.paths.run).chmod(0o700)
    rows = {f.id: f for f in as_nobody(site.paths)}
    assert rows["rights"].verdict == "warning"
    assert rows["rights"].fix.startswith("sudo ")
    told = " ".join(rows["rights"].evidence)
    for what in ("packet filter", "whether the daemon runs", str(site.paths.state)):
        assert what in told, told
    assert rows["settings"].verdict == "ok"
    assert rows["interface-present"].verdict == "error"
    assert "daemon-running" not in rows, "it may well run"
    assert "firewall-dhcp" not in rows


def test_a_round_over_an_empty_root_finds_what_is_not_there(tmp_path: Path) -> None:
    report = examine(Paths(PurePosixPath(tmp_path)), nobody_answers)
    bad = {f.id for f in report.findings if f.verdict == "error"}
    assert {"settings", "generation", "daemon-running"} <= bad
    assert "inventory" in report.not_tried
