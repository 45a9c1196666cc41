"""Every source as its project publishes it: which files end up in the store, whose signatures count for them,
and what is said of metadata, archives and keys that are not what they should be."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes import releases
from tests.fakes.signing import Signer
from tests.mirror.carried_site import (
    COREOS_NEW,
    COREOS_OLD,
    edit_json,
    fedora,
    flipped,
    ipxe_lacking,
)
from tests.mirror.site import (
    ENDS,
    NEW_AT,
    OLD,
    OLD_AT,
    STREAM,
    Said,
    Signers,
    Site,
    noise,
    opened,
    release,
    write,
)

FEDORA: Final = "fedora-coreos/stable"
FCOS: Final = 'mirror = "{url}/fcos"\nkeys = ["good.asc"]'
COREOS: Final = "container-linux/stable"
RETIRED: Final = "2512.3.0"
IPXE: Final = "ipxe/stable"
LOADERS: Final = {
    "undionly.kpxe", "ipxe.pxe", "snponly.efi", "ipxe.efi", "snponly-i386.efi", "ipxe-i386.efi",
    "snponly-arm64.efi", "ipxe-arm64.efi",
}  # fmt: skip
SMALL: Final = {"kernel": 30_000, "initrd": 60_000}


def refused(site: Site, said: Said, words: str, rc: int = 4) -> None:
    """It ended so, for that reason, and nothing came of it."""
    assert said.rc == rc, said.out + said.err
    assert words in said.err
    assert site.served() == []
    assert site.rows() == {}


# --- Fedora CoreOS ---


@pytest.mark.parametrize("hyphen", [True, False], ids=["hyphen", "dot"])
def test_fedora_names_its_files_itself(empty: Site, hyphen: bool) -> None:
    empty.configure(fedora_coreos=FCOS)
    version = COREOS_OLD if hyphen else COREOS_NEW
    fedora(empty, version, OLD_AT, hyphen=hyphen)
    said = empty.fetch(FEDORA)
    assert said.rc == 0, said.err
    folder = empty.images / FEDORA / version
    stem, mark = f"fedora-coreos-{version}-live", "-" if hyphen else "."
    names = {f"{stem}-kernel{mark}x86_64", f"{stem}-initramfs.x86_64.img", f"{stem}-rootfs.x86_64.img"}
    assert {p.name for p in folder.iterdir()} == names | {"release.json"}
    assert empty.current() == [f"{FEDORA}@{version}"]
    empty.assert_nothing_unproven()


def test_fedora_by_version(empty: Site) -> None:
    empty.configure(fedora_coreos=FCOS)
    ancient = "40.20240101.3.0"
    fedora(empty, ancient, OLD_AT - timedelta(days=90), hyphen=True)
    fedora(empty, COREOS_OLD, OLD_AT, hyphen=True)
    fedora(empty, COREOS_NEW, NEW_AT)
    for name in (f"{FEDORA}@{COREOS_OLD}", FEDORA):
        said = empty.fetch_here(name)
        assert said.rc == 0, said.err
    assert set(empty.states()) == {f"{FEDORA}@{COREOS_OLD}", f"{FEDORA}@{COREOS_NEW}"}
    assert empty.current() == [f"{FEDORA}@{COREOS_OLD}"]
    back = empty.fetch_here(f"{FEDORA}@{ancient}")
    assert back.rc == 4, back.out
    assert "[downgrade]" in back.err
    meant = empty.fetch_here(f"{FEDORA}@{ancient}", "--allow-downgrade")
    assert meant.rc == 0, meant.err
    assert set(empty.states().values()) == {"ok"}
    assert empty.current() == [f"{FEDORA}@{COREOS_OLD}"]


def of_stream(change: Callable[[dict[str, Any]], object]) -> Callable[[Site], None]:
    return lambda site: edit_json(site.tree / "fcos/streams/stable.json", change)


def of_pxe(change: Callable[[dict[str, Any]], object]) -> Callable[[Site], None]:
    def edit(facts: dict[str, Any]) -> None:
        change(facts["architectures"]["x86_64"]["artifacts"]["metal"]["formats"]["pxe"])

    return of_stream(edit)


def unsigned(site: Site) -> None:
    for path in (site.tree / "fcos").rglob("*-kernel*.sig"):
        path.unlink()


def no_json(site: Site) -> None:
    write(site.tree / "fcos/streams/stable.json", b"<html>")


PLACE: Final = f"prod/streams/stable/builds/{COREOS_NEW}/x86_64/fedora-coreos-{COREOS_NEW}-live-kernel.x86_64"
LIES: Final[Mapping[str, tuple[Callable[[Site], None], int, str]]] = {
    "another stream": (of_stream(lambda f: f.update(stream="testing")), 4, "is of stream 'testing'"),
    "foreign host": (
        of_pxe(lambda p: p["kernel"].update(location=f"http://127.0.0.2/{PLACE}")), 4, "another server",
    ),
    "foreign host's signature": (
        of_pxe(lambda p: p["kernel"].update(signature=f"http://127.0.0.2/{PLACE}.sig")), 4, "another server",
    ),
    "host that begins alike": (
        of_pxe(lambda p: p["kernel"].update(location=f"{releases.FEDORA}.example.com/{PLACE}")),
        4, "another server",
    ),
    "a file": (of_pxe(lambda p: p["kernel"].update(location=f"file:///{PLACE}")), 4, "another server"),
    "upwards": (of_pxe(lambda p: p["kernel"].update(location=f"{releases.FEDORA}/../k")), 4, "another"),
    "no name": (of_pxe(lambda p: p["kernel"].update(location=f"{releases.FEDORA}/")), 4, "no file name"),
    "wrong SHA-256": (of_pxe(lambda p: p["rootfs"].update(sha256="0" * 64)), 4, "[wrong-digest]"),
    "no SHA-256": (of_pxe(lambda p: p["rootfs"].update(sha256="none")), 4, "not a SHA-256"),
    "SHA-256 left out": (of_pxe(lambda p: p["rootfs"].pop("sha256")), 4, "lacks location"),
    "no rootfs": (of_pxe(lambda p: p.pop("rootfs")), 4, "no pxe.rootfs"),
    "one file twice": (of_pxe(lambda p: p.update(initramfs=p["kernel"])), 4, "[unreadable]"),
    "release traverses": (
        of_stream(lambda f: f["architectures"]["x86_64"]["artifacts"]["metal"].update(release="../..")),
        4, "names no release",
    ),
    "not for us": (of_stream(lambda f: f.update(architectures={})), 4, "[unreadable]"),
    "no JSON": (no_json, 4, "is not JSON"),
    "no signature": (unsigned, 4, "[no-signature]"),
}  # fmt: skip


@pytest.fixture(scope="module")
def with_fedora(signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with opened(tmp_path_factory.mktemp("with-fedora"), signers) as site:
        fedora(site, COREOS_NEW, NEW_AT)
    return site.tree


@pytest.mark.parametrize("name", LIES)
def test_fedora_metadata_that_lie(name: str, with_fedora: Path, empty: Site) -> None:
    shutil.copytree(with_fedora, empty.tree, dirs_exist_ok=True)
    empty.configure(fedora_coreos=FCOS)
    lie, rc, words = LIES[name]
    lie(empty)
    refused(empty, empty.fetch_here(FEDORA), words, rc)


def test_fedora_release_that_is_another_one(with_fedora: Path, empty: Site) -> None:
    shutil.copytree(with_fedora, empty.tree, dirs_exist_ok=True)
    empty.configure(fedora_coreos=FCOS)
    builds = empty.tree / "fcos/prod/streams/stable/builds"
    shutil.copytree(builds / COREOS_NEW, builds / COREOS_OLD)
    refused(empty, empty.fetch_here(f"{FEDORA}@{COREOS_OLD}"), f"the metadata is of release {COREOS_NEW}")


# --- the retired CoreOS ---


@pytest.fixture(scope="module")
def weak() -> Iterator[Signer]:
    """A key that relies on SHA-1, as the retired project's does."""
    with Signer.make("Weak <weak@example.com>", self_digest="SHA1") as signer:
        yield signer


