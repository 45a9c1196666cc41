"""A machine of namespaces: an overlay of this host's root under a real systemd as PID 1, with a PXE NIC.

It boots in about a second and keeps what was written to its disk across reboots; nothing of it reaches the
host: root, /run, /tmp, /dev, PIDs, host name, networks and control group are its own, the kernel's settings
are read-only. machine.sh holds the disk (an overlay on tmpfs) and starts PID 1 again after a reboot; when the
test dies, however it dies, the kernel takes the holder, the holder's PID 1 and with it everything else.

Debian 12, as root; packages: systemd, systemd-sysv, util-linux, iproute2, procps.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.netns.conftest import Link
from tests.netns.wire import Client, wait_until

CHECKOUT: Final = Path(__file__).parent.parent.parent
DEVICE: Final = "pxe0"
ADDRESS: Final = "172.0.1.1"
CLIENT_DEVICE: Final = "cl0"
CLIENT_ADDRESS: Final = "172.0.1.250"
_PREFIX: Final = "pxe-m"
_SCRIPT: Final = Path(__file__).parent / "machine.sh"
_numbers = itertools.count()


@dataclass
class Machine:
    """A running machine; `with machine() as m` makes one."""

    name: str
    folder: Path
    holder: subprocess.Popen[bytes]
    init: int = 0
    boots: int = field(default=0)

    @property
    def network(self) -> str:
        """Its network namespace (ip-netns(8)), with the PXE NIC."""
        return f"{self.name}s"

    @property
    def clients(self) -> str:
        """The namespace at the other end of the PXE wire."""
        return f"{self.name}c"

    @property
    def root(self) -> Path:
        """Its root directory as seen from here; links in it that are absolute lead astray."""
        return Path(f"/proc/{self.init}/root")

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file on its disk, with the directories above it."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def argv(self, *command: str, user: str = "") -> list[str]:
        """The command as one that runs in the machine, as root or as another user with all its groups."""
        as_user = ["runuser", f"--user={user}", "--"] if user else []
        return [
            *("nsenter", f"--target={self.init}", "--all", "--"),
            *("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            *("HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb", *as_user, *command),
        ]

    def run(
        self, *command: str, check: bool = True, timeout: float = 60, user: str = "", stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine; with `check`, it must exit with 0."""
        done = subprocess.run(
            self.argv(*command, user=user),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            input=stdin if stdin is not None else "",
        )
        assert not check or done.returncode == 0, (
            f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def start(self, *command: str, user: str = "") -> subprocess.Popen[str]:
        """Start a command in the machine; it ends with the machine, if not before."""
        return subprocess.Popen(
            self.argv(*command, user=user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def log(self, *choice: str) -> str:
        """Its journal of all boots; `choice` are options of journalctl(1), `"--unit=…"` for example."""
        return self.run("journalctl", "--no-pager", "--quiet", "--output=short-precise", *choice).stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit (systemctl(1), show)."""
        wanted = [f"--property={name}" for name in properties]
        said = self.run("systemctl", "show", unit, *wanted).stdout
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    @property
    def link(self) -> Link:
        """The PXE wire, for machines that are put on it."""
        return Link(self.network, self.clients, DEVICE, CLIENT_DEVICE, ADDRESS, CLIENT_ADDRESS)

    def client(self) -> Client:
        """A raw DHCP client at the other end of the PXE wire; the caller closes it."""
        return Client(self.clients, CLIENT_DEVICE)

    def processes(self, unit: str) -> list[dict[str, str]]:
        """What the kernel says of each process of a unit, its children among them (proc(5), status)."""
        group = self.root / f"sys/fs/cgroup/system.slice/{unit}"
        found = []
        for file in group.rglob("cgroup.procs"):
            for pid in file.read_text().split():  # as our own PID namespace counts
                with suppress(OSError):
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                    found.append({key: value.strip() for key, _, value in (x.partition(":") for x in lines)})
        return found

    def reboot(self) -> None:
        """Reboot as an operator does; returns when the machine is up again."""
        before = self.init
        self.run("systemctl", "reboot", check=False)
        self._await_init(before)
        self.await_up()

    def reset(self) -> None:
        """Take everything that runs away at once, as the reset button does, and come up again."""
        before = self.init
        (self.folder / "reset").touch()
        os.kill(before, signal.SIGKILL)
        self._await_init(before)
        self.await_up()

    def _await_init(self, before: int) -> None:
        def other() -> int:
            assert self.holder.poll() is None, f"the machine is gone:\n{self.console()}"
            found = _child_of(_child_of(self.holder.pid))
            is_systemd = found not in {0, before} and _command_of(found) == "systemd"
            return found if is_systemd else 0

        self.init = wait_until(other, "systemd as PID 1 of the machine", 30)
        self.boots += 1

    def await_up(self, seconds: float = 30) -> None:
        """Wait until the machine has started all that it starts by itself."""

        def up() -> bool:
            done = self.run("systemctl", "is-system-running", check=False)
            return done.stdout.strip() in {"running", "degraded"}

        try:
            wait_until(up, "the machine to be up", seconds)
        except AssertionError as error:
            jobs = self.run("systemctl", "list-jobs", "--no-pager", check=False).stdout
            raise AssertionError(f"{error}\n{jobs}\n{self.console()}") from error

    def console(self) -> str:
        """What the start of the machine said before it had a journal."""
        files = [self.folder / "holder", self.folder / "console"]
        return "".join(path.read_text(errors="replace") for path in files if path.exists())

    def close(self) -> None:
        """Take it away; its disk goes with it."""
        if self.holder.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.init or _child_of(_child_of(self.holder.pid)), signal.SIGKILL)
            try:
                self.holder.wait(10)
            except subprocess.TimeoutExpired:
                self.holder.kill()
                self.holder.wait()
        for namespace in (self.network, self.clients):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def machine() -> Iterator[Machine]:
    """A machine that is up, with its PXE wire; gone at the end.

    The kernel kills the holder with the thread that made it (prctl(2), PR_SET_PDEATHSIG).
    """
    assert threading.current_thread() is threading.main_thread(), "it would die with its thread"
    _sweep()
    name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    (folder / "disk").mkdir()
    try:
        _wire(name)
        made = Machine(name, folder, _hold(name, folder))
    except BaseException:
        for namespace in (f"{name}s", f"{name}c"):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        made._await_init(0)
        made.await_up()
        yield made
    finally:
        made.close()


def _hold(name: str, folder: Path) -> subprocess.Popen[bytes]:
    argv = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{name}s", "unshare", "--mount"]
    with (folder / "holder").open("wb") as errors:
        return subprocess.Popen(
            [*argv, "sh", str(_SCRIPT), "hold", str(folder), name, str(CHECKOUT)],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


def _wire(name: str) -> None:
    """Both namespaces and the PXE wire between them; the machine gives its end an address itself."""
    near, far = f"{name}s", f"{name}c"
    for argv in (
        ["netns", "add", near],
        ["netns", "add", far],
        ["-n", near, "link", "add", DEVICE, "type", "veth", "peer", "name", CLIENT_DEVICE, "netns", far],
        ["-n", far, "addr", "add", f"{CLIENT_ADDRESS}/24", "dev", CLIENT_DEVICE],
        ["-n", far, "link", "set", CLIENT_DEVICE, "up"],
        ["-n", far, "link", "set", "lo", "up"],
    ):
        done = subprocess.run(["ip", *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"ip {' '.join(argv)}: {done.stderr}"


def _sweep() -> None:
    """Remove what a killed test left: network namespaces and empty directories."""
    for path in (*Path("/run/netns").glob(f"{_PREFIX}*"), *Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")):
        pid = path.name.removeprefix(_PREFIX).split("-")[0]
        if not pid.isdigit() or Path(f"/proc/{pid}").exists():
            continue
        if path.is_relative_to("/run/netns"):
            subprocess.run(["ip", "netns", "del", path.name], capture_output=True, check=False)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _child_of(pid: int) -> int:
    """The only child of a process; 0 when it has none."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()[0])
    return 0


def _command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
    return ""
