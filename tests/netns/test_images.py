"""Images served by the running daemon: which release a machine gets when, and what is never served."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.appliance import Appliance
from tests.netns.conftest import Segment, run
from tests.netns.wire import inside, wait_until

NODE1, NODE2, OURS = "172.0.1.21", "172.0.1.22", "172.0.1.1"
INVENTORY = """
[profile.rescue]
image = "local/rescue"
boot = "always"

[machine.node1]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
profile = "rescue"

[machine.node2]
mac = "52:54:00:aa:00:11"
ip = "172.0.1.22"
profile = "rescue"
"""
SCRIPTS = {NODE1: "/ipxe?mac=52-54-00-aa-00-01", NODE2: "/ipxe?mac=52-54-00-aa-00-11"}


@dataclass(frozen=True)
class Rack:
    """The appliance, and machines' addresses to ask it from."""

    appliance: Appliance
    segment: Segment

    def put(self, version: str) -> None:
        """A release whose bytes name its version."""
        folder = self.appliance.root / f"from-{version}"
        folder.mkdir()
        for name in ("vmlinuz", "initrd.img"):
            (folder / name).write_bytes(f"{name} of {version}".encode() * 1000)
        self.appliance.run("images", "fetch", f"local/rescue@{version}", "--from", str(folder))

    def get(self, target: str, source: str) -> tuple[int, bytes]:
        """One request from an address of the VLAN."""

        def ask() -> tuple[int, bytes]:
            link = http.client.HTTPConnection(OURS, 8080, timeout=10, source_address=(source, 0))
            try:
                link.request("GET", target)
                answer = link.getresponse()
                return answer.status, answer.read()
            finally:
                link.close()

        return inside(self.segment.clients, ask)

    def version_of(self, target: str, source: str) -> str:
        """The version in what is served at `target`."""
        status, body = self.get(target, source)
        assert status == 200, f"{target}: {status}"
        return body[: len(b"vmlinuz of 0.0")].split()[-1].decode()

    def booted(self, source: str) -> str:
        """The version that a machine's boot script names."""
        status, body = self.get(SCRIPTS[source], source)
        assert status == 200, body
        kernel = next(line for line in body.decode().splitlines() if line.startswith("kernel "))
        return kernel.split()[1].split("/")[4]


@pytest.fixture
def rack(appliance: Appliance, segment: Segment) -> Rack:
    """Serving, with 1.0 in the store and current."""
    for address in (NODE1, NODE2):
        run("ip", "-n", segment.clients, "addr", "add", f"{address}/24", "dev", "cl0")
    appliance.write(inventory=INVENTORY)
    made = Rack(appliance, segment)
    made.put("1.0")
    appliance.serve()
    return made


def test_without_its_image_a_machine_is_refused_by_name_and_nothing_moves(appliance: Appliance) -> None:
    appliance.write(inventory=INVENTORY)
    plan = appliance.run("plan")
    assert "MISSING image local/rescue for node1, node2" in plan.stdout
    assert "pxe-appliance images fetch local/rescue" in plan.stdout
    (missing,) = appliance.run("plan", "-o", "json").json()["missing_images"]
    assert (missing["image"], missing["machines"]) == ("local/rescue", ["node1", "node2"])
    refused = appliance.run("sync", "--yes", rc=4)
    assert "node1, node2" in refused.stderr
    assert appliance.run("generations", "-o", "json").json() == []


def test_use_counts_from_the_next_boot_without_a_restart_and_rollback_takes_it_back(rack: Rack) -> None:
    pid = rack.appliance.daemon_pid()
    assert (rack.booted(NODE1), rack.booted(NODE2)) == ("1.0", "1.0")
    rack.put("2.0")
    assert rack.booted(NODE2) == "1.0", "what is fetched waits for its use"
    rack.appliance.run("images", "use", "local/rescue@2.0")
    assert rack.booted(NODE2) == "2.0"
    rack.appliance.run("images", "rollback")
    assert rack.booted(NODE2) == "1.0"
    assert rack.appliance.status()["daemon"]["pid"] == pid


def test_a_machine_in_the_middle_of_its_boot_keeps_its_release(rack: Rack) -> None:
    assert rack.booted(NODE1) == "1.0"
    rack.appliance.await_event("script", machine="node1")
    rack.put("2.0")
    rack.appliance.run("images", "use", "2.0")
    unversioned = "/assets/local/rescue/vmlinuz"
    assert rack.version_of(unversioned, NODE1) == "1.0", "it began with 1.0"
    assert rack.version_of("/assets/local/rescue/1.0/vmlinuz", NODE1) == "1.0"
    assert rack.version_of(unversioned, NODE2) == "2.0", "who boots nothing follows at once"
    assert rack.version_of("/assets/local/rescue/current/vmlinuz", NODE2) == "2.0"
    kept = rack.appliance.run("images", "prune", "--keep", "1")
    assert "Nothing to remove" in kept.stdout, "node1 is booting from 1.0"
    assert rack.booted(NODE1) == "2.0", "its next boot"


