"""The lab's kernel: taken whole out of a package once, read from the cache ever after."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.errors import SurroundingsError
from appliance.lab.kernel import kernel, unpack
from appliance.lab.payload import MODULES


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "linux-image-6.1.0-1-cloud-amd64"
    folder.mkdir()
    (folder / "vmlinuz").write_bytes(b"kernel")
    for name in MODULES:
        (folder / f"{name}.ko").write_bytes(name.encode())
    return tmp_path


def package(tmp_path: Path, *, without: str = "") -> Path:
    """A small .deb that is laid out as the kernel's."""
    tree = tmp_path / "tree"
    modules = tree / "lib/modules/6.1/kernel/drivers"
    for folder in (tree / "DEBIAN", tree / "boot", modules):
        folder.mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: k\nVersion: 1\nArchitecture: amd64\nMaintainer: a <a@example.com>\nDescription: k\n"
    )
    (tree / "boot/vmlinuz-6.1").write_bytes(b"kernel")
    (tree / "boot/System.map-6.1").write_bytes(b"map")
    for name in (*MODULES, "another"):
        if name != without:
            (modules / f"{name}.ko").write_bytes(name.encode())
    deb = tmp_path / "k.deb"
    subprocess.run(["dpkg-deb", "--build", "-Znone", str(tree), str(deb)], check=True, capture_output=True)
    return deb


def test_a_cached_kernel_is_read_with_its_modules_in_order(cache: Path) -> None:
    found = kernel(cache)
    assert (found.package, found.image) == ("linux-image-6.1.0-1-cloud-amd64", b"kernel")
    assert [name for name, _ in found.modules] == list(MODULES)


@pytest.mark.parametrize("missing", ["vmlinuz", "virtio_blk.ko"])
def test_a_newer_one_that_lacks_something_is_not_taken(cache: Path, missing: str) -> None:
    newer = cache / "linux-image-6.1.0-2-cloud-amd64"
    shutil.copytree(cache / "linux-image-6.1.0-1-cloud-amd64", newer)
    assert kernel(cache).package == newer.name
    (newer / missing).unlink()
    assert kernel(cache).package == "linux-image-6.1.0-1-cloud-amd64"


def test_kernel_and_modules_are_taken_out_of_a_package_and_nothing_else(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    unpack(package(tmp_path), into)
    assert {path.name for path in into.iterdir()} == {"vmlinuz", *(f"{name}.ko" for name in MODULES)}
    assert (into / "vmlinuz").read_bytes() == b"kernel"
    assert (into / "virtio_net.ko").read_bytes() == b"virtio_net"


def test_a_package_without_a_module_is_refused_by_name(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(SurroundingsError, match=r"lacks virtio_net\.ko"):
        unpack(package(tmp_path, without="virtio_net"), into)


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.deb"
    bad.write_bytes(b"not a package")
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(SurroundingsError, match=r"cannot unpack bad\.deb"):
        unpack(bad, into)
