"""A site without internet: what was exported here is proven there by that site's own pins, and whoever
tampers with a bundle on its way gets nothing into the store."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes import releases
from tests.mirror import site as sites
from tests.mirror.carried_site import (
    TOP,
    Change,
    Elsewhere,
    Parcel,
    Tampered,
    encoded,
    evidence,
    facts,
    files,
    flipped,
    local_folder,
    member,
    take_local,
)
from tests.mirror.site import COMMAND, INITRD, KERNEL, NEW, OLD, OLD_AT, STREAM, Signers, Site, write

FLATCAR: Final = f"{STREAM}@{OLD}"
HERE: Final = f"{TOP}/{STREAM}/{OLD}"


@pytest.fixture(scope="module")
def exported(with_old: Path, signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the old release of Flatcar."""
    folder = tmp_path_factory.mktemp("exported")
    with sites.copied(with_old, folder, signers) as site:
        said = site.run("images", "bundle", "export", str(folder / "images.tar"))
        assert said.rc == 0, said.err
        assert said.out.startswith(f"{FLATCAR}\nwrote ")
    return folder / "images.tar"


@pytest.fixture(scope="module")
def carried_tool(with_old: Path, signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with an image of the operator's own."""
    folder = tmp_path_factory.mktemp("carried-tool")
    with sites.copied(with_old, folder, signers) as site:
        take_local(site, folder, "local/tool@1.0")
        said = site.call("images", "bundle", "export", str(folder / "tool.tar"), "local/tool")
        assert said.rc == 0, said.err
    return folder / "tool.tar"


@pytest.fixture(scope="module")
def outside(signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A mirror that no import may ask."""
    with sites.opened(tmp_path_factory.mktemp("outside"), signers) as found:
        yield found


@pytest.fixture
def there(outside: Site, tmp_path: Path) -> Site:
    """The site that the bundle is carried to."""
    return Elsewhere(tmp_path / "there", {"their.asc": outside.signers.certificates["good.asc"]}).beside(
        outside
    )


def everything_outside(site: Site, folder: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if not p.is_relative_to(site.root)} | set(folder.parent.iterdir())


def assert_nothing(site: Site) -> None:
    """Nothing is served, nothing is pinned."""
    assert site.served() == []
    assert site.rows() == {}


def carry(site: Site, bundle: Path, *options: str) -> tuple[int, str]:
    said = site.call("images", "bundle", "import", str(bundle), *options)
    return said.rc, said.out + said.err


def test_a_bundle_is_worth_what_a_download_is(exported: Path, there: Site) -> None:
    said = there.run("images", "bundle", "import", str(exported))
    assert said.rc == 0, said.err
    assert f"{FLATCAR}: proven and pinned; it is current" in said.out
    (row,) = there.rows().values()
    assert (row["state"], row["current"], row["pinned"]) == ("ok", True, True)
    assert row["signer"] == there.signers.good.fingerprint
    assert there.mirror.requests() == []
    there.assert_old_is_whole()
    again = there.call("images", "bundle", "import", str(exported))
    assert again.rc == 0, again.err
    assert again.out == f"{FLATCAR}: there already; it is current\n"
    onwards = there.call("images", "bundle", "export", str(exported.with_name("onwards.tar")))
    assert onwards.rc == 0, onwards.err
    assert Parcel.read(exported.with_name("onwards.tar")).names() == Parcel.read(exported).names()


def instead_of_the_kernel(**kind: object) -> Change:
    """Something else by the kernel's name."""
    return lambda parcel: parcel.without(KERNEL).joined(member(f"{HERE}/{KERNEL}", b"", **kind))


def beside(name: str, content: bytes = b"strange", **kind: object) -> Change:
    """A member more, before all others."""
    return lambda parcel: parcel.joined(member(name, content, **kind), first=True)


TAMPERED: Final = (
    Tampered("kernel swapped", lambda p: p.changed(KERNEL, lambda _: b"mine"), 4, f"refused {KERNEL}"),
    Tampered("initrd, one bit", lambda p: p.changed(INITRD, flipped), 4, f"refused {INITRD}"),
    Tampered("kernel longer", lambda p: p.changed(KERNEL, lambda c: c + b"\0"), 4, f"refused {KERNEL}"),
    Tampered("kernel twice", lambda p: p.joined(member(f"{HERE}/{KERNEL}", b"mine")), 4, f"refused {KERNEL}"),
    Tampered("kernel missing", lambda p: p.without(KERNEL), 5, KERNEL),
    Tampered("record missing", lambda p: p.without("release.json"), 3, "no image is in it"),
    Tampered("record no JSON", lambda p: p.changed("release.json", lambda _: b"{"), 3, "cannot read"),
    Tampered("record deep", lambda p: p.changed("release.json", lambda _: b"[" * 99_999), 3, "cannot read"),
    Tampered("format", facts(format=2), 3, "format 2"),
    Tampered("version traverses", facts(version="../../../up"), 3, "names no release"),
    Tampered("version absolute", facts(version="/1"), 3, "names no release"),
    Tampered("stream traverses", facts(stream=".."), 3, "names no release"),
    Tampered("os unknown", facts(os="debian"), 3, "names no release"),
    Tampered("arch", facts(arch="arm64"), 0),
    Tampered("files null", facts(files=None), 3, "cannot read"),
    Tampered("evidence no base64", facts(evidence={"a": "*"}), 3, "cannot read"),
    Tampered("fetched at no time", facts(fetched_at="soon"), 3, "cannot read"),
    Tampered("digests lie", files(sha512="0" * 128, size=1), 0),
    Tampered("signer lies", files(signer="F" * 40, subkey="F" * 40, signed_at=None), 0),
    Tampered("names twice", files(name="x"), 3, "cannot read"),
    Tampered("role unknown", files(role="root"), 3, "cannot read"),
    Tampered("nothing signed", facts(evidence={}), 4, "[no-signature]"),
    Tampered("only the lists", evidence(lambda e: [e.pop(n) for n in list(e) if n.endswith(".sig")]), 0),
    Tampered("only signatures", evidence(lambda e: [e.pop(n) for n in list(e) if n.endswith(".asc")]), 0),
    Tampered(
        "signature of the other file",
        evidence(lambda e: e.update({f"{KERNEL}.sig": e[f"{INITRD}.sig"]})), 4, "[bad-signature]",
    ),
    Tampered(
        "list of the other file",
        evidence(lambda e: e.update({f"{KERNEL}.DIGESTS.asc": e[f"{INITRD}.DIGESTS.asc"]})), 0,
    ),
    Tampered("no signature", evidence(lambda e: e.update({f"{KERNEL}.sig": "QUJD"})), 4, "[bad-signature]"),
    Tampered(
        "evidence too large",
        evidence(lambda e: e.update({f"{KERNEL}.sig": encoded(bytes(70_000))})), 4, "[too-large]",
    ),
    Tampered("certificates garbage", facts(certificates=["QUJD", ""]), 0),
    Tampered("kernel a link", instead_of_the_kernel(type=tarfile.SYMTYPE, linkname=INITRD), 5, KERNEL),
    Tampered("a link", instead_of_the_kernel(type=tarfile.LNKTYPE, linkname=f"{HERE}/{INITRD}"), 5, KERNEL),
    Tampered("a device", instead_of_the_kernel(type=tarfile.CHRTYPE, devmajor=1, devminor=5), 5, KERNEL),
    Tampered("kernel a FIFO", instead_of_the_kernel(type=tarfile.FIFOTYPE), 5, KERNEL),
    Tampered("kernel a directory", instead_of_the_kernel(type=tarfile.DIRTYPE), 5, KERNEL),
    Tampered("a name that traverses", beside(f"{TOP}/../../../../stray"), 0),
    Tampered("a file that traverses", beside(f"{HERE}/../../stray"), 0),
    Tampered("an absolute name", beside("/stray"), 0),
    Tampered("a stray file", beside(f"{HERE}/stray"), 0),
    Tampered("a stray link", beside(f"{HERE}/stray", b"", type=tarfile.SYMTYPE, linkname="/"), 0),
    Tampered("size below zero", beside(f"{HERE}/s", b"", pax_headers={"size": "-1024"}), 3, "cannot"),
    Tampered("size no number", beside(f"{HERE}/s", b"", pax_headers={"size": "x"}), 0),
    Tampered("two records", lambda p: p.joined(member(f"{HERE}/release.json", b"{}")), 3, "cannot read"),
)  # fmt: skip


@pytest.mark.parametrize("case", TAMPERED, ids=lambda case: case.name)
def test_a_bundle_that_was_tampered_with(case: Tampered, exported: Path, there: Site, tmp_path: Path) -> None:
    bundle = case.change(Parcel.read(exported)).write(tmp_path / "tampered.tar")
    before = everything_outside(there, tmp_path)
    rc, said = carry(there, bundle)
    assert rc == case.rc, said
    assert case.said in said
    assert everything_outside(there, tmp_path) == before
    if rc:
        assert_nothing(there)
    else:
        (row,) = there.rows().values()
        assert (row["version"], row["state"], row["signer"]) == (OLD, "ok", there.signers.good.fingerprint)
        there.assert_nothing_unproven()
        assert {p.name for p in there.served()} == {KERNEL, INITRD, "release.json"}


def cut(at: Callable[[int], int]) -> Callable[[bytes], bytes]:
    return lambda content: content[: at(len(content))]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut(lambda _: 0), "cannot read"),
        (cut(lambda _: 300), "cannot read"),
        (cut(lambda _: 700), "cannot read"),
        (cut(lambda size: size // 2), "cannot read"),
        (cut(lambda size: size - 20_000), "cannot read"),
        (gzip.compress, "cannot read"),
        (lambda _: bytes(10_240), "no image is in it"),
        (lambda content: content[512:], "cannot"),
        (lambda _: b"#!/bin/sh\n" * 1000, "cannot read"),
    ],
    ids=["empty", "head cut", "record cut", "half", "tail cut", "gzip", "zeros", "no head", "text"],
)
def test_what_is_no_bundle(
    spoil: Callable[[bytes], bytes], said: str, exported: Path, there: Site, tmp_path: Path
) -> None:
    bundle = tmp_path / "spoiled.tar"
    bundle.write_bytes(spoil(exported.read_bytes()))
    rc, words = carry(there, bundle)
    assert rc == 3, words
    assert said in words
    assert str(bundle) in words
    assert_nothing(there)


def test_no_file_and_no_image_at_all(there: Site, tmp_path: Path) -> None:
    none = Parcel(()).write(tmp_path / "none.tar")
    for place, why in ((tmp_path / "nowhere.tar", "read"), (tmp_path, "read"), (none, "use")):
        rc, words = carry(there, place)
        assert (rc, f"cannot {why} {place}" in words) == (3, True), words


def test_the_keys_are_those_of_the_site(exported: Path, outside: Site, tmp_path: Path) -> None:
    for name, keys, case in (
        ("foreign", {"their.asc": outside.signers.foreign.cert()}, "[foreign-key]"),
        ("project", {}, "[no-key]"),
    ):
        there = Elsewhere(tmp_path / name, keys).beside(outside)
        rc, words = carry(there, exported)
        assert rc == 4, words
        assert case in words
        assert_nothing(there)


def test_a_release_in_new_clothes(exported: Path, there: Site, tmp_path: Path) -> None:
    assert carry(there, exported)[0] == 0
    for changes, case in (
        ({"version": "4593.2.9"}, "[replayed]"),
        ({"stream": "beta"}, "[wrong-channel]"),
        ({"version": "4593.2.4"}, "[downgrade]"),
    ):
        bundle = facts(**changes)(Parcel.read(exported)).write(tmp_path / "renamed.tar")
        rc, words = carry(there, bundle)
        assert rc == 4, words
        assert case in words
    there.assert_old_is_whole()


def test_a_bundle_that_goes_back(exported: Path, site: Site, there: Site, tmp_path: Path) -> None:
    newer = tmp_path / "newer.tar"
    assert site.fetch_here("--use").rc == 0
    assert site.call("images", "bundle", "export", str(newer)).rc == 0
    assert carry(there, newer)[0] == 0
    rc, words = carry(there, exported)
    assert rc == 4, words
    assert "[downgrade]" in words
    rc, words = carry(there, exported, "--allow-downgrade")
    assert rc == 0, words
    assert f"proven and pinned; current is {NEW}" in words
    assert there.current() == [f"{STREAM}@{NEW}"]


def test_an_image_of_ones_own(carried_tool: Path, there: Site, tmp_path: Path) -> None:
    rc, words = carry(there, carried_tool)
    assert (rc, there.rows()) == (4, {}), "whoever swaps the stick must not bring what boots"
    assert "[no-key]" in words
    assert carry(there, carried_tool, "--local")[0] == 0
    assert carry(there, carried_tool)[0] == 0, "what is pinned here already needs no word"
    (row,) = there.rows().values()
    assert (row["image"], row["version"], row["signer"]) == ("local/tool", "1.0", "operator")
    there.assert_nothing_unproven()
    other = facts(version="2.0")(Parcel.read(carried_tool).changed("vmlinuz", flipped))
    rc, words = carry(there, other.write(tmp_path / "other.tar"), "--local")
    assert rc == 4, words
    assert "[wrong-digest]" in words
    assert list(there.rows()) == ["local/tool@1.0"]


def test_many_members_at_once(site: Site, there: Site, tmp_path: Path) -> None:
    folder = local_folder(tmp_path / "files")
    for number in range(16):
        write(folder / f"disk{number}.img", sites.noise(f"disk {number}", 4_000_000))
    assert site.call("images", "fetch", "local/disks@1.0", "--from", str(folder)).rc == 0
    bundle = tmp_path / "disks.tar"
    assert site.call("images", "bundle", "export", str(bundle), "local/disks").rc == 0
    rc, words = carry(there, bundle, "--local")
    assert rc == 0, words
    there.assert_nothing_unproven()


@pytest.mark.parametrize("kept", [(), ("vmlinuz",), ("initrd.img",), ("vmlinuz", "vmlinuz", "initrd.img")])
def test_an_image_of_ones_own_that_lacks_what_boots(
    kept: tuple[str, ...], carried_tool: Path, there: Site, tmp_path: Path
) -> None:
    def only(record: dict[str, Any]) -> None:
        by_name = {file["name"]: file for file in record["files"]}
        record["files"] = [by_name[name] for name in kept]

    rc, words = carry(
        there, Parcel.read(carried_tool).recorded(only).write(tmp_path / "lacking.tar"), "--local"
    )
    assert rc in {3, 4}, words
    assert "[no-key]" not in words
    assert_nothing(there)


def test_ipxe_in_a_bundle(empty: Site, there: Site, tmp_path: Path) -> None:
    bundle = tmp_path / "ipxe.tar"
    empty.configure(ipxe='mirror = "{url}/ipxe"')
    digest = releases.ipxe(empty.tree / "ipxe")
    assert empty.fetch_here("ipxe/stable", "--sha256", digest).rc == 0
    assert empty.call("images", "bundle", "export", str(bundle)).rc == 0
    assert [Path(n).name for n in Parcel.read(bundle).names()] == ["release.json", "ipxeboot.tar.gz"]
    for options, case in (((), "[no-key]"), (("--sha256", "0" * 64), "[wrong-digest]")):
        rc, words = carry(there, bundle, *options)
        assert rc == 4, words
        assert case in words
        assert_nothing(there)
    rc, words = carry(there, bundle, "--sha256", digest)
    assert rc == 0, words
    loader = there.images / "ipxe/stable/2.0.0/undionly.kpxe"
    assert loader.read_bytes() == b"iPXE v2.0.0 i386/undionly.kpxe\n"
    there.assert_nothing_unproven()


def test_two_architectures(site: Site, there: Site, tmp_path: Path) -> None:
    sites.release(site.tree, site.signers.good, OLD, OLD_AT, arch="arm64")
    assert site.fetch_here("--arch", "arm64").rc == 0
    bundle = tmp_path / "both.tar"
    said = site.call("images", "bundle", "export", str(bundle), STREAM)
    assert said.rc == 0, said.err
    assert carry(there, bundle)[0] == 0
    arm = f"{STREAM}/arm64@{OLD}"
    assert there.current() == [FLATCAR, arm]
    assert set(there.states().values()) == {"ok"}
    there.assert_nothing_unproven()


@pytest.mark.parametrize("names", [(), (STREAM,), (FLATCAR,)])
def test_what_is_damaged_is_not_exported(site: Site, tmp_path: Path, names: tuple[str, ...]) -> None:
    take_local(site, tmp_path, "local/tool@1.0")
    write(site.path(INITRD), flipped(site.path(INITRD).read_bytes()))
    said = site.call("images", "bundle", "export", str(tmp_path / "out.tar"), *names)
    assert said.rc == 4, said.out
    assert STREAM in said.err
    assert not list(tmp_path.glob("*.tar"))
    assert not list(tmp_path.glob(".*"))


def test_what_is_not_there_is_not_exported(site: Site, tmp_path: Path) -> None:
    for name, rc in ((f"{STREAM}@{NEW}", 4), ("local/tool", 4), ("flatcr/stable", 3)):
        said = site.call("images", "bundle", "export", str(tmp_path / "out.tar"), STREAM, name)
        assert said.rc == rc, said.out
    said = site.call("images", "bundle", "export", str(tmp_path / "nowhere/out.tar"))
    assert said.rc == 5, said.out
    assert not list(tmp_path.glob("*.tar"))


def test_a_disk_that_ends_leaves_the_bundle_before(site: Site, tmp_path: Path) -> None:
    bundle = tmp_path / "images.tar"
    bundle.write_bytes(b"the bundle before")
    limited = ["prlimit", "--fsize=1000000", COMMAND, "--root", str(site.root)]
    done = subprocess.run(
        [*limited, "images", "bundle", "export", str(bundle)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done.stderr
    assert f"cannot write {bundle}" in done.stderr
    assert bundle.read_bytes() == b"the bundle before"
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def large(site: Site, tmp_path: Path) -> Iterator[Site]:
    """With an image whose export takes so long that one can meet it."""
    folder = local_folder(tmp_path / "large")
    os.truncate(folder / "initrd.img", 200 << 20)
    said = site.call("images", "fetch", "local/large@1.0", "--from", str(folder))
    assert said.rc == 0, said.err
    yield site
    (folder / "initrd.img").unlink()


def test_an_export_that_is_killed(large: Site, tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir()
    bundle = place / "images.tar"
    argv = [COMMAND, "--root", str(large.root), "images", "bundle", "export", str(bundle), "local/large"]
    for number, left in ((signal.SIGINT, 0), (signal.SIGTERM, 1), (signal.SIGKILL, 1)):
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
            while not (begun := list(place.iterdir())) and process.poll() is None:
                pass
            assert begun, "it has to be met at work"
            process.send_signal(number)
            assert process.wait(30) != 0
        assert not bundle.exists()
        assert len(list(place.iterdir())) <= left, number
    said = large.call("images", "bundle", "export", str(bundle), "local/large")
    assert said.rc == 0, said.err
    assert list(place.iterdir()) == [bundle], "the next export takes the rest of a killed one away"
