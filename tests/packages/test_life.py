"""The package's life under a real systemd: installed, upgraded under a rack that boots, removed, purged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.figures import Figures
from tests.netns.test_appliance import discover
from tests.netns.test_takeover import doing
from tests.netns.wire import wait_until
from tests.packages.conftest import Package
from tests.production import Total, beside
from tests.systemd.machine import Machine, machine
from tests.systemd.operator import write_configuration

pytestmark = [pytest.mark.netns, pytest.mark.timeout(600)]

KNOWN = "52:54:00:aa:00:01"
CONFFILE = "/etc/default/pxe-appliance"
EDITED = "# ours\nno_proxy=mirror.example.com\n"
# dpkg asks about a file that both sides changed; this is what unattended upgrades answer.
KEEP = ("--force-confdef", "--force-confold")


@pytest.fixture
def debian(production_total: Total) -> Iterator[Machine]:
    """A machine without the appliance, on no network but the PXE wire; its services may be started."""
    with machine() as made, beside(made.network, production_total, default=False):
        (made.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        assert made.run("ip", "route", "show", "default").stdout == ""
        yield made


def install(debian: Machine, path: Path, *options: str) -> str:
    debian.write("/var/tmp/appliance.deb", path.read_bytes())
    done = debian.run("dpkg", *options, "--install", "/var/tmp/appliance.deb", timeout=200)
    return done.stdout + done.stderr


def operators(debian: Machine) -> dict[str, tuple[bytes, int]]:
    """What the operator wrote: content and mode of every file."""
    top = debian.root / "etc/pxe-appliance"
    files = [path for path in top.rglob("*") if path.is_file()]
    return {str(p.relative_to(top)): (p.read_bytes(), p.stat().st_mode) for p in files}


def directories(debian: Machine) -> str:
    """Mode and owner of every directory below the operator's."""
    find = ("find", "/etc/pxe-appliance", "-type", "d", "-printf", "%p %m %u %g\\n")
    return "".join(sorted(debian.run(*find).stdout.splitlines(keepends=True)))


def serving(debian: Machine) -> None:
    client = debian.client()
    try:
        wait_until(lambda: client.ask(discover(KNOWN), seconds=1), "an offer for a known machine", 30)
    finally:
        client.close()


def state(debian: Machine) -> dict[str, str]:
    wanted = ("ActiveState", "Result", "ConditionResult", "MainPID", "UnitFileState", "NRestarts")
    return debian.show("pxe-appliance.service", *wanted)


def test_an_install_is_quiet_until_there_are_settings(
    debian: Machine, package: Package, figures: Figures
) -> None:
    dnsmasq = debian.run("sh", "-c", "ls -la --full-time /etc/dnsmasq* 2>&1", check=False).stdout
    began = time.monotonic()
    install(debian, package.path)
    figures.tell("package", "install, without a network", f"{time.monotonic() - began:.1f} s")

    found = state(debian)
    assert found["UnitFileState"] == "enabled"
    assert (found["ActiveState"], found["Result"]) == ("inactive", "success")
    assert found["ConditionResult"] == "no", "it was started without settings, and not held back"
    timer = debian.run("systemctl", "is-enabled", "pxe-appliance-images.timer", check=False)
    assert timer.stdout.strip() == "disabled", "a host went to mirrors by itself"
    assert debian.run("systemctl", "is-active", "dnsmasq", check=False).stdout.strip() != "active"
    assert debian.run("sh", "-c", "ls -la --full-time /etc/dnsmasq* 2>&1", check=False).stdout == dnsmasq
    assert debian.run("dpkg", "--verify", "pxe-appliance").stdout == ""
    version = debian.run("pxe-appliance", "--version").stdout
    assert package.field("Version").startswith(version.split()[1])
    assert debian.run("pxe-appliance", "check", check=False).returncode == 3
    for page in ("pxe-appliance", "pxe-appliance-machine", "pxe-appliance-settings"):
        assert debian.run("man", "--where", page).stdout.startswith("/usr/share/man/")

    debian.run("pxe-appliance", "init", "--interface", "pxe0", "--subnet", "172.0.1.0/24")
    write_configuration(debian)
    assert debian.run("pxe-appliance", "check").stdout.startswith("OK")
    debian.run("systemctl", "start", "pxe-appliance")
    serving(debian)
    main = state(debian)["MainPID"]
    group = "/sys/fs/cgroup/system.slice/pxe-appliance.service/cgroup.procs"
    pids = debian.run("cat", group).stdout.split()
    assert main in pids
    assert len(pids) >= 3, "the daemon and its dnsmasq processes"
    for pid in pids:
        assert debian.run("stat", "-c", "%U", f"/proc/{pid}").stdout.strip() == "pxe-appliance"
    words = (debian.root / f"proc/{main}/cmdline").read_bytes().split(b"\0")
    assert words[:2] == [b"/usr/lib/pxe-appliance/bin/python3", b"-I"]


