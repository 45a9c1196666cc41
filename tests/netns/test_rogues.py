"""Another DHCP server on the wire, a real dnsmasq: named, cleared, no reason to stay down after a crash."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.daemon.ear import Ear
from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.conftest import ClientMaker, Dnsmasq, Dnsmasqs, Link, Segment, run
from tests.netns.test_appliance import NODE1, NODE2, STRANGER, discover
from tests.netns.wire import ACK, OFFER, REQUEST, Packet, inside, udp_socket, wait_until

pytestmark = pytest.mark.netns

REFUSING = SETTINGS.replace('other_servers = "tell"\n', "")
UUID = "00112233-4455-6677-8899-aabbccddeeff"


@dataclass
class Brisk(Appliance):
    """One whose daemon asks every second and a half, and waits that long for answers."""

    window: float = 0.6

    def argv(self, *args: str) -> list[str]:
        if args != ("serve",):
            return super().argv(*args)
        return [*self.inside, sys.executable, "-m", "tests.fakes.brisk", str(self.root), str(self.window)]

    @property
    def inside(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace] if self.namespace else []


@dataclass
class Thief:
    """Where other servers run: at the clients' end of the wire."""

    link: Link
    folder: Path
    dnsmasqs: Dnsmasqs
    number: int = 0

    @property
    def mac(self) -> str:
        shown = run("ip", "-n", self.link.clients, "-j", "link", "show", self.link.client_device)
        return str(json.loads(shown)[0]["address"])

    def start(self, address: str = "172.0.1.66", *, ping: bool = False, boot: str = "evil.0") -> Dnsmasq:
        """A server at `address`/24 that gives out the upper part of its subnet."""
        self.number += 1
        device = ("dev", self.link.client_device)
        held = run("ip", "-n", self.link.clients, "addr", "show", *device)
        if f"{self.link.client_address}/24" in held:  # it would be the one that a server gives as its own
            run("ip", "-n", self.link.clients, "addr", "del", f"{self.link.client_address}/24", *device)
        if f"{address}/24" not in held:
            run("ip", "-n", self.link.clients, "addr", "add", f"{address}/24", *device)
        net = address.rpartition(".")[0]
        log = self.folder / f"thief{self.number}.log"
        conf = self.folder / f"thief{self.number}.conf"
        conf.write_text(
            f"port=0\ninterface={self.link.client_device}\nexcept-interface=lo\nbind-dynamic\nleasefile-ro\n"
            f"dhcp-range={net}.150,{net}.199,255.255.255.0,1h\ndhcp-authoritative\npid-file=\n"
            f"log-facility={log}\nlog-dhcp\n" + ("" if ping else "no-ping\n")
            + (f"dhcp-boot={boot}\n" if boot else "")
        )  # fmt: skip
        return self.dnsmasqs.start(
            self.link.clients, conf, log, ready="sockets bound exclusively to interface"
        )


def end(server: Dnsmasq) -> None:
    server.process.terminate()
    server.process.wait(10)


@pytest.fixture
def thief(segment: Segment, appliance: Appliance, open_tmp: Path, dnsmasqs: Dnsmasqs) -> Thief:
    return Thief(segment.links[0], open_tmp, dnsmasqs)


@pytest.fixture
def brisk(appliance: Appliance) -> Iterator[Brisk]:
    made = Brisk(appliance.root, appliance.namespace)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait(10)


def rogues(appliance: Appliance) -> list[Any]:
    return list(appliance.status()["rogue_servers"])


def problems(appliance: Appliance, identity: str) -> list[Any]:
    return [p for p in appliance.status()["problems"] if p["id"] == identity]


def refusal(appliance: Appliance) -> str:
    """What a daemon says that does not start: exit code 4."""
    appliance.serve(wait=False)
    assert appliance.process is not None
    assert appliance.process.wait(20) == 4, appliance.log()
    appliance.process = None
    return appliance.log()


# ---- the alarm ----


