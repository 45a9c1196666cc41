"""What the running daemon tells others: Prometheus, journald, webhooks, and a pipe that nobody reads."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from tests.fakes.journald import journal
from tests.fakes.webhook_receiver import receiving
from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.conftest import ClientMaker, Segment
from tests.netns.machines import SERVER, Machine, put_on
from tests.netns.test_appliance import NODE1, NODE2, STRANGER, discover
from tests.netns.wire import inside, tftp_get, wait_until

pytestmark = pytest.mark.netns

SECRET = "a secret of thirty-two bytes....."
HIDDEN = "T0K3N"
Find = Callable[..., float | None]


def scraped(segment: Segment, accept: str = "") -> tuple[str, str]:
    """The page of metrics, asked for on the PXE address by the host itself; and its content type."""

    def connect() -> socket.socket:
        return socket.create_connection((SERVER, 8080), 10)

    connection = http.client.HTTPConnection(SERVER, 8080)
    connection.sock = inside(segment.server, connect)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode(), answer.headers["Content-Type"]
    finally:
        connection.close()


def finder(text: str) -> Find:
    samples = [s for family in plain(text) for s in family.samples]

    def find(name: str, **labels: str) -> float | None:
        return next((float(s.value) for s in samples if s.name == name and s.labels == labels), None)

    return find


def boot(machine: Machine, segment: Segment, appliance: Appliance) -> None:
    """From DISCOVER to the call home, as firmware, iPXE and an installed system would."""
    link = segment.links[0]
    machine.acquire()
    appliance.await_event("ack", machine=machine.name)  # two logs are read: no firmware is as fast as this
    tftp_get(link.clients, machine.ip, link.address, "undionly.kpxe")
    appliance.await_event("bootfile", machine=machine.name)
    machine.acquire(discover(machine.mac, o77=b"iPXE"))
    script = machine.script()
    assert "kernel" in script.text
    machine.token = script.token
    for path in ("/assets/lab/vmlinuz", "/assets/lab/initrd.gz"):
        assert machine.ask(path).status == 200
    assert machine.ignition().status == 200
    assert machine.report("done").status == 200


def test_prometheus_reads_what_a_real_boot_was(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    appliance.serve()
    node1 = put_on(segment.links[0], "node1", client_on)
    boot(node1, segment, appliance)
    node1.client.silence(discover(STRANGER), known=discover(NODE2))
    appliance.await_event("stray")

    def done() -> Find | None:
        find = finder(scraped(segment)[0])
        return find if find("pxe_appliance_boots_finished_total", network="pxe", to="image") else None

    find = wait_until(done, "the boot in the metrics")
    assert find is not None
    assert find("pxe_appliance_boot_stage_seconds_count", stage="offer") == 2, "node2 was offered its own"
    for stage in ("ack", "bootfile", "ipxe", "script", "kernel", "initrd", "ignition", "done"):
        assert find("pxe_appliance_boot_stage_seconds_count", stage=stage) == 1, stage
    assert 0 < (find("pxe_appliance_boot_seconds_sum", to="image") or 0) < 60
    assert (find("pxe_appliance_dhcp_messages_total", network="pxe", type="ack") or 0) >= 2
    assert (find("pxe_appliance_tftp_files_sent_total") or 0) >= 1
    assert find("pxe_appliance_events_total", event="stray") == 1
    assert find("pxe_appliance_strays") == 1
    assert find("pxe_appliance_leases", network="pxe") == 1
    assert find("pxe_appliance_dnsmasq_up", child="dhcp:pxe") == 1
    assert find("pxe_appliance_network_up", network="pxe") == 1
    assert find("pxe_appliance_generation") == 1
    assert find("pxe_appliance_generation_proven") == 1
    assert find("pxe_appliance_syncs_total", result="applied") == 1
    assert find("pxe_appliance_matchbox_reachable") == 1
    assert (find("pxe_appliance_http_requests_total", kind="asset", code="2xx") or 0) >= 2
    assert find("pxe_appliance_http_request_duration_seconds_count", kind="ignition") == 1
    assert (find("process_resident_memory_bytes") or 0) > 10_000_000
    assert find("pxe_appliance_machines", network="pxe", state="booted") == 1
    assert find("pxe_appliance_machines", network="pxe", state="booting") == 1
    text, content_type = scraped(segment, "application/openmetrics-text;version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert any(f.name == "pxe_appliance_boots_finished" for f in openmetrics(text))  # type: ignore[no-untyped-call]
    assert "52:54:00" not in text
    over_socket = asked_on_the_control_socket(appliance)
    assert {f.name for f in plain(over_socket)} >= {"pxe_appliance_machines", "pxe_appliance_build_info"}


def asked_on_the_control_socket(appliance: Appliance) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(appliance.root / "run/pxe-appliance/control.sock"))
        sock.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        got = b""
        while piece := sock.recv(1 << 16):
            got += piece
    return got.partition(b"\r\n\r\n")[2].decode()


def test_a_scrape_survives_a_crashed_child(appliance: Appliance, segment: Segment) -> None:
    appliance.serve()
    (pid,) = [c["pid"] for c in appliance.dnsmasq()["children"] if c["name"] == "dhcp:pxe"]
    os.kill(pid, signal.SIGKILL)

    def restarted() -> bool:
        find = finder(scraped(segment)[0])
        return find("pxe_appliance_dnsmasq_restarts_total", child="dhcp:pxe") == 1

    wait_until(restarted, "the restart in the metrics")


@pytest.mark.parametrize("chosen", ["by the settings", "by systemd"])
def test_journald_gets_the_facts_of_a_boot_as_fields(
    appliance: Appliance, segment: Segment, client_on: ClientMaker, chosen: str
) -> None:
    if chosen == "by the settings":
        appliance.write(settings=SETTINGS + '[log]\nformat = "journal"\n')
    else:
        log = appliance.root / "serve.log"
        log.touch()
        appliance.environment = {"JOURNAL_STREAM": f"{log.stat().st_dev}:{log.stat().st_ino}"}
    with journal(appliance.root / "run/systemd/journal/socket") as read:
        appliance.serve()
        node1 = put_on(segment.links[0], "node1", client_on)
        boot(node1, segment, appliance)
        node1.client.silence(discover(STRANGER, o12=b"\x1b[31mEVIL"), known=discover(NODE2))
        wait_until(lambda: read.with_fields(EVENT="stray"), "the stray in the journal")
        for stage in ("discover", "ack", "script", "kernel", "initrd", "ignition", "done"):
            (entry,) = read.with_fields(MACHINE="node1", STAGE=stage, EVENT=stage)
            assert entry["MACHINE"] == "node1"
            assert entry["MAC"] == NODE1
            assert entry["NETWORK"] == "pxe"
            assert entry["PRIORITY"] == "6"
            assert entry["SYSLOG_IDENTIFIER"] == "pxe-appliance"
        (stray,) = read.with_fields(EVENT="stray", MAC=STRANGER)
        assert stray["CODE"]
        assert read.with_fields(EVENT="sync")
        assert not [e for e in read.entries if any("\x1b" in value for value in e.values())]
        assert "kernel" not in appliance.log()


def test_json_is_one_object_a_line(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> None:
    appliance.write(settings=SETTINGS + '[log]\nformat = "json"\n')
    appliance.serve()
    boot(put_on(segment.links[0], "node1", client_on), segment, appliance)
    wait_until(lambda: '"stage": "done"' in appliance.log(), "the last rung in the log")
    lines: list[dict[str, Any]] = [json.loads(line) for line in appliance.log().splitlines()]
    (kernel,) = [line for line in lines if line.get("stage") == "kernel"]
    assert {k: kernel[k] for k in ("level", "machine", "mac", "network", "event")} == {
        "level": "info",
        "machine": "node1",
        "mac": NODE1,
        "network": "pxe",
        "event": "kernel",
    }
    assert appliance.stop() == 0


def full_pipe() -> tuple[int, int]:
    """A pipe with not a byte of room left: reading end, writing end."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 512)
    except BlockingIOError:
        os.set_blocking(writing, True)
    return reading, writing


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_pipe_that_nobody_reads_stops_nothing(
    appliance: Appliance, segment: Segment, client_on: ClientMaker, form: str
) -> None:
    appliance.write(settings=SETTINGS + f'[log]\nformat = "{form}"\nlevel = "debug"\n')
    reading, writing = full_pipe()
    try:
        appliance.process = subprocess.Popen(
            appliance.argv("serve"), stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
            start_new_session=True,
        )  # fmt: skip
        appliance.await_serving()
        raw = client_on(segment.links[0])
        for _ in range(60):
            assert raw.acquire(discover(NODE1))[1].yiaddr == "172.0.1.21"
        assert raw.acquire(discover(NODE2))[1].yiaddr == "172.0.1.22"
        appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
        assert "verified" in appliance.run("sync", "--yes").stdout
        assert finder(scraped(segment)[0])("pxe_appliance_dnsmasq_up", child="dhcp:pxe") == 1
        began = time.monotonic()
        assert appliance.stop() == 0
        assert time.monotonic() - began < 10
    finally:
        os.close(reading)
        os.close(writing)