def retired(site: Site, signer: Signer, at: Any = OLD_AT, digest: str = "SHA512") -> Path:
    kernel, initrd = (noise(f"retired {name}", size) for name, size in SMALL.items())
    folder = releases.container_linux(
        site.tree / "stable", signer, channel="", kernel=kernel, initrd=initrd, at=at
    )
    if digest != "SHA512":
        for path in folder.glob("*.sig"):
            signed = path.with_suffix("").read_bytes()
            path.write_bytes(signer.sign(signed, at=at, digest=digest))
    write(Path(site.paths.keys / "coreos.asc"), signer.cert())
    site.configure(container_linux='mirror = "{url}/{channel}"\nkeys = ["coreos.asc"]')
    return folder


def test_container_linux_with_a_key_of_today(empty: Site) -> None:
    retired(empty, empty.signers.good)
    said = empty.fetch_here(COREOS)
    assert said.rc == 0, said.err
    assert empty.current() == [f"{COREOS}@{RETIRED}"]
    assert {p.name for p in empty.served()} == {
        "coreos_production_pxe.vmlinuz", "coreos_production_pxe_image.cpio.gz", "release.json",
    }  # fmt: skip
    other = empty.fetch_here(COREOS, "--arch", "arm64")
    assert other.rc != 0, "it was built for amd64 only"