def test_nothing_of_the_host_gets_into_the_program(debian: Machine, package: Package) -> None:
    """Root runs it: neither its environment, nor its directory, nor packages of its own may be imported."""
    install(debian, package.path)
    spoiled = "import os, sys; os.write(2, b'SPOILED'); sys.exit(9)\n"
    for folder in ("/tmp/here", "/usr/local/lib/python3.11/dist-packages", "/usr/lib/python3/dist-packages"):
        for name in ("typer", "rich", "appliance", "sitecustomize"):
            debian.write(f"{folder}/{name}.py", spoiled)
    for words in (
        ("pxe-appliance", "--version"),
        ("pxe-appliance", "check"),
        ("pxe-appliance", "images", "keys"),
    ):
        done = debian.run("env", "--chdir=/tmp/here", "PYTHONPATH=/tmp/here", *words, check=False)
        assert done.returncode in {0, 3}, done.stderr
        assert "SPOILED" not in done.stderr


def test_an_upgrade_drops_no_exchange_and_keeps_what_the_operator_wrote(
    debian: Machine, package: Package, newer: Path, figures: Figures
) -> None:
    install(debian, package.path)
    write_configuration(debian)
    debian.write(CONFFILE, EDITED)
    debian.run("systemctl", "start", "pxe-appliance")
    serving(debian)
    # What docs/install.md tells: a secret that the service may read, a group that writes the inventory.
    debian.run("chgrp", "pxe-appliance", "/etc/pxe-appliance/secrets.d")
    debian.run("chmod", "750", "/etc/pxe-appliance/secrets.d")
    debian.run("chmod", "2775", "/etc/pxe-appliance/inventory.d")
    modes = directories(debian)
    before, written = state(debian), operators(debian)
    client = debian.client()
    try:
        with doing(lambda: client.acquire(discover(KNOWN))) as deeds:
            wait_until(lambda: len(deeds.seconds) > 10, "exchanges")
            said = install(debian, newer, *KEEP)
            at = len(deeds.seconds)
            wait_until(lambda: len(deeds.seconds) > at + 10, "exchanges after it", 30)
    finally:
        client.close()
    assert deeds.failures == []
    figures.tell("package", "exchanges during an upgrade", f"{len(deeds.seconds):,}")
    figures.tell("package", "exchanges lost in an upgrade", str(len(deeds.failures)), "0")
    figures.tell("package", "slowest exchange in an upgrade", f"{max(deeds.seconds):.2f} s")

    after = state(debian)
    assert (after["ActiveState"], after["MainPID"]) == ("active", before["MainPID"]), said
    assert "took over" in debian.log("--unit=pxe-appliance"), said
    assert debian.run("pxe-appliance", "--version").stdout == "pxe-appliance 99.1\n"
    assert debian.run("pxe-appliance", "status").stdout.startswith("daemon      running")
    assert "goes on as version 99.1" in said
    assert operators(debian) == written
    assert directories(debian) == modes
    assert debian.read(CONFFILE) == EDITED
    assert "Another word" in debian.read(f"{CONFFILE}.dpkg-dist")


