"""The disk that an installer leaves: one image, read back as a BIOS and as UEFI firmware would read it."""

from __future__ import annotations

import struct

from appliance.lab.disk import SAYS, image
from appliance.lab.payload import SAYS as PAYLOAD_SAYS

SECTOR = 512
DISK = image()


def partition() -> bytes:
    """The one partition in the master boot record."""
    (entry, *others) = (DISK[446 + i * 16 : 462 + i * 16] for i in range(4))
    assert not any(any(other) for other in others)
    assert entry[4] == 0xEF
    start, count = struct.unpack_from("<II", entry, 8)
    assert (start + count) * SECTOR == len(DISK)
    return DISK[start * SECTOR : (start + count) * SECTOR]


class Fat:
    """A reader of FAT12, by what the boot sector says of it."""

    def __init__(self, volume: bytes) -> None:
        assert volume[510:512] == b"\x55\xaa"
        (size, self.per_cluster, reserved, copies, entries, total, _, length) = struct.unpack_from(
            "<HBHBHHBH", volume, 11
        )
        assert (size, total * size) == (SECTOR, len(volume))
        self.volume = volume
        at = reserved * SECTOR
        tables = [volume[at + i * length * SECTOR : at + (i + 1) * length * SECTOR] for i in range(copies)]
        assert len(set(tables)) == 1
        self.table = tables[0]
        root = at + copies * length * SECTOR
        self.root = volume[root : root + entries * 32]
        self.data = root + entries * 32
        clusters = (len(volume) - self.data) // SECTOR // self.per_cluster
        assert clusters < 4085, "more of them, and it is FAT16"

    def chain(self, cluster: int) -> bytes:
        found = b""
        while 2 <= cluster < 0xFF0:
            at = self.data + (cluster - 2) * self.per_cluster * SECTOR
            found += self.volume[at : at + self.per_cluster * SECTOR]
            (pair,) = struct.unpack_from("<H", self.table, cluster * 3 // 2)
            cluster = pair >> 4 if cluster % 2 else pair & 0xFFF
        assert cluster >= 0xFF8, "a chain without an end"
        return found

    def find(self, folder: bytes, name: bytes) -> bytes:
        for at in range(0, len(folder), 32):
            entry = folder[at : at + 32]
            cluster, size = struct.unpack_from("<HI", entry, 26)
            if entry[:11] == name:
                content = self.chain(cluster)
                return content if entry[11] & 0x10 else content[:size]
        raise AssertionError(f"no {name!r}")


def program() -> bytes:
    """What UEFI firmware loads from a disk that it knows nothing of."""
    fat = Fat(partition())
    folder = fat.find(fat.find(fat.root, b"EFI        "), b"BOOT       ")
    return fat.find(folder, b"BOOTX64 EFI")


def test_equal_input_gives_equal_bytes_in_whole_sectors() -> None:
    assert image() == DISK
    assert len(DISK) % SECTOR == 0
    assert len(DISK) < 256 << 10, "it is fetched by every machine that installs"


def test_a_bios_finds_a_program_with_the_text_where_the_program_looks_for_it() -> None:
    record = DISK[:SECTOR]
    assert record[510:] == b"\x55\xaa"
    assert record[5] == 0xBE  # mov si, …
    (address,) = struct.unpack_from("<H", record, 6)
    text = record[address - 0x7C00 :]
    assert text[: text.index(0)].decode().strip() == SAYS


def test_uefi_finds_a_program_that_it_can_load_anywhere() -> None:
    found = program()
    (header,) = struct.unpack_from("<I", found, 0x3C)
    assert (found[:2], found[header : header + 4]) == (b"MZ", b"PE\0\0")
    machine, sections = struct.unpack_from("<HH", found, header + 4)
    (optional, characteristics) = struct.unpack_from("<HH", found, header + 20)
    assert (machine, sections) == (0x8664, 1)
    assert not characteristics & 1, "stripped of relocations it would be tied to one address"
    at = header + 24
    assert struct.unpack_from("<H", found, at)[0] == 0x20B
    (entry,) = struct.unpack_from("<I", found, at + 16)
    (directories,) = struct.unpack_from("<I", found, at + 108)
    assert optional == 112 + 8 * directories
    assert struct.unpack_from("<H", found, at + 68)[0] == 10  # an EFI application
    size, rva, raw_size, raw = struct.unpack_from("<IIII", found, at + optional + 8)
    assert rva == entry
    assert raw + raw_size == len(found)
    code = found[raw : raw + size]
    lea = code.index(bytes.fromhex("488d15")) + 7
    (ahead,) = struct.unpack_from("<i", code, lea - 4)
    assert code[lea + ahead :].decode("utf-16-le").strip("\r\n\0") == SAYS


def test_what_it_says_is_taken_for_a_word_of_the_lab() -> None:
    assert SAYS.startswith(PAYLOAD_SAYS)
