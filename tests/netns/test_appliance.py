"""The done-when of the main path, on real dnsmasq: an operator's commands, a client's packets."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.netns.appliance import Appliance, gone
from tests.netns.conftest import ClientMaker, Segment, run
from tests.netns.wire import ACK, OFFER, Client, Packet, pxe_options, tftp_get, wait_until

pytestmark = pytest.mark.netns

NODE1, NODE2, NODE3 = "52:54:00:aa:00:01", "52:54:00:aa:00:11", "52:54:00:aa:00:21"
OTHER_NIC, STRANGER = "52:54:00:aa:00:02", "52:54:00:ff:ff:01"


def discover(mac: str, arch: int | None = 0, **options: bytes) -> bytes:
    return Packet(mac, options=pxe_options(arch) | {int(k[1:]): v for k, v in options.items()}).payload()


@pytest.fixture
def client(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Client:
    """A raw client on the appliance's wire, which serves."""
    appliance.serve()
    return client_on(segment.links[0])


def test_a_newcomer_goes_from_init_to_a_served_machine(
    segment: Segment, open_tmp: Path, client_on: ClientMaker
) -> None:
    link = segment.wire("pxe0", "172.0.1.1", "172.0.1.200")
    appliance = Appliance(open_tmp / "root", segment.server)
    appliance.run("init", "--interface", "pxe0", "--subnet", "172.0.1.0/24")
    appliance.run("check")
    (appliance.root / "etc/pxe-appliance/inventory.d/mine.toml").write_text(
        f'[machine.node1]\nmac = "{NODE1}"\nip = "172.0.1.21"\n'
        f'[machine.node2]\nmac = "{NODE2.upper().replace(":", "-")}"\nip = "172.0.1.22"\n'
    )
    assert "2 machines" in appliance.run("check").stdout
    assert appliance.run("plan", "--exit-code", rc=10).stdout.count("+ machine") == 2
    assert "applied, not active" in appliance.run("sync", "--yes").stdout
    appliance.run("plan", "--exit-code")
    appliance.serve()
    try:
        raw = client_on(link)
        assert raw.expect(discover(NODE2)).yiaddr == "172.0.1.22"
        raw.silence(discover(STRANGER), known=discover(NODE1))
        assert appliance.stop() == 0
    finally:
        if appliance.process is not None:
            appliance.stop(signal.SIGKILL)


def test_known_machines_get_their_address_with_any_client_id(client: Client) -> None:
    for client_id in (b"", b"\x01" + bytes.fromhex("525400aa0001"), b"\xff" + bytes(18), b"\0" + bytes(16)):
        offer, ack = client.acquire(discover(NODE1, o61=client_id))
        assert (offer.kind, ack.kind) == (OFFER, ACK)
        assert (offer.yiaddr, ack.yiaddr) == ("172.0.1.21", "172.0.1.21")
        assert offer.file == "undionly.kpxe"


def test_strangers_and_other_nics_get_nothing_and_are_told_apart(
    appliance: Appliance, client: Client
) -> None:
    client.silence(discover(STRANGER), known=discover(NODE1))
    client.silence(discover(OTHER_NIC), known=discover(NODE1))
    stray = appliance.await_event("stray", mac=STRANGER)
    assert stray["machine"] is None
    ignored = appliance.await_event("ignored", mac=OTHER_NIC)
    assert ignored["machine"] == "node1"
    assert "eno2" in ignored["detail"]["reason"]
    assert appliance.status()["strays"] == 2
    assert not [e for e in appliance.events("offer", "ack") if e["mac"] in {STRANGER, OTHER_NIC}]


def test_a_lease_and_the_ladder_are_told_from_the_wire(appliance: Appliance, client: Client) -> None:
    client.acquire(discover(NODE1, arch=7))
    appliance.await_event("ack", machine="node1")
    (lease,) = [x for x in appliance.run("leases", "-o", "json").json() if x["machine"] == "node1"]
    assert (lease["ip"], lease["mac"], lease["network"]) == ("172.0.1.21", NODE1, "pxe")
    board = {m["name"]: m for m in appliance.run("machines", "-o", "json").json()}
    assert board["node1"]["rung"] == "ack"
    assert board["node1"]["boot"]["state"] == "booting"
    assert board["node2"]["rung"] is None
    shown = appliance.run("machine", "show", "node1", "-o", "json").json()
    assert list(shown["rungs"]) == ["discover", "offer", "request", "ack"]


def test_a_class_without_a_boot_file_is_refused_by_name(appliance: Appliance, client: Client) -> None:
    client.silence(discover(NODE1, arch=11), known=discover(NODE2))
    refused = appliance.await_event("ignored", machine="node1")
    assert "arm64 UEFI (11)" in refused["detail"]["reason"]
    (row,) = [m for m in appliance.run("machines", "-o", "json").json() if m["name"] == "node1"]
    assert row["verdict"]["id"] == "no-boot-file"