def test_it_is_named_within_65_seconds_with_its_address_and_mac(appliance: Appliance, thief: Thief) -> None:
    appliance.serve()
    assert rogues(appliance) == []
    began = time.monotonic()
    thief.start(ping=True)
    (found,) = wait_until(lambda: rogues(appliance), "the alarm", 65)
    assert time.monotonic() - began < 65
    assert (found["ip"], found["mac"], found["network"]) == ("172.0.1.66", thief.mac, "pxe")
    assert found["offered"].startswith("172.0.1.1")
    assert found["boot_file"] == "evil.0"
    (told,) = problems(appliance, "rogue-server")
    assert told["severity"] == "error"
    for word in ("172.0.1.66", thief.mac, "pxe (pxe0)", "evil.0"):
        assert word in told["message"]
    assert thief.mac in told["fix"]
    event = appliance.await_event("rogue-server", ip="172.0.1.66", mac=thief.mac, network="pxe")
    assert event["detail"]["server"] == "172.0.1.66"


def test_it_is_cleared_after_two_probes_without_it_and_alarmed_again(brisk: Brisk, thief: Thief) -> None:
    brisk.serve()
    server = thief.start()
    wait_until(lambda: any(r["how"] == "probe" for r in rogues(brisk)), "an answer to the probe")
    end(server)
    wait_until(lambda: rogues(brisk) == [], "the alarm to end", 15)
    assert problems(brisk, "rogue-server") == []
    thief.start()
    wait_until(lambda: rogues(brisk), "the alarm again")
    happened = [e["detail"].get("what") for e in brisk.events("rogue-server")]
    assert happened == [None, "gone", None]


def test_one_of_another_subnet_is_found(brisk: Brisk, thief: Thief) -> None:
    brisk.serve()
    thief.start("10.66.0.1", boot="")
    (found,) = wait_until(lambda: rogues(brisk), "the alarm")
    assert (found["ip"], found["mac"]) == ("10.66.0.1", thief.mac)
    assert found["boot_file"] is None


def test_a_client_that_chose_another_server_is_evidence_and_no_more(
    brisk: Brisk, segment: Segment, client_on: ClientMaker
) -> None:
    """Nobody is at that address: the word of whoever forged the packet, which two probes take away."""
    brisk.serve()
    client = client_on(segment.links[0])
    there = {50: socket.inet_aton("172.0.1.150"), 54: socket.inet_aton("172.0.1.77")}
    chosen = Packet(NODE1, kind=REQUEST, options=there).payload()

    def named() -> list[Any]:
        client.send(chosen)
        return [r for r in rogues(brisk) if r["ip"] is not None]

    (found,) = wait_until(named, "the server that was chosen")
    assert (found["ip"], found["mac"], found["how"]) == ("172.0.1.77", None, "request")
    (told,) = problems(brisk, "rogue-server")
    assert "forge" in told["message"]
    brisk.await_event("nak", machine="node1")
    wait_until(lambda: rogues(brisk) == [], "the word to lose its worth", 15)


def test_our_questions_are_nobodys(brisk: Brisk, thief: Thief) -> None:
    brisk.serve()
    thief.start()
    log = thief.folder / "thief1.log"
    wait_until(lambda: log.read_text(errors="replace").count("PXEClient") >= 3, "three questions")
    assert "DHCPREQUEST" not in log.read_text()
    assert brisk.status()["strays"] == 0
    assert brisk.events("stray", "ignored", "discover", "offer") == []