def test_the_ladder_and_machine_show_tell_the_release(rack: Rack) -> None:
    rack.booted(NODE1)
    event = rack.appliance.await_event("script", machine="node1")
    assert event["detail"]["image"] == "local/rescue@1.0"
    rack.get("/assets/local/rescue/1.0/vmlinuz", NODE1)
    rack.get("/assets/local/rescue/1.0/initrd.img", NODE1)
    rack.appliance.await_event("kernel", machine="node1")
    rack.appliance.await_event("initrd", machine="node1")
    (row, _) = rack.appliance.run("machines", "-o", "json").json()
    assert row["image"] == "local/rescue@1.0"
    shown = rack.appliance.run("machine", "show", "node2", "-o", "json").json()
    assert shown["boots"]["kernel"] == "/assets/local/rescue/1.0/vmlinuz"
    assert shown["boots"]["args"] == ["initrd=initrd.img"]


def test_a_canary_is_for_its_machine_alone(rack: Rack) -> None:
    rack.put("2.0")
    rack.appliance.run("images", "use", "2.0", "--machines", "node1")
    assert (rack.booted(NODE1), rack.booted(NODE2)) == ("2.0", "1.0")
    rack.appliance.run("images", "use", "local/rescue", "current", "--machines", "node1")
    assert rack.booted(NODE1) == "1.0"
    unknown = rack.appliance.run("images", "use", "2.0", "--machines", "nodel", rc=4)
    assert "did you mean node" in unknown.stderr


def test_a_damaged_file_is_not_served_and_named(rack: Rack) -> None:
    rack.put("2.0")
    rack.appliance.run("images", "use", "2.0")
    stored = rack.appliance.root / "var/lib/pxe-appliance/images/local/rescue/2.0/vmlinuz"
    content = bytearray(stored.read_bytes())
    content[100] ^= 1
    stored.write_bytes(content)
    assert rack.get("/assets/local/rescue/2.0/vmlinuz", NODE2)[0] == 404
    event = rack.appliance.await_event("http-error", machine="node2")
    assert "damaged" in event["detail"]["reason"]

    def named() -> bool:
        found = [p for p in rack.appliance.status()["problems"] if p["id"] == "images-damaged"]
        return bool(found) and "local/rescue@2.0" in found[0]["message"]

    wait_until(named, "status to name the damage")
    doctor = rack.appliance.run("doctor", "-o", "json", rc=5).json()
    (damaged,) = [row for row in doctor if row["id"] == "images-damaged"]
    assert str(stored) in damaged["evidence"][0]
    status, body = rack.get(SCRIPTS[NODE2], NODE2)
    assert (status, body) == (404, b"404 page not found\n"), "no machine is sent to what cannot be served"
    assert "vmlinuz" in rack.appliance.run("sync", "--yes", rc=4).stderr
    rack.appliance.run("images", "rollback")
    assert rack.booted(NODE2) == "1.0"


def test_what_nobody_pinned_is_not_served(rack: Rack) -> None:
    images = rack.appliance.root / "var/lib/pxe-appliance/images"
    planted = [
        images / "local/rescue/1.0/planted",
        images / "local/rescue/planted",
        images / "planted",
        images / "local/rescue/9.9/vmlinuz",
        images / "local/other/1.0/vmlinuz",
    ]
    for path in planted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"planted")
    for path in planted:
        target = f"/assets/{path.relative_to(images)}"
        assert rack.get(target, NODE1)[0] == 404, target
    assert rack.get("/assets/local/rescue/1.0/release.json", NODE1)[0] == 404
    (images / "local/rescue/current").unlink()
    (images / "local/rescue/current").symlink_to("9.9")
    assert rack.get("/assets/local/rescue/vmlinuz", NODE1)[0] == 404
    assert rack.get(SCRIPTS[NODE1], NODE1)[0] == 404
    found = rack.appliance.run("doctor", "-o", "json", rc=5).json()
    told = " ".join(str(row["evidence"]) + row["message"] for row in found if row["id"] == "images-unpinned")
    assert all(word in told for word in ("9.9", "local/other", str(planted[0]), str(planted[2]))), told


def test_a_lost_lock_is_told_and_written_again_from_what_proves_the_releases(rack: Rack) -> None:
    lock = Path(rack.appliance.root / "etc/pxe-appliance/images.lock")
    before = lock.read_text()
    lock.unlink()
    assert rack.get("/assets/local/rescue/1.0/vmlinuz", NODE1)[0] == 404
    assert rack.appliance.run("images", "verify", rc=5).stdout.startswith("local/rescue@1.0: UNPINNED")
    refused = rack.appliance.run("images", "verify", "--pin", rc=5)
    assert "nobody signed it" in refused.stderr, "what lies there is the service's word alone"
    rack.appliance.run("images", "verify", "--pin", "--local")
    assert lock.read_text() == before
    assert rack.get("/assets/local/rescue/1.0/vmlinuz", NODE1)[0] == 200
