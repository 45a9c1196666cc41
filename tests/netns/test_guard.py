"""Production is never hurt: unsafe interfaces are not served, and nothing of ours leaves by another one.

A production network stands beside every PXE wire of these tests (`tests.production`); what is sent on it is
captured and judged after each of them. Here faults are planted, some with the guard away: then the same
packets do pass, and the capture does see them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.conftest import ClientMaker, Dnsmasqs, Segment, run
from tests.netns.test_appliance import NODE1, discover
from tests.netns.wire import Client, inside, tftp_get, udp_socket, wait_until
from tests.production import GATEWAY, NIC, OURS

pytestmark = pytest.mark.netns

PXE: Final = "172.0.1.1"
HOST: Final = "172.0.1.200"  # on the PXE wire
TABLE: Final = ("inet", "pxe-appliance")
TWO: Final = SETTINGS + (
    '\n[network.lab]\ninterface = "lab0"\nsubnet = "172.0.2.0/24"\nother_servers = "tell"\n'
)


def problems(appliance: Appliance) -> dict[str, str]:
    """What `status` complains of: the message by id."""
    return {p["id"]: p["message"] for p in appliance.status()["problems"]}


def tables(namespace: str) -> str:
    return run("ip", "netns", "exec", namespace, "nft", "list", "tables")


def packets(namespace: str, words: str) -> int:
    """What the counter of a rule of the guard says, by its comment."""
    shown = json.loads(run("ip", "netns", "exec", namespace, "nft", "-j", "list", "table", *TABLE))
    rules = [entry["rule"] for entry in shown["nftables"] if "rule" in entry]
    counters = [e["counter"]["packets"] for r in rules if r.get("comment") == words for e in r["expr"]
                if "counter" in e]  # fmt: skip
    return sum(counters)


def mac_of(namespace: str, device: str) -> str:
    return str(json.loads(run("ip", "-n", namespace, "-j", "link", "show", device))[0]["address"])


def swap(namespace: str, one: str, other: str) -> None:
    """Give two NICs each other's name; with production's default route back, by whatever name."""
    for device in (one, other):
        run("ip", "-n", namespace, "link", "set", device, "down")
    for old, new in ((one, "swap0"), (other, one), ("swap0", other)):
        run("ip", "-n", namespace, "link", "set", old, "name", new)
    for device in (one, other):
        run("ip", "-n", namespace, "link", "set", device, "up")
    shown = json.loads(run("ip", "-n", namespace, "-j", "addr", "show", "to", OURS))
    (way,) = [row["ifname"] for row in shown if row]
    run("ip", "-n", namespace, "route", "replace", "default", "via", GATEWAY, "dev", way)


def answers(namespace: str) -> dict[str, bool]:
    """Whether HTTP and TFTP at our PXE address answer somebody in a namespace."""

    def http() -> bool:
        with closing(socket.socket()) as sock:
            sock.settimeout(0.7)
            with suppress(OSError):
                sock.connect((PXE, 8080))
                return True
        return False

    def tftp() -> bool:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.settimeout(0.7)
            with suppress(OSError):
                sock.sendto(b"\0\1nothing-of-that-name\0octet\0", (PXE, 69))
                return bool(sock.recv(600))
        return False

    return {"http": inside(namespace, http), "tftp": inside(namespace, tftp)}


@pytest.fixture
def client(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Client:
    """A raw client on the appliance's wire, which serves."""
    appliance.serve()
    return client_on(segment.links[0])


# ---- what is refused ----


