"""`prove` on the real daemon: simulated clients walk the whole way, faults are named, nobody is disturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.system.files import exclusive_lock
from tests.netns.appliance import INVENTORY, SETTINGS, Appliance
from tests.netns.conftest import ClientMaker, Segment, run
from tests.netns.machines import put_on
from tests.netns.test_appliance import NODE1, NODE2, NODE3, discover
from tests.netns.wire import ACK, DECLINE, RELEASE, REQUEST, Client, Packet, inside, wait_until

pytestmark = pytest.mark.netns

SERVED = {0, 7, 9, 16}  # what Debian's package `ipxe` has a boot file for
KEPT = ("leases", "strays", "rogue_servers")
RUNGS = ["offer", "ack", "bootfile", "ipxe", "script", "kernel", "initrd", "ignition"]


def kernel(size: int = 8192) -> bytes:
    """As much of a bzImage as a boot loader looks at."""
    head = bytearray(size)
    head[0x1F1] = 4
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    return bytes(head)


def furnish(appliance: Appliance) -> None:
    """Put a kernel and an initrd where the sample inventory says they are."""
    assets = appliance.root / "etc/pxe-appliance/matchbox/assets/lab"
    (assets / "vmlinuz").write_bytes(kernel())
    (assets / "initrd.gz").write_bytes(b"\x1f\x8b" + bytes(500))


@pytest.fixture
def client(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Client:
    """A raw client on the appliance's wire, which serves and has all that its machines load."""
    furnish(appliance)
    appliance.serve()
    return client_on(segment.links[0])


def prove(appliance: Appliance, *args: str, rc: int | None = 0) -> Any:
    return appliance.run("prove", *args, "-o", "json", rc=rc, timeout=200).json()


def faults(proof: Any) -> dict[str, set[str]]:
    """The machines of each fault."""
    found: dict[str, set[str]] = {}
    for result in proof["results"]:
        if result["failure"]:
            found.setdefault(result["failure"]["id"], set()).add(result["machine"])
    return found


def dhcp_log(appliance: Appliance) -> str:
    """What dnsmasq has logged since it was started."""
    return (appliance.root / "run/pxe-appliance/log/dhcp-pxe.log").read_text(errors="replace")


def everything_known(appliance: Appliance) -> dict[str, Any]:
    """All that a proof could disturb: what is told, and what is kept on disk."""
    told = {
        name: appliance.run(*words, "-o", "json").json()
        for name, words in {
            "machines": ("machines",),
            "leases": ("leases",),
            "strays": ("strays",),
            "node1": ("machine", "show", "node1"),
        }.items()
    }
    status = appliance.status()
    told |= {key: status[key] for key in ("strays", "rogue_servers", "problems", "machines")}
    told["events"] = appliance.events()
    (path,) = (appliance.root / "var/lib/pxe-appliance").glob("history.db")
    with sqlite3.connect(path) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            told[f"table {table}"] = sorted(map(repr, database.execute(f"SELECT * FROM {table}")))
    return told


def test_every_class_of_every_machine_is_proven(appliance: Appliance, client: Client) -> None:
    proof = prove(appliance)
    assert proof["proven"] is True
    assert {(r["machine"], r["arch"]) for r in proof["results"]} == {
        (machine, arch) for machine in ("node1", "node2", "node3") for arch in SERVED
    }
    for result in proof["results"]:
        assert [(step["rung"], step["state"]) for step in result["rungs"]] == [
            (rung, "passed") for rung in RUNGS
        ]
        assert result["failure"] is None
    files = {r["arch"]: r["rungs"][0]["detail"] for r in proof["results"]}
    assert files[0].endswith(", undionly.kpxe")
    assert files[16].endswith(", http://172.0.1.1:8080/assets/ipxe/ipxe.efi")


def test_an_address_before_ours_on_the_interface_changes_nothing(
    appliance: Appliance, segment: Segment
) -> None:
    """dnsmasq's broadcasts leave from the interface's first address then."""
    run("ip", "-n", segment.server, "addr", "flush", "dev", "pxe0")
    for address in ("192.0.2.1/24", "172.0.1.1/24"):
        run("ip", "-n", segment.server, "addr", "add", address, "dev", "pxe0")
    furnish(appliance)
    appliance.serve()
    proof = prove(appliance)
    assert faults(proof) == {}
    assert "192.0.2.1" not in str(proof)
    assert appliance.status()["generation"]["proven"] is True