def test_container_linux_with_a_key_that_relies_on_sha1(empty: Site, weak: Signer) -> None:
    retired(empty, weak)
    refused(empty, empty.fetch_here(COREOS), "[weak-hash]")
    said = empty.fetch(COREOS, "--legacy-sha1")
    assert said.rc == 0, said.err
    assert empty.states() == {f"{COREOS}@{RETIRED}": "ok"}
    assert {row["signer"] for row in empty.rows().values()} == {weak.fingerprint}


def one_bit(site: Site, stack: ExitStack, weak: Signer) -> None:
    kernel = retired(site, weak) / "coreos_production_pxe.vmlinuz"
    kernel.write_bytes(flipped(kernel.read_bytes()))


def another_file(site: Site, stack: ExitStack, weak: Signer) -> None:
    folder = retired(site, weak)
    shutil.copy(folder / "version.txt.sig", folder / "coreos_production_pxe.vmlinuz.sig")


def expired(site: Site, stack: ExitStack, weak: Signer) -> None:
    made = Signer.make("Ending <ending@example.com>", self_digest="SHA1", subkey_expires=ENDS)
    retired(site, stack.enter_context(made), at=NEW_AT)


def revoked(site: Site, stack: ExitStack, weak: Signer) -> None:
    signer = stack.enter_context(Signer.make("Revoked <revoked@example.com>", self_digest="SHA1"))
    signer.revoke_subkey(reason="compromised")
    retired(site, signer)


def over_sha1(site: Site, stack: ExitStack, weak: Signer) -> None:
    retired(site, weak, digest="SHA1")


def somebody_else(site: Site, stack: ExitStack, weak: Signer) -> None:
    retired(site, site.signers.foreign)
    write(Path(site.paths.keys / "coreos.asc"), weak.cert())


@pytest.mark.parametrize(
    ("spoil", "case"),
    [
        (one_bit, "[bad-signature]"),
        (another_file, "[bad-signature]"),
        (expired, "[expired-key]"),
        (revoked, "[revoked-key]"),
        (over_sha1, "[weak-hash]"),
        (somebody_else, "[foreign-key]"),
    ],
)
def test_legacy_keys_are_no_excuse(
    spoil: Callable[[Site, ExitStack, Signer], None], case: str, empty: Site, weak: Signer
) -> None:
    with ExitStack() as stack:
        spoil(empty, stack, weak)
        refused(empty, empty.fetch_here(f"{COREOS}@{RETIRED}", "--legacy-sha1"), case)


def test_legacy_keys_sign_what_is_current(empty: Site, weak: Signer) -> None:
    facts = retired(empty, weak) / "version.txt"
    facts.write_bytes(facts.read_bytes().replace(b"_VERSION=2512", b"_VERSION=2513"))
    refused(empty, empty.fetch_here(COREOS, "--legacy-sha1"), "refused version.txt")


