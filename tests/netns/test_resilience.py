"""What must not stop the wire: hostile peers, crashes between steps, damage, a full disk, our own pauses."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.conftest import ClientMaker, Link, Segment, run
from tests.netns.test_appliance import NODE1, NODE2, STRANGER, discover
from tests.netns.wire import DECLINE, Client, Packet, inside, wait_until

pytestmark = pytest.mark.netns


@pytest.fixture
def client(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Client:
    appliance.serve()
    return client_on(segment.links[0])


@pytest.fixture
def link(segment: Segment, appliance: Appliance) -> Link:
    """The wire, with node1's address at the client's end."""
    found = segment.links[0]
    run("ip", "-n", found.clients, "link", "set", found.client_device, "address", NODE1)
    run("ip", "-n", found.clients, "addr", "add", "172.0.1.21/24", "dev", found.client_device)
    return found


def curl(link: Link, *args: str, source: str = "172.0.1.21") -> str:
    return run("ip", "netns", "exec", link.clients, "curl", "-s", "-m", "10", "--interface", source, *args)


def report(link: Link, client: Client, body: str) -> str:
    """Boot as node1 as far as its script, and report with its token, which takes the place of TOKEN."""
    client.acquire(discover(NODE1))
    script = curl(link, f"http://172.0.1.1:8080/ipxe?mac={NODE1}")
    found = re.search(r"[?&]token=([A-Za-z0-9_-]+)", script)
    assert found, script
    return curl(link, "-d", body.replace("TOKEN", found[1]), "http://172.0.1.1:8080/v1/report")


def same_children(appliance: Appliance) -> dict[str, int]:
    return {c["name"]: c["pid"] for c in appliance.dnsmasq()["children"]}


def test_a_report_with_half_a_character_is_only_a_report(
    appliance: Appliance, link: Link, client: Client
) -> None:
    report(link, client, '{"stage":"done","token":"TOKEN","message":"\\ud800 \\u001b[31m"}')
    done = appliance.await_event("done", machine="node1")
    assert "\ud800" not in done["detail"]["message"]
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    assert "\x1b" not in appliance.run("events").stdout


def test_idle_connections_cost_nobody_else_anything(appliance: Appliance, link: Link, client: Client) -> None:
    with ExitStack() as stack:
        for _ in range(300):
            sock = stack.enter_context(inside(link.clients, lambda: socket.socket()))
            sock.bind(("172.0.1.200", 0))
            sock.setblocking(False)
            sock.connect_ex(("172.0.1.1", 8080))
        descriptors = Path(f"/proc/{appliance.daemon_pid()}/fd")
        wait_until(lambda: curl(link, "http://172.0.1.1:8080/healthz") == "ok\n", "an answer to another peer")
        assert len(list(descriptors.iterdir())) < 150
        # Asked more than once: the raw client's own buffer is full of these connections' frames.
        wait_until(lambda: client.ask(discover(NODE1), seconds=0.5), "an offer")


def test_other_networks_of_the_host_are_not_served(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    other = segment.wire("prod0", "10.9.9.1", "10.9.9.2")
    run("ip", "-n", other.clients, "route", "add", "172.0.1.1/32", "via", "10.9.9.1", "src", "10.9.9.2")
    done = subprocess.run(
        ["ip", "netns", "exec", other.clients, "curl", "-s", "-m", "3", f"http://172.0.1.1:8080/ignition?mac={NODE1}"],
        capture_output=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode != 0
    assert not done.stdout


def test_a_stop_does_not_wait_for_those_who_listen(appliance: Appliance, link: Link, client: Client) -> None:
    argv = ["ip", "netns", "exec", link.clients, "curl", "-sN", "http://172.0.1.1:8080/v1/events?follow=1"]
    follower = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    local = subprocess.Popen(appliance.argv("events", "-f"), stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: "ESTAB" in run("ip", "netns", "exec", link.clients, "ss", "-tn"), "a listener")
        began = time.monotonic()
        assert appliance.stop() == 0
        assert time.monotonic() - began < 8
    finally:
        for process in (follower, local):
            process.kill()
            process.wait(10)


def test_a_forged_decline_takes_nobody_out_and_blocks_no_sync(appliance: Appliance, client: Client) -> None:
    client.acquire(discover(NODE1))
    server, ip = socket.inet_aton("172.0.1.1"), socket.inet_aton("172.0.1.21")
    client.send(Packet(NODE1, kind=DECLINE, options={54: server, 50: ip}).payload())
    appliance.await_event("decline", machine="node1")
    wait_until(lambda: client.ask(discover(NODE1), seconds=0.3), "node1 to be served again", 5)
    client.send(Packet(NODE1, kind=DECLINE, options={54: server, 50: ip}).payload())
    appliance.edit('args = ["console=ttyS0"]', 'args = ["console=ttyS1"]')
    assert "active and verified" in appliance.run("sync", "--yes").stdout
    wait_until(lambda: client.ask(discover(NODE1), seconds=0.3), "node1 to be served again", 12)


def test_a_pause_of_the_daemon_is_not_held_against_its_children(appliance: Appliance, client: Client) -> None:
    before = same_children(appliance)
    os.kill(appliance.daemon_pid(), signal.SIGSTOP)
    deadline = time.monotonic() + 5  # longer than a hang may last
    while time.monotonic() < deadline:
        assert client.ask(discover(NODE1), seconds=1)
    os.kill(appliance.daemon_pid(), signal.SIGCONT)
    wait_until(lambda: len(appliance.events("offer")) > 1, "the events of the pause")
    assert same_children(appliance) == before


def test_in_proxy_mode_signs_of_life_do_not_reach_the_other_server(open_tmp: Path, segment: Segment) -> None:
    link = segment.wire("pxe0", "172.0.1.1", "172.0.1.200")
    appliance = Appliance(open_tmp / "root", segment.server)
    appliance.write(settings=SETTINGS + 'mode = "proxy"\n')
    with ExitStack() as stack:

        def listen(port: int) -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.bind(("", port))
            sock.settimeout(10)
            return sock

        other_server = stack.enter_context(inside(link.clients, lambda: listen(67)))
        proxy_port = stack.enter_context(inside(link.clients, lambda: listen(4011)))
        appliance.serve()
        stack.callback(appliance.stop)
        for _ in range(3):
            assert proxy_port.recv(1500)
        other_server.setblocking(False)
        asked = []
        with contextlib.suppress(BlockingIOError):
            while True:
                asked.append(other_server.recv(1500)[28:34])
        # Once a minute it is asked whether it is there: in the names of two machines, three times each.
        assert len(set(asked)) <= 2
        assert len(asked) <= 6
        assert appliance.dnsmasq()["restarts"] == 0


def bad_generation(appliance: Appliance) -> None:
    """Leave what a crash between commit and proof leaves: a current generation that ignores everybody."""
    state = appliance.root / "var/lib/pxe-appliance"
    bad = state / "generations/2"
    shutil.copytree(state / "generations/1", bad)
    (bad / "proven").unlink()
    conf = bad / "network/pxe/dnsmasq.conf"
    conf.write_text(conf.read_text() + "dhcp-ignore=tag:known\n")
    manifest = json.loads((bad / "manifest.json").read_text())
    digest = run("sha256sum", str(conf)).split()[0]
    manifest["files"]["network/pxe/dnsmasq.conf"] = digest
    (bad / "manifest.json").write_text(json.dumps(manifest))
    (state / "current").unlink()
    (state / "current").symlink_to("generations/2")


def test_what_was_never_proven_is_not_what_a_start_serves(appliance: Appliance, client: Client) -> None:
    appliance.stop(signal.SIGKILL)
    bad_generation(appliance)
    (appliance.root / "etc/pxe-appliance/inventory.d/broken.toml").write_text("[machine\n")
    appliance.serve()
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    status = appliance.status()
    assert status["generation"]["id"] == 1
    assert "not in sync" in status["problems"][0]["message"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "dangle", "directory", "no link"])
def test_a_damaged_generation_gives_way_to_a_proven_one(
    appliance: Appliance, client: Client, damage: str
) -> None:
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    appliance.run("sync", "--yes")
    appliance.stop()
    state = appliance.root / "var/lib/pxe-appliance"
    hosts = state / "generations/2/network/pxe/hosts"
    match damage:
        case "flip":
            hosts.write_bytes(hosts.read_bytes().replace(b"172.0.1.73", b"172.0.1.74"))
        case "truncate":
            hosts.write_bytes(b"")
        case "remove":
            hosts.unlink()
        case "dangle":
            (state / "current").unlink()
            (state / "current").symlink_to("generations/99")
        case "directory":
            (state / "current").unlink()
            (state / "current").mkdir()
        case _:
            (state / "current").unlink()
    appliance.serve()
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"

    def written_anew() -> bool:
        """What was proven before is served at once, and the change comes again after that."""
        offer = client.ask(discover("52:54:00:aa:00:21"), seconds=0.5)
        return offer is not None and offer.yiaddr == "172.0.1.73"

    wait_until(written_anew, "the change to be written and served anew")
    wait_until(lambda: appliance.status()["generation"]["proven"], "it to be proven")
    assert "No changes" in appliance.run("sync", "--yes").stdout


def test_without_its_link_an_emptied_inventory_is_still_a_mass_change(
    appliance: Appliance, client: Client
) -> None:
    appliance.stop()
    (appliance.root / "var/lib/pxe-appliance/current").unlink()
    (appliance.root / "etc/pxe-appliance/inventory.d/rack.toml").write_text("")
    assert "--allow-mass-change" in appliance.run("sync", "--yes", rc=4).stderr


def test_a_change_that_no_client_could_be_asked_about_is_not_called_proven(
    appliance: Appliance, link: Link, client: Client
) -> None:
    run("ip", "-n", link.server, "link", "set", "pxe0", "down")
    extra = appliance.root / "etc/pxe-appliance/dnsmasq.d"
    extra.mkdir()
    (extra / "x.conf").write_text("dhcp-ignore=tag:known\n")
    assert "proven as soon as" in appliance.run("sync", "--yes").stdout
    assert appliance.status()["generation"]["proven"] is False
    run("ip", "-n", link.server, "link", "set", "pxe0", "up")
    wait_until(lambda: client.ask(discover(NODE1), seconds=0.3), "the roll back to what serves", 30)
    assert appliance.status()["generation"]["id"] == 1


def test_who_is_installed_is_assumed_when_nobody_knows_any_more(
    appliance: Appliance, link: Link, client: Client
) -> None:
    """The other way round, a damaged file would have every machine installed over."""
    appliance.edit('boot = "always"', 'boot = "install-once"')
    appliance.run("sync", "--yes")
    appliance.stop()
    state = appliance.root / "var/lib/pxe-appliance"
    for name in ("history.db", "history.db-wal", "history.db-shm"):
        (state / name).write_bytes(os.urandom(40_000))
    appliance.serve()
    url = f"http://172.0.1.1:8080/ipxe?mac={NODE1}"
    assert "sanboot" in curl(link, url)
    assert "history" in {p["id"] for p in appliance.status()["problems"]}
    appliance.run("machine", "reinstall", "node1")
    wait_until(lambda: "kernel" in curl(link, url), "the installer, as it was asked for")
    assert '"ok": true' in report(link, client, '{"stage":"installed","token":"TOKEN"}')
    assert "sanboot" in curl(link, url)


def test_a_sync_never_changes_files_under_a_daemon_that_does_not_listen(
    appliance: Appliance, client: Client
) -> None:
    (appliance.root / "run/pxe-appliance/control.sock").unlink()
    appliance.edit(NODE2, "52:54:00:aa:00:99")
    assert "does not listen" in appliance.run("sync", "--yes", rc=5).stderr
    assert client.expect(discover(NODE2)).yiaddr == "172.0.1.22"


def test_a_sync_that_is_killed_anywhere_leaves_a_wire_that_serves(
    appliance: Appliance, client: Client
) -> None:
    for number in range(8):
        appliance.edit(f'ip = "172.0.1.{23 + number}"', f'ip = "172.0.1.{24 + number}"')
        process = subprocess.Popen(
            appliance.argv("sync", "--yes"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        threading.Event().wait(0.1 * number)  # a different step each time
        process.kill()
        process.wait(10)
        assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    appliance.run("sync", "--yes")
    assert client.expect(discover("52:54:00:aa:00:21")).yiaddr == "172.0.1.31"
    assert appliance.status()["generation"]["proven"] is True


def test_what_was_acknowledged_outlives_a_kill(appliance: Appliance, link: Link, client: Client) -> None:
    """Whoever was told that its installation is known reboots: it must not be installed again."""
    appliance.edit('boot = "always"', 'boot = "install-once"')
    appliance.run("sync", "--yes")
    client.acquire(discover(NODE1))
    wait_until(lambda: appliance.run("leases", "-o", "json").json(), "the lease to be told")
    assert '"ok": true' in report(link, client, '{"stage":"installed","token":"TOKEN"}')
    appliance.stop(signal.SIGKILL)
    appliance.serve()
    assert "sanboot" in curl(link, f"http://172.0.1.1:8080/ipxe?mac={NODE1}")
    (lease,) = appliance.run("leases", "-o", "json").json()
    assert (lease["machine"], lease["ip"]) == ("node1", "172.0.1.21")
    (row,) = [m for m in appliance.run("machines", "-o", "json").json() if m["name"] == "node1"]
    assert row["rung"] == "done"


def test_strangers_over_http_are_seen_and_move_nobody(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    wire = segment.links[0]
    url = f"http://172.0.1.1:8080/ipxe?mac={NODE1}"
    run("ip", "netns", "exec", wire.clients, "curl", "-s", "-m", "10", url)
    stray = appliance.await_event("stray", ip="172.0.1.200")
    assert stray["detail"]["claims"] == "node1"
    board = {m["name"]: m for m in appliance.run("machines", "-o", "json").json()}
    assert board["node1"]["rung"] is None


@pytest.fixture
def small_disks(open_tmp: Path) -> Iterator[Path]:
    """File systems of a few megabytes under the state and the run directory; the root of both."""
    root = open_tmp / "root"
    with ExitStack() as stack:
        for place in ("var/lib/pxe-appliance", "run/pxe-appliance"):
            (root / place).mkdir(parents=True)
            run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(root / place))
            stack.callback(subprocess.run, ["umount", "-l", str(root / place)], check=False)
        yield root


def fill(directory: Path) -> Path:
    """Use up a file system; the file that does it."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(directory).free == 0
    return filler