def test_chosen_machines_and_classes_are_proven_alone(appliance: Appliance, client: Client) -> None:
    proof = prove(appliance, "node2", "--arch", "7")
    assert [(r["machine"], r["arch"]) for r in proof["results"]] == [("node2", 7)]
    shown = appliance.run("prove", "node2", "--arch", "7")
    assert "ok   ignition" in shown.stdout
    assert "Proven: 1 of 1 walks" in shown.stdout
    assert not shown.stderr
    refused = prove(appliance, "node2", "--arch", "11", rc=5)
    assert faults(refused) == {"prove-class": {"node2"}}
    assert "did you mean node2" in appliance.run("prove", "nod2", rc=4).stderr
    assert "no client class 99" in appliance.run("prove", "--arch", "99", rc=4).stderr


def test_a_proof_disturbs_nothing(
    appliance: Appliance, segment: Segment, client: Client, client_on: ClientMaker
) -> None:
    """With one machine in the middle of its boot, one held, one nobody has seen, and a stranger."""
    link = segment.links[0]
    node1 = put_on(link, "node1", client_on)
    assert node1.boot().token
    client.silence(discover("52:54:00:ff:ff:01"), known=discover(NODE2))
    appliance.run("machine", "hold", "node3", "-m", "a test")
    appliance.await_event("held", machine="node3")
    wait_until(lambda: appliance.status()["strays"], "the stranger")
    before = everything_known(appliance)
    for _ in range(2):
        assert prove(appliance)["proven"] is True
    assert everything_known(appliance) == before
    # The machine in the middle of its boot goes on: its token, and its lease, are what they were.
    assert node1.ignition().status == 200
    assert node1.report("running").status == 200