def test_a_webhook_is_told_signed_and_can_be_tried(appliance: Appliance, segment: Segment) -> None:
    listener = inside(segment.server, lambda: socket.create_server(("127.0.0.1", 0)))
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/hooks/{HIDDEN}?key={HIDDEN}"
    hook = f'[webhook.pager]\nurl = "{url}"\nsecret = "pager"\nevents = ["held", "sync"]\n'
    appliance.write(settings=SETTINGS + hook)
    secret = appliance.root / "etc/pxe-appliance/secrets.d/pager"
    secret.parent.mkdir(mode=0o750)
    secret.write_text(SECRET + "\n")
    secret.chmod(0o640)
    with receiving(SECRET.encode(), "200", "500", "500", listener=listener) as receiver:
        appliance.serve()
        wait_until(lambda: "sync" in receiver.types, "the first sync to be told")
        appliance.run("machine", "hold", "node1", "-m", "smoke")
        wait_until(lambda: receiver.types.count("held") == 3, "the third attempt", 30)
        held = [d for d in receiver.deliveries if d.body["type"] == "held"]
        assert {d.id for d in held} == {held[0].id}
        assert held[0].body["data"]["machine"] == "node1"
        assert held[0].body["data"]["detail"]["reason"] == "smoke"
        told = appliance.run("webhook", "test", "pager").stdout
        assert "it answered 200" in told
        wait_until(lambda: finder(scraped(segment)[0])(
            "pxe_appliance_webhook_deliveries_total", webhook="pager", result="delivered") == 2, "the count",
        )  # fmt: skip
        receiver.steps[:] = ["404"]
        refused = appliance.run("webhook", "test", "pager", rc=5).stderr
        assert "there is no such receiver" in refused
        assert "did you mean pager?" in appliance.run("webhook", "test", "pagr", rc=4).stderr
        shown = appliance.run("config", "show").stdout
        assert all(delivery.genuine for delivery in receiver.deliveries)
    everything = [told, refused, shown, appliance.log(), json.dumps(appliance.status())]
    everything += [appliance.run("plan").stdout, appliance.run("generations").stdout, *kept(appliance)]
    for text in everything:
        assert SECRET not in text
        assert HIDDEN not in text


def kept(appliance: Appliance) -> list[str]:
    """What we wrote down, but for the generation's copy of the settings, which is as private as they are."""
    state = appliance.root / "var/lib/pxe-appliance"
    return [p.read_text(errors="replace") for p in state.rglob("*.json")] + [
        Path(state / "history.db").read_bytes().decode(errors="replace")
    ]