def test_a_full_disk_refuses_a_sync_and_keeps_serving(
    small_disks: Path, appliance: Appliance, client: Client
) -> None:
    filler = fill(small_disks / "var/lib/pxe-appliance")
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    assert "No space left" in appliance.run("sync", "--yes", rc=5).stderr
    assert client.expect(discover("52:54:00:aa:00:21")).yiaddr == "172.0.1.23"
    appliance.stop()
    appliance.serve(wait=False)
    wait_until(lambda: client.ask(discover(NODE1), seconds=0.2), "an offer with a full disk", 10)
    filler.unlink()
    appliance.run("sync", "--yes")
    assert client.expect(discover("52:54:00:aa:00:21")).yiaddr == "172.0.1.73"


def test_a_start_with_a_full_log_serves(
    small_disks: Path, appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    appliance.serve()
    appliance.stop()
    fill(small_disks / "run/pxe-appliance")
    appliance.serve(wait=False)
    client = client_on(segment.links[0])
    wait_until(lambda: client.ask(discover(NODE1), seconds=0.2), "an offer", 15)
    pid = wait_until(lambda: appliance.dnsmasq()["pid"], "the child's pid")
    deadline = time.monotonic() + 12  # longer than a start may last
    while time.monotonic() < deadline:
        assert client.ask(discover(NODE1), seconds=1)
    assert appliance.dnsmasq()["pid"] == pid


def test_a_full_log_kills_nobody_and_is_told(small_disks: Path, appliance: Appliance, client: Client) -> None:
    before = same_children(appliance)
    filler = fill(small_disks / "run/pxe-appliance")
    deadline = time.monotonic() + 8  # twice as long as a hang may last
    while time.monotonic() < deadline:
        assert client.ask(discover(NODE1), seconds=1)
    assert "log" in {p["id"] for p in appliance.status()["problems"]}
    filler.unlink()  # dnsmasq has given its log up, until it is told

    def seen() -> bool:
        client.ask(discover(NODE2), seconds=0.2)
        return any(e["machine"] == "node2" for e in appliance.events("offer"))

    wait_until(seen, "what a machine asks to be seen", 20)
    assert same_children(appliance) == before
    assert "log" not in {p["id"] for p in appliance.status()["problems"]}


def test_a_proc_that_shows_processes_only_is_enough(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    """The service's unit says ProcSubset=pid: no /proc/net, no /proc/sys."""
    inner = appliance.argv("serve")
    script = "mount -t proc -o subset=pid proc /proc && exec " + " ".join(inner)
    with (appliance.root / "serve.log").open("ab") as log:
        appliance.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script], stdout=log, stderr=log
        )
    appliance.await_serving()
    assert client_on(segment.links[0]).expect(discover(NODE1)).yiaddr == "172.0.1.21"
    assert appliance.status()["networks"][0]["up"] is True


def test_a_flood_of_strangers_gets_nothing_and_costs_the_known_little(
    appliance: Appliance, client: Client
) -> None:
    for number in range(5000):
        client.send(discover(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"))
    wait_until(lambda: client.ask(discover(NODE1), seconds=1), "the known machine's offer", 30)
    client.silence(discover(STRANGER), known=discover(NODE2))
    wait_until(lambda: appliance.status()["strays"] > 100, "the strays to be counted", 30)
    assert not [e for e in appliance.events("offer", "ack") if e["machine"] is None]
    assert appliance.dnsmasq()["restarts"] == 0