def test_an_interface_that_carries_the_default_route_is_refused_until_it_is_allowed(
    appliance: Appliance, segment: Segment
) -> None:
    run("ip", "-n", segment.server, "route", "replace", "default", "via", "172.0.1.254", "dev", "pxe0")
    refused = appliance.run("serve", rc=4)
    assert "the default route leaves by pxe0" in refused.stderr
    assert 'default_route = "allow"' in refused.stderr
    assert TABLE[1] not in tables(segment.server)
    assert "UNSAFE the default route leaves by pxe0" in appliance.run("plan").stdout
    appliance.run("sync", "--yes", rc=4)
    assert not (appliance.root / "var/lib/pxe-appliance/current").exists()
    appliance.write(settings=SETTINGS + 'default_route = "allow"\n')
    appliance.serve()
    assert appliance.dnsmasq()["state"] == "serving"
    assert not problems(appliance)
    assert appliance.stop() == 0


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "by its default route"])
def test_names_that_were_swapped_keep_it_from_starting(
    appliance: Appliance, segment: Segment, pinned: bool
) -> None:
    pin = f'mac = "{mac_of(segment.server, "pxe0")}"\n' if pinned else ""
    appliance.write(settings=SETTINGS + pin)
    appliance.run("sync", "--yes")
    swap(segment.server, "pxe0", NIC)
    refused = appliance.run("serve", rc=4)
    why = "pxe0 is not the NIC that is pinned" if pinned else "the default route leaves by pxe0"
    assert why in refused.stderr
    swap(segment.server, "pxe0", NIC)
    appliance.serve()
    assert appliance.stop() == 0


def test_a_sync_to_an_unsafe_interface_touches_nothing(
    appliance: Appliance, client: Client, segment: Segment
) -> None:
    before, rules = appliance.status()["generation"], run(
        "ip", "netns", "exec", segment.server, "nft", "-s", "list", "ruleset")  # fmt: skip
    appliance.write(settings=SETTINGS.replace("pxe0", NIC))
    assert f"UNSAFE the default route leaves by {NIC}" in appliance.run("plan").stdout
    refused = appliance.run("sync", "--yes", rc=4)
    assert f"the default route leaves by {NIC}" in refused.stderr
    assert appliance.status()["generation"] == before
    assert run("ip", "netns", "exec", segment.server, "nft", "-s", "list", "ruleset") == rules
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    appliance.write(settings=SETTINGS.replace("[network.pxe]", '[network.pxe]\nmac = "52:54:00:00:00:01"'))
    assert "not the NIC that is pinned" in appliance.run("sync", "--yes", rc=4).stderr