def test_leases_renewals_and_moves_are_as_without_a_proof(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    client.acquire(discover(NODE1))
    appliance.await_event("ack", machine="node1")
    before = len(dhcp_log(appliance))
    prove(appliance)
    assert renewed(segment, client)
    # What nobody holds was given back; what a machine holds was not touched.
    log = dhcp_log(appliance)[before:]
    assert "DHCPRELEASE(pxe0) 172.0.1.22" in log
    assert "DHCPRELEASE(pxe0) 172.0.1.21" not in log
    appliance.edit('ip = "172.0.1.22"', 'ip = "172.0.1.99"')
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.22"')
    appliance.run("sync", "--yes")
    assert client.acquire(discover(NODE3))[1].yiaddr == "172.0.1.22"
    assert client.acquire(discover(NODE2))[1].yiaddr == "172.0.1.99"


def renewed(segment: Segment, client: Client) -> bool:
    """Whether node1's running system gets its lease renewed: by unicast; a raw client answers no ARP."""
    known = ("172.0.1.21", "lladdr", NODE1, "dev", "pxe0", "nud", "permanent")
    run("ip", "-n", segment.server, "neigh", "replace", *known)
    renewal = Packet(NODE1, REQUEST, ciaddr="172.0.1.21", broadcast=False)
    return client.expect(renewal.payload(), source="172.0.1.21").kind == ACK


def test_a_lease_that_a_proof_took_back_is_renewed_all_the_same(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    """The worst moment: the machine's ACK falls between the proof's and its release."""
    client.acquire(discover(NODE1))
    appliance.await_event("ack", machine="node1")
    client.send(Packet(NODE1, RELEASE, {54: socket.inet_aton("172.0.1.1")}, ciaddr="172.0.1.21").payload())
    appliance.await_event("release", machine="node1")
    assert renewed(segment, client)


# ---- what is broken is named ----


def test_a_missing_kernel_is_named(appliance: Appliance, client: Client) -> None:
    (appliance.root / "etc/pxe-appliance/matchbox/assets/lab/vmlinuz").unlink()
    proof = prove(appliance, rc=5)
    assert faults(proof) == {"prove-kernel": {"node1", "node2", "node3"}}
    assert "/assets/lab/vmlinuz: HTTP status 404" in proof["results"][0]["failure"]["message"]
    shown = appliance.run("prove", rc=5).stdout
    assert "node1, node2, node3" in shown
    assert "pxe-appliance explain prove-kernel" in shown
    assert "NOT proven: 12 of 12 walks failed" in shown
    assert not appliance.events("http-error")


@pytest.mark.parametrize(
    ("name", "content", "fault", "words"),
    [
        ("vmlinuz", b"<!DOCTYPE html><title>Sign in</title>", "prove-kernel", "it is a web page"),
        ("vmlinuz", b"\x1f\x8b" + bytes(500), "prove-kernel", "initrd in place of the kernel"),
        ("initrd.gz", b"", "prove-initrd", "it is empty"),
        ("initrd.gz", kernel(), "prove-initrd", "kernel in place of the initrd"),
    ],
)
def test_files_that_cannot_boot_are_named(
    appliance: Appliance, client: Client, name: str, content: bytes, fault: str, words: str
) -> None:
    (appliance.root / "etc/pxe-appliance/matchbox/assets/lab" / name).write_bytes(content)
    proof = prove(appliance, "node1", rc=5)
    assert faults(proof) == {fault: {"node1"}}
    assert words in proof["results"][0]["failure"]["message"]


def test_a_damaged_first_stage_is_named_and_sync_mends_it(appliance: Appliance, client: Client) -> None:
    path = appliance.root / "var/lib/pxe-appliance/tftp/undionly.kpxe"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    # Held, so that the daemon leaves it to a sync.
    with exclusive_lock(appliance.root / "run/pxe-appliance/lock"):
        path.write_bytes(content)
        proof = prove(appliance, "node1", rc=5)
        (failed,) = [r for r in proof["results"] if r["failure"]]
        assert (failed["arch"], failed["failure"]["id"]) == (0, "prove-first-stage")
        assert "undionly.kpxe is not what was published" in failed["failure"]["message"]
        path.unlink()
        assert "cannot be fetched" in str(prove(appliance, "node1", "--arch", "0", rc=5)["results"])
    assert not appliance.events("tftp-error")
    appliance.run("sync", "--yes")
    prove(appliance, "node1")


def override(appliance: Appliance, text: str) -> None:
    extra = appliance.root / "etc/pxe-appliance/dnsmasq.d"
    extra.mkdir(exist_ok=True)
    (extra / "10-mine.conf").write_text(text)


def test_a_boot_file_of_the_operator_is_named_by_prove_and_left_alone_by_sync(
    appliance: Appliance, client: Client
) -> None:
    tftp = appliance.root / "var/lib/pxe-appliance/tftp"
    (tftp / "mine.efi").write_bytes(b"MZ" + bytes(100))
    os.chown(tftp / "mine.efi", tftp.stat().st_uid, tftp.stat().st_gid)
    override(appliance, "dhcp-boot=tag:b-7,mine.efi,,172.0.1.1\ndhcp-option=option:router,172.0.1.254\n")
    done = appliance.run("sync", "--yes")
    assert "is offered mine.efi" in done.stdout
    assert client.expect(discover(NODE1, 7)).file == "mine.efi"
    proof = prove(appliance, "node1", rc=5)
    assert {r["arch"]: r["failure"]["id"] for r in proof["results"] if r["failure"]} == {7: "prove-boot-file"}
    assert "is offered mine.efi, it should be snponly.efi" in str(proof["results"])


_OF_ANOTHER_MIND: Final = """\
#!/bin/sh
for word; do
    shift
    case $word in --conf-file=*/network/pxe/dnsmasq.conf)
        cat "${{word#--conf-file=}}" {more} >{more}.all
        word=--conf-file={more}.all ;;
    esac
    set -- "$@" "$word"
done
exec {real} "$@"
"""


def test_a_child_with_another_configuration_than_the_generation_is_named(
    appliance: Appliance, client: Client, open_tmp: Path
) -> None:
    """A dnsmasq that does as somebody else says: wrong boot file, wrong option, a machine ignored."""
    path = open_tmp / "other.conf"
    path.write_text("")
    real = shutil.which("dnsmasq")
    (open_tmp / "dnsmasq").write_text(_OF_ANOTHER_MIND.format(real=real, more=path))
    (open_tmp / "dnsmasq").chmod(0o755)
    assert appliance.stop() == 0
    appliance.environment = {"PATH": f"{open_tmp}:{os.environ['PATH']}"}
    appliance.serve()
    for lines, fault in (
        ("dhcp-boot=tag:b-0,snponly.efi,,172.0.1.1\n", "prove-boot-file"),
        ("dhcp-boot=tag:b-0,undionly.kpxe,,172.0.1.66\n", "prove-boot-file"),
        ("dhcp-option=option:dns-server,172.0.1.53\n", "prove-options"),
        (f"dhcp-mac=set:odd,{NODE1}\ndhcp-ignore=tag:odd\n", "prove-ignored"),
    ):
        path.write_text(lines)
        restart_dhcp(appliance)
        assert faults(prove(appliance, "node1", "--arch", "0", rc=5)) == {fault: {"node1"}}, lines


def restart_dhcp(appliance: Appliance) -> None:
    """Have the DHCP child read its configuration again."""
    pid = appliance.dnsmasq()["pid"]
    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        now = appliance.dnsmasq()
        return bool(now["state"] == "serving" and now["pid"] not in {None, pid})

    wait_until(back, "another DHCP child")


def test_a_bad_ignition_of_an_operators_group_is_named(appliance: Appliance) -> None:
    """Ours are checked before they are served; Matchbox data is served as it is."""
    appliance.write(inventory=RACK.partition("[machine.far]")[0])
    furnish(appliance)
    data = appliance.root / "etc/pxe-appliance/matchbox"
    url = "ignition.config.url=http://172.0.1.1:8080/ignition?mac=${mac:hexhyp}"
    boot = {"kernel": "/assets/lab/vmlinuz", "initrd": ["/assets/lab/initrd.gz"], "args": [url]}
    for name, content in {
        "groups/bare.json": {"id": "bare", "profile": "bare", "selector": {"mac": "52:54:00:aa:00:21"}},
        "profiles/bare.json": {"id": "bare", "boot": boot, "ignition_id": "bare.ign"},
    }.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(json.dumps(content))
    (data / "ignition").mkdir()
    (data / "ignition/bare.ign").write_text('{"ignition":{"version":"3.3.0"')
    appliance.serve()
    proof = prove(appliance, "bare", "--arch", "7", rc=5)
    assert faults(proof) == {"prove-ignition": {"bare"}}
    assert "it is not JSON" in proof["results"][0]["failure"]["message"]
    (data / "ignition/bare.ign").write_text('{"ignition":{"version":"3.3.0"}}')
    wait_until(lambda: prove(appliance, "bare", rc=None)["proven"], "the mended document")


def test_an_http_side_that_does_not_answer_is_named(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    inside = ("ip", "netns", "exec", segment.server, "iptables")
    rule = ("INPUT", "-p", "tcp", "--dport", "8080", "-j", "REJECT", "--reject-with", "tcp-reset")
    run(*inside, "-A", *rule)
    proof = prove(appliance, "node1", "--arch", "0", rc=5)
    assert faults(proof) == {"prove-http": {"node1"}}
    run(*inside, "-D", *rule)
    prove(appliance, "node1")


@contextmanager
def hung(appliance: Appliance) -> Iterator[None]:
    """The DHCP child hangs, as does every one that comes in its place."""
    over = threading.Event()

    def stop() -> None:
        while not over.is_set():
            listed = run("ip", "netns", "pids", str(appliance.namespace)).split()
            for pid in map(int, listed):
                try:
                    if b"network/pxe/" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, signal.SIGSTOP)
                except (FileNotFoundError, ProcessLookupError):
                    continue
            over.wait(0.05)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_dhcp_child_that_hangs_is_named(appliance: Appliance, client: Client) -> None:
    with hung(appliance):
        began = time.monotonic()
        proof = prove(appliance, rc=5)
        assert faults(proof) == {"prove-dhcp-silent": {"node1", "node2", "node3"}}
        assert time.monotonic() - began < 60
    wait_until(lambda: appliance.dnsmasq()["state"] == "serving", "it to serve again", 20)
    prove(appliance)


def test_an_interface_that_is_down_is_named(appliance: Appliance, segment: Segment, client: Client) -> None:
    run("ip", "-n", segment.server, "link", "set", "pxe0", "down")
    proof = prove(appliance, rc=5)
    assert faults(proof) == {"prove-interface": {"node1", "node2", "node3"}}
    assert "pxe0 is down" in proof["results"][0]["failure"]["message"]


# ---- other machines than the usual ----

RACK = """
[profile.once]
kernel = "/assets/lab/vmlinuz"
ignition = "lab.ign"
[profile.local]
kernel = "/assets/lab/vmlinuz"
boot = "disk"

[machine.installed]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
profile = "once"
[machine.disk]
mac = "52:54:00:aa:00:11"
ip = "172.0.1.22"
profile = "local"
[machine.bare]
mac = "52:54:00:aa:00:21"
ip = "172.0.1.23"
[machine.far]
macs = ["52:54:00:aa:00:31", "52:54:00:aa:00:32"]
ip = "172.0.2.24"
profile = "once"
"""
RELAYED = SETTINGS + 'relayed = [{ subnet = "172.0.2.0/24", router = "172.0.2.1" }]\n'


def test_each_is_held_against_what_it_should_get(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    """One that boots from its disk, one without a profile, one behind a relay."""
    appliance.write(settings=RELAYED, inventory=RACK)
    furnish(appliance)
    appliance.serve()
    proof = prove(appliance)
    steps = {
        (r["machine"], r["arch"]): {step["rung"]: (step["state"], step["detail"]) for step in r["rungs"]}
        for r in proof["results"]
    }
    assert steps["disk", 7]["offer"] == ("passed", "172.0.1.22, to its disk")
    assert steps["disk", 16]["offer"][1].endswith("/boot-from-the-disk")
    assert steps["disk", 0]["script"] == ("passed", "sends it to its disk")
    assert steps["installed", 0]["ignition"][0] == "passed"
    assert steps["bare", 0]["ipxe"][0] == "passed"
    assert steps["bare", 0]["script"][0] == "not tried"
    assert steps["far", 7]["offer"] == ("passed", "172.0.2.24, snponly.efi")
    assert steps["far", 7]["ack"][0] == "not tried"
    assert steps["far", 7]["ignition"][0] == "passed"
    assert not appliance.events("discover", "offer", "ack", "release", "bootfile", "script", "stray")
    # What a proof expects follows the machine's life.
    appliance.run("machine", "hold", "installed")
    held = prove(appliance, "installed", "--arch", "0")["results"][0]
    assert ("script", "sends it nowhere, it is held") in {(s["rung"], s["detail"]) for s in held["rungs"]}


def test_a_proxy_is_proven_as_far_as_it_goes(appliance: Appliance) -> None:
    appliance.write(settings=SETTINGS + 'mode = "proxy"\n')
    furnish(appliance)
    appliance.serve()
    proof = prove(appliance, "node1")
    states = {r["arch"]: {s["rung"]: s["state"] for s in r["rungs"]} for r in proof["results"]}
    for arch in (0, 7, 9):
        assert states[arch]["offer"] == states[arch]["bootfile"] == states[arch]["ignition"] == "passed"
        assert states[arch]["ack"] == "not tried"
    assert states[16] == {"offer": "not tried"}
    assert not appliance.events("discover", "offer", "ack", "script", "http-error")


@contextmanager
def other_matchbox(segment: Segment) -> Iterator[list[tuple[str, dict[str, str]]]]:
    """A Matchbox on the clients' side, which knows every machine; what it was asked, with the headers."""
    asked: list[tuple[str, dict[str, str]]] = []
    there = "http://172.0.1.200:9999"
    script = (
        "#!ipxe\nkernel /assets/vmlinuz initrd=initrd "
        f"ignition.config.url={there}/ignition?mac=${{mac:hexhyp}}\ninitrd /assets/initrd\nboot\n"
    )
    answers = {
        "/ipxe": script.encode(),
        "/ignition": b'{"ignition":{"version":"3.4.0"}}',
        "/assets/vmlinuz": kernel(),
        "/assets/initrd": b"070701" + bytes(600),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, dict(self.headers)))
            body = answers.get(self.path.partition("?")[0], b"matchbox\n")
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own word
            """Say nothing."""

    server = inside(segment.clients, lambda: ThreadingHTTPServer(("172.0.1.200", 9999), Handler))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_external_endpoint_is_asked_as_ipxe_would(appliance: Appliance, segment: Segment) -> None:
    appliance.write(settings=SETTINGS + '[matchbox]\nendpoint = "http://172.0.1.200:9999"\n')
    with other_matchbox(segment) as asked:
        appliance.serve()
        asked.clear()
        assert prove(appliance)["proven"] is True
        scripts = [path for path, _ in asked if path.startswith("/ipxe?")]
        assert any("mac=52-54-00-aa-00-01" in path and "arch=x86_64" in path for path in scripts)
        assert any(path == "/ignition?mac=52-54-00-aa-00-11" for path, _ in asked)
        assert len([path for path, _ in asked if path == "/assets/vmlinuz"]) == 1
        ours = [headers for path, headers in asked if "iPXE" in headers.get("User-Agent", "")]
        assert ours
        assert not any("proof" in name.lower() for headers in ours for name in headers)
    assert faults(prove(appliance, "node1", rc=5)) == {"prove-endpoint": {"node1"}}
    # That it is down is not the fault of a change of ours.
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    said = appliance.run("sync", "--yes").stdout
    assert "active and verified" in said
    assert "not proven: node3: the Matchbox endpoint does not answer for it" in said


# ---- sync ----


def test_a_change_of_which_no_script_can_be_fetched_is_not_called_proven(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    """A packet filter of this host may come between, which is not the fault of a change of the scripts."""
    table = ["ip", "netns", "exec", segment.server, "nft"]
    run(*table, "add table inet fw { chain in { type filter hook input priority 0; tcp dport 8080 drop; }; }")
    appliance.edit('args = ["console=ttyS0"]', 'args = ["console=ttyS1"]')
    said = appliance.run("sync", "--yes").stdout
    assert "Generation 2 is current and active; it is proven as soon as a client can be asked." in said
    status = appliance.status()
    assert (status["generation"]["id"], status["generation"]["proven"]) == (2, False)
    (told,) = [p for p in status["problems"] if p["id"] == "prove-http"]
    assert "generation 2 is not proven: http://172.0.1.1:8080/boot.ipxe" in told["message"]
    run(*table, "delete table inet fw")
    wait_until(lambda: appliance.status()["generation"]["proven"], "it to be asked for again", 120)
    assert "prove-http" not in {p["id"] for p in appliance.status()["problems"]}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            "dhcp-boot=tag:b-7,undionly.kpxe,,172.0.1.1\n",
            "is offered undionly.kpxe, it should be snponly.efi",
        ),
        ("dhcp-boot=tag:b-7,no-such-file.efi,,172.0.1.1\n", "no-such-file.efi"),
        ("dhcp-ignore=tag:a-7\n", "does not answer"),
        # Whoever is offered its address, and asks for it, is refused, or never answered.
        ("dhcp-option-force=54,9.9.9.9\n", "as its server (option 54), not 172.0.1.1"),
        (
            "dhcp-match=set:asks,54\ndhcp-ignore=tag:asks\n",
            "asked for the address that it was offered, and got no answer",
        ),
    ],
)
def test_a_sync_is_taken_back_by_its_proof(
    appliance: Appliance, client: Client, lines: str, words: str
) -> None:
    override(appliance, lines)
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    refused = appliance.run("sync", "--yes", rc=6)
    assert "rolled back to generation 1" in refused.stderr
    assert words in refused.stderr
    offer, ack = client.acquire(discover(NODE3, 7))
    assert (offer.yiaddr, offer.file, ack.kind) == ("172.0.1.23", "snponly.efi", ACK)
    assert not appliance.events("discover", "offer")[4:]  # the client's own two, and nothing of ours


