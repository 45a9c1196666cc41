"""iPXE's archive: where it is, and what is taken out of it however it was packed."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from appliance.images.catalogue import make_ask
from appliance.images.ipxe import ARCHIVE, IPXE_SOURCE, MEMBERS, NEEDED
from appliance.images.model import Role, StoredFile, Stream
from appliance.images.trust import Case, Untrusted
from appliance.images.unpack import unpack_ipxe
from appliance.settings import ImageSettings
from tests.fakes.releases import ipxe as publish_ipxe

IPXE = Stream("ipxe", "stable")
ALL = dict.fromkeys(MEMBERS, b"boot")
LARGEST = 16 * 2**20


def test_the_archive_of_a_version() -> None:
    """From the project's releases, never from the server of daily builds."""
    base = "https://github.com/ipxe/ipxe/releases/download"
    for version, folder in ((None, "v2.0.0"), ("v2.0.1", "v2.0.1"), ("2.0.1", "v2.0.1")):
        plan = IPXE_SOURCE.plan(make_ask(IPXE, version, ImageSettings()), None)
        (archive,) = plan.artefacts
        assert archive.url == f"{base}/{folder}/{ARCHIVE}"
        assert archive.signature == f"{archive.url}.sig"
        assert (archive.role, plan.version) == (Role.ARCHIVE, folder.removeprefix("v"))
    assert IPXE_SOURCE.index(make_ask(IPXE, None, ImageSettings())) is None
    assert not IPXE_SOURCE.pins


def member(name: str, content: bytes = b"", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, content


def packed(*members: tuple[tarfile.TarInfo, bytes], files: Mapping[str, bytes] = ALL) -> bytes:
    """An archive of some members, and of the usual files after them."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as tar:
        for info, content in (*members, *(member(n, c) for n, c in files.items())):
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return raw.getvalue()


def unpacked(folder: Path, raw: bytes) -> dict[str, bytes]:
    """The files that come out, as the function reports them and as they lie there."""
    archive, ready = folder / ARCHIVE, folder / "ready"
    archive.write_bytes(raw)
    ready.mkdir()
    proven = StoredFile(ARCHIVE, Role.ARCHIVE, len(raw), "", signer="K", subkey="S", url="u")
    found = {}
    for file in unpack_ipxe(archive, ready, proven):
        content = (ready / file.name).read_bytes()
        assert (file.size, file.sha512) == (len(content), hashlib.sha512(content).hexdigest())
        assert (file.signer, file.subkey, file.role, file.url) == ("K", "S", Role.BOOT_FILE, "u")
        assert (ready / file.name).stat().st_mode & 0o777 == 0o644
        found[file.name] = content
    assert {p.name for p in ready.iterdir()} == set(found), "what lies there is what was reported"
    assert {p.name for p in folder.iterdir()} == {ARCHIVE, "ready"}
    return found


def refusal(folder: Path, raw: bytes) -> Untrusted:
    with pytest.raises(Untrusted) as refused:
        unpacked(folder, raw)
    assert refused.value.case is Case.UNREADABLE
    return refused.value


def test_a_release_as_the_project_packs_it(tmp_path: Path) -> None:
    """Sorted by architecture in there, flat and named for client classes here."""
    publish_ipxe(tmp_path / "mirror", version="v2.0.0")
    raw = (tmp_path / "mirror/v2.0.0" / ARCHIVE).read_bytes()
    (tmp_path / "here").mkdir()
    found = unpacked(tmp_path / "here", raw)
    assert set(found) == set(MEMBERS.values())
    assert found["undionly.kpxe"] == b"iPXE v2.0.0 i386/undionly.kpxe\n"
    assert found["snponly.efi"] == b"iPXE v2.0.0 x86_64/snponly.efi\n"
    assert found["ipxe-arm64.efi"] == b"iPXE v2.0.0 arm64/ipxe.efi\n"


def test_names_may_begin_with_a_dot_and_a_slash(tmp_path: Path) -> None:
    assert set(unpacked(tmp_path, packed(files={f"./{n}": c for n, c in ALL.items()}))) == set(
        MEMBERS.values()
    )


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "ipxeboot/../../x", "ipxeboot/x86_64/../../../ipxe.efi",
     "/ipxeboot/x86_64/ipxe.efi", "ipxeboot//x86_64/ipxe.efi", "ipxe.efi", "release.json", "ipxeboot/"],
)  # fmt: skip
def test_other_names_are_not_taken_out(tmp_path: Path, name: str) -> None:
    found = unpacked(tmp_path, packed(member(name, b"evil")))
    assert found == dict.fromkeys(MEMBERS.values(), b"boot")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
@pytest.mark.parametrize("target", ["/etc/passwd", "../../archive", "ipxeboot/x86_64/snponly.efi"])
def test_what_is_no_file_is_not_taken_for_one(tmp_path: Path, kind: bytes, target: str) -> None:
    trap = member("ipxeboot/x86_64/ipxe.efi", type=kind, linkname=target, devmajor=1, devminor=5)
    assert unpacked(tmp_path, packed(trap))["ipxe.efi"] == b"boot"


def test_a_name_that_comes_twice_counts_once(tmp_path: Path) -> None:
    assert unpacked(tmp_path, packed(member("ipxeboot/x86_64/ipxe.efi", b"first")))["ipxe.efi"] == b"first"


def test_what_is_too_large_for_a_boot_loader_is_left_out(tmp_path: Path) -> None:
    files = {**ALL, "ipxeboot/arm64/ipxe.efi": bytes(LARGEST + 1), "ipxeboot/i386/ipxe.efi": bytes(LARGEST)}
    found = unpacked(tmp_path, packed(files=files))
    assert "ipxe-arm64.efi" not in found
    assert len(found["ipxe-i386.efi"]) == LARGEST


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_what_no_rack_boots_without(tmp_path: Path, name: str) -> None:
    files = {n: c for n, c in ALL.items() if MEMBERS[n] != name}
    assert name in refusal(tmp_path, packed(files=files)).message


@pytest.mark.parametrize("name", sorted(set(MEMBERS.values()) - NEEDED))
def test_what_a_rack_may_do_without(tmp_path: Path, name: str) -> None:
    files = {n: c for n, c in ALL.items() if MEMBERS[n] != name}
    assert set(unpacked(tmp_path, packed(files=files))) == set(MEMBERS.values()) - {name}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.99])
def test_an_archive_that_ends_early(tmp_path: Path, share: float) -> None:
    raw = packed(files={name: random.Random(name).randbytes(50_000) for name in ALL})
    refusal(tmp_path, raw[: int(len(raw) * share)])


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>", gzip.compress(b""), gzip.compress(b"<html>" * 500), gzip.compress(bytes(10_240)),
     bytes(10_240), b"\x1f\x8b", b"PK\x03\x04" + bytes(100)],
    ids=["empty", "html", "gzip of nothing", "gzip of html", "gzip of zeros", "zeros", "magic", "zip"],
)  # fmt: skip
def test_what_is_no_archive(tmp_path: Path, raw: bytes) -> None:
    refusal(tmp_path, raw)