def test_an_upgrade_that_cannot_take_over_says_so_and_one_under_a_stopped_service_starts_nothing(
    debian: Machine, package: Package, newer: Path, broken: Path
) -> None:
    install(debian, package.path)
    write_configuration(debian)
    debian.run("systemctl", "start", "pxe-appliance")
    serving(debian)
    before = state(debian)
    said = install(debian, broken)
    assert "was not taken over by the new version" in said
    assert "no such thing" in said
    assert state(debian) == before
    serving(debian)

    debian.run("systemctl", "stop", "pxe-appliance")
    said = install(debian, newer)
    assert state(debian)["ActiveState"] == "inactive", said
    assert "does not run" in said


def test_nothing_is_installed_beside_a_service_of_its_own(debian: Machine, package: Package) -> None:
    debian.write("/usr/local/lib/pxe-appliance/service.json", "{}")
    debian.write("/var/tmp/appliance.deb", package.path.read_bytes())
    done = debian.run("dpkg", "--install", "/var/tmp/appliance.deb", timeout=200, check=False)
    assert done.returncode != 0
    assert "pxe-appliance service uninstall" in done.stderr
    assert not (debian.root / "usr/lib/pxe-appliance").exists()


def test_remove_keeps_what_purge_takes_and_neither_takes_the_operators(
    debian: Machine, package: Package
) -> None:
    install(debian, package.path)
    write_configuration(debian)
    debian.write(CONFFILE, EDITED)
    debian.run("systemctl", "start", "pxe-appliance")
    serving(debian)
    written = operators(debian)
    debian.run("systemctl", "enable", "--now", "pxe-appliance-images.timer")
    fetches = debian.run("systemctl", "start", "pxe-appliance-images.service", check=False)
    assert fetches.returncode == 0, debian.log("--unit=pxe-appliance-images")

    debian.run("dpkg", "--remove", "pxe-appliance", timeout=120)
    assert state(debian)["ActiveState"] == "inactive"
    assert debian.run("systemctl", "--failed", "--no-legend").stdout == ""
    assert "pxe-appliance" not in debian.run("systemctl", "list-timers", "--no-legend").stdout
    tables = debian.run("nft", "list", "tables").stdout
    assert "pxe-appliance" not in tables
    assert not (debian.root / "usr/lib/pxe-appliance").exists(), "byte code is left behind"
    assert not (debian.root / "usr/bin/pxe-appliance").is_symlink()
    assert operators(debian) == written
    assert debian.read(CONFFILE) == EDITED
    assert (debian.root / "var/lib/pxe-appliance/history.db").exists()

    install(debian, package.path)
    serving(debian)
    assert debian.read(CONFFILE) == EDITED
    assert "pxe-appliance-images" in debian.run("systemctl", "list-timers", "--no-legend").stdout

    done = debian.run("dpkg", "--purge", "pxe-appliance", timeout=120)
    assert "holds what you wrote, and stays" in done.stderr
    assert operators(debian) == written
    for gone in (
        "etc/default/pxe-appliance",
        "var/lib/pxe-appliance",
        "run/pxe-appliance",
        "usr/lib/pxe-appliance",
        "var/lib/systemd/timers/stamp-pxe-appliance-images.timer",
    ):
        assert not (debian.root / gone).exists(), gone
    assert not list((debian.root / "etc/systemd/system").rglob("pxe-appliance*")), "links that lead nowhere"
    assert debian.run("systemctl", "is-enabled", "pxe-appliance", check=False).returncode != 0
    assert debian.run("dpkg-query", "--show", "pxe-appliance", check=False).returncode != 0


def test_a_purge_without_settings_leaves_nothing(debian: Machine, package: Package) -> None:
    install(debian, package.path)
    assert (debian.root / "etc/pxe-appliance/inventory.d").is_dir()
    debian.run("dpkg", "--purge", "pxe-appliance", timeout=120)
    for gone in (
        "etc/pxe-appliance",
        "etc/default/pxe-appliance",
        "var/lib/pxe-appliance",
        "usr/lib/pxe-appliance",
    ):
        assert not (debian.root / gone).exists(), gone
