"""The client classes, the manifest, the choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.boot.firmware import (
    BY_ARCH,
    CLASSES,
    Asking,
    Transport,
    choose,
    class_words,
    parse_manifest,
    read_vendor_class,
)

TEXT = (Path(__file__).parent.parent.parent.parent / "tftpboot" / "manifest.toml").read_text()
UNDIONLY = "f09cfbe9bbd39c3f5eb9cdf7386b520a4f5858bbc4438960c5b870c7a8930a7f"


def test_the_seven_classes() -> None:
    assert [c.arch for c in CLASSES] == [0, 6, 7, 9, 11, 16, 19]
    assert len({c.tag for c in CLASSES}) == 7
    assert BY_ARCH[11].words == "arm64 UEFI (11)"
    assert class_words(15) == "IA32 UEFI HTTP (15)"
    assert class_words(65000) == "unassigned (65000)"


@pytest.mark.parametrize(
    ("text", "asking"),
    [
        ("PXEClient:Arch:00007:UNDI:003016", Asking(Transport.PXE, 7)),
        ("HTTPClient:Arch:00016:UNDI:003000", Asking(Transport.HTTP, 16)),
        ("PXEClient", Asking(Transport.PXE, 0)),
        ("HTTPClient", Asking(Transport.HTTP, None)),
        ("PXEClient:Arch:x", Asking(Transport.PXE, 0)),
        ("udhcp 1.35.0", None),
        ("", None),
        ("xPXEClient", None),
    ],
)
def test_vendor_classes(text: str, asking: Asking | None) -> None:
    assert read_vendor_class(text) == asking


def test_the_shipped_manifest_speaks_about_every_class() -> None:
    manifest = parse_manifest(TEXT)
    assert set(manifest.serves) == set(BY_ARCH)
    assert all(binary.install for binary in manifest.binaries.values())
    assert "/usr/lib/ipxe/undionly.kpxe" in manifest.paths


def test_debian_12_serves_four_classes_and_says_what_is_missing() -> None:
    found = {f"/usr/lib/ipxe/{name}": "0" * 64 for name in ("undionly.kpxe", "snponly.efi", "ipxe.efi")}
    found["/usr/lib/ipxe/undionly.kpxe"] = UNDIONLY
    chosen = choose(parse_manifest(TEXT), found)
    assert chosen.boot_files == {0: "undionly.kpxe", 7: "snponly.efi", 9: "snponly.efi", 16: "ipxe.efi"}
    assert chosen.served[0].release == "1.0.0+git-20190125.36a4c85-5.1"
    assert chosen.served[7].release is None, "another package version is served, and known to be unknown"
    assert [c.file for c in chosen.binaries] == ["ipxe.efi", "snponly.efi", "undionly.kpxe"]
    assert sorted(chosen.missing) == [6, 11, 19]
    assert "arm64" in chosen.missing[11].remedy


def test_without_the_package_every_class_says_what_to_install() -> None:
    chosen = choose(parse_manifest(TEXT), {})
    assert chosen.served == {}
    assert chosen.missing[0].remedy == chosen.missing[7].remedy == "apt install ipxe"
    assert chosen.missing[0].reason == "no undionly.kpxe on this host"


def test_an_operators_own_build_wins() -> None:
    found = {"/usr/lib/ipxe/snponly.efi": "1" * 64, "/usr/local/lib/ipxe/snponly.efi": "2" * 64}
    assert choose(parse_manifest(TEXT), found).served[7].sha256 == "2" * 64


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('0  = ["undionly.kpxe"]\n', "", "no word about client class 0"),
        ('0  = ["undionly.kpxe"]', '0  = ["nothing.efi"]', "names nothing.efi"),
        ('0  = ["undionly.kpxe"]', "0  = []", "not empty"),
        ('0  = ["undionly.kpxe"]', '0  = ["undionly.kpxe"]\n42 = ["ipxe.efi"]', "class.42"),
        (UNDIONLY, "abc", "is not a SHA-256"),
        ('[binary."ipxe.efi"]', '[binary."../ipxe.efi"]', "plain file name"),
    ],
)
def test_a_damaged_manifest_is_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        parse_manifest(TEXT.replace(old, new))
