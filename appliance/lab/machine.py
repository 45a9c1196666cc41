"""The QEMU command line of each kind of machine. Pure.

TCG always: what /dev/kvm promises is not always kept (nested hosts), and the boots are the same everywhere.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from appliance.lab.rack import Firmware, LabMachine

QEMU: Final = "qemu-system-x86_64"
OVMF_CODE: Final = PurePosixPath("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS: Final = PurePosixPath("/usr/share/OVMF/OVMF_VARS_4M.fd")
BIOS_ROM: Final = PurePosixPath("/usr/lib/ipxe/qemu/pxe-virtio.rom")
_MEMORY: Final = 384  # MB; less, and OVMF with a kernel and an initrd in memory gets tight


def command(
    machine: LabMachine, *, serial_log: PurePosixPath, variables: PurePosixPath, disk: PurePosixPath
) -> list[str]:
    """The argument list that powers `machine` on, with its taps already there in QEMU's namespace.

    Args:
        serial_log: file that takes what the machine prints.
        variables: a private, writable copy of `OVMF_VARS`; not used by a BIOS machine.
        disk: what its disk holds; not used by a machine without one.
    """
    return [
        QEMU,
        *("-name", machine.name),
        *("-uuid", str(machine.uuid)),
        *("-accel", "tcg,thread=multi"),
        *("-smp", "1"),
        *("-m", str(_MEMORY)),
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        *("-display", "none"),
        *("-serial", f"file:{serial_log}"),
        *("-smbios", f"type=1,manufacturer=pxe-appliance,product=lab,serial={machine.serial}"),
        *(_bios() if machine.firmware is Firmware.BIOS else _uefi(machine.firmware, variables)),
        *_nics(machine),
        *(_disk(disk) if machine.disk else ()),
    ]


def _bios() -> list[str]:
    return ["-machine", "pc,graphics=off"]


def _uefi(firmware: Firmware, variables: PurePosixPath) -> list[str]:
    switched_off = "IPv4PXESupport" if firmware is Firmware.UEFI_HTTP else None
    return [
        *("-machine", "q35"),
        *("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"),
        *("-drive", f"if=pflash,format=raw,unit=1,file={variables}"),
        # Without a source of randomness, OVMF's network stack does not come up.
        *("-device", "virtio-rng-pci"),
        *("-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"),
        *(("-fw_cfg", f"name=opt/org.tianocore/{switched_off},string=n") if switched_off else ()),
    ]


def _nics(machine: LabMachine) -> list[str]:
    # An empty ROM leaves UEFI's own PXE stack as the client; a BIOS has no other client than the ROM.
    rom = "" if machine.firmware is Firmware.BIOS else ",romfile="
    nics = [
        *("-netdev", f"tap,id=pxe,ifname={machine.tap},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=pxe,mac={machine.mac},bootindex=1{rom}"),
    ]
    for tap, mac in zip(machine.other_taps, machine.others, strict=True):
        nics += [
            *("-netdev", f"tap,id={tap},ifname={tap},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev={tap},mac={mac},romfile="),
        ]
    return nics


def _disk(content: PurePosixPath) -> list[str]:
    return [
        *("-drive", f"if=none,id=disk,format=raw,file={content}"),
        *("-device", "virtio-blk-pci,drive=disk,bootindex=2"),
    ]