def test_a_sync_takes_an_address_only_where_it_disturbs_nobody(
    appliance: Appliance, segment: Segment, client: Client, client_on: ClientMaker
) -> None:
    """One machine is in the middle of its boot, one has a lease, one is away: nothing is kept of it."""
    node1 = put_on(segment.links[0], "node1", client_on)
    assert node1.boot().token
    client.acquire(discover(NODE3))
    appliance.await_event("ack", machine="node3")
    before = everything_known(appliance)
    node2 = appliance.run("machine", "show", "node2", "-o", "json").json()
    override(appliance, "dhcp-option=42,172.0.1.1\n")
    assert "node2 asked for its address and was given it" in appliance.run("sync", "--yes").stdout
    after = everything_known(appliance)
    assert [after[key] for key in KEPT] == [before[key] for key in KEPT]
    assert appliance.run("machine", "show", "node2", "-o", "json").json() == node2
    since = after["events"][len(before["events"]) :]
    assert not {"discover", "offer", "request", "ack", "nak", "release"} & {e["event"] for e in since}
    log = dhcp_log(appliance)
    assert log.count("DHCPACK(pxe0)") == log.count("DHCPACK(pxe0) 172.0.1.22") == 1
    assert log.count("DHCPRELEASE(pxe0)") == log.count("DHCPRELEASE(pxe0) 172.0.1.22") == 1
    assert node1.ignition().status == 200
    assert renewed(segment, client)


