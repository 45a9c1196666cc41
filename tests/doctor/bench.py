"""A healthy host for the doctor: a namespace, a real daemon, programs that say what they are told.

systemd, dpkg and a synchronised clock are what no test environment has: small programs speak for them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.netns.appliance import Appliance
from tests.netns.conftest import Segment, run
from tests.netns.test_appliance import discover
from tests.netns.wire import Client, wait_until

ROOT: Final = Path(__file__).parents[2]
SETTINGS: Final = """
[network.pxe]
interface = "pxe0"
subnet = "172.0.1.0/24"
other_servers = "tell"
"""
INVENTORY: Final = """
[profile.lab]
kernel = "/assets/lab/vmlinuz"
initrd = ["/assets/lab/initrd.gz"]
ignition = "lab.ign"
boot = "always"

[profile.rescue]
image = "local/rescue"
boot = "always"

[machine.node1]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
profile = "lab"

[machine.node2]
mac = "52:54:00:aa:00:11"
ip = "172.0.1.22"
profile = "lab"

[machine.node3]
mac = "52:54:00:aa:00:21"
ip = "172.0.1.23"
profile = "rescue"
"""
SHOWN: Final = """LoadState=loaded
UnitFileState=enabled
ActiveState=active
SubState=running
Result=success
NRestarts=0
FragmentPath=/etc/systemd/system/pxe-appliance.service
DropInPaths=
NeedDaemonReload=no
"""
PACKAGES: Final = """installed dnsmasq-base 2.90-4~deb12u2
installed ipxe 1.0.0+git-20190125.36a4c85-5.1
"""
# Each prints a file of its own, which a fault rewrites.
PROGRAMS: Final[Mapping[str, str]] = {
    "systemctl": 'if [ "$1" = cat ]; then exec cat "$here/unit.text"; else exec cat "$here/unit.shown"; fi',
    "timedatectl": 'exec cat "$here/clock"',
    "dpkg-query": 'exec cat "$here/packages"',
}


def write_program(folder: Path, name: str, body: str) -> None:
    """Put a small shell program there; `$here` is its directory."""
    path = folder / name
    path.write_text(f'#!/bin/sh\nhere=$(dirname "$0")\n{body}\n')
    path.chmod(0o755)


@dataclass
class Bench:
    """The host; a fault registers on `undo` how it is taken back."""

    segment: Segment
    appliance: Appliance
    bin: Path
    undo: ExitStack = field(default_factory=ExitStack)
    prefix: tuple[str, ...] = ()
    path: str = ""
    spare: Path = Path()

    @property
    def namespace(self) -> str:
        return self.segment.server

    def place(self, path: str) -> Path:
        """A place below the root."""
        return self.appliance.root / path

    @property
    def state(self) -> Path:
        return self.place("var/lib/pxe-appliance")

    @property
    def etc(self) -> Path:
        return self.place("etc/pxe-appliance")

    # ---- faults' hands ----

    def ip(self, *words: str) -> None:
        run("ip", "-n", self.namespace, *words)

    def inside(self, *words: str) -> str:
        return run("ip", "netns", "exec", self.namespace, *words)

    def ip_and_back(self, there: str, back: str) -> None:
        """Two lines for ip: one that plants, one that takes back."""
        self.ip(*there.split())
        self.undo.callback(self.ip, *back.split())

    def sysctl(self, name: str, value: int) -> None:
        """Set a kernel setting of the namespace, and back."""
        before = self.inside("sysctl", "-n", name).strip()
        self.undo.callback(self.inside, "sysctl", "-qw", f"{name}={before}")
        self.inside("sysctl", "-qw", f"{name}={value}")

    def nft(self, rules: str) -> None:
        """A ruleset, and none again."""
        self.undo.callback(self.inside, "nft", "flush", "ruleset")
        path = self.spare / "rules.nft"
        path.write_text(rules)
        self.inside("nft", "-f", str(path))

    def rewrite(self, path: Path, content: bytes) -> None:
        """Other bytes in a file in place, its mode kept; and back, times included."""
        found, before = path.stat(), path.read_bytes()

        def back() -> None:
            path.write_bytes(before)
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

        self.undo.callback(back)
        path.write_bytes(content)

    def edit(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text, f"{path} has no {old!r}"
        self.rewrite(path, text.replace(old, new).encode())

    def mode(self, path: Path, mode: int) -> None:
        before = path.stat().st_mode & 0o7777
        self.undo.callback(path.chmod, before)
        path.chmod(mode)

    def owner(self, path: Path, uid: int) -> None:
        found = path.lstat()
        self.undo.callback(os.chown, path, found.st_uid, found.st_gid)
        os.chown(path, uid, -1)

    def create(self, path: Path, content: bytes = b"") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.undo.callback(path.unlink)
        path.write_bytes(content)

    def program(self, name: str, body: str) -> None:
        """Another program on PATH, or the same with another mind."""
        path = self.bin / name
        if path.exists():
            before = path.read_text()
            self.undo.callback(path.write_text, before)
        else:
            self.undo.callback(path.unlink)
        write_program(self.bin, name, body)

    def mounted(self, source: Path, target: str) -> None:
        """For the doctor alone, `source` lies over `target`."""
        self.prefix = (*self.prefix, "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh",
                       str(source), target)  # fmt: skip
        self.undo.callback(self._unmount)

    def small_disk(self, target: Path, options: str, fill: str) -> None:
        """For the doctor alone, a small file system lies over `target`, filled by a shell line (`$d`)."""
        script = f'd="$1"; mount -t tmpfs -o {options} none "$d" && {{ {fill}; }} ; shift && exec "$@"'
        self.prefix = (*self.prefix, "sh", "-c", script, "sh", str(target))
        self.undo.callback(self._unmount)

    def _unmount(self) -> None:
        self.prefix = ()

    def only_path(self, path: str) -> None:
        """The doctor's PATH, as long as the fault lasts."""
        self.path = path
        self.undo.callback(setattr, self, "path", "")

    def start(self, *words: str, ready: str = "") -> subprocess.Popen[bytes]:
        """A process in the namespace that ends with the fault; waits until it prints `ready`."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *words],
            stdout=subprocess.PIPE if ready else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.undo.callback(_end, process)
        if ready:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            assert ready in line, f"{words}: {line}"
        return process

    def listener(self, protocol: str, port: int, address: str = "0.0.0.0", device: str = "") -> int:
        """A process that takes a port, whatever others hold; its pid."""
        kind = "SOCK_DGRAM" if protocol == "udp" else "SOCK_STREAM"
        bound = f"s.setsockopt(1, 25, b{device!r});" if device else ""
        script = (
            f"import socket,time; s=socket.socket(socket.AF_INET, socket.{kind});"
            "s.setsockopt(1, socket.SO_REUSEADDR, 1); s.setsockopt(1, socket.SO_REUSEPORT, 1);"
            f"{bound} s.bind(({address!r}, {port}));"
            + ("" if protocol == "udp" else "s.listen();")
            + "print('there', flush=True); time.sleep(600)"
        )
        return self.start(sys.executable, "-c", script, ready="there").pid

    def stopped(self) -> None:
        """No daemon, as long as the fault lasts."""
        self.undo.callback(self.appliance.serve)
        self.appliance.stop()

    def paused(self, *pids: int) -> None:
        """SIGSTOP, and SIGCONT."""
        for pid in pids:
            self.undo.callback(os.kill, pid, signal.SIGCONT)
            os.kill(pid, signal.SIGSTOP)

    def child(self, name: str) -> int:
        """The pid of one of the daemon's children."""
        rows = self.appliance.dnsmasq()["children"]
        return next(int(row["pid"]) for row in rows if row["name"].startswith(name))

    # ---- the doctor ----

    def environment(self) -> dict[str, str]:
        path = self.path or f"{self.bin}:{os.environ['PATH']}"
        return {**os.environ, "COLUMNS": "200", "PATH": path}

    def doctor(self, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the installed command in the namespace."""
        ours = self.appliance.argv("doctor", *args)
        netns, rest = ours[:4], ours[4:]
        return subprocess.run(
            [*netns, *self.prefix, *rest],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            env=self.environment(),
        )

    def rows(self, *only: str) -> list[dict[str, Any]]:
        """The rows of `doctor -o json`."""
        options = [word for identity in only for word in ("--only", identity)]
        done = self.doctor("-o", "json", *options)
        assert done.returncode in (0, 5), done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def bad(self, *only: str) -> dict[str, list[dict[str, Any]]]:
        """Every row that is not ok, by its id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows(*only):
            if row["verdict"] != "ok":
                found.setdefault(row["id"], []).append(row)
        return found

    def heal(self, identity: str) -> None:
        """Take the fault back, and see that its check finds nothing any more."""
        self.undo.close()
        deadline = time.monotonic() + 20
        while self.bad(identity):
            assert time.monotonic() < deadline, f"{identity} stays: {self.bad(identity)}"


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    if process.stdout:
        process.stdout.close()


@contextmanager
def healthy_host(segment: Segment, folder: Path) -> Iterator[Bench]:
    """An appliance whose files have the modes that the unit and tmpfiles.d give them; serving, in sync."""
    segment.wire("pxe0", "172.0.1.1", "172.0.1.200")
    programs = folder / "bin"
    programs.mkdir()
    for name, body in PROGRAMS.items():
        write_program(programs, name, body)
    (programs / "unit.shown").write_text(SHOWN)
    shutil.copy(ROOT / "systemd/pxe-appliance.service", programs / "unit.text")
    (programs / "clock").write_text("NTPSynchronized=yes\n")
    (programs / "packages").write_text(PACKAGES)
    bench = Bench(segment, Appliance(folder / "root", segment.server), programs, spare=folder)
    bench.inside("sysctl", "-qw", "net.ipv4.ip_forward=0")
    bench.appliance.write(settings=SETTINGS, inventory=INVENTORY)
    (bench.etc / "ignition.d").chmod(0o750)
    bench.state.mkdir(parents=True)
    bench.state.chmod(0o750)
    release = folder / "release"
    release.mkdir()
    for name in ("vmlinuz", "initrd.img"):
        (release / name).write_bytes(name.encode() * 1000)
    bench.appliance.run("images", "fetch", "local/rescue@1.0", "--from", str(release))
    bench.appliance.serve()
    try:
        yield bench
    finally:
        bench.undo.close()
        process = bench.appliance.process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait(10)
        sys.stdout.write(bench.appliance.log())


def node_ack(bench: Bench, mac: str) -> str:
    """Take a lease as a machine would; the address."""
    link = bench.segment.links[0]
    client = Client(link.clients, link.client_device)
    try:
        _, ack = client.acquire(discover(mac))
    finally:
        client.close()
    wait_until(
        lambda: any(r["mac"] == mac for r in bench.appliance.run("leases", "-o", "json").json()), "the lease"
    )
    return ack.yiaddr
