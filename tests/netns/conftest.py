"""Network namespaces and real dnsmasq processes for tests; all of it is gone when the test is over."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.netns.appliance import Appliance
from tests.netns.wire import Client, wait_until
from tests.production import Production, Total, beside

DNSMASQ: Final = "dnsmasq"
_numbers = itertools.count()


def run(*argv: str) -> str:
    """Run a command that must succeed; its output."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr or done.stdout}"
    return done.stdout


@dataclass
class Link:
    """One wire: the appliance's device in the server's namespace, a client's in the clients'."""

    server: str
    clients: str
    device: str
    client_device: str
    address: str
    client_address: str


@dataclass
class Segment:
    """A pair of namespaces, with as many wires between them as a test wants."""

    name: str
    production: Production  # the wire beside: nothing of ours may be sent there
    links: list[Link] = field(default_factory=list)

    @property
    def server(self) -> str:
        return f"{self.name}s"

    @property
    def clients(self) -> str:
        return f"{self.name}c"

    def wire(self, device: str, address: str, client_address: str, prefix: int = 24) -> Link:
        """Add a wire; addresses are dotted quads."""
        far = f"cl{len(self.links)}"
        run("ip", "-n", self.server, "link", "add", device, "type", "veth", "peer", "name", far,
            "netns", self.clients)  # fmt: skip
        run("ip", "-n", self.server, "addr", "add", f"{address}/{prefix}", "dev", device)
        run("ip", "-n", self.clients, "addr", "add", f"{client_address}/{prefix}", "dev", far)
        for namespace, end in ((self.server, device), (self.clients, far)):
            run("ip", "-n", namespace, "link", "set", end, "up")
        self.production.pxe(f"{address}/{prefix}")
        link = Link(self.server, self.clients, device, far, address, client_address)
        self.links.append(link)
        return link


@pytest.fixture
def segment(production_total: Total) -> Iterator[Segment]:
    """Two namespaces named after this process, without a wire yet, and production; removed at the end."""
    name = f"pxe-t{os.getpid()}-{next(_numbers)}"
    server, clients = f"{name}s", f"{name}c"
    try:
        for namespace in (server, clients):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        with beside(server, production_total) as production:
            yield Segment(name, production)
    finally:
        for namespace in (server, clients):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


@pytest.fixture
def open_tmp() -> Iterator[Path]:
    """A temporary directory that every user can enter (pytest's own is closed to others)."""
    path = Path(tempfile.mkdtemp(prefix="pxe-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@dataclass
class Dnsmasq:
    """A running dnsmasq: its process, its log file."""

    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def lines(self) -> list[str]:
        return self.text().splitlines()

    def await_text(self, text: str, count: int = 1) -> None:
        """Wait until the log holds `text` so many times."""
        wait_until(lambda: self.text().count(text) >= count, f"{count} x {text!r} in the log")

    def reload(self, hosts: Path) -> None:
        """SIGHUP, and wait until the hosts file has been read again."""
        before = self.text().count(f"read {hosts}")
        self.process.send_signal(signal.SIGHUP)
        self.await_text(f"read {hosts}", before + 1)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


class Dnsmasqs:
    """Starts dnsmasq processes inside namespaces and ends each of them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def start(self, namespace: str, conf: Path, log: Path, *, ready: str) -> Dnsmasq:
        """Start with a configuration file; returns when the log holds `ready`."""
        argv = ["ip", "netns", "exec", namespace, DNSMASQ, "--keep-in-foreground", f"--conf-file={conf}",
                "--user=root"]  # fmt: skip
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._stack.callback(_end, process)
        running = Dnsmasq(process, log)

        def up() -> bool:
            assert running.alive, f"dnsmasq ended at once: {process.communicate()[1].decode()}"
            return ready in running.text()

        wait_until(up, f"dnsmasq to say {ready!r}")
        return running


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
    if process.stderr:
        process.stderr.close()


@pytest.fixture
def dnsmasqs() -> Iterator[Dnsmasqs]:
    """A starter of dnsmasq processes; all of them are ended with the test."""
    with ExitStack() as stack:
        yield Dnsmasqs(stack)


@pytest.fixture
def client_on() -> Iterator[ClientMaker]:
    """Makes raw clients on wires; closed at the end."""
    maker = ClientMaker()
    yield maker
    for client in maker.made:
        client.close()


class ClientMaker:
    """Call it with a link to get a raw client there."""

    def __init__(self) -> None:
        self.made: list[Client] = []

    def __call__(self, link: Link) -> Client:
        client = Client(link.clients, link.client_device)
        self.made.append(client)
        return client


@pytest.fixture
def appliance(segment: Segment, open_tmp: Path) -> Iterator[Appliance]:
    """An appliance with the usual inventory on a wire of its own; its daemon is not started yet."""
    segment.wire("pxe0", "172.0.1.1", "172.0.1.200")
    made = Appliance(open_tmp / "root", segment.server)
    made.write()
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait(10)
        sys.stdout.write(made.log())  # shown by pytest when the test failed