def test_what_clients_say_of_themselves_is_heard(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    appliance.serve()
    client = client_on(segment.links[0])
    wire = bytes.fromhex("33221100554477668899aabbccddeeff")  # the first three fields are little-endian

    def seen() -> object:
        client.expect(discover(NODE1, o97=b"\0" + wire))
        return appliance.run("machine", "show", "node1", "-o", "json").json()["seen"]["uuid"]

    wait_until(lambda: seen() == UUID, "the UUID of node1")


# ---- the start ----


def test_serve_refuses_beside_another_server_unless_told(appliance: Appliance, thief: Thief) -> None:
    thief.start(ping=True)  # it tries an address for three seconds before it offers it
    appliance.write(settings=REFUSING)
    said = refusal(appliance)
    for word in ("172.0.1.66", thief.mac, "pxe (pxe0)", 'other_servers = "tell"', "appliance.toml"):
        assert word in said, said
    appliance.write()
    appliance.serve()
    wait_until(lambda: rogues(appliance), "the alarm")


def test_after_a_crash_it_serves_at_once_beside_a_thief(
    brisk: Brisk, thief: Thief, client_on: ClientMaker
) -> None:
    brisk.write(settings=REFUSING)
    brisk.serve()
    note = brisk.root / "run/pxe-appliance/served-lately.json"
    wait_until(lambda: note.exists() and "pxe pxe0" in note.read_text(), "the note")
    thief.start()
    client = client_on(thief.link)
    brisk.window = 60.0  # longer than anything here waits: whoever looks first does not serve in time
    for number in (signal.SIGKILL, signal.SIGTERM):  # a crash, and an operator's restart
        brisk.stop(number)
        brisk.serve()
        assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
        wait_until(lambda: rogues(brisk), "the alarm")
    brisk.stop()
    brisk.window = 0.6
    facts = json.loads(note.read_text())
    facts["networks"] = {key: at - 400 for key, at in facts["networks"].items()}
    note.write_text(json.dumps(facts))
    assert "172.0.1.66" in refusal(brisk)


def test_a_stop_while_it_looks_is_a_stop(appliance: Appliance) -> None:
    appliance.write(settings=REFUSING)
    appliance.serve(wait=False)
    wait_until(lambda: _looking(appliance), "the look")
    began = time.monotonic()
    assert appliance.stop() == 0
    assert time.monotonic() - began < 3


def _looking(appliance: Appliance) -> bool:
    """Whether the daemon has a socket on the client's port."""
    return ":68" in run("ip", "netns", "exec", str(appliance.namespace), "ss", "-Huln")


def test_an_interface_that_comes_late_is_watched_and_not_refused(
    segment: Segment, open_tmp: Path, dnsmasqs: Dnsmasqs
) -> None:
    brisk = Brisk(open_tmp / "root", segment.server)
    brisk.write(settings=REFUSING)
    brisk.serve()
    try:
        thief = Thief(segment.wire("pxe0", "172.0.1.1", "172.0.1.200"), open_tmp, dnsmasqs)
        server = thief.start()
        wait_until(lambda: [r["ip"] for r in rogues(brisk)] == ["172.0.1.66"], "the alarm", 15)
        end(server)
        wait_until(lambda: rogues(brisk) == [], "the alarm to end", 15)
        _renamed(segment, "pxe0", "away0")
        wait_until(lambda: brisk.dnsmasq()["state"] == "waiting", "the loss of the interface")
        _renamed(segment, "away0", "pxe0")
        thief.start()
        wait_until(lambda: rogues(brisk), "the alarm on the interface that came back", 15)
    finally:
        brisk.stop()


def _renamed(segment: Segment, old: str, new: str) -> None:
    run("ip", "-n", segment.server, "link", "set", old, "down")
    run("ip", "-n", segment.server, "link", "set", old, "name", new)
    run("ip", "-n", segment.server, "link", "set", new, "up")


# ---- where another server is meant to be ----


def test_in_proxy_mode_only_its_absence_and_company_are_told(brisk: Brisk, thief: Thief) -> None:
    brisk.write(settings=REFUSING + 'mode = "proxy"\n')
    brisk.serve()
    (told,) = wait_until(lambda: problems(brisk, "no-dhcp-server"), "a word about the absence", 15)
    assert (told["severity"], "pxe (pxe0)" in told["message"]) == ("warning", True)
    thief.start()
    wait_until(lambda: not problems(brisk, "no-dhcp-server"), "the end of the absence", 15)
    assert rogues(brisk) == []
    thief.start("10.66.0.1")
    (told,) = wait_until(lambda: problems(brisk, "several-dhcp-servers"), "a word about the company", 15)
    assert "10.66.0.1" in told["message"]
    assert rogues(brisk) == []
    assert brisk.events("rogue-server") == []


# ---- what it costs ----


def test_no_renewal_is_taken_from_dnsmasq(
    segment: Segment, open_tmp: Path, dnsmasqs: Dnsmasqs, client_on: ClientMaker
) -> None:
    link = segment.wire("pxe0", "172.0.1.1", "172.0.1.200")
    run("ip", "-n", link.clients, "addr", "add", "172.0.1.21/24", "dev", link.client_device)
    conf, log = open_tmp / "d.conf", open_tmp / "d.log"
    conf.write_text(
        "port=0\ninterface=pxe0\nexcept-interface=lo\nbind-dynamic\nno-ping\nleasefile-ro\ndhcp-authoritative\n"
        f"dhcp-range=172.0.1.0,static,255.255.255.0,1h\ndhcp-host={NODE1},172.0.1.21\npid-file=\n"
        f"log-facility={log}\n"
    )
    dnsmasqs.start(link.server, conf, log, ready="sockets bound exclusively to interface")
    client = client_on(link)
    client.acquire(discover(NODE1))
    with udp_socket(link.clients, "172.0.1.21", 68) as renewing:
        assert _renewals(renewing) == 20
        with closing(inside(link.server, lambda: Ear("pxe0"))) as ear:
            assert _renewals(renewing) == 20
            assert ear.from_clients() == []
            assert client.expect(discover(NODE1)).kind == OFFER  # a broadcast reaches both
            heard = wait_until(ear.from_clients, "the broadcast")
            assert [(str(h.packet.mac), str(h.source)) for h in heard] == [(NODE1, "0.0.0.0")]


def _renewals(renewing: socket.socket) -> int:
    """How many of twenty unicast REQUESTs are acknowledged."""
    acknowledged = 0
    for _ in range(20):
        packet = Packet(NODE1, kind=REQUEST, ciaddr="172.0.1.21", broadcast=False).payload()
        renewing.sendto(packet, ("172.0.1.1", 67))
        answer = renewing.recv(2048)
        acknowledged += answer[4:8] == packet[4:8] and answer[242] == ACK
    return acknowledged


def test_a_flood_costs_little(brisk: Brisk, segment: Segment, client_on: ClientMaker) -> None:
    brisk.serve()
    link, pid = segment.links[0], brisk.daemon_pid()
    with _flood(link) as sent:
        wait_until(lambda: sent() > 1000, "the flood")
        began, before, packets = time.monotonic(), _cpu(pid), sent()
        wait_until(lambda: time.monotonic() - began > 3, "three seconds of it")
        spent, seconds = _cpu(pid) - before, time.monotonic() - began
        rate = (sent() - packets) / seconds
    assert rate > 10_000, "too slow to be a flood"
    assert spent / seconds < 0.3
    assert len(rogues(brisk)) <= 64
    assert client_on(link).expect(discover(NODE2)).yiaddr == "172.0.1.22"
    wait_until(lambda: rogues(brisk) == [], "all of it to be forgotten", 20)


@contextmanager
def _flood(link: Link) -> Iterator[Callable[[], int]]:
    """Garbage to servers, and OFFERs of as many servers as there are packets; how many so far."""
    over, count = threading.Event(), [0, 0]

    def send() -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.client_device.encode() + b"\0")
        sock.bind((link.client_address, 0))
        garbage = os.urandom(300)
        offer = bytearray(Packet(STRANGER, kind=OFFER, options={54: bytes(4)}).payload())
        offer[0] = 2
        at = offer.index(b"\x36\x04") + 2
        while not over.is_set():
            for number in range(50):
                offer[at : at + 4] = struct.pack("!I", 0x0A000000 + (count[0] + number) % (1 << 24))
                sock.sendto(offer, ("255.255.255.255", 68))
                sock.sendto(garbage, ("255.255.255.255", 67))
            count[0] += 100
        sock.close()

    thread = threading.Thread(target=inside, args=(link.clients, send))
    thread.start()
    try:
        yield lambda: count[0]
    finally:
        over.set()
        thread.join()


def _cpu(pid: int) -> float:
    """Seconds of processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_port_that_is_taken_costs_the_watch_alone(
    brisk: Brisk, segment: Segment, client_on: ClientMaker
) -> None:
    with udp_socket(segment.server, "0.0.0.0", 68):  # it does not share
        brisk.serve()
        (told,) = wait_until(lambda: problems(brisk, "rogue-watch"), "a word about the port")
        assert "Address already in use" in told["message"]
        assert client_on(segment.links[0]).expect(discover(NODE1)).yiaddr == "172.0.1.21"
    wait_until(lambda: not problems(brisk, "rogue-watch"), "the watch to begin")
