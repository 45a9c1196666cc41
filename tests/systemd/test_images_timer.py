"""The nightly fetch: another unit with other walls, which brings images and may not say which are served."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes import releases
from tests.fakes.signing import Signer
from tests.netns.appliance import INVENTORY
from tests.netns.wire import inside, wait_until
from tests.systemd.machine import CLIENT_ADDRESS, Machine
from tests.systemd.operator import SETTINGS, write_configuration

pytestmark = pytest.mark.netns
FETCH = "pxe-appliance-images.service"
TIMER = "pxe-appliance-images.timer"
STREAM = "flatcar/stable"
FLATCAR = '\n[profile.flatcar]\nimage = "flatcar/stable"\nboot = "always"\n'


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with Signer.make() as made:
        yield made


@pytest.fixture
def mirrored(host: Machine, signer: Signer, tmp_path: Path) -> Iterator[Path]:
    """A mirror at the far end of the wire, which the settings name; its folder."""
    port = 8000
    serve = [
        "python3",
        "-m",
        "http.server",
        "--bind",
        CLIENT_ADDRESS,
        "--directory",
        str(tmp_path),
        str(port),
    ]
    server = subprocess.Popen(
        ["ip", "netns", "exec", host.clients, *serve], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://{CLIENT_ADDRESS}:{port}/{{channel}}"
        table = f'\n[images.flatcar]\nmirror = "{url}"\nkeys = ["good.asc"]\n'
        write_configuration(host, settings=SETTINGS + table, inventory=INVENTORY + FLATCAR)
        host.write("/etc/pxe-appliance/keys.d/good.asc", signer.cert())
        wait_until(lambda: _answers(host, port), "the mirror")
        yield tmp_path
    finally:
        server.kill()
        server.wait()


def _answers(host: Machine, port: int) -> bool:
    try:
        inside(host.clients, lambda: socket.create_connection((CLIENT_ADDRESS, port), 1)).close()
    except OSError:
        return False
    return True


def _published(tree: Path, signer: Signer, version: str, day: int) -> None:
    at = datetime(2024, 3, day, tzinfo=UTC)
    kernel, initrd = version.encode() * 1000, version.encode() * 2000
    releases.flatcar(tree, signer, version=version, at=at, kernel=kernel, initrd=initrd)


def _images(host: Machine) -> dict[str, tuple[bool, str]]:
    rows = json.loads(host.run("pxe-appliance", "images", "-o", "json").stdout)
    return {row["version"]: (row["current"], row["state"]) for row in rows}


def test_what_it_brings_waits_for_root(host: Machine, mirrored: Path, signer: Signer) -> None:
    _published(mirrored, signer, "4593.2.5", 1)
    host.run("pxe-appliance", "images", "fetch")
    host.run("systemctl", "restart", "pxe-appliance")
    assert _images(host) == {"4593.2.5": (True, "ok")}
    lock = host.read("/etc/pxe-appliance/images.lock")

    _published(mirrored, signer, "4593.2.6", 2)
    host.run("systemctl", "enable", "--now", TIMER)
    assert host.show(TIMER, "ActiveState", "Persistent") == {"ActiveState": "active", "Persistent": "yes"}
    done = host.run("systemctl", "start", FETCH, check=False)
    said = host.log(f"--unit={FETCH}", "--output=cat")
    assert done.returncode == 0, said
    assert "flatcar/stable@4593.2.6 is in the store, proven, and waits for its pin" in said
    assert host.read("/etc/pxe-appliance/images.lock") == lock
    assert _images(host) == {"4593.2.5": (True, "ok"), "4593.2.6": (False, "unpinned")}
    assert host.run("pxe-appliance", "status").returncode == 0

    host.run("pxe-appliance", "images", "verify", "--pin")
    host.run("pxe-appliance", "images", "use", f"{STREAM}@4593.2.6")
    assert _images(host) == {"4593.2.5": (False, "ok"), "4593.2.6": (True, "ok")}
    # Its mode is the operator's, who wrote into it before anything was installed.
    host.run("chgrp", "pxe-appliance", "/etc/pxe-appliance/ignition.d")
    host.run("chmod", "750", "/etc/pxe-appliance/ignition.d")
    findings = json.loads(host.run("pxe-appliance", "doctor", "-o", "json", check=False).stdout)
    assert {f["verdict"] for f in findings if f["id"].startswith(("files-", "images-"))} == {"ok"}


ATTEMPT = """
import os, socket, time
def reach():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("/run/pxe-appliance/control.sock")
tried = {
    "control socket": reach,
    "pin": lambda: open("/etc/pxe-appliance/images.lock", "a"),
    "secrets": lambda: os.listdir("/etc/pxe-appliance/secrets.d"),
    "history": lambda: open("/var/lib/pxe-appliance/history.db"),
    "generations": lambda: open("/var/lib/pxe-appliance/generations/x", "w"),
    "boot files": lambda: open("/var/lib/pxe-appliance/tftp/x", "w"),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "low port": lambda: socket.create_server(("127.0.0.1", 69)),
    "the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, 0),
}
for what, attempt in tried.items():
    try:
        attempt()
    except OSError:
        continue
    print("ALLOWED", what)
open("/var/lib/pxe-appliance/own", "w").close()
print("tried all")
"""


def test_its_walls(host: Machine) -> None:
    host.write("/opt/pxe-appliance/attempt.py", ATTEMPT)
    unit = host.read(f"/usr/local/lib/systemd/system/{FETCH}")
    start = "ExecStart=/usr/bin/python3 /opt/pxe-appliance/attempt.py"
    lines = [start if line.startswith("ExecStart=") else line for line in unit.splitlines()]
    host.write("/run/systemd/system/attempt-images.service", "\n".join(lines))
    host.run("systemctl", "daemon-reload")
    done = host.run("systemctl", "start", "attempt-images", check=False)
    said = host.log("--unit=attempt-images", "--output=cat")
    assert done.returncode == 0, said
    assert "tried all" in said
    assert "ALLOWED" not in said
