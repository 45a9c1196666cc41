"""The machine that tests of the service run in: it keeps its disk, and nothing stays of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.wire import wait_until
from tests.systemd.machine import CHECKOUT, machine

pytestmark = pytest.mark.netns


def test_it_keeps_its_disk_and_loses_the_rest() -> None:
    with machine() as made:
        assert made.run("ps", "--no-headers", "-o", "comm", "1").stdout.strip() == "systemd"
        assert "172.0.1.1/24" in made.run("ip", "-brief", "addr", "show", "pxe0").stdout
        made.write("/etc/kept", "kept")
        made.write("/run/lost", "lost")
        for again in (made.reboot, made.reset):
            again()
            assert made.read("/etc/kept") == "kept"
            assert not (made.root / "run/lost").exists()
            assert "172.0.1.1/24" in made.run("ip", "-brief", "addr", "show", "pxe0").stdout
        assert made.log().count("Reached target multi-user.target") == 3
        assert not Path("/etc/kept").exists(), "the host's own"
        assert made.run("systemctl", "--failed", "--no-legend").stdout == ""
        refused = made.run("sysctl", "-w", "kernel.core_pattern=x", check=False)
        assert refused.returncode != 0, "the kernel's settings are the host's"


def test_nothing_is_left_when_a_test_is_killed() -> None:
    """The kernel takes all of it; what has a name, the next machine removes."""
    script = "\n".join(
        (
            "from tests.systemd.machine import machine",
            "with machine() as made:",
            "    print(made.name, made.init, made.holder.pid, flush=True)",
            "    input()",
        )
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    name, init, holder = child.stdout.readline().split()
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    for pid in (init, holder):
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the machine to be gone")  # type: ignore[misc]
    with machine():
        assert not Path(f"/run/netns/{name}s").exists()
        assert not list(Path("/sys/fs/cgroup").glob(f"**/{name}"))
