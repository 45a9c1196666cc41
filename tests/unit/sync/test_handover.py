"""A profile in Matchbox's words: what is put in for the operator, and what is left to them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from appliance.image_ref import ImageRef
from appliance.inventory.model import BootPolicy, Inventory, KernelRef, Profile
from appliance.matchbox.model import Boot
from appliance.settings import HttpSettings, MatchboxSettings, Settings
from appliance.sync.handover import boot_of, machine_boots, machine_url
from tests.unit.daemon.rooms import LAB, MAC, PXE, WORKER, rack

URL = "http://172.0.1.1:8080"
SETTINGS = Settings({"pxe": PXE, "lab": LAB})


def image(os: str, version: str | None = None, *args: str, ignition: str | None = None) -> Boot:
    boot = boot_of(Profile("p", ImageRef(os, "stable", version), args, ignition), URL)
    assert boot is not None
    return boot


def kernel(*args: str, initrd: tuple[str, ...] = (), ignition: str | None = None) -> Boot:
    boot = boot_of(Profile("p", KernelRef("/assets/k", initrd), args, ignition), URL)
    assert boot is not None
    return boot


def test_nothing_to_load_is_no_boot() -> None:
    assert boot_of(Profile("p", None, ("a=1",), "x.ign"), URL) is None


def test_every_initrd_is_named_for_the_kernel_by_its_last_part() -> None:
    boot = kernel(initrd=("/assets/lab/one.gz", "http://files.example.com/two.gz"))
    assert boot.initrd == ("/assets/lab/one.gz", "http://files.example.com/two.gz")
    assert boot.args == ("initrd=one.gz", "initrd=two.gz")


def test_without_initrd_and_ignition_the_operator_s_arguments_stand_alone() -> None:
    assert kernel("console=ttyS0", "quiet").args == ("console=ttyS0", "quiet")


def test_ignition_is_told_where_its_document_is() -> None:
    assert kernel(ignition="x.ign").args == (f"ignition.config.url={URL}/ignition?mac=${{mac:hexhyp}}",)


@pytest.mark.parametrize("own", ["initrd=mine", "initrd="])
def test_an_operator_s_own_initrd_wins(own: str) -> None:
    assert kernel(own, initrd=("/assets/one.gz", "/assets/two.gz")).args == (own,)


def test_an_operator_s_own_ignition_wins_and_a_longer_name_is_another() -> None:
    own = "ignition.config.url=http://other.example.com/x"
    assert kernel(own, ignition="x.ign").args == (own,)
    assert len(kernel("ignition.config.urls=x", "xinitrd=y", ignition="x.ign").args) == 3


def test_flatcar() -> None:
    boot = image("flatcar", None, "console=ttyS0", ignition="worker.bu")
    assert boot.kernel == "/assets/flatcar/stable/flatcar_production_pxe.vmlinuz"
    assert boot.initrd == ("/assets/flatcar/stable/flatcar_production_pxe_image.cpio.gz",)
    assert boot.args == (
        "flatcar.first_boot=1",
        "console=ttyS0",
        "initrd=flatcar_production_pxe_image.cpio.gz",
        f"ignition.config.url={URL}/ignition?mac=${{mac:hexhyp}}",
    )


def test_fedora_coreos_of_a_version() -> None:
    boot = image("fedora-coreos", "41.20250101.3.0")
    base = "/assets/fedora-coreos/stable/41.20250101.3.0"
    assert (boot.kernel, boot.initrd) == (f"{base}/kernel", (f"{base}/initramfs.img",))
    assert boot.args == (
        "ignition.firstboot",
        "ignition.platform.id=metal",
        f"coreos.live.rootfs_url={URL}{base}/rootfs.img",
        "initrd=initramfs.img",
    )


def test_container_linux_and_a_local_image() -> None:
    assert image("container-linux").args[0] == "coreos.first_boot=1"
    local = image("local")
    assert (local.kernel, local.initrd, local.args) == (
        "/assets/local/stable/vmlinuz",
        ("/assets/local/stable/initrd.img",),
        ("initrd=initrd.img",),
    )


def test_machines_speak_to_our_address_on_their_network_or_to_the_external_endpoint() -> None:
    assert machine_url(SETTINGS, PXE) == URL
    assert machine_url(replace(SETTINGS, http=HttpSettings(80)), LAB) == "http://172.0.9.1:80"
    external = replace(SETTINGS, matchbox=MatchboxSettings("http://matchbox.example.com:8080"))
    assert machine_url(external, PXE) == "http://matchbox.example.com:8080"


def test_a_machine_brings_its_profile_its_labels_and_its_document() -> None:
    node1, node2, other1 = rack()
    node1 = replace(node1, labels={"rack": "r1"})
    other1 = replace(other1, profile="worker")
    inventory = Inventory((node1, node2, other1), {"worker": WORKER})
    own = b'{"ignition":{"version":"3.3.0"},"passwd":{"users":[{"name":"core"}]}}'
    one, two, far = machine_boots(SETTINGS, inventory, {"worker.ign": own})
    assert (one.name, one.macs) == ("node1", (MAC,))
    assert one.ignition is not None
    document = json.loads(one.ignition("a-token"))
    assert document["passwd"] == {"users": [{"name": "core"}]}
    assert "a-token" in json.dumps(document), "by which it calls home"
    assert "a-token" not in json.dumps(json.loads(one.ignition("")))
    assert one.metadata == {
        "name": "node1",
        "hostname": "node1",
        "ip": "172.0.1.21",
        "network": "pxe",
        "rack": "r1",
    }
    assert one.profile is not None
    assert (one.profile.id, one.profile.ignition_id) == ("worker", "worker.ign")
    assert far.profile is not None
    assert far.profile.boot is not None
    assert any("http://172.0.9.1:8080/ignition" in arg for arg in far.profile.boot.args)
    assert (two.profile, two.ignition) == (None, None), "the operator's own groups decide"
    assert len(two.macs) == 2


def test_the_policy_is_not_the_endpoint_s_business() -> None:
    disk = replace(WORKER, boot=BootPolicy.DISK)
    assert boot_of(disk, URL) == boot_of(WORKER, URL)
