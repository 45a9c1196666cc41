"""The hand-over of machines to the endpoint, on the wire: scripts, files, Ignition, the call home."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.netns.appliance import Appliance
from tests.netns.conftest import ClientMaker, Link, Segment, run
from tests.netns.test_appliance import NODE1, NODE2, discover
from tests.netns.wire import Client, wait_until

pytestmark = pytest.mark.netns


@pytest.fixture
def client(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Client:
    """A raw client on the appliance's wire, which serves."""
    appliance.serve()
    return client_on(segment.links[0])


def _become(link: Link, mac: str, address: str) -> None:
    """Give the clients' NIC a machine's MAC and address: the appliance looks at both."""
    run("ip", "-n", link.clients, "link", "set", link.client_device, "address", mac)
    run("ip", "-n", link.clients, "addr", "add", f"{address}/24", "dev", link.client_device)


def _token(script: str) -> str:
    found = re.search(r"[?&]token=([A-Za-z0-9_-]+)", script)
    assert found, script
    return found[1]


def test_the_endpoint_hands_over_and_takes_reports(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    link = segment.links[0]
    _become(link, NODE1, "172.0.1.21")
    client.acquire(discover(NODE1))

    def curl(*args: str) -> str:
        return run("ip", "netns", "exec", link.clients, "curl", "-s", "--interface", "172.0.1.21", *args)

    base = "http://172.0.1.1:8080"
    assert "chain ipxe?" in curl(f"{base}/boot.ipxe")
    script = curl(f"{base}/ipxe?mac=52-54-00-aa-00-01")
    assert script.startswith("#!ipxe\nkernel /assets/lab/vmlinuz console=ttyS0 initrd=initrd.gz")
    assert len(curl(f"{base}/assets/lab/vmlinuz")) == 6000
    assert len(curl(f"{base}/assets/lab/initrd.gz")) == 6000
    assert "404" in curl(f"{base}/ignition?mac={NODE1}"), "without the token of this boot"
    token = _token(script)
    assert "3.3.0" in curl(f"{base}/ignition?mac={NODE1}&token={token}")
    assert len(run("ip", "netns", "exec", link.clients, "curl", "-s", "-o", "/dev/null", "-w",
                   "%{size_download}", f"{base}/assets/ipxe/ipxe.efi")) >= 6  # fmt: skip
    report = f'{{"stage":"done","mac":"{NODE1}","message":"hello","token":"{token}"}}'
    assert '"ok": true' in curl("-d", report, f"{base}/v1/report")
    foreign = report.replace(NODE1, NODE2)
    assert "not node1's" in curl("-d", foreign, f"{base}/v1/report")
    appliance.await_event("done", machine="node1")
    shown = appliance.run("machine", "show", "node1", "-o", "json").json()
    assert list(shown["rungs"])[-5:] == ["script", "kernel", "initrd", "ignition", "done"]
    assert shown["boot"]["state"] == "booted"
    assert curl(f"{base}/healthz") == "ok\n"
    assert '"running": true' in curl(f"{base}/v1/status")


def test_nothing_can_be_written_over_tcp(appliance: Appliance, segment: Segment, client: Client) -> None:
    link = segment.links[0]
    before = appliance.status()["generation"]["id"]
    for path in ("/v1/sync", "/v1/prove", "/v1/machines/node1/reinstall"):
        code = run("ip", "netns", "exec", link.clients, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                   "-d", "{}", f"http://172.0.1.1:8080{path}")  # fmt: skip
        assert code in {"404", "405"}
    assert appliance.status()["generation"]["id"] == before


def test_install_once_goes_to_disk_after_the_report_and_back_on_request(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    link = segment.links[0]
    _become(link, NODE1, "172.0.1.21")
    appliance.edit('boot = "always"', 'boot = "install-once"')
    appliance.run("sync", "--yes")
    client.acquire(discover(NODE1))

    def curl(*args: str) -> str:
        return run("ip", "netns", "exec", link.clients, "curl", "-s", "--interface", "172.0.1.21", *args)

    url = f"http://172.0.1.1:8080/ipxe?mac={NODE1}"
    script = curl(url)
    assert "kernel" in script
    curl("-d", f'{{"stage":"installed","token":"{_token(script)}"}}', "http://172.0.1.1:8080/v1/report")
    wait_until(lambda: "sanboot" in curl(url), "the script to send it to its disk")
    appliance.stop(signal.SIGTERM)
    appliance.serve()
    assert "sanboot" in curl(url)
    appliance.run("machine", "reinstall", "node1")
    wait_until(lambda: "kernel" in curl(url), "the installer again")


def test_an_external_endpoint_is_handed_to(open_tmp: Path, segment: Segment, client_on: ClientMaker) -> None:
    link = segment.wire("pxe0", "172.0.1.1", "172.0.1.200")
    appliance = Appliance(open_tmp / "root", segment.server)
    appliance.write(
        settings='[network.pxe]\ninterface = "pxe0"\nsubnet = "172.0.1.0/24"\n'
        '[matchbox]\nendpoint = "http://172.0.1.200:9999"\n'
    )
    appliance.serve()
    try:
        raw = client_on(link)
        answer = raw.expect(discover(NODE1, o77=b"iPXE", o175=b"\x01\x01\x01"))
        assert answer.file == "http://172.0.1.1:8080/boot.ipxe", "ours, which asks there again and again"
        _become(link, NODE1, "172.0.1.21")
        said = run(
            "ip", "netns", "exec", link.clients, "curl", "-s", "--interface", "172.0.1.21", answer.file
        )
        assert "chain http://172.0.1.200:9999/ipxe?" in said
        wait_until(lambda: appliance.status()["matchbox"]["reachable"] is False, "the endpoint to be missed")
        assert client_on(link).expect(discover(NODE2)).yiaddr == "172.0.1.22"
    finally:
        appliance.stop()


def test_an_ignition_is_shown_on_the_control_socket_and_never_over_tcp(
    appliance: Appliance, segment: Segment, client: Client
) -> None:
    folder = appliance.root / "etc/pxe-appliance/ignition.d"
    (folder / "lab.bu.j2").write_text(
        "variant: fcos\nversion: 1.4.0\nstorage:\n  files:\n    - path: /etc/hostname\n"
        "      contents: {inline: {{ machine.name | quote }}}\n"
    )
    appliance.edit('ignition = "lab.ign"', 'ignition = "lab.bu.j2"')
    appliance.run("sync", "--yes")
    shown = appliance.run("machine", "show", "node1", "--ignition").stdout
    assert '"data:,node1"' in shown
    assert "TOKEN-OF-THE-BOOT" in shown
    inside = ("ip", "netns", "exec", segment.links[0].clients)
    url = "http://172.0.1.1:8080/v1/machines/node1/ignition"
    code = run(*inside, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url)
    assert code in {"403", "404"}
    (folder / "lab.bu.j2").write_text(
        "variant: fcos\nversion: 1.4.0\npasswd:\n  users:\n    - nam: {{ machine.name }}\n"
    )
    refused = appliance.run("sync", "--yes", rc=3)
    assert "lab.bu.j2:5" in refused.stderr
    assert '"data:,node1"' in appliance.run("machine", "show", "node1", "--ignition").stdout
    for told in (
        appliance.run("events", "-o", "json", "-n", "1000").stdout,
        appliance.run("status", "-o", "json").stdout,
    ):
        assert "data:,node1" not in told
