"""The initramfs: an archive that an independent reader unpacks, with a script that a shell accepts."""

from __future__ import annotations

import gzip
import stat
import subprocess
from pathlib import Path

import pytest

from appliance.lab.payload import MODULES, Entry, cpio, entries, initramfs, says_release
from appliance.lab.requirements import is_static

SMALL = [("virtio", b"one"), ("virtio_net", b"two")]


def test_equal_input_gives_equal_bytes() -> None:
    assert initramfs(b"busybox", SMALL) == initramfs(b"busybox", SMALL)


def test_a_release_says_which_one_it_is_and_differs_from_every_other() -> None:
    releases = [initramfs(b"busybox", SMALL, version) for version in ("", "4593.2.5", "4593.2.6")]
    assert len(set(releases)) == 3
    (said,) = [entry.content for entry in entries(b"", SMALL, "4593.2.5") if entry.path == "release"]
    assert said.decode() == says_release("4593.2.5") == ", from release 4593.2.5"
    assert "release" not in {entry.path for entry in entries(b"", SMALL)}


def test_cpio_itself_lists_and_unpacks_it(tmp_path: Path) -> None:
    archive = gzip.decompress(initramfs(b"busybox", SMALL))
    listed = subprocess.run(["cpio", "--list", "--quiet"], input=archive, capture_output=True, check=True)
    assert set(listed.stdout.decode().split()) >= {
        "init", "lease", "modules", "bin/busybox", "dev/console", "lib/virtio.ko", "lib/virtio_net.ko", "tmp",
    }  # fmt: skip
    subprocess.run(
        ["cpio", "--extract", "--quiet", "--make-directories", "init", "bin/busybox", "modules", "lib/*"],
        input=archive,
        cwd=tmp_path,
        check=True,
    )
    assert (tmp_path / "bin/busybox").read_bytes() == b"busybox"
    assert (tmp_path / "lib/virtio_net.ko").read_bytes() == b"two"
    assert (tmp_path / "modules").read_text() == "virtio virtio_net"
    assert (tmp_path / "init").stat().st_mode & 0o111


def test_folders_come_before_what_is_in_them() -> None:
    seen: set[str] = set()
    for entry in entries(b"", SMALL):
        parent = entry.path.rpartition("/")[0]
        assert not parent or parent in seen
        seen.add(entry.path)


def test_every_member_is_aligned_and_the_trailer_is_last() -> None:
    archive = cpio([Entry("a", stat.S_IFREG | 0o644, b"x")])
    assert len(archive) % 4 == 0
    assert archive.startswith(b"070701")
    assert archive.rindex(b"TRAILER!!!") > archive.index(b"a\0")


@pytest.mark.parametrize("name", ["init", "lease"])
def test_the_scripts_are_ones_that_busybox_accepts(name: str) -> None:
    script = next(e.content for e in entries(b"", SMALL) if e.path == name)
    subprocess.run(["busybox", "sh", "-n", "/dev/stdin"], input=script, check=True, capture_output=True)


def test_modules_stand_behind_what_they_need() -> None:
    needs = {
        "virtio": {"virtio_ring"},
        "virtio_pci": {"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev"},
        "net_failover": {"failover"},
        "virtio_net": {"virtio_ring", "virtio", "net_failover"},
        "virtio_blk": {"virtio_ring", "virtio"},
    }
    for module, needed in needs.items():
        assert needed <= set(MODULES[: MODULES.index(module)])


def test_a_static_program_is_told_from_a_dynamic_one() -> None:
    assert is_static(Path("/usr/bin/busybox").read_bytes())
    assert not is_static(Path("/usr/bin/ls").read_bytes())
    assert not is_static(b"#!/bin/sh\n")
    assert not is_static(b"")
