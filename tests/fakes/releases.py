"""Release trees as the real build servers lay them out, written to a folder that a fake mirror serves.

Only layouts and formats live here: file names, digest files, stream metadata, the tarball. The bytes and the
dates come from the test, the signatures from a `Signer`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from tests.fakes.signing import Signer

FEDORA = "https://builds.coreos.fedoraproject.org"
# The order of the blocks in a DIGESTS file; there is no SHA-256 among them.
DIGESTS = ("md5", "sha1", "sha512")
IPXE_MEMBERS = {
    "i386": ("ipxe.efi", "ipxe.pxe", "snponly.efi", "undionly.kpxe"),
    "x86_64": ("ipxe.efi", "ipxe.pxe", "snponly.efi", "undionly.kpxe"),
    "arm64": ("ipxe.efi", "snponly.efi"),
    "x86_64-sb": ("ipxe.efi", "shimx64.efi", "snponly.efi"),
    "arm64-sb": ("ipxe.efi", "shimaa64.efi", "snponly.efi"),
}
IPXE_LINKS = {
    "ipxe.efi": "x86_64/ipxe.efi",
    "ipxe.pxe": "x86_64/ipxe.pxe",
    "sb": "x86_64-sb",
    "snponly.efi": "x86_64/snponly.efi",
    "undionly.kpxe": "x86_64/undionly.kpxe",
    "x86_64-sb/ipxe-shim.efi": "shimx64.efi",
    "x86_64-sb/snponly-shim.efi": "shimx64.efi",
}

FlatcarPrefix = Literal["flatcar", "coreos"]


@dataclass(frozen=True)
class Build:
    """How one build is signed: by whom, when, and with digest files or without."""

    signer: Signer
    at: datetime | None
    digests: bool

    def put(self, path: Path, content: bytes) -> None:
        """The file, its binary signature, and its three digest files."""
        _write(path, content)
        _write(_beside(path, ".sig"), self.signer.sign(content, at=self.at))
        if self.digests:
            text = digest_file({path.name: content})
            _write(_beside(path, ".DIGESTS"), text)
            _write(_beside(path, ".DIGESTS.asc"), self.signer.clearsign(text, at=self.at))
            _write(_beside(path, ".DIGESTS.sig"), self.signer.sign(text, at=self.at))


def digest_file(files: Mapping[str, bytes]) -> bytes:
    """The text of a DIGESTS file over the named contents."""
    lines: list[str] = []
    for kind in DIGESTS:
        lines.append(f"# {kind.upper()} HASH")
        lines += [f"{hashlib.new(kind, content).hexdigest()}  {name}" for name, content in files.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def flatcar(
    root: Path,
    signer: Signer,
    *,
    channel: str = "stable",
    version: str = "4593.2.5",
    arch: str = "amd64",
    kernel: bytes,
    initrd: bytes,
    at: datetime | None = None,
    digests: bool = True,
    current: bool | str = True,
    prefix: FlatcarPrefix = "flatcar",
) -> Path:
    """One release under `root/{channel}/{arch}-usr/{version}/`; answers that folder.

    `current` makes the pointer of that name point at it; a string names another pointer, as `current-2024` of
    the LTS channel, and leaves `current` alone.
    """
    board = root / channel / f"{arch}-usr"
    folder = board / version
    build = Build(signer, at, digests)
    build.put(folder / f"{prefix}_production_pxe.vmlinuz", kernel)
    build.put(folder / f"{prefix}_production_pxe_image.cpio.gz", initrd)
    facts = version_text(version, prefix, at)
    _write(folder / "version.txt", facts)
    _write(folder / "version.txt.sig", signer.sign(facts, at=at))
    if current:
        point(board / (current if isinstance(current, str) else "current"), version)
    return folder


def container_linux(
    root: Path,
    signer: Signer,
    *,
    channel: str = "stable",
    version: str = "2512.3.0",
    kernel: bytes,
    initrd: bytes,
    at: datetime | None = None,
    digests: bool = True,
    current: bool = True,
) -> Path:
    """One release of CoreOS Container Linux, which knew amd64 only; answers its folder."""
    return flatcar(
        root,
        signer,
        channel=channel,
        version=version,
        kernel=kernel,
        initrd=initrd,
        at=at,
        digests=digests,
        current=current,
        prefix="coreos",
    )


def version_text(version: str, prefix: FlatcarPrefix = "flatcar", at: datetime | None = None) -> bytes:
    """The shell assignments of a `version.txt`."""
    build, branch, patch = version.split(".")
    name = prefix.upper()
    made = (at or datetime.now(UTC)).astimezone(UTC)
    lines = [f"{name}_BUILD={build}", f"{name}_BRANCH={branch}", f"{name}_PATCH={patch}"]
    lines += [f"{name}_VERSION={version}", f"{name}_VERSION_ID={version}"]
    lines += [f'{name}_BUILD_ID="{made:%Y-%m-%d-%H%M}"', f"{name}_SDK_VERSION={build}.0.0"]
    return "".join(f"{line}\n" for line in lines).encode()


def point(pointer: Path, version: str) -> None:
    """Make `pointer` a symbolic link to the release beside it, in place of what it was."""
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(version)


def fedora_coreos(
    root: Path,
    signer: Signer,
    *,
    stream: str = "stable",
    version: str = "44.20260707.3.1",
    arch: str = "x86_64",
    kernel: bytes,
    initramfs: bytes,
    rootfs: bytes,
    base: str = FEDORA,
    at: datetime | None = None,
    current: bool = True,
) -> Path:
    """One build, its `release.json`, and the stream's JSON when it is `current`; answers the files' folder.

    A second architecture of the same version joins the first one in both JSON files.
    """
    build = f"prod/streams/{stream}/builds/{version}"
    folder = root / build / arch
    files: dict[str, dict[str, str]] = {}
    for role, suffix, content in (
        ("kernel", f"kernel.{arch}", kernel),
        ("initramfs", f"initramfs.{arch}.img", initramfs),
        ("rootfs", f"rootfs.{arch}.img", rootfs),
    ):
        name = f"fedora-coreos-{version}-live-{suffix}"
        Build(signer, at, digests=False).put(folder / name, content)
        location = f"{base}/{build}/{arch}/{name}"
        digest = hashlib.sha256(content).hexdigest()
        files[role] = {"location": location, "signature": f"{location}.sig", "sha256": digest}
    made = f"{(at or datetime.now(UTC)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    metadata = {"last-modified": made, "generator": "fedora-coreos-stream-generator v0.2.13"}
    release = {"release": version, "stream": stream, "metadata": metadata}
    media = {"metal": {"artifacts": {"pxe": files}}}
    _join(root / build / "release.json", release, arch, {"media": media})
    if current:
        metal = {"metal": {"release": version, "formats": {"pxe": files}}}
        head = {"stream": stream, "metadata": metadata}
        _join(root / "streams" / f"{stream}.json", head, arch, {"artifacts": metal})
    index = root / "prod" / "streams" / stream / "releases.json"
    _list_release(index, stream, version, f"{base}/{build}/release.json")
    return folder


def ipxe(
    root: Path,
    *,
    version: str = "v2.0.0",
    signer: Signer | None = None,
    at: datetime | None = None,
    members: Mapping[str, bytes] | None = None,
) -> str:
    """The boot loaders' tarball of one release; answers its SHA-256.

    `members` adds files below `ipxeboot/`, or puts other bytes into those that are there.
    """
    contents = {
        f"{folder}/{name}": f"iPXE {version} {folder}/{name}\n".encode()
        for folder, names in IPXE_MEMBERS.items()
        for name in names
    }
    contents.update(members or {})
    packed = io.BytesIO()
    # No time in the gzip header: the same members are the same bytes, and the same digest.
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for folder in ("", *sorted({name.rpartition("/")[0] for name in contents} - {""})):
            archive.addfile(_member(f"ipxeboot/{folder}".rstrip("/"), tarfile.DIRTYPE, 0o755))
        for name, content in sorted(contents.items()):
            member = _member(f"ipxeboot/{name}", tarfile.REGTYPE, 0o644)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in IPXE_LINKS.items():
            member = _member(f"ipxeboot/{name}", tarfile.SYMTYPE, 0o777)
            member.linkname = target
            archive.addfile(member)
    tarball = root / version / "ipxeboot.tar.gz"
    _write(tarball, packed.getvalue())
    if signer is not None:
        _write(_beside(tarball, ".sig"), signer.sign(packed.getvalue(), at=at))
    return hashlib.sha256(packed.getvalue()).hexdigest()


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = mode
    return member


def _join(path: Path, head: Mapping[str, object], arch: str, entry: object) -> None:
    """Write a metadata file that keeps the other architectures it had."""
    known: dict[str, object] = json.loads(path.read_bytes())["architectures"] if path.exists() else {}
    _write_json(path, {**head, "architectures": {**known, arch: entry}})


def _list_release(path: Path, stream: str, version: str, place: str) -> None:
    """Add a build to the stream's index of releases, oldest first."""
    known = json.loads(path.read_bytes())["releases"] if path.exists() else []
    entries = [each for each in known if each["version"] != version]
    _write_json(path, {"stream": stream, "releases": [*entries, {"version": version, "metadata": place}]})


def _write_json(path: Path, value: object) -> None:
    _write(path, json.dumps(value, indent=4).encode() + b"\n")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
