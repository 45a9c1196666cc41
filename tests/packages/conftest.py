"""The Debian package, built once for all tests, and a newer one."""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tarfile import TarInfo
from tarfile import open as open_tar

import pytest

CHECKOUT = Path(__file__).parents[2]
BUILD = CHECKOUT / "packaging/build-deb"
HOME = "usr/lib/pxe-appliance"


@dataclass(frozen=True, slots=True)
class Package:
    """A .deb, and where it was built."""

    path: Path
    stage: Path

    @property
    def changes(self) -> Path:
        """What lintian looks at: the package with what says so of it."""
        return next(self.stage.glob("deb/*.changes"))

    def field(self, name: str) -> str:
        """A field of its control file."""
        argv = ["dpkg-deb", "--field", str(self.path), name]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    def members(self) -> list[tuple[TarInfo, bytes]]:
        """Every member with its content; directories and links have none."""
        return _members(self.path)


@cache
def _members(path: Path) -> list[tuple[TarInfo, bytes]]:
    argv = ["dpkg-deb", "--fsys-tarfile", str(path)]
    unpacked = subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout
    with open_tar(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
        found = [(m, archive.extractfile(m) if m.isreg() else None) for m in archive]
        return [(member, content.read() if content else b"") for member, content in found]


def build(folder: Path, *before: str) -> Package:
    """Build the package outside of the checkout; `before` is put before the command: env with other words."""
    out = folder / "dist"
    argv = [*before, str(BUILD), "--stage", str(folder / "stage"), "--out", str(out), "--without-lintian"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.deb")
    assert done.stdout == f"{path}\n"
    return Package(path, folder / "stage")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package of this checkout."""
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def newer(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next release: another number, and another text in the file of /etc that it brings."""
    return _released(package, tmp_path_factory.mktemp("newer"), "99.1", "")


@pytest.fixture(scope="session")
def broken(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose program does not start."""
    return _released(
        package, tmp_path_factory.mktemp("broken"), "99.0", 'raise ImportError("no such thing")\n'
    )


def _released(package: Package, folder: Path, version: str, more: str) -> Path:
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package.path), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(package.field("Version"), version))
    (start,) = tree.glob(f"{HOME}/lib/python3*/site-packages/appliance/__init__.py")
    start.write_text(f'"""The next release."""\n\n__version__ = "{version}"\n{more}')
    with (tree / "etc/default/pxe-appliance").open("a") as conffile:
        conffile.write("\n# Another word of the next release.\n")
    target = folder / f"{version}.deb"
    argv = ["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "--build", str(tree), str(target)]
    subprocess.run(argv, check=True, capture_output=True)
    return target
