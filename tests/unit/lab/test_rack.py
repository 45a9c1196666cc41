"""The rack: numbers that do not collide, firmware as asked for, and QEMU lines that say it."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from appliance.lab.machine import command
from appliance.lab.rack import (
    MOST_MACHINES,
    SERVER,
    SUBNET,
    Firmware,
    FirmwareChoice,
    LabMachine,
    Rack,
    fill,
    other_mac,
)


def qemu(machine: LabMachine) -> str:
    places = {"serial_log": "/l/s.log", "variables": "/v/node.vars", "disk": "/v/node.disk"}
    return " ".join(command(machine, **{name: PurePosixPath(place) for name, place in places.items()}))


def test_two_machines_are_one_bios_and_one_uefi_with_one_second_nic() -> None:
    rack = fill(2, FirmwareChoice.MIXED)
    assert [m.firmware for m in rack.machines] == [Firmware.BIOS, Firmware.UEFI]
    assert [len(m.others) for m in rack.machines] == [1, 0]
    assert sorted(rack.outsiders().values()) == ["node1's second NIC", "the stranger"]


@pytest.mark.parametrize("choice", [c for c in FirmwareChoice if c is not FirmwareChoice.MIXED])
def test_one_kind_is_all_of_that_kind(choice: FirmwareChoice) -> None:
    assert {m.firmware.value for m in fill(5, choice).machines} == {choice.value}


def test_mixed_goes_round_all_kinds() -> None:
    kinds = [m.firmware for m in fill(4, FirmwareChoice.MIXED).machines]
    assert kinds == [Firmware.BIOS, Firmware.UEFI, Firmware.UEFI_HTTP, Firmware.BIOS]


def test_a_full_rack_has_no_number_twice() -> None:
    machines = fill(MOST_MACHINES, FirmwareChoice.MIXED).machines
    macs = [m.mac for m in machines] + [mac for m in machines for mac in m.others]
    assert len({*macs}) == len(macs)
    assert len({m.uuid for m in machines}) == MOST_MACHINES
    for machine in machines:
        assert machine.ip in SUBNET
        assert machine.ip != SERVER
        for name in (machine.tap, *machine.other_taps, machine.inner_leg, machine.outer_leg):
            assert len(name) <= 15  # the kernel's IFNAMSIZ, less its NUL
    assert len({m.ip for m in machines}) == MOST_MACHINES


@pytest.mark.parametrize("count", [0, -1, MOST_MACHINES + 1])
def test_a_rack_that_cannot_be_filled_says_what_can(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 32 machines"):
        fill(count, FirmwareChoice.MIXED)


def test_a_machine_is_found_by_name() -> None:
    rack = fill(2, FirmwareChoice.UEFI)
    assert rack.named("node2") == rack.machines[1]
    assert rack.named("node3") is None


def test_a_bios_machine_boots_from_its_rom() -> None:
    line = qemu(LabMachine(1, Firmware.BIOS))
    assert "-machine pc,graphics=off" in line
    assert "virtio-net-pci,netdev=pxe,mac=52:54:00:1a:b0:01,bootindex=1 " in line + " "
    assert "pflash" not in line
    assert "ifname=tap1,script=no,downscript=no" in line


def test_a_uefi_machine_has_no_rom_and_variables_of_its_own() -> None:
    line = qemu(LabMachine(2, Firmware.UEFI))
    assert "bootindex=1,romfile=" in line
    assert "unit=1,file=/v/node.vars" in line
    assert "readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd" in line
    assert "virtio-rng-pci" in line
    assert "IPv6PXESupport,string=n" in line
    assert "IPv4PXESupport" not in line


def test_a_machine_that_boots_by_http_has_pxe_switched_off() -> None:
    assert "IPv4PXESupport,string=n" in qemu(LabMachine(3, Firmware.UEFI_HTTP))


def test_a_second_nic_is_plugged_in_and_never_booted_from() -> None:
    machine = fill(1, FirmwareChoice.BIOS).machines[0]
    line = qemu(machine)
    assert f"virtio-net-pci,netdev=oth1-2,mac={machine.others[0]},romfile=" in line
    assert line.count("bootindex") == 1


def test_a_disk_comes_behind_the_nic_and_only_where_there_is_one() -> None:
    line = qemu(LabMachine(1, Firmware.BIOS, disk=True))
    assert "if=none,id=disk,format=raw,file=/v/node.disk" in line
    assert "virtio-blk-pci,drive=disk,bootindex=2" in line
    assert "disk" not in qemu(LabMachine(1, Firmware.BIOS))


def test_several_other_nics_have_taps_and_names_of_their_own() -> None:
    machine = LabMachine(5, Firmware.BIOS, (other_mac(5, 1), other_mac(5, 2)))
    assert machine.other_taps == ("oth5-2", "oth5-3")
    for tap, mac in zip(machine.other_taps, machine.others, strict=True):
        assert f"netdev={tap},mac={mac}" in qemu(machine)
    names = Rack((machine,), stranger=None).outsiders()
    assert names == {machine.others[0]: "node5's second NIC", machine.others[1]: "node5's third NIC"}


@pytest.mark.parametrize("kind", list(Firmware))
def test_every_machine_is_emulated_restarts_never_and_knows_its_name(kind: Firmware) -> None:
    line = qemu(LabMachine(7, kind))
    assert "-accel tcg,thread=multi" in line
    assert "-no-reboot" in line
    assert "serial=node7" in line
    assert "-serial file:/l/s.log" in line
    assert "-uuid 70786500-6c61-4000-8000-5254001ab007" in line