def test_a_sync_asks_for_an_address_although_all_machines_have_theirs(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    for node in (NODE1, NODE2, NODE3):
        client.acquire(discover(node))
    wait_until(lambda: len(appliance.run("leases", "-o", "json").json()) == 3, "all leases")
    leases = appliance.run("leases", "-o", "json").json()
    override(appliance, "dhcp-option=42,172.0.1.1\n")
    assert "asked for its address and was given it" in appliance.run("sync", "--yes").stdout
    assert appliance.run("leases", "-o", "json").json() == leases
    assert "DHCPRELEASE" not in dhcp_log(appliance)
    assert renewed(segment, client)


def test_a_sync_of_reservations_alone_takes_no_address(appliance: Appliance, client: Client) -> None:
    taken = dhcp_log(appliance).count("DHCPREQUEST")
    assert taken == 1, "that of the first generation"
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    assert "asked for its address" not in appliance.run("sync", "--yes").stdout
    assert dhcp_log(appliance).count("DHCPREQUEST") == taken


def test_a_sync_is_not_to_blame_for_the_order_of_the_interfaces_addresses(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    """dnsmasq calls itself by the first address in the subnet; it is reached there, and machines boot."""
    run("ip", "-n", segment.server, "addr", "flush", "dev", "pxe0")
    for address in ("172.0.1.3/24", "172.0.1.1/24"):
        run("ip", "-n", segment.server, "addr", "add", address, "dev", "pxe0")
    furnish(appliance)
    appliance.serve()
    override(appliance, "dhcp-option=42,172.0.1.1\n")
    assert "asked for its address and was given it" in appliance.run("sync", "--yes").stdout
    offer, ack = client_on(segment.links[0]).acquire(discover(NODE1))
    assert (offer.options[54], ack.kind) == (socket.inet_aton("172.0.1.3"), ACK)
    assert set(faults(prove(appliance, "node1", rc=5))) == {"prove-server"}


def test_a_sync_tells_what_it_proved_and_is_quick(appliance: Appliance, client: Client) -> None:
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    began = time.monotonic()
    said = appliance.run("sync", "--yes").stdout
    assert time.monotonic() - began < 10
    assert "2 machines asked for, each was offered its address" in said
    assert "TFTP: undionly.kpxe, snponly.efi fetched" in said
    assert "HTTP: 2 boot scripts as expected" in said


def test_forged_declines_fail_no_sync(appliance: Appliance, client: Client) -> None:
    """Anybody on the wire can say that an address is taken, again and again; a profile changes meanwhile."""
    log = appliance.root / "run/pxe-appliance/log/dhcp-pxe.log"
    named = {50: socket.inet_aton("172.0.1.21"), 54: socket.inet_aton("172.0.1.1")}
    for times in (1, 2):
        client.send(Packet(NODE1, DECLINE, named).payload())
        wait_until(lambda: log.read_text().count("DHCPDECLINE") == times, "dnsmasq to hear it")  # noqa: B023
    appliance.edit("console=ttyS0", "console=ttyS1")
    said = appliance.run("sync", "--yes").stdout
    assert "active and verified" in said
    assert "each was offered its address" in said


# ---- many ----

WIDE = '[network.pxe]\ninterface = "pxe0"\nsubnet = "10.9.0.0/16"\naddress = "10.9.0.1"\n'


def many(count: int) -> str:
    head = INVENTORY[: INVENTORY.index("[machine.node1]")]
    return head + "".join(
        f'[machine.n{i}]\nmac = "52:54:00:ab:{i >> 8:02x}:{i & 255:02x}"\n'
        f'ip = "10.9.{1 + (i >> 8)}.{i & 255}"\nprofile = "lab"\n'
        for i in range(count)
    )


def test_a_sync_in_the_middle_ends_a_proof_and_waits_for_none(segment: Segment, open_tmp: Path) -> None:
    segment.wire("pxe0", "10.9.0.1", "10.9.200.200", 16)
    appliance = Appliance(open_tmp / "root", segment.server)
    appliance.write(settings=WIDE, inventory=many(600))
    furnish(appliance)
    appliance.serve(wait=False)
    try:
        appliance.await_serving(60)
        proving = subprocess.Popen(appliance.argv("prove"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        appliance.edit('ip = "10.9.1.7"', 'ip = "10.9.9.7"')
        assert "active and verified" in appliance.run("sync", "--yes").stdout
        _, errors = proving.communicate(timeout=60)
        assert proving.returncode == 4, errors
        assert b"generation 2 came into force during the proof" in errors
        prove(appliance, "n7")
        assert not appliance.events("discover", "release")[1:]  # the sync's own release
    finally:
        appliance.stop()


def test_a_thousand_machines_are_proven_and_real_clients_do_not_wait(
    segment: Segment, open_tmp: Path, client_on: ClientMaker
) -> None:
    link = segment.wire("pxe0", "10.9.0.1", "10.9.200.200", 16)
    appliance = Appliance(open_tmp / "root", segment.server)
    appliance.write(settings=WIDE, inventory=many(1000))
    furnish(appliance)
    appliance.serve(wait=False)
    try:
        appliance.await_serving(60)
        raw = client_on(link)
        proving = subprocess.Popen(appliance.argv("prove"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        took: list[float] = []
        second, pace = None, threading.Event()
        while proving.poll() is None:
            raw.drain()
            began = time.monotonic()
            offer, ack = raw.acquire(discover(f"52:54:00:ab:00:{len(took) % 50:02x}", 7))
            took.append(time.monotonic() - began)
            assert (offer.yiaddr, ack.kind) == (f"10.9.1.{(len(took) - 1) % 50}", ACK)
            if second is None and len(took) > 25:
                second = appliance.run("prove", rc=None)
            pace.wait(0.02)  # a rack that boots, not a flood
        out, errors = proving.communicate()
        assert second is not None
        assert sorted([proving.returncode, second.rc]) == [0, 4], out.decode() + errors.decode()
        assert "Proven: 4000 of 4000 walks (1000 machines, 4 client classes" in out.decode() + second.stdout
        sys_words = f"{len(took)} real exchanges meanwhile, longest {max(took):.3f} s"
        assert sorted(took)[len(took) * 9 // 10] < 0.5, sys_words
        assert "another proof is running" in errors.decode() + second.stderr
        real = {e["machine"] for e in appliance.events("discover", "offer", "request", "ack")}
        assert real <= {f"n{i}" for i in range(50)}
        assert {lease["machine"] for lease in appliance.run("leases", "-o", "json").json()} == real
        assert not appliance.events("release", "stray", "nak", "rogue-server")
    finally:
        appliance.stop()