def test_a_new_mac_is_served_at_once_at_the_old_address(appliance: Appliance, client: Client) -> None:
    assert client.acquire(discover(NODE2))[1].yiaddr == "172.0.1.22"
    new = "52:54:00:aa:00:99"
    appliance.edit(NODE2, new)
    plan = appliance.run("plan", "-o", "json").json()
    assert plan["activation"] == "reload"
    assert plan["releases"] == [{"ip": "172.0.1.22", "mac": NODE2}]
    assert "active and verified" in appliance.run("sync", "--yes").stdout
    assert not [x for x in appliance.run("leases", "-o", "json").json() if x["mac"] == NODE2]
    assert [e for e in appliance.events("release") if e["mac"] == NODE2]
    offer, ack = client.acquire(discover(new))
    assert (offer.yiaddr, ack.kind) == ("172.0.1.22", ACK)
    client.silence(discover(NODE2), known=discover(NODE1))


def test_two_machines_swap_addresses_although_both_hold_a_lease(appliance: Appliance, client: Client) -> None:
    for mac in (NODE1, NODE2):
        client.acquire(discover(mac))
    appliance.edit('ip = "172.0.1.21"', 'ip = "172.0.1.99"')
    appliance.edit('ip = "172.0.1.22"', 'ip = "172.0.1.21"')
    appliance.edit('ip = "172.0.1.99"', 'ip = "172.0.1.22"')
    appliance.run("sync", "--yes")
    assert client.acquire(discover(NODE1))[1].yiaddr == "172.0.1.22"
    assert client.acquire(discover(NODE2))[1].yiaddr == "172.0.1.21"


def test_a_removed_machine_is_not_served_any_more(appliance: Appliance, client: Client) -> None:
    client.acquire(discover(NODE3))
    text = (appliance.root / "etc/pxe-appliance/inventory.d/rack.toml").read_text()
    appliance.edit(text[text.index("[machine.node3]") :], "")
    appliance.run("sync", "--yes")
    client.silence(discover(NODE3), known=discover(NODE1))
    assert appliance.await_event("stray", mac=NODE3)


def test_a_second_sync_says_no_changes_and_touches_nothing(appliance: Appliance, client: Client) -> None:
    pid = appliance.dnsmasq()["pid"]
    before = sorted(
        (p, p.lstat().st_mtime_ns) for p in (appliance.root / "var").rglob("*") if ".db" not in p.name
    )
    assert "No changes" in appliance.run("sync", "--yes").stdout
    after = sorted(
        (p, p.lstat().st_mtime_ns) for p in (appliance.root / "var").rglob("*") if ".db" not in p.name
    )
    assert after == before
    assert appliance.dnsmasq()["pid"] == pid


def test_a_comment_is_no_change(appliance: Appliance, client: Client) -> None:
    appliance.edit("[profile.lab]", "# a remark\n\n[profile.lab]")
    appliance.run("plan", "--exit-code")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('mac = "52:54:00:aa:00:11"', 'mac = "52:54:00:aa:00:01"', "rack.toml:18"),
        ('ip = "172.0.1.22"', 'ip = "172.0.9.22"', "rack.toml:19"),
        ('[machine.node2]\nmac = "52', "[machine.node2]\nmac = 52", "rack.toml:18"),
    ],
)
def test_a_bad_file_leaves_the_wire_as_it_was(
    appliance: Appliance, client: Client, old: str, new: str, place: str
) -> None:
    pid = appliance.dnsmasq()["pid"]
    appliance.edit(old, new)
    for command in (["check"], ["plan"], ["sync", "--yes"]):
        refused = appliance.run(*command, rc=3)
        assert place in refused.stderr
        assert not refused.stdout.strip()
    assert client.expect(discover(NODE2)).yiaddr == "172.0.1.22"
    assert appliance.dnsmasq()["pid"] == pid
    assert appliance.status()["generation"]["id"] == 1


def test_an_empty_inventory_does_not_wipe_the_vlan(appliance: Appliance, client: Client) -> None:
    text = (appliance.root / "etc/pxe-appliance/inventory.d/rack.toml").read_text()
    appliance.edit(text, "")
    refused = appliance.run("sync", "--yes", rc=4)
    assert "--allow-mass-change" in refused.stderr
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    appliance.run("sync", "--yes", "--allow-mass-change")
    assert appliance.status()["machines"]["known"] == 0


