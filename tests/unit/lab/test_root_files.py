"""The operator's files of a lab: TOML that says what the rack is, an Ignition for each machine alone."""

from __future__ import annotations

import json
import tomllib

from appliance.lab.rack import Firmware, FirmwareChoice, LabMachine, Rack, fill, other_mac
from appliance.lab.root_files import Duty, files, files_with_mirror, ignition
from appliance.tree import Tree

RACK = fill(3, FirmwareChoice.MIXED)
TREE = files(RACK, kernel=b"kernel", initrd=b"initrd")
WITH_MIRROR = files_with_mirror(RACK, "flatcar/stable", key=b"key")


def text(path: str, tree: Tree = TREE) -> str:
    file = tree.get(f"etc/pxe-appliance/{path}")
    assert file is not None
    return file.content.decode()


def test_the_settings_name_the_wire() -> None:
    network = tomllib.loads(text("appliance.toml"))["network"]["pxe"]
    assert network == {"interface": "pxe0", "subnet": "172.0.1.0/24", "address": "172.0.1.1"}


def test_every_machine_has_its_reservation_and_a_profile_with_its_own_ignition() -> None:
    inventory = tomllib.loads(text("inventory.d/rack.toml"))
    for machine in RACK.machines:
        row = inventory["machine"][machine.name]
        assert (row["mac"], row["ip"]) == (str(machine.mac), str(machine.ip))
        profile = inventory["profile"][row["profile"]]
        assert profile["ignition"] == f"{machine.name}.ign"
        assert profile["kernel"] == "/assets/lab/vmlinuz"
        assert profile["initrd"] == ["/assets/lab/initrd.gz"]
        url = f"http://172.0.1.1:8080/ignition?mac={machine.mac.dashed}"
        assert f"ignition.config.url={url}" in profile["args"]


def test_the_second_nic_is_in_the_inventory_as_one() -> None:
    inventory = tomllib.loads(text("inventory.d/rack.toml"))
    assert inventory["machine"]["node1"]["nic"] == {"eth1": {"mac": str(RACK.machines[0].others[0])}}
    assert "nic" not in inventory["machine"]["node2"]


def test_an_ignition_names_its_machine_and_no_other() -> None:
    for machine in RACK.machines:
        served = text(f"ignition.d/{machine.name}.ign")
        assert json.loads(served)["ignition"]["version"] == "3.3.0"
        for other in RACK.machines:
            assert (f'data:,{other.name}"' in served) == (other is machine)
            assert (f'data:,{other.mac}"' in served) == (other is machine)
        assert served == ignition(machine)


def test_the_assets_are_where_the_inventory_says() -> None:
    assert text("matchbox/assets/lab/vmlinuz") == "kernel"
    assert text("matchbox/assets/lab/initrd.gz") == "initrd"


def test_a_duty_is_in_the_profile_and_the_disk_among_the_assets() -> None:
    bonded = LabMachine(2, Firmware.BIOS, (other_mac(2, 1), other_mac(2, 2)))
    rack = Rack((LabMachine(1, Firmware.BIOS), bonded), stranger=None)
    duties = {
        "node1": Duty("install-once", ("lab.install=/dev/vda",)),
        "node2": Duty(bond=("bond0", 100, "10.0.100.12/24")),
    }
    tree = files(rack, kernel=b"kernel", initrd=b"initrd", disk=b"disk", duties=duties)
    inventory = tomllib.loads(text("inventory.d/rack.toml", tree))
    installs, becomes = inventory["profile"]["node1"], inventory["profile"]["node2"]
    assert (installs["boot"], installs["args"][-1]) == ("install-once", "lab.install=/dev/vda")
    assert "netconf" not in installs
    assert (becomes["boot"], becomes["netconf"]) == ("always", "networkd")
    assert inventory["machine"]["node2"]["bond"] == {
        "bond0": {
            "members": ["eth1", "eth2"],
            "mode": "802.3ad",
            "vlans": {"control": {"id": 100, "address": "10.0.100.12/24"}},
        }
    }
    assert text("matchbox/assets/lab/disk.img", tree) == "disk"
    assert TREE.get("etc/pxe-appliance/matchbox/assets/lab/disk.img") is None


def test_with_a_mirror_every_profile_names_the_image_and_leaves_the_rest_to_the_appliance() -> None:
    inventory = tomllib.loads(text("inventory.d/rack.toml", WITH_MIRROR))
    for machine in RACK.machines:
        assert inventory["profile"][machine.name] == {
            "image": "flatcar/stable",
            "args": ["console=ttyS0", "quiet"],
            "ignition": f"{machine.name}.ign",
            "boot": "always",
        }
        assert text(f"ignition.d/{machine.name}.ign", WITH_MIRROR) == ignition(machine)
    plain = tomllib.loads(text("inventory.d/rack.toml"))
    assert inventory["machine"] == plain["machine"]
    assert not [file.path for file in WITH_MIRROR if "/assets/" in file.path]


def test_the_mirror_and_the_key_that_signs_there_are_in_the_settings() -> None:
    settings = tomllib.loads(text("appliance.toml", WITH_MIRROR))
    mirror = "http://127.0.0.1:8090/{channel}"
    assert settings["images"] == {"flatcar": {"mirror": mirror, "keys": ["lab.asc"]}}
    assert text("keys.d/lab.asc", WITH_MIRROR) == "key"
