"""Machines on a wire, each with its own MAC and address: they boot by DHCP and speak HTTP, as firmware would.

Deliberately not the product's code: it is the other end of the wire.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.netns.conftest import ClientMaker, Link, run
from tests.netns.test_appliance import discover
from tests.netns.wire import Client, Reply, inside, wait_until

SERVER: Final = "172.0.1.1"
IPXE: Final = "iPXE/1.21.1+git-20220113.fbbdc3926-0ubuntu2"
NAMES: Final = {
    "node1": ("52:54:00:aa:00:01", "172.0.1.21"),
    "node2": ("52:54:00:aa:00:11", "172.0.1.22"),
    "node3": ("52:54:00:aa:00:21", "172.0.1.23"),
}
TOKEN: Final = re.compile(r"[?&]token=([A-Za-z0-9_-]+)")


@dataclass(frozen=True)
class Answer:
    """What the endpoint said."""

    status: int
    text: str

    @property
    def url(self) -> str:
        """The path of the Ignition that a boot script names, with its query."""
        found = re.search(r"ignition\.config\.url=http://[^/]*(\S+)", self.text)
        assert found, self.text
        return found[1]

    @property
    def token(self) -> str:
        """The token in a boot script; empty when it has none."""
        found = TOKEN.search(self.text)
        return found[1] if found else ""


@dataclass
class Machine:
    """One machine: its NIC in the clients' namespace, and a raw client that speaks DHCP as it."""

    name: str
    mac: str
    ip: str
    link: Link
    device: str
    client: Client
    token: str = field(default="", repr=False)

    @property
    def query(self) -> str:
        """By which the machine of its name asks for what is its own."""
        return f"mac={NAMES[self.name][0].replace(':', '-')}"

    def acquire(self, packet: bytes | None = None) -> Reply:
        """DISCOVER, OFFER, REQUEST, ACK; the last of them."""
        self.client.drain()
        offer, ack = self.client.acquire(packet or discover(self.mac))
        assert (offer.yiaddr, ack.yiaddr) == (self.ip, self.ip)
        return ack

    def await_file(self, wanted: bool) -> Reply:
        """Ask again and again until the answer names a boot file, or none, and one process alone answers."""

        def answered() -> Reply | None:
            alone = len(dhcp_processes(self.link)) == 1
            reply = self.acquire()
            return reply if alone and bool(reply.file) is wanted else None

        words = "a boot file" if wanted else "the address alone"
        reply = wait_until(answered, f"{words} for {self.name}", 10)
        assert reply is not None
        return reply

    def ask(
        self, path: str, *, agent: str = "curl/8", body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request over its NIC, from its address; `body` is sent as JSON."""

        def connect() -> socket.socket:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.device.encode())
            sock.settimeout(15)
            sock.bind((self.ip, 0))
            sock.connect((SERVER, 8080))
            return sock

        connection = http.client.HTTPConnection(SERVER, 8080)
        connection.sock = inside(self.link.clients, connect)
        try:
            method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
            connection.request(method, path, data, {"User-Agent": agent, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())
        finally:
            connection.close()

    def script(self, *, agent: str = IPXE) -> Answer:
        """Its boot script."""
        return self.ask(f"/ipxe?{self.query}", agent=agent)

    def boot(self) -> Answer:
        """From its address to its script; what it says, with the token kept for later."""
        self.acquire()
        script = self.script()
        self.token = script.token
        return script

    def ignition(self, token: str | None = None, *, agent: str = "Ignition/2.18") -> Answer:
        """Its Ignition, by its own token or another."""
        used = self.token if token is None else token
        return self.ask(f"/ignition?{self.query}" + (f"&token={used}" if used else ""), agent=agent)

    def report(self, stage: str, token: str | None = None, **more: object) -> Answer:
        """Call home."""
        used = self.token if token is None else token
        return self.ask("/v1/report", body={"stage": stage, **({"token": used} if used else {}), **more})


def put_on(link: Link, name: str, client_on: ClientMaker, *, mac: str | None = None) -> Machine:
    """Put a machine on a wire: a NIC with its MAC (or another) and its address."""
    own, ip = NAMES[name]
    device = f"n-{name}" if mac is None else f"t-{name}"
    # Several NICs on one wire: each answers for its own address alone.
    for setting in ("arp_ignore=1", "arp_announce=2"):
        run("ip", "netns", "exec", link.clients, "sysctl", "-qw", f"net.ipv4.conf.all.{setting}")
    run("ip", "-n", link.clients, "link", "add", "link", link.client_device, "name", device, "address",
        mac or own, "type", "macvlan", "mode", "private")  # fmt: skip
    run("ip", "-n", link.clients, "addr", "add", f"{ip}/24", "dev", device, "noprefixroute")
    run("ip", "-n", link.clients, "link", "set", device, "up")
    return Machine(name, mac or own, ip, link, device, client_on(link))


def dhcp_processes(link: Link, network: str = "pxe") -> set[int]:
    """The dnsmasq processes that answer DHCP on a network at this moment."""
    found = set()
    for pid in run("ip", "netns", "pids", link.server).split():
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if Path(words[0].decode()).name == "dnsmasq" and f"network/{network}/".encode() in b" ".join(
                words
            ):
                found.add(int(pid))
    return found


def take_away(machine: Machine) -> None:
    """Unplug it: its NIC is gone, and the address is free for another."""
    run("ip", "-n", machine.link.clients, "link", "del", machine.device)