def test_legacy_keys_are_for_the_retired_alone(empty: Site) -> None:
    release(empty.tree, empty.signers.good, OLD, OLD_AT, sizes=SMALL)
    for name in (STREAM, FEDORA, IPXE):
        refused(empty, empty.fetch_here(name, "--legacy-sha1"), "cannot take --legacy-sha1")
    assert empty.mirror.requests() == []


# --- iPXE ---


def test_ipxe_by_its_digest(empty: Site) -> None:
    empty.configure(ipxe='mirror = "{url}/ipxe"')
    digest = releases.ipxe(empty.tree / "ipxe")
    refused(empty, empty.fetch_here(IPXE), "[no-key]")
    refused(empty, empty.fetch_here(IPXE, "--sha256", "0" * 64), "[wrong-digest]")
    refused(empty, empty.fetch_here(IPXE, "--sha256", digest[:-1]), "64 hexadecimal digits", 2)
    refused(empty, empty.fetch_here(IPXE, STREAM, "--sha256", digest), "which image the digest is of", 3)
    said = empty.fetch(IPXE, "--sha256", digest.upper())
    assert said.rc == 0, said.err
    folder = empty.images / "ipxe/stable/2.0.0"
    assert {p.name for p in folder.iterdir()} == LOADERS | {"ipxeboot.tar.gz", "release.json"}
    assert (folder / "undionly.kpxe").read_bytes() == b"iPXE v2.0.0 i386/undionly.kpxe\n"
    assert (folder / "ipxe-arm64.efi").read_bytes() == b"iPXE v2.0.0 arm64/ipxe.efi\n"
    assert {(row["version"], row["signer"]) for row in empty.rows().values()} == {("2.0.0", "operator")}
    empty.assert_nothing_unproven()
    for again in (IPXE, f"{IPXE}@2.0.0", f"{IPXE}@v2.0.0"):
        assert "in the store already" in empty.fetch_here(again).out


def test_ipxe_from_a_mirror_that_signs(empty: Site) -> None:
    empty.configure(ipxe='mirror = "{url}/ipxe"\nkeys = ["good.asc"]')
    releases.ipxe(empty.tree / "ipxe")
    refused(empty, empty.fetch_here(IPXE), "[no-signature]")
    releases.ipxe(empty.tree / "ipxe", signer=empty.signers.foreign, at=OLD_AT)
    refused(empty, empty.fetch_here(IPXE), "[foreign-key]")
    digest = releases.ipxe(empty.tree / "ipxe", signer=empty.signers.good, at=OLD_AT)
    refused(empty, empty.fetch_here(IPXE, "--sha256", "0" * 64), "[wrong-digest]")
    said = empty.fetch_here(IPXE, "--sha256", digest)
    assert said.rc == 0, said.err
    assert {row["signer"] for row in empty.rows().values()} == {empty.signers.good.fingerprint}


@pytest.mark.parametrize("lacking", ["i386/undionly.kpxe", "x86_64/snponly.efi", "x86_64/ipxe.efi", ""])
def test_an_archive_that_no_rack_boots_from(empty: Site, lacking: str) -> None:
    empty.configure(ipxe='mirror = "{url}/ipxe"')
    releases.ipxe(empty.tree / "ipxe")
    archive = empty.tree / "ipxe/v2.0.0/ipxeboot.tar.gz"
    if lacking:
        ipxe_lacking(empty.tree / "ipxe", f"ipxeboot/{lacking}")
    else:
        archive.write_bytes(b"no archive")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    words = f"it lacks {Path(lacking).name}" if lacking else "not a tar archive"
    refused(empty, empty.fetch_here(IPXE, "--sha256", digest), words)


def test_a_digest_proves_no_image_that_is_signed(empty: Site) -> None:
    release(empty.tree, empty.signers.good, OLD, OLD_AT, sizes=SMALL)
    said = empty.fetch_here(STREAM, "--sha256", "0" * 64)
    assert said.rc in {3, 4}, said.out
    assert "sha256" in said.err.lower() or "[wrong-digest]" in said.err
