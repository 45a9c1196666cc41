"""A disk as an installer leaves it: whoever boots it says so on its serial line and powers off. Pure.

    sector 0        a master boot record: the program that a BIOS runs, and one partition
    sector 64 …     that partition, an EFI system partition: FAT12 with /EFI/BOOT/BOOTX64.EFI

Both programs are a few machine instructions, spelled out below: no assembler and no FAT tools are needed.
"""

from __future__ import annotations

import struct
from typing import Final

SAYS: Final = (
    "lab: the disk has booted"  # what a machine prints on its serial line once it runs from the disk
)

_SECTOR: Final = 512
_ESP_AT: Final = 64
_ESP_SECTORS: Final = 128
_TYPE_ESP: Final = 0xEF
_ROOT_ENTRIES: Final = 16  # one sector
_RESERVED, _FATS, _FAT_SECTORS, _ROOT_SECTORS = 1, 2, 1, 1
_DATA_AT: Final = _RESERVED + _FATS * _FAT_SECTORS + _ROOT_SECTORS
_FOLDER: Final = 0x10
_END_OF_CHAIN: Final = 0xFFF

# Runs at 0000:7c00. COM1 is polled (bit 5 of its line status: ready for a byte); writing 2000h to the
# ACPI control register powers QEMU's machines off (SeaBIOS puts it at 604h on pc and on q35).
_BIOS_PROGRAM: Final = bytes.fromhex(
    "31c0"  #         xor ax, ax
    "8ed8"  #         mov ds, ax
    "fc"  #           cld
    "be287c"  #       mov si, text
    "ac"  #     next: lodsb
    "84c0"  #         test al, al
    "7411"  #         jz off
    "88c4"  #         mov ah, al
    "bafd03"  #       mov dx, 3fdh
    "ec"  #     wait: in al, dx
    "a820"  #         test al, 20h
    "74fb"  #         jz wait
    "b2f8"  #         mov dl, f8h
    "88e0"  #         mov al, ah
    "ee"  #           out dx, al
    "ebea"  #         jmp next
    "ba0406"  #  off: mov dx, 604h
    "b80020"  #       mov ax, 2000h
    "ef"  #           out dx, ax
    "f4"  #     stop: hlt
    "ebfd"  #         jmp stop
)

# UEFI calls it with the system table in rdx. Offsets: ConOut 64 and RuntimeServices 88 in that table,
# OutputString 8 and ResetSystem 104 in theirs; 2 is EfiResetShutdown (UEFI specification, chapters 4, 8, 12).
_UEFI_PROGRAM: Final = bytes.fromhex(
    "53"  #             push rbx
    "4883ec20"  #       sub rsp, 32             the callee's shadow space
    "4889d3"  #         mov rbx, rdx
    "488b4b40"  #       mov rcx, [rbx + 64]
    "488d1517000000"  # lea rdx, [rip + text]
    "ff5108"  #         call [rcx + 8]
    "6a0259"  #         push 2; pop rcx
    "31d2"  #           xor edx, edx
    "4531c0"  #         xor r8d, r8d
    "4531c9"  #         xor r9d, r9d
    "488b4358"  #       mov rax, [rbx + 88]
    "ff5068"  #         call [rax + 104]
    "ebfe"  #     stop: jmp stop
)


def image() -> bytes:
    """The disk, from its first sector to the last one in use; equal from call to call."""
    return _boot_record() + bytes((_ESP_AT - 1) * _SECTOR) + _system_partition(_efi_program())


def _boot_record() -> bytes:
    program = _BIOS_PROGRAM + f"\r\n{SAYS}\r\n".encode() + b"\0"
    # Addresses of cylinder, head and sector are all ones: nobody has used them for decades.
    partition = struct.pack("<B3sB3sII", 0x80, b"\xff" * 3, _TYPE_ESP, b"\xff" * 3, _ESP_AT, _ESP_SECTORS)
    return program.ljust(446, b"\0") + partition.ljust(64, b"\0") + b"\x55\xaa"


def _efi_program() -> bytes:
    """A PE32+ image of one section, which runs wherever it is loaded to."""
    code = _UEFI_PROGRAM + f"\r\n{SAYS}\r\n".encode("utf-16-le") + b"\0\0"
    page, headers = 0x1000, _SECTOR
    raw = -(-len(code) // _SECTOR) * _SECTOR
    dos = struct.pack("<2s58xI", b"MZ", 64)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 1, 0, 0, 0, 160, 0x22)
    # What a loader reads: entry point, alignments, sizes, subsystem 10 (an EFI application), and six data
    # directories, all empty: the sixth would be relocations, and there is nothing to relocate.
    optional = struct.pack(
        "<HBBIIIIIQIIHHHHHHIIIIHHQQQQII48x",
        *(0x20B, 0, 0, raw, 0, 0, page, page),
        *(0, page, _SECTOR, 0, 0, 0, 0, 0, 0, 0),
        *(2 * page, headers, 0, 10, 0),
        *(0, 0, 0, 0, 0, 6),
    )
    section = struct.pack("<8sIIIIIIHHI", b".text", len(code), page, raw, headers, 0, 0, 0, 0, 0x60000020)
    return (dos + coff + optional + section).ljust(headers, b"\0") + code.ljust(raw, b"\0")


def _system_partition(program: bytes) -> bytes:
    """FAT12: a boot sector, two copies of the table, the root, then clusters of one sector each."""
    boot = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s",
        *(b"\xeb\xfe\x90", b"PXELAB  ", _SECTOR, 1, _RESERVED, _FATS, _ROOT_ENTRIES, _ESP_SECTORS),
        *(0xF8, _FAT_SECTORS, 63, 255, _ESP_AT, 0, 0x80, 0, 0x29, 0x70786500, b"LAB        ", b"FAT12   "),
    )
    efi, folder, first = 2, 3, 4
    clusters = len(program) // _SECTOR
    chain = [*range(first + 1, first + clusters), _END_OF_CHAIN]
    table = _packed([0xFF8, _END_OF_CHAIN, _END_OF_CHAIN, _END_OF_CHAIN, *chain]).ljust(_SECTOR, b"\0")
    root = _entry(b"EFI", _FOLDER, efi)
    data = (
        _sector(_entry(b".", _FOLDER, efi) + _entry(b"..", _FOLDER, 0) + _entry(b"BOOT", _FOLDER, folder))
        + _sector(
            _entry(b".", _FOLDER, folder)
            + _entry(b"..", _FOLDER, efi)
            + _entry(b"BOOTX64 EFI", 0x20, first, len(program))
        )
        + program
    )
    head = boot.ljust(510, b"\0") + b"\x55\xaa" + table * _FATS + _sector(root)
    return (head + data).ljust(_ESP_SECTORS * _SECTOR, b"\0")


def _entry(name: bytes, attributes: int, cluster: int, size: int = 0) -> bytes:
    """A directory entry, of 1980-01-01: equal input, equal bytes."""
    return struct.pack("<11sB10xHHHI", name.ljust(11), attributes, 0, 0x21, cluster, size)


def _packed(values: list[int]) -> bytes:
    """Numbers of 12 bits, two in three bytes."""
    pairs = zip(values[::2], [*values[1::2], *[0] * (len(values) % 2)], strict=True)
    return b"".join((low | high << 12).to_bytes(3, "little") for low, high in pairs)


def _sector(content: bytes) -> bytes:
    return content.ljust(_SECTOR, b"\0")
