"""/ipxe and /ignition over HTTP with 10, 1,000, 10,000 and 100,000 machines: requests a second and latency.

Run: python -m bench.matchbox [seconds a cell]. Machines ask as machines do: each from its own address
(127.1.x.y), with its lease known, for a script with its token, and then for its Ignition with that token.
One process serves, one asks; sizes take turns, so that what else the host does falls on all of them alike.
What matters are the ratios to 10 machines; the rest is this host's.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Container
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

from aiohttp import web
from immutables import Map

from appliance.addresses import Hostname, Mac
from appliance.boot.events import Event, EventKind
from appliance.boot.ladder import Ladder, climb
from appliance.boot.policy import BootPolicy, Life
from appliance.daemon.arming import Arming
from appliance.daemon.giving import Giving
from appliance.daemon.images import Images
from appliance.daemon.leases import Lease
from appliance.daemon.served import Served
from appliance.inventory.model import Inventory, KernelRef, Machine, Profile
from appliance.matchbox.server import Endpoint
from appliance.paths import Paths
from appliance.settings import NetworkSettings, Settings
from appliance.sync.handover import machine_boots
from appliance.system.clock import now

SIZES = (10, 1_000, 10_000, 100_000)
ROUNDS = 3
PARALLEL = 8
_SERVER = IPv4Address("127.0.0.1")
_FIRST = IPv4Address("127.1.0.1")
_FILE = b'{"path":"/etc/motd","contents":{"source":"data:,hello"}}'
_IGNITION = b'{"ignition":{"version":"3.3.0"},"storage":{"files":[' + _FILE + b"]}}"


def machine(number: int) -> Machine:
    """Machine `number`, whose address says its number."""
    name = Hostname.parse(f"node{number}")
    mac = Mac.parse(f"52:54:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}")
    return Machine(name, name, (mac,), _FIRST + number, "pxe", "worker")


class Known:
    """What the daemon knows, all machines in the middle of a boot."""

    def __init__(self, size: int) -> None:
        profile = Profile(
            "worker", KernelRef("/assets/k", ("/assets/i",)), ("console=ttyS0",), "w.ign", BootPolicy.ALWAYS
        )
        network = NetworkSettings("pxe", "lo", IPv4Network("127.0.0.0/8"), _SERVER)
        settings = Settings(networks={"pxe": network})
        inventory = Inventory(tuple(machine(n) for n in range(size)), {"worker": profile})
        self._served = Served.of(settings, inventory, ignition={"w.ign": _IGNITION})
        at, until = now(), now() + timedelta(hours=1)
        leases = {m.ip: Lease(m.ip, m.mac, str(m.name), "pxe", at, until) for m in inventory.machines}
        self._leases = Map(leases)
        self._ladders = Map(
            {str(m.name): climb(Ladder(), Event(at, EventKind.DISCOVER)) for m in inventory.machines}
        )

    def served(self) -> Served:
        """All of them."""
        return self._served

    def life(self, machine: str) -> Life:  # noqa: ARG002 - as the daemon has it
        """Nobody has one."""
        return Life()

    def ladder(self, machine: str) -> Ladder | None:
        """Everybody began to boot."""
        return self._ladders.get(machine)

    def lease(self, address: IPv4Address) -> Lease | None:
        """Everybody holds theirs."""
        return self._leases.get(address)

    def strangers(self) -> Container[Mac]:
        """Nobody."""
        return ()


async def serve(size: int) -> None:
    """Serve `size` machines; the port goes to standard output."""
    known = Known(size)
    images = Images(Paths(), lambda _: "")
    giving = Giving(known, images, Arming(lambda _: None))
    endpoint = Endpoint(observer=lambda _: None, resolve=giving.resolve, tell=giving.tell)
    served = known.served()
    endpoint.use_machines(machine_boots(served.settings, served.inventory, served.ignition))
    app = web.Application()
    app.add_routes(endpoint.routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, str(_SERVER), 0)
    await site.start()
    assert runner.addresses
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def ask(port: int, path: str, number: int) -> bytes:
    """One request on a connection of machine `number`'s own."""
    reader, writer = await asyncio.open_connection(str(_SERVER), port, local_addr=(str(_FIRST + number), 0))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    body = await reader.read()
    writer.close()
    if b" 200 " not in body[:16]:
        raise RuntimeError(f"{path}: {body[:400]!r}")
    return body


async def cell(port: int, size: int, kind: str, parallel: int, seconds: float) -> list[float]:
    """Seconds of each request, `parallel` at a time for `seconds`."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        while time.perf_counter() < end:
            number = random.randrange(size)  # noqa: S311 - any will do
            path = f"/ipxe?mac={machine(number).mac.text.replace(':', '-')}"
            if kind == "ignition":
                script = await ask(port, path, number)
                found = re.search(rb"config\.url=http://[^/]+(\S+)", script)
                assert found, script
                path = found[1].decode()
            began = time.perf_counter()
            await ask(port, path, number)
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(one() for _ in range(parallel)))
    return taken


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(int(sys.argv[2])))
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    servers, ports = [], {}
    for size in SIZES:
        argv = [sys.executable, "-m", "bench.matchbox", "--serve", str(size)]
        server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        servers.append(server)
        assert server.stdout is not None
        ports[size] = int(server.stdout.readline())
    cells: dict[tuple[str, int, int], list[tuple[float, float, float]]] = {}
    try:
        for _ in range(ROUNDS):
            for kind in ("ipxe", "ignition"):
                for parallel in (1, PARALLEL):
                    for size in SIZES:
                        taken = sorted(asyncio.run(cell(ports[size], size, kind, parallel, seconds)))
                        rate = parallel / statistics.mean(taken)
                        seen = rate, statistics.median(taken) * 1e3, taken[int(len(taken) * 0.99)] * 1e3
                        cells.setdefault((kind, parallel, size), []).append(seen)
    finally:
        for server in servers:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(10)
    write = sys.stdout.write
    write(f"{'path':>9} {'c':>2} {'machines':>8} {'req/s':>7} {'ratio':>6} {'p50 ms':>7} {'p99 ms':>7}\n")
    rows = []
    for (kind, parallel, size), found in sorted(cells.items()):
        best = max(found)
        base = max(cells[kind, parallel, SIZES[0]])[0]
        rows.append({"path": kind, "parallel": parallel, "machines": size, "ratio": best[0] / base})
        ratio = best[0] / base
        times = f"{best[1]:>7.2f} {best[2]:>7.2f}"
        write(f"{kind:>9} {parallel:>2} {size:>8} {best[0]:>7.0f} {ratio:>6.2f} {times}\n")
    write(json.dumps({"least ratio": min(row["ratio"] for row in rows)}) + "\n")


if __name__ == "__main__":
    main()
