"""Why a boot stopped, asked of a real daemon: real packets, real files, faults planted on the wire."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.conftest import ClientMaker, Segment, run
from tests.netns.machines import IPXE, Machine, put_on
from tests.netns.test_appliance import NODE1, discover
from tests.netns.wire import Client, Packet, inside, pxe_options, tftp_get, wait_until

pytestmark = pytest.mark.netns

WITHIN = 65.0  # seconds, the promise


@pytest.fixture
def node1(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Machine:
    """A machine on the wire of an appliance that serves."""
    appliance.serve()
    return put_on(segment.links[0], "node1", client_on)


def why(appliance: Appliance, name: str = "node1") -> Any:
    return appliance.run("why", name, "-o", "json").json()


def await_verdict(appliance: Appliance, identity: str, name: str = "node1", seconds: float = WITHIN) -> Any:
    """What `why` says, once its verdict is this one."""

    def named() -> Any:
        facts = why(appliance, name)
        return facts if facts["verdict"] and facts["verdict"]["id"] == identity else None

    return wait_until(named, f"why {name} to say {identity}", seconds)


def ipxe(mac: str) -> bytes:
    """A DISCOVER of iPXE."""
    return Packet(mac, options=pxe_options(0) | {77: b"iPXE", 175: b"\xb1\x05\x01\x1a\xf4\x10\x00"}).payload()


def test_a_broken_kernel_path_is_named_with_the_file_and_the_remedy(
    appliance: Appliance, node1: Machine
) -> None:
    appliance.edit("/assets/lab/vmlinuz", "/assets/lab/vmlinux")
    appliance.run("sync", "--yes")
    node1.acquire(ipxe(node1.mac))
    assert node1.script(agent=IPXE).status == 200
    assert node1.ask("/assets/lab/vmlinux", agent=IPXE).status == 404
    facts = await_verdict(appliance, "kernel-refused", seconds=5)
    assert "/assets/lab/vmlinux" in facts["verdict"]["message"]
    assert "404" in facts["verdict"]["message"]
    assert "assets/lab/vmlinux" in facts["verdict"]["remedy"]
    assert "rack.toml:" in facts["verdict"]["remedy"], "where its profile is written"
    assert (facts["rung"], facts["expected"], facts["state"]) == ("script", "kernel", "stuck")
    assert [e["event"] for e in facts["evidence"]][-1] == "http-error"
    (row,) = [m for m in appliance.run("machines", "-o", "json").json() if m["name"] == "node1"]
    assert row["verdict"] == facts["verdict"]
    assert (row["expected"], row["boot"]["state"]) == ("kernel", "stuck")
    assert appliance.status()["machines"]["stuck"] == 1
    shown = appliance.run("why", "node1").stdout
    assert "pxe-appliance explain kernel-refused" in shown
    assert "# kernel-refused: " in appliance.run("explain", "kernel-refused").stdout


def test_one_that_mends_itself_has_no_verdict_any_more(appliance: Appliance, node1: Machine) -> None:
    node1.acquire(ipxe(node1.mac))
    assert node1.ask("/assets/lab/none", agent=IPXE).status == 404
    assert node1.script(agent=IPXE).status == 200
    assert node1.ask("/assets/lab/vmlinuz", agent=IPXE).status == 200
    assert node1.ask("/assets/lab/initrd.gz", agent=IPXE).status == 200
    appliance.await_event("initrd", machine="node1")
    facts = why(appliance)
    assert (facts["verdict"], facts["rung"], facts["expected"]) == (None, "initrd", "ignition")
    assert facts["deadline"]


def test_a_class_without_a_boot_file_and_a_file_that_is_not_there(
    appliance: Appliance, node1: Machine, segment: Segment
) -> None:
    node1.client.silence(discover(NODE1, arch=11), known=discover("52:54:00:aa:00:11"))
    facts = await_verdict(appliance, "no-boot-file", seconds=5)
    assert "arm64 UEFI (11)" in facts["verdict"]["message"]
    node1.acquire(discover(NODE1, arch=7))
    with pytest.raises(OSError, match="not found"):
        tftp_get(segment.clients, node1.ip, "172.0.1.1", "pxelinux.0")
    facts = await_verdict(appliance, "tftp-missing", seconds=10)
    assert "pxelinux.0" in facts["verdict"]["message"]
    assert "no boot file of ours" in facts["verdict"]["message"]


def test_a_declined_address_and_a_refused_request(appliance: Appliance, node1: Machine) -> None:
    node1.acquire()
    server = b"\xac\x00\x01\x01"
    decline = Packet(NODE1, options=pxe_options(0) | {53: b"\x04", 50: bytes([172, 0, 1, 21]), 54: server})
    node1.client.send(decline.payload())
    facts = await_verdict(appliance, "declined", seconds=10)
    assert "declined its address" in facts["verdict"]["message"]
    wanted = bytes([172, 0, 1, 22])  # node2's
    request = Packet(NODE1, options=pxe_options(0) | {53: b"\x03", 50: wanted, 54: server})
    node1.client.send(Packet(NODE1, options=pxe_options(0)).payload())
    node1.client.send(request.payload())
    appliance.await_event("nak", machine="node1")


def test_a_machine_with_a_wrong_mac_in_the_inventory(appliance: Appliance, client: Client) -> None:
    near = "52:54:00:aa:07:21"  # node3 has 00:21
    client.silence(discover(near), known=discover(NODE1))
    facts = await_verdict(appliance, "wrong-mac", "node3", seconds=10)
    remedy = facts["verdict"]["remedy"]
    assert f"if it is the same: pxe-appliance machine replace-mac node3 {near}" in remedy
    assert near in facts["verdict"]["message"]


def test_a_second_nic_on_the_vlan_beside_a_machine_that_runs(appliance: Appliance, node1: Machine) -> None:
    node1.boot()
    node1.ask("/assets/lab/vmlinuz", agent=IPXE)
    node1.ask("/assets/lab/initrd.gz", agent=IPXE)
    node1.ignition()
    assert node1.report("done").status == 200
    node1.client.silence(discover("52:54:00:aa:00:02", arch=None), known=discover("52:54:00:aa:00:11"))
    facts = await_verdict(appliance, "other-nic-strays", seconds=10)
    assert "52:54:00:aa:00:02" in facts["verdict"]["message"]
    assert facts["state"] == "booted", "a note stops nobody"


@contextmanager
def matchbox(segment: Segment) -> Iterator[ThreadingHTTPServer]:
    """An endpoint that answers its front page, in the appliance's namespace."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"matchbox\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own word
            """Say nothing."""

    server = inside(segment.server, lambda: ThreadingHTTPServer(("127.0.0.1", 8099), Handler))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def test_a_stopped_endpoint_is_named_within_the_promise(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    run("ip", "-n", segment.server, "link", "set", "lo", "up")
    appliance.write(settings=SETTINGS + '\n[matchbox]\nendpoint = "http://127.0.0.1:8099"\n')
    with matchbox(segment):
        appliance.serve()
        wait_until(lambda: appliance.status()["matchbox"]["reachable"], "the endpoint to be reachable", 25)
        node1 = put_on(segment.links[0], "node1", client_on)
        node1.acquire(ipxe(node1.mac))
        assert "127.0.0.1:8099" in node1.ask("/boot.ipxe", agent=IPXE).text
        assert why(appliance)["verdict"] is None
    facts = await_verdict(appliance, "endpoint-down")
    assert "http://127.0.0.1:8099" in facts["verdict"]["message"]
    assert "curl -i http://127.0.0.1:8099/" in facts["verdict"]["remedy"]


def test_silence_after_an_address_is_named_within_the_promise(appliance: Appliance, node1: Machine) -> None:
    node1.acquire(discover(NODE1, arch=7))
    facts = await_verdict(appliance, "bootfile-not-asked")
    assert "TFTP" in facts["verdict"]["message"]
    assert "doctor" in facts["verdict"]["remedy"]


def test_a_download_in_progress_is_no_silence(appliance: Appliance, node1: Machine) -> None:
    kernel = appliance.root / "etc/pxe-appliance/matchbox/assets/lab/vmlinuz"
    kernel.write_bytes(bytes(64 << 20))
    node1.acquire(ipxe(node1.mac))
    assert node1.script(agent=IPXE).status == 200
    command = ["curl", "-s", "-o", "/dev/null", "--interface", node1.device, "--limit-rate", "1M", "-m", "6",
               "http://172.0.1.1:8080/assets/lab/vmlinuz"]  # fmt: skip

    def load() -> None:
        try:
            run("ip", "netns", "exec", node1.link.clients, *command)
        except AssertionError:
            """It breaks off after six seconds: that is the point."""

    thread = threading.Thread(target=load)
    thread.start()

    def loads() -> bool:
        facts = why(appliance)
        return facts["expected"] == "kernel" and facts["deadline"] is None

    wait_until(loads, "a download to be known", 5)
    assert why(appliance)["verdict"] is None
    thread.join()
    facts = await_verdict(appliance, "download-cut", seconds=10)
    assert "/assets/lab/vmlinuz" in facts["verdict"]["message"]


def test_a_machine_that_nobody_knows_and_one_that_was_never_heard(
    appliance: Appliance, client: Client
) -> None:
    refused = appliance.run("why", "node11", rc=4)
    assert "did you mean node1?" in refused.stderr
    facts = why(appliance, "node2")
    assert facts["verdict"]["id"] == "never-asked"
    rows = {m["name"]: m for m in appliance.run("machines", "-o", "json").json()}
    assert rows["node2"]["verdict"] is None, "it may simply be off"
    assert set(facts) >= {"machine", "rung", "expected", "since", "verdict", "evidence"}
    json.dumps(facts)


@pytest.fixture
def client(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Client:
    """A raw client on the appliance's wire, which serves."""
    appliance.serve()
    return client_on(segment.links[0])
