"""The kernel that lab machines boot: Debian's cloud kernel, taken out of its package.

apt checks the package against the archive's signature; we keep the kernel and the few modules that a virtual
NIC needs, under the package's name, and do not ask apt again while they are there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from appliance.errors import SurroundingsError
from appliance.lab.payload import MODULES
from appliance.system.command import ending, run, spawn

CACHE: Final = Path("/var/cache/pxe-appliance-lab")
_META_PACKAGE: Final = "linux-image-cloud-amd64"
_REAL_PACKAGE: Final = re.compile(r"linux-image-[0-9][0-9a-z.+~-]*-cloud-amd64", re.ASCII)
_LARGEST_MEMBER: Final = 64 << 20
_PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel image and its modules by name, in the order of loading."""

    package: str
    image: bytes
    modules: tuple[tuple[str, bytes], ...]


def kernel(cache: Path = CACHE, modules: Sequence[str] = MODULES) -> Kernel:
    """The newest kernel in `cache` that has all `modules`; fetched with apt first when there is none.

    Raises:
        SurroundingsError: apt knows no such package, cannot fetch it, or it does not hold what is needed.
    """
    cache.mkdir(parents=True, exist_ok=True)
    whole = (d for d in cache.glob("linux-image-*") if _has_all(d, modules))
    kept = sorted(whole, key=lambda d: d.stat().st_mtime)
    folder = kept[-1] if kept else _fetch(cache, modules)
    try:
        return Kernel(
            folder.name,
            (folder / "vmlinuz").read_bytes(),
            tuple((name, (folder / f"{name}.ko").read_bytes()) for name in modules),
        )
    except OSError as error:
        raise SurroundingsError(
            f"cannot read the lab's kernel: {error}", hint=f"remove {folder}; the next run fetches it again"
        ) from error


def _has_all(folder: Path, modules: Sequence[str]) -> bool:
    """Whether nothing is missing; an earlier version of the lab took fewer modules."""
    return all((folder / name).is_file() for name in ("vmlinuz", *(f"{name}.ko" for name in modules)))


def _fetch(cache: Path, modules: Sequence[str]) -> Path:
    package = _real_package()
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as name:
        scratch = Path(name)
        run(
            # apt's own user cannot write here, and would only warn about it.
            [
                "env",
                f"--chdir={scratch}",
                "apt-get",
                "download",
                "-q",
                "-o",
                "APT::Sandbox::User=root",
                package,
            ],
            timeout=300,
            env={name: os.environ[name] for name in _PROXIES if name in os.environ},
        )
        deb = next(scratch.glob("*.deb"), None)
        if deb is None:
            raise SurroundingsError(f"cannot fetch {package}: apt-get left no package behind")
        folder = scratch / package
        folder.mkdir()
        unpack(deb, folder, modules)
        final = cache / package
        shutil.rmtree(final, ignore_errors=True)
        folder.rename(final)
    return final


def _real_package() -> str:
    """The package that the meta package stands for today."""
    said = run(["apt-cache", "depends", _META_PACKAGE], timeout=60, check=False).stdout
    found = _REAL_PACKAGE.search(said)
    if found is None:
        raise SurroundingsError(
            f"cannot find the lab's kernel: apt knows no {_META_PACKAGE}", hint="apt-get update"
        )
    return found.group()


def unpack(deb: Path, into: Path, modules: Sequence[str] = MODULES) -> None:
    """Take the kernel and the modules out of the package `deb`; SurroundingsError when one is not in it."""
    wanted = {f"{name}.ko" for name in modules}
    child = spawn(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE)
    stream = child.stdout
    if stream is None:
        raise SurroundingsError("cannot read from dpkg-deb")
    try:
        _take(stream, wanted, into)
    except tarfile.TarError as error:
        raise SurroundingsError(f"cannot unpack {deb.name}: {error}") from error
    finally:
        stream.close()
        rc = child.wait()
    missing = sorted((wanted | {"vmlinuz"}) - {path.name for path in into.iterdir()})
    if missing:
        raise SurroundingsError(
            f"cannot unpack {deb.name}: it lacks {', '.join(missing)} ({ending('dpkg-deb', rc)})"
        )


def _take(stream: IO[bytes], wanted: set[str], into: Path) -> None:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            name = "vmlinuz" if path.parent.name == "boot" and path.name.startswith("vmlinuz-") else path.name
            if not member.isfile() or member.size > _LARGEST_MEMBER or name not in {*wanted, "vmlinuz"}:
                continue
            content = archive.extractfile(member)
            if content is not None:
                (into / name).write_bytes(content.read())