def test_rollback_goes_back_on_the_wire_and_survives_a_restart(appliance: Appliance, client: Client) -> None:
    appliance.edit('ip = "172.0.1.21"', 'ip = "172.0.1.71"')
    appliance.run("sync", "--yes", "-m", "node1 moves")
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.71"
    appliance.run("rollback", "--yes")
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    listed = appliance.run("generations", "-o", "json").json()
    assert [(g["id"], g["why"], g["proven"]) for g in listed] == [
        (1, "daemon start", True),
        (2, "node1 moves", True),
        (3, "rollback to 1", True),
    ]
    appliance.stop()
    appliance.serve()
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    assert [p["id"] for p in appliance.status()["problems"]] == ["rolled-back"]


def test_what_dnsmasq_rejects_never_becomes_current(appliance: Appliance, client: Client) -> None:
    extra = appliance.root / "etc/pxe-appliance/dnsmasq.d"
    extra.mkdir()
    (extra / "10-mine.conf").write_text("dhcp-optoin=3\n")
    refused = appliance.run("sync", "--yes", rc=3)
    assert "dnsmasq" in refused.stderr
    assert appliance.status()["generation"]["id"] == 1
    assert not list((appliance.root / "var/lib/pxe-appliance/generations").glob(".staging*"))


def test_an_unproven_change_is_rolled_back(appliance: Appliance, client: Client) -> None:
    """A directive that passes every check on paper and keeps dnsmasq from offering on the wire."""
    extra = appliance.root / "etc/pxe-appliance/dnsmasq.d"
    extra.mkdir()
    (extra / "10-mine.conf").write_text("dhcp-ignore=tag:known\n")
    rolled_back = appliance.run("sync", "--yes", rc=6)
    assert "rolled back to generation 1" in rolled_back.stderr
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    assert appliance.await_event("rollback")
    assert appliance.status()["generation"] == {**appliance.status()["generation"], "id": 1, "proven": True}


def test_a_killed_dnsmasq_serves_again_within_a_second(appliance: Appliance, client: Client) -> None:
    for child in appliance.dnsmasq()["children"]:
        os.kill(child["pid"], signal.SIGKILL)
        began = time.monotonic()
        if child["name"] != "tftp":
            wait_until(lambda: client.ask(discover(NODE1), seconds=0.1), "an offer again", 5)
            assert time.monotonic() - began < 1.5  # one second, and what an unanswered question waits
        _await_successor(appliance, child)
    back = [e for e in appliance.events("dnsmasq") if "ended by itself" in e["detail"].get("message", "")]
    assert len(back) == 2


def _await_successor(appliance: Appliance, child: dict[str, object]) -> None:
    """Wait until another process serves in the place of `child`."""

    def served_again() -> bool:
        now = {c["name"]: c for c in appliance.dnsmasq()["children"]}[child["name"]]
        return bool(now["state"] == "serving" and now["pid"] not in {child["pid"], None})

    wait_until(served_again, f"{child['name']} to be back", 10)


def test_a_hung_dnsmasq_is_noticed_and_replaced_within_five_seconds(
    appliance: Appliance, client: Client
) -> None:
    pid = appliance.dnsmasq()["pid"]
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    wait_until(lambda: client.ask(discover(NODE1), seconds=0.2), "an offer again", 8)
    assert time.monotonic() - began <= 5
    assert gone(pid)


def test_a_hung_tftp_child_is_replaced(appliance: Appliance, client: Client) -> None:
    (child,) = [c for c in appliance.dnsmasq()["children"] if c["name"] == "tftp"]
    os.kill(child["pid"], signal.SIGSTOP)
    _await_successor(appliance, child)


def test_a_killed_daemon_leaves_nothing_behind_and_serves_again(appliance: Appliance, client: Client) -> None:
    pids = [c["pid"] for c in appliance.dnsmasq()["children"]]
    appliance.stop(signal.SIGKILL)
    wait_until(lambda: all(gone(pid) for pid in pids), "the children to be gone")
    appliance.serve(wait=False)
    wait_until(lambda: client.ask(discover(NODE1), seconds=0.1), "an offer again", 5)
    appliance.await_serving()
    assert client.acquire(discover(NODE2))[1].yiaddr == "172.0.1.22"


def test_a_stopped_daemon_does_not_stop_dhcp(appliance: Appliance, client: Client) -> None:
    os.kill(appliance.daemon_pid(), signal.SIGSTOP)
    try:
        for _ in range(60):  # more than a pipe or a socket buffer of unread log would allow
            assert client.acquire(discover(NODE1))[1].yiaddr == "172.0.1.21"
    finally:
        os.kill(appliance.daemon_pid(), signal.SIGCONT)
    assert appliance.await_event("ack", machine="node1")


