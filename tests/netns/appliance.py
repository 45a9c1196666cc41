"""The appliance as its operator runs it: the installed command, a root directory, a daemon in a namespace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.netns.wire import wait_until

COMMAND = str(Path(sys.executable).parent / "pxe-appliance")
SETTINGS = """
[network.pxe]
interface = "pxe0"
subnet = "172.0.1.0/24"
other_servers = "tell"
"""  # told to serve beside others it does not look for them first, for four seconds
INVENTORY = """
[profile.lab]
kernel = "/assets/lab/vmlinuz"
initrd = ["/assets/lab/initrd.gz"]
args = ["console=ttyS0"]
ignition = "lab.ign"
boot = "always"

[machine.node1]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
profile = "lab"

[machine.node1.nic.eno2]
mac = "52:54:00:aa:00:02"

[machine.node2]
mac = "52:54:00:aa:00:11"
ip = "172.0.1.22"
profile = "lab"

[machine.node3]
mac = "52:54:00:aa:00:21"
ip = "172.0.1.23"
profile = "lab"
"""


@dataclass
class Done:
    """How a command ended."""

    rc: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class Appliance:
    """One root directory, and at most one daemon on it."""

    root: Path
    namespace: str | None = None
    process: subprocess.Popen[bytes] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def write(self, *, settings: str = SETTINGS, inventory: str = INVENTORY) -> None:
        """Put an operator's files in place."""
        etc = self.root / "etc/pxe-appliance"
        for folder in ("inventory.d", "ignition.d", "matchbox/assets/lab"):
            (etc / folder).mkdir(parents=True, exist_ok=True)
        (etc / "appliance.toml").write_text(settings)
        (etc / "inventory.d/rack.toml").write_text(inventory)
        (etc / "ignition.d/lab.ign").write_text('{"ignition":{"version":"3.3.0"}}')
        (etc / "matchbox/assets/lab/vmlinuz").write_bytes(b"kernel" * 1000)
        (etc / "matchbox/assets/lab/initrd.gz").write_bytes(b"initrd" * 1000)

    def edit(self, old: str, new: str) -> None:
        """Change the inventory as with an editor."""
        path = self.root / "etc/pxe-appliance/inventory.d/rack.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def argv(self, *args: str) -> list[str]:
        inside = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return [*inside, COMMAND, "--root", str(self.root), *args]

    def run(self, *args: str, rc: int | None = 0, timeout: float = 60) -> Done:
        """Run a command; its exit code must be `rc` unless that is None."""
        done = subprocess.run(
            self.argv(*args),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "COLUMNS": "200", **self.environment},
        )
        result = Done(done.returncode, done.stdout, done.stderr)
        assert rc is None or result.rc == rc, f"{args}: exit {result.rc}\n{result.stdout}\n{result.stderr}"
        return result

    def serve(self, *, wait: bool = True) -> None:
        """Start the daemon."""
        log = (self.root / "serve.log").open("ab")
        self.process = subprocess.Popen(
            self.argv("serve"),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **self.environment},
        )
        log.close()
        if wait:
            self.await_serving()

    def await_serving(self, seconds: float = 15.0) -> None:
        def serves() -> bool:
            status = self.status()
            waits = status["dnsmasq"]["state"] == "waiting"  # for its interface: nothing can be proven yet
            return bool(waits or (status["dnsmasq"]["state"] == "serving" and status["generation"]["proven"]))

        wait_until(serves, "the appliance to serve", seconds)

    def status(self) -> Any:
        """`status -o json`; a stopped daemon's too."""
        return self.run("status", "-o", "json", rc=None).json()

    def dnsmasq(self) -> Any:
        return self.status()["dnsmasq"]

    def events(self, *kinds: str) -> list[Any]:
        """All events, or those of the given kinds."""
        lines = self.run("events", "-o", "json", "-n", "10000").stdout.splitlines()
        found = [json.loads(line) for line in lines]
        return [e for e in found if not kinds or e["event"] in kinds]

    def await_event(self, kind: str, **facts: object) -> Any:
        def find() -> Any:
            return next((e for e in self.events(kind) if all(e[k] == v for k, v in facts.items())), None)

        return wait_until(find, f"event {kind} {facts}")

    def daemon_pid(self) -> int:
        """The daemon's own pid (not that of `ip netns exec`, which became it)."""
        assert self.process is not None
        return self.process.pid

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        rc = self.process.wait(20)
        self.process = None
        return rc

    def log(self) -> str:
        path = self.root / "serve.log"
        return path.read_text() if path.exists() else ""


def gone(pid: int) -> bool:
    """Whether a process is no more (or only waits to be reaped)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def elapsed(since: float) -> float:
    """Seconds since a monotonic time."""
    return time.monotonic() - since
