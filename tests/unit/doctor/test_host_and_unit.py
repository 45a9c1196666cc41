"""The host, its packages and the unit: facts in, verdicts out, each both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.doctor.debian_version import older
from appliance.doctor.host import HostFacts, Room, judge_host
from appliance.doctor.packages import Installed, judge_packages, required
from appliance.doctor.unit import UnitFacts, directives, judge_unit
from tests.unit.doctor.rooms import bad

NOW: Final = datetime(2026, 1, 2, tzinfo=UTC)
GIB: Final = 2**30
ROOM: Final = Room("/var/lib", 50 * GIB, 100 * GIB, 900, 1000, "x")
WELL: Final = HostFacts(
    NOW, (ROOM,), True, "yes", NOW - timedelta(days=1), {"cpu0": ("schedutil", "x")}, 212992, 1024, 100
)
SHIPPED: Final = (Path(__file__).parents[3] / "systemd/pxe-appliance.service").read_text()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"rooms": (replace(ROOM, free=0),)}, {"disk-space": "error"}),
        ({"rooms": (replace(ROOM, free=300 * 2**20),)}, {"disk-space": "error"}),
        ({"rooms": (replace(ROOM, free=300 * 2**20, total=8 * GIB),)}, {"disk-space": "warning"}),
        ({"rooms": (replace(ROOM, free=300 * 2**20, total=GIB),)}, {}),
        ({"rooms": (replace(ROOM, inodes_free=0),)}, {"disk-inodes": "error"}),
        ({"rooms": (replace(ROOM, inodes_free=0, inodes=0),)}, {}),  # btrfs counts none
        ({"synchronised": False}, {"clock-synchronised": "warning"}),
        ({"synchronised": None}, {}),
        ({"now": datetime(1970, 1, 1, tzinfo=UTC)}, {"clock-sane": "error"}),
        ({"now": datetime(2123, 1, 1, tzinfo=UTC)}, {"clock-sane": "error"}),
        ({"newest": NOW + timedelta(days=2)}, {"clock-sane": "error"}),
        ({"newest": None}, {}),
        ({"governors": {"cpu0": ("powersave", "acpi-cpufreq")}}, {"cpu-governor": "warning"}),
        ({"governors": {"cpu0": ("powersave", "intel_pstate")}}, {}),
        ({"governors": {}}, {}),
        ({"machines": 400}, {"receive-buffer": "warning"}),
        ({"machines": 400, "rmem_default": 2**20}, {}),
        ({"machines": 900, "rmem_default": 2**22}, {"neighbour-table": "warning"}),
        ({"machines": 900, "rmem_default": 2**22, "neighbours": 4096}, {}),
        ({"machines": 9000, "rmem_default": None, "neighbours": None}, {}),
    ],
)
def test_the_host(change: dict[str, Any], expected: dict[str, str]) -> None:
    assert bad(judge_host(replace(WELL, **change))) == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1.0~rc1", "1.0"),
        ("2.90-4~deb12u1", "2.90-4~deb12u2"),
        ("2.90-4~deb12u2", "2.90-4"),
        ("2.90-4~deb12u9", "2.90-4~deb12u10"),
        ("2.9", "2.90"),
        ("2.90-4", "2.91-1"),
        ("2.91", "1:1.0"),
        ("1.0", "1.0a"),
        ("1.0a", "1.0+b"),
        ("1.0-1", "1.0-1.1"),
    ],
)
def test_versions_as_dpkg_orders_them(first: str, second: str) -> None:
    assert older(first, second)
    assert not older(second, first)
    assert not older(first, first)


PACKAGES: Final = {"dnsmasq-base": "2.90-4~deb12u2", "ipxe": "1.0.0+git-20190125.36a4c85-5.1"}
INSTALLED: Final = Installed(
    PACKAGES,
    "2.90",
    {"dnsmasq": "/usr/sbin/dnsmasq", "setpriv": "/usr/bin/setpriv"},
    {"rich": "13.7"},
    ("rich>=13",),
)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"packages": {"dnsmasq-base": "2.89-1", "ipxe": "1"}}, {"package-dnsmasq": "error"}),
        ({"packages": {"dnsmasq-base": "2.91-1", "ipxe": "1"}}, {}),
        ({"packages": {"dnsmasq-base": "2.91-1"}}, {"package-ipxe": "warning"}),
        ({"packages": {**PACKAGES, "matchbox": "1.2"}}, {"package-matchbox": "warning"}),
        ({"packages": None}, {}),
        ({"packages": None, "said": "2.86"}, {"package-dnsmasq": "error"}),
        ({"programs": {"dnsmasq": "", "setpriv": "/usr/bin/setpriv"}}, {"programs": "error"}),
        ({"programs": {"dnsmasq": "/usr/sbin/dnsmasq", "setpriv": ""}}, {"programs": "error"}),
        ({"python": {"rich": "12.9"}}, {"python-packages": "error"}),
        ({"python": {"rich": None}}, {"python-packages": "error"}),
    ],
)  # fmt: skip
def test_packages(change: dict[str, Any], expected: dict[str, str]) -> None:
    assert bad(judge_packages(replace(INSTALLED, **change))) == expected


def test_requirements_of_ours_and_none_of_extras() -> None:
    lines = ["aiohttp>=3.9", "rich (>=13)", "pysequoia", 'pytest>=8; extra == "dev"']
    assert required(lines) == ("aiohttp>=3.9", "rich>=13", "pysequoia")


SHOWN: Final[Mapping[str, str]] = {
    "LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active", "NRestarts": "0",
    "FragmentPath": "/etc/systemd/system/pxe-appliance.service", "NeedDaemonReload": "no",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"LoadState": "not-found"}, {"unit-installed": "warning"}),
        ({"LoadState": "masked"}, {"unit-installed": "error"}),
        ({"UnitFileState": "disabled"}, {"unit-enabled": "warning"}),
        ({"ActiveState": "failed"}, {"unit-active": "error"}),
        ({"ActiveState": "inactive"}, {"unit-active": "error"}),
        ({"NRestarts": "6"}, {"unit-restarts": "warning"}),
        ({"NRestarts": "[not set]"}, {}),
        ({"NeedDaemonReload": "yes"}, {"unit-hardening": "warning"}),
    ],
)
def test_what_systemd_says_of_the_unit(change: dict[str, str], expected: dict[str, str]) -> None:
    assert bad(judge_unit(UnitFacts({**SHOWN, **change}, SHIPPED, SHIPPED))) == expected


def test_where_systemd_does_not_run_there_is_one_row_and_no_complaint() -> None:
    (row,) = judge_unit(UnitFacts(None, notes=("no bus",)))
    assert (row.id, row.verdict, row.evidence) == ("unit-installed", "ok", ("no bus",))


@pytest.mark.parametrize(
    ("drop_in", "weaker"),
    [
        ("", False),
        ("MemoryMax=4G\nEnvironment=X=y", False),
        ("NoNewPrivileges=no", True),
        ("ProtectSystem=full", True),
        ("User=root", True),
        ("UMask=0022", True),
        ("UMask=0077", False),
        ("StateDirectoryMode=0755", True),
        ("StateDirectoryMode=0700", False),
        ("CapabilityBoundingSet=CAP_SYS_ADMIN", True),
        ("CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_NET_ADMIN", False),
        ("RestrictAddressFamilies=AF_INET6", True),
        ("RestrictAddressFamilies=", True),
        ("SystemCallFilter=", True),
        ("SystemCallFilter=~ptrace", False),
        ("# User=root", False),
        ("\n[Install]\nUser=root", False),
    ],
)
def test_a_drop_in_that_opens_the_sandbox_is_drift_and_one_that_shuts_it_is_not(
    drop_in: str, weaker: bool
) -> None:
    text = f"{SHIPPED}\n# /etc/systemd/system/x.d/a.conf\n[Service]\n{drop_in}\n"
    found = bad(judge_unit(UnitFacts(SHOWN, text, SHIPPED)))
    assert found == ({"unit-hardening": "warning"} if weaker else {})


def test_every_directive_that_shuts_the_shipped_unit_in_is_held_against_it() -> None:
    """A line taken out of the sandbox is found, whichever it is."""
    ours = [line for line in SHIPPED.splitlines() if "=" in line and not line.startswith("#")]
    shut = [
        line for line in ours
        if line.split("=")[0].startswith(("Protect", "Private", "Restrict", "Lock", "Memory", "System"))
        and not line.startswith(("MemoryMax", "RestartSec"))
    ]  # fmt: skip
    assert len(shut) > 20
    for line in shut:
        text = "\n".join(x for x in SHIPPED.splitlines() if x != line)
        assert bad(judge_unit(UnitFacts(SHOWN, text, SHIPPED))) == {"unit-hardening": "warning"}, line


def test_lines_that_go_on_and_lists_that_grow() -> None:
    text = "[Service]\nSystemCallFilter=a \\\n b\nSystemCallFilter=c\nUser=x\nUser=y\n"
    assert directives(text) == {"SystemCallFilter": ("a", "b", "c"), "User": ("y",)}