def test_sigterm_ends_everything_cleanly(appliance: Appliance, client: Client) -> None:
    pids = [c["pid"] for c in appliance.dnsmasq()["children"]]
    assert appliance.stop() == 0
    assert all(gone(pid) for pid in pids)
    assert not (appliance.root / "run/pxe-appliance/control.sock").exists()
    assert appliance.status()["daemon"]["running"] is False


def test_a_second_daemon_is_refused(appliance: Appliance, client: Client) -> None:
    assert "already running" in appliance.run("serve", rc=4).stderr


def test_two_syncs_at_once_serialise(appliance: Appliance, client: Client) -> None:
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    outcomes: list[int] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(appliance.run("sync", "--yes", rc=None).rc))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Whoever planned before the others were done is told so; nobody breaks anything.
    assert set(outcomes) <= {0, 4}
    assert 0 in outcomes
    assert appliance.status()["generation"]["id"] == 2
    assert client.expect(discover(NODE3)).yiaddr == "172.0.1.73"


def test_a_reload_cuts_no_transfer(appliance: Appliance, segment: Segment, client: Client) -> None:
    link = segment.links[0]
    expected = (appliance.root / "var/lib/pxe-appliance/tftp/ipxe.efi").read_bytes()
    fetched: list[bytes] = []
    reader = threading.Thread(
        target=lambda: fetched.append(tftp_get(link.clients, link.client_address, link.address, "ipxe.efi"))
    )
    reader.start()
    for number in range(3):
        appliance.edit(f'ip = "172.0.1.{23 + number}"', f'ip = "172.0.1.{24 + number}"')
        appliance.run("sync", "--yes")
    reader.join(60)
    assert fetched == [expected]


def test_two_hundred_machines_load_their_first_stage_at_once(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    link = segment.links[0]
    expected = (appliance.root / "var/lib/pxe-appliance/tftp/undionly.kpxe").read_bytes()

    def fetch(_: int) -> bool:
        return tftp_get(link.clients, link.client_address, link.address, "undionly.kpxe") == expected

    with ThreadPoolExecutor(200) as pool:
        assert sum(pool.map(fetch, range(200))) == 200


def test_the_interface_may_come_late_and_go(open_tmp: Path, segment: Segment, client_on: ClientMaker) -> None:
    appliance = Appliance(open_tmp / "root", segment.server)
    appliance.write()
    appliance.serve()
    try:
        status = appliance.status()
        assert status["dnsmasq"]["state"] == "waiting"
        assert status["networks"][0]["up"] is False
        assert "does not exist" in status["problems"][0]["message"]
        assert status["generation"]["proven"] is False
        link = segment.wire("pxe0", "172.0.1.1", "172.0.1.200")
        raw = client_on(link)
        wait_until(lambda: raw.ask(discover(NODE1), seconds=0.3), "an offer", 10)
        wait_until(lambda: appliance.status()["networks"][0]["up"], "the network to be up")
        wait_until(lambda: appliance.status()["generation"]["proven"], "the proof, by itself", 20)
        run("ip", "-n", link.server, "addr", "flush", "dev", "pxe0")
        wait_until(lambda: not appliance.status()["networks"][0]["up"], "the network to be down")
        run("ip", "-n", link.server, "addr", "add", "172.0.1.1/24", "dev", "pxe0")
        wait_until(lambda: raw.ask(discover(NODE1), seconds=0.3), "an offer again", 10)
        wait_until(lambda: appliance.status()["networks"][0]["up"], "the network to be up again")
        assert appliance.dnsmasq()["restarts"] == 0
    finally:
        appliance.stop()


def test_an_unprivileged_daemon_with_two_capabilities_serves(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    subprocess.run(["chown", "-R", "nobody:nogroup", str(appliance.root.parent)], check=True)
    kept = "-all,+net_bind_service,+net_admin"
    inner = appliance.argv("serve")
    argv = [*inner[:4], "setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
            "--no-new-privs", "--inh-caps", kept, "--ambient-caps", kept, "--bounding-set", kept,
            *inner[4:]]  # fmt: skip
    with (appliance.root / "serve.log").open("ab") as log:
        appliance.process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    appliance.await_serving()
    raw = client_on(segment.links[0])
    assert raw.acquire(discover(NODE1))[1].yiaddr == "172.0.1.21"
    children = {c["name"]: c["pid"] for c in appliance.dnsmasq()["children"]}
    for name, effective in (("dhcp:pxe", "1400"), ("tftp", "0400")):
        facts = Path(f"/proc/{children[name]}/status").read_text()
        assert f"CapEff:\t000000000000{effective}" in facts
        assert "NoNewPrivs:\t1" in facts
        assert "\nUid:\t0\t" not in facts