def test_a_network_that_becomes_unsafe_is_silent_within_seconds_and_the_other_serves_on(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    lab = segment.wire("lab0", "172.0.2.1", "172.0.2.200")
    right = mac_of(segment.server, "pxe0")
    appliance.write(settings=TWO.replace("[network.pxe]", f'[network.pxe]\nmac = "{right}"'))
    pin = appliance.root / "etc/pxe-appliance/inventory.d/lab.toml"
    pin.write_text('[machine.lab1]\nmac = "52:54:00:bb:00:01"\nip = "172.0.2.21"\nprofile = "lab"\n')
    appliance.serve()
    pxe_client, lab_client = client_on(segment.links[0]), client_on(lab)
    assert pxe_client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    faults: tuple[tuple[str, Callable[[], str], Callable[[], str]], ...] = (
        (
            "interface-mac",
            lambda: run("ip", "-n", segment.server, "link", "set", "pxe0", "address", "52:54:00:00:00:09"),
            lambda: run("ip", "-n", segment.server, "link", "set", "pxe0", "address", right),
        ),
        (
            "interface-default-route",
            lambda: run("ip", "-n", segment.server, "route", "add", "default", "dev", "pxe0", "metric", "9"),
            lambda: run("ip", "-n", segment.server, "route", "del", "default", "dev", "pxe0"),
        ),
    )
    for identity, plant, mend in faults:
        plant()
        run("ip", "-n", segment.clients, "neigh", "flush", "all")
        wait_until(lambda i=identity: i in problems(appliance), identity, 5)  # type: ignore[misc]
        wait_until(lambda: set(answers(segment.clients).values()) == {False}, "silence", 5)
        pxe_client.drain()
        assert pxe_client.ask(discover(NODE1), seconds=0.7) is None
        lab_client.drain()
        assert lab_client.expect(discover("52:54:00:bb:00:01")).yiaddr == "172.0.2.21"
        status = appliance.status()
        assert {n["name"]: n["up"] for n in status["networks"]} == {"pxe": False, "lab": True}
        assert appliance.run("explain", identity).stdout
        mend()
        run("ip", "-n", segment.clients, "neigh", "flush", "all")
        wait_until(lambda: appliance.dnsmasq()["state"] == "serving", "all to be served again", 8)
        pxe_client.drain()
        assert pxe_client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
        wait_until(lambda: set(answers(segment.clients).values()) == {True}, "answers", 5)
    assert appliance.stop() == 0


# ---- what cannot leave, arrive, or pass ----


def test_our_address_answers_nobody_by_another_interface(
    appliance: Appliance, client: Client, segment: Segment
) -> None:
    production = segment.production
    run("ip", "-n", production.namespace, "route", "add", f"{PXE}/32", "via", OURS)
    assert answers(segment.clients) == {"http": True, "tftp": True}
    assert answers(production.namespace) == {"http": False, "tftp": False}
    with udp_socket(production.namespace, GATEWAY) as sock:  # a renewal, or whoever has it routed to us
        before = packets(segment.server, "address pxe")
        sock.sendto(discover(NODE1), (PXE, 67))
        wait_until(lambda: packets(segment.server, "address pxe") > before, "the guard to stop it")
    assert production.take() == []


def test_without_nft_it_serves_says_so_and_the_capture_sees_what_the_guard_would_stop(
    appliance: Appliance, segment: Segment, open_tmp: Path, client_on: ClientMaker
) -> None:
    programs = open_tmp / "bin"
    programs.mkdir()
    for folder in ("/usr/bin", "/usr/sbin"):
        for program in Path(folder).iterdir():
            if program.name != "nft":
                with suppress(FileExistsError):
                    (programs / program.name).symlink_to(program)
    appliance.environment = {"PATH": str(programs)}
    appliance.serve()
    words = wait_until(lambda: problems(appliance).get("guard-missing"), "the problem")
    assert words is not None
    assert "cannot run nft: it is not installed" in words
    assert "cannot run nft" in appliance.log()
    assert client_on(segment.links[0]).expect(discover(NODE1)).yiaddr == "172.0.1.21"
    production = segment.production
    run("ip", "-n", production.namespace, "route", "add", f"{PXE}/32", "via", OURS)
    # dnsmasq looks by itself where a packet came from; whoever binds to an address alone does not.
    assert answers(production.namespace) == {"http": True, "tftp": False}
    seen = production.take()
    assert {words.partition(":")[0] for words in seen} == {"a PXE address"}
    appliance.environment = {}
    assert appliance.stop() == 0


@contextmanager
def routed(segment: Segment) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A host on each side that has this one for its router, which is told to route; a socket of each."""
    production = segment.production
    run("ip", "netns", "exec", segment.server, "sysctl", "-qw", "net.ipv4.ip_forward=1",
        "net.ipv6.conf.all.forwarding=1")  # fmt: skip
    run("ip", "-n", segment.clients, "route", "add", "10.9.9.0/24", "via", PXE)
    run("ip", "-n", production.namespace, "route", "add", "172.0.1.0/24", "via", OURS)
    with (
        udp_socket(segment.clients, HOST, 7001) as near,
        udp_socket(production.namespace, GATEWAY, 7001) as far,
    ):
        for sock in (near, far):
            sock.settimeout(0)
        yield near, far


def arrived(sock: socket.socket) -> bool:
    with suppress(BlockingIOError):
        return bool(sock.recv(100))
    return False


def test_nothing_is_forwarded_although_the_kernel_would(
    appliance: Appliance, client: Client, segment: Segment
) -> None:
    with routed(segment) as (near, far):
        for _ in range(5):
            near.sendto(b"out", (GATEWAY, 7001))
            far.sendto(b"in", (HOST, 7001))
        for way in ("forwarded from pxe", "forwarded to pxe"):
            wait_until(lambda w=way: packets(segment.server, w) == 5, way)  # type: ignore[misc]
        assert not arrived(near)
        assert not arrived(far)
        assert segment.production.take() == []
        told = wait_until(lambda: problems(appliance).get("forwarding-denied"), "the problem", 8)
        assert told is not None
        assert "10 packets" in told
        # Its daemon gone, the kernel routes as it was told to: it was the guard that stopped them.
        assert appliance.stop() == 0
        assert TABLE[1] not in tables(segment.server)
        near.sendto(b"out", (GATEWAY, 7001))
        far.sendto(b"in", (HOST, 7001))
        wait_until(lambda: arrived(far), "a packet to production")
        wait_until(lambda: arrived(near), "a packet from production")
    assert len(segment.production.take()) == 1


def test_an_operator_may_route_and_neither_ipv6_nor_another_network_comes_along(
    appliance: Appliance, segment: Segment
) -> None:
    lab = segment.wire("lab0", "172.0.2.1", "172.0.2.200")
    allowed = TWO.replace("[network.pxe]", '[network.pxe]\nforwarding = "allow"')
    appliance.write(settings=allowed)
    appliance.serve()
    with routed(segment) as (near, far), udp_socket(segment.clients, "172.0.2.200", 7001) as other:
        near.sendto(b"out", (GATEWAY, 7001))
        far.sendto(b"in", (HOST, 7001))
        wait_until(lambda: arrived(far), "a packet to production")
        wait_until(lambda: arrived(near), "a packet from production")
        assert len(segment.production.take()) == 1
        other.settimeout(0)
        run("ip", "-n", segment.production.namespace, "route", "add", "172.0.2.0/24", "via", OURS)
        far.sendto(b"in", ("172.0.2.200", 7001))
        wait_until(lambda: packets(segment.server, "forwarded to lab") == 1, "the guard to stop it")
        assert not arrived(other)
        for namespace, device, address in (
            (segment.server, lab.device, "fd00:2::1/64"),
            (segment.server, NIC, "fd00:9::1/64"),
            (segment.production.namespace, "prodfar", "fd00:9::fe/64"),
        ):
            run("ip", "-n", namespace, "addr", "add", address, "dev", device, "nodad")
        run("ip", "-n", segment.production.namespace, "route", "add", "fd00:2::/64", "via", "fd00:9::1")

        def say() -> None:
            with closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sock:
                sock.sendto(b"in", ("fd00:2::200", 7001))

        inside(segment.production.namespace, say)
        wait_until(lambda: packets(segment.server, "forwarded to lab") == 2, "IPv6 to be stopped, too")
    assert appliance.stop() == 0


def test_nobody_else_is_hurt_another_dhcp_server_of_this_host_least(
    appliance: Appliance, client: Client, segment: Segment, dnsmasqs: Dnsmasqs, open_tmp: Path
) -> None:
    log, conf = open_tmp / "other.log", open_tmp / "other.conf"
    conf.write_text(
        f"port=0\ninterface={NIC}\nexcept-interface=lo\nbind-dynamic\nleasefile-ro\npid-file=\nno-ping\n"
        f"dhcp-range=10.9.9.100,10.9.9.150,255.255.255.0,1h\ndhcp-authoritative\nlog-facility={log}\n"
        f"log-dhcp\nenable-tftp\ntftp-root={open_tmp}\n"
    )
    (open_tmp / "theirs").write_bytes(b"theirs")
    (open_tmp / "theirs").chmod(0o644)
    dnsmasqs.start(segment.server, conf, log, ready="IP range 10.9.9.100")
    with closing(Client(segment.production.namespace, "prodfar")) as theirs:
        offer, _ = theirs.acquire(discover("52:54:00:cc:00:01"))
        assert offer.yiaddr.startswith("10.9.9.1")
    assert tftp_get(segment.production.namespace, GATEWAY, OURS, "theirs") == b"theirs"
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    seen = segment.production.take()  # theirs, which the capture must take for boot answers
    assert seen
    assert all(f"{OURS} to" in words for words in seen), seen


def test_a_service_user_cannot_answer_elsewhere_whatever_it_runs(
    appliance: Appliance, segment: Segment, open_tmp: Path
) -> None:
    """As the unit does it: no root, two capabilities, and nft takes the rules from us all the same."""
    for path in (appliance.root, *appliance.root.rglob("*")):
        os.chown(path, 65534, 65534)
    caps = "-all,+net_bind_service,+net_admin"
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs",
            "--inh-caps", caps, "--ambient-caps", caps, "--bounding-set", caps)  # fmt: skip
    usual = appliance.argv

    def as_user(*args: str) -> list[str]:
        argv = usual(*args)
        return [*argv[:4], *user, *argv[4:]] if args == ("serve",) else argv

    appliance.argv = as_user  # type: ignore[method-assign]
    appliance.serve()
    rules = run("ip", "netns", "exec", segment.server, "nft", "list", "table", *TABLE)
    assert "meta skuid 65534 udp sport { 67, 69, 4011 }" in rules
    say = (
        "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
        "s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\ns.bind(('0.0.0.0',4011))\n"
        f"s.sendto(b'boot',('{GATEWAY}',4011))"
    )
    enter = ("ip", "netns", "exec", segment.server)
    with pytest.raises(AssertionError, match="not permitted"):
        run(*enter, *user, sys.executable, "-c", say)
    assert packets(segment.server, "answers") == 1
    assert segment.production.take() == []
    run(*enter, sys.executable, "-c", say)  # root's: another program of the host
    wait_until(segment.production.take, "the packet of another")
    assert appliance.stop() == 0


# ---- the guard itself ----


def test_a_guard_that_is_taken_away_or_changed_is_put_up_again(
    appliance: Appliance, client: Client, segment: Segment
) -> None:
    def rules() -> str:
        return run("ip", "netns", "exec", segment.server, "nft", "-s", "list", "ruleset")

    before = rules()
    for change in (
        ("flush", "ruleset"),
        ("flush", "chain", *TABLE, "forward"),
        ("insert", "rule", *TABLE, "input", "accept"),
    ):
        run("ip", "netns", "exec", segment.server, "nft", *change)
        wait_until(lambda: rules() == before, f"the guard after {change}", 5)
    assert "was changed: it is put up again" in appliance.log()
    own = ("add", "table", "inet", "operator")
    run("ip", "netns", "exec", segment.server, "nft", *own)  # other tables are their owners'
    wait_until(lambda: "table inet operator" in rules(), "another's table")


def test_a_crash_leaves_it_the_next_start_replaces_it_and_a_clean_stop_takes_it_down(
    appliance: Appliance, client: Client, segment: Segment
) -> None:
    appliance.stop(signal.SIGKILL)
    assert TABLE[1] in tables(segment.server)
    appliance.serve()
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    assert run("ip", "netns", "exec", segment.server, "nft", "list", "ruleset").count("hook forward") == 1
    assert appliance.stop() == 0
    assert TABLE[1] not in tables(segment.server)


# ---- the capture ----


def test_the_capture_sees_what_must_not_be_there(segment: Segment) -> None:
    segment.wire("pxe0", PXE, HOST)

    def plant(source: str, port: int, kind: socket.SocketKind = socket.SOCK_DGRAM) -> None:
        with closing(socket.socket(socket.AF_INET, kind)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, NIC.encode())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind((source, port))
            if kind is socket.SOCK_STREAM:
                sock.settimeout(0.2)
                with suppress(OSError):
                    sock.connect((GATEWAY, 9))
            else:
                sock.sendto(b"boot", (GATEWAY, 68))

    cases: tuple[tuple[str, int, socket.SocketKind, str], ...] = (
        *((OURS, port, socket.SOCK_DGRAM, f"a boot answer from port {port}") for port in (67, 69, 4011)),
        (PXE, 40000, socket.SOCK_DGRAM, "a PXE address"),
        (OURS, 8080, socket.SOCK_STREAM, "from our HTTP port"),
    )
    for source, port, kind, words in cases:
        inside(segment.server, lambda s=source, p=port, k=kind: plant(s, p, k))  # type: ignore[misc]
        seen: list[Any] = wait_until(segment.production.take, words)
        assert all(found.startswith(words) for found in seen), seen
    with closing(Client(segment.server, NIC)) as bridged:
        bridged._socket.send(
            b"\xff" * 6 + bytes.fromhex("525400aa0001") + struct.pack("!H", 0x0806) + bytes(46)
        )
    assert wait_until(segment.production.take, "a bridged frame") == ["bridged from 52:54:00:aa:00:01"]
    inside(segment.server, lambda: plant(OURS, 40001))  # what any host says
    before = segment.production.total.frames

    def more() -> bool:
        segment.production.look()
        return segment.production.total.frames > before

    wait_until(more, "a usual frame")
    assert segment.production.take() == []
