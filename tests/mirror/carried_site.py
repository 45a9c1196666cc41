"""What sites are given by hand: bundles that somebody tampered with, directories with images, inventories,
and releases in the layouts that only a few tests need."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.fakes import releases
from tests.fakes.signing import Signer
from tests.mirror.site import Site, noise, write

TOP: Final = "pxe-appliance-images"
COREOS_OLD, COREOS_NEW = "41.20250101.3.0", "44.20260707.3.1"
MACHINES: Final = ("node1", "node2", "node3")


@dataclass(frozen=True)
class Parcel:
    """The members of a bundle, in order."""

    members: tuple[tuple[tarfile.TarInfo, bytes], ...]

    @classmethod
    def read(cls, file: Path) -> Parcel:
        """A bundle as it was exported."""
        with tarfile.open(file, "r:") as tar:
            return cls(tuple((member, _content(tar, member)) for member in tar))

    def names(self) -> list[str]:
        """The paths of its members."""
        return [member.name for member, _ in self.members]

    def write(self, file: Path) -> Path:
        """A tar file of it."""
        with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
            for member, content in self.members:
                tar.addfile(member, io.BytesIO(content))
        return file

    def without(self, name: str) -> Parcel:
        """Without the members of that file name."""
        kept = tuple((m, c) for m, c in self.members if not m.name.endswith(f"/{name}"))
        assert len(kept) < len(self.members), f"there is no {name}"
        return replace(self, members=kept)

    def changed(self, name: str, change: Callable[[bytes], bytes]) -> Parcel:
        """With other bytes in the members of that file name."""
        made = []
        for member, content in self.members:
            new = change(content) if member.name.endswith(f"/{name}") else content
            made.append((_sized(member.name, new), new) if new != content else (member, content))
        assert tuple(made) != self.members, f"{name} did not change"
        return Parcel(tuple(made))

    def recorded(self, change: Callable[[dict[str, Any]], object]) -> Parcel:
        """With another record; `change` edits its facts."""

        def edit(content: bytes) -> bytes:
            facts = json.loads(content)
            change(facts)
            return json.dumps(facts).encode()

        return self.changed("release.json", edit)

    def joined(self, *extra: tuple[tarfile.TarInfo, bytes], first: bool = False) -> Parcel:
        """With more members, behind the others or before them."""
        return Parcel((*extra, *self.members) if first else (*self.members, *extra))


def member(name: str, content: bytes = b"", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar file, of any kind."""
    info = _sized(name, content)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


def flipped(content: bytes) -> bytes:
    """One bit in the middle is another one."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def encoded(content: bytes) -> str:
    """As a record holds evidence."""
    return base64.b64encode(content).decode()


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(info)
    assert stream is not None
    return stream.read()


def _sized(name: str, content: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info


Change = Callable[[Parcel], Parcel]


@dataclass(frozen=True)
class Tampered:
    """What somebody did to a bundle, and how its import has to end; 0: it makes no difference."""

    name: str
    change: Change
    rc: int
    said: str = ""


def facts(**changes: object) -> Change:
    """Other facts in the record."""
    return lambda parcel: parcel.recorded(lambda record: record.update(changes))


def files(**changes: object) -> Change:
    """Other facts of every file in the record."""

    def edit(record: dict[str, Any]) -> None:
        for file in record["files"]:
            file.update(changes)

    return lambda parcel: parcel.recorded(edit)


def evidence(change: Callable[[dict[str, str]], object]) -> Change:
    """Other evidence in the record."""
    return lambda parcel: parcel.recorded(lambda record: change(record["evidence"]))


@dataclass(frozen=True)
class Elsewhere:
    """Another root on the same host: a site that gets nothing but what is carried to it."""

    folder: Path
    keys: Mapping[str, bytes] = field(default_factory=dict)

    def beside(self, site: Site) -> Site:
        """The site; its settings name `keys` for Flatcar, and a mirror that nobody may ask."""
        there = Site(self.folder / "root", self.folder / "tree", site.mirror, site.signers)
        for name, certificate in self.keys.items():
            write(Path(there.paths.keys / name), certificate)
        named = f"keys = {json.dumps(sorted(self.keys))}" if self.keys else ""
        there.configure(flatcar=f'mirror = "http://127.0.0.1:9/nobody"\n{named}')
        return there


def local_folder(folder: Path, text: str = "one", *, without: Iterable[str] = ()) -> Path:
    """A directory with a kernel and an initrd of somebody's own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in {"vmlinuz", "initrd.img"} - set(without):
        write(folder / name, noise(f"{text} {name}", 5000))
    return folder


def take_local(site: Site, folder: Path, *names: str) -> None:
    """Images of that content under each of the names, such as `local/tool@1.0`."""
    for name in names:
        said = site.call("images", "fetch", name, "--from", str(local_folder(folder / name, name)))
        assert said.rc == 0, said.err


def inventory(site: Site, *images: str) -> None:
    """Three machines, and a profile for each of the images."""
    lines = [f'[profile.p{n}]\nimage = "{image}"\n' for n, image in enumerate(images)]
    lines += [
        f'[machine.{name}]\nmac = "52:54:00:aa:00:0{n}"\nip = "172.0.1.2{n}"\nprofile = "p0"\n'
        for n, name in enumerate(MACHINES, start=1)
    ]
    write(Path(site.paths.inventory / "rack.toml"), "\n".join(lines).encode())


def fedora(
    site: Site,
    version: str,
    at: datetime,
    *,
    stream: str = "stable",
    arch: str = "x86_64",
    hyphen: bool = False,
    current: bool = True,
) -> Path:
    """A build of Fedora CoreOS below `fcos/`; `hyphen` names its kernel as builds before 42 did."""
    tree = site.tree / "fcos"
    kernel, initramfs, rootfs = (noise(f"{stream} {version} {arch} {n}", 40_000) for n in "kir")
    folder = releases.fedora_coreos(
        tree,
        site.signers.good,
        stream=stream,
        version=version,
        arch=arch,
        kernel=kernel,
        initramfs=initramfs,
        rootfs=rootfs,
        at=at,
        current=current,
    )
    if hyphen:
        for path in folder.glob("*-live-kernel.*"):
            path.rename(path.with_name(path.name.replace("-live-kernel.", "-live-kernel-")))
        for path in (tree / f"streams/{stream}.json", folder.parent / "release.json"):
            path.write_text(path.read_text().replace("-live-kernel.", "-live-kernel-"))
    return folder


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    facts = json.loads(path.read_bytes())
    change(facts)
    path.write_text(json.dumps(facts))


def ipxe_lacking(tree: Path, *names: str) -> None:
    """Take members out of the archive of iPXE that a mirror has."""
    archive = tree / "v2.0.0/ipxeboot.tar.gz"
    kept = io.BytesIO()
    with tarfile.open(archive, "r:gz") as before, tarfile.open(fileobj=kept, mode="w:gz") as after:
        for info in before:
            if info.name not in names:
                after.addfile(info, before.extractfile(info) if info.isreg() else None)
    archive.write_bytes(kept.getvalue())


def sign_beside(signer: Signer, path: Path, at: datetime) -> None:
    """A detached signature beside a file that is too large to be read into a test."""
    made = signer._gpg(
        "bench",
        *("--local-user", f"{signer.subkey}!", "--digest-algo", "SHA512", "--output", "-"),
        *("--detach-sign", str(path)),
        at=at,
    )
    path.with_name(f"{path.name}.sig").write_bytes(made)
