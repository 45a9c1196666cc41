"""Where Flatcar and CoreOS keep their files, and what their version.txt may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.images.catalogue import SOURCES, make_ask
from appliance.images.coreos_layout import CONTAINER_LINUX, FLATCAR
from appliance.images.model import Role, Stream
from appliance.images.source import Ask, UnreadableIndex
from appliance.settings import ImageSettings
from tests.fakes.releases import version_text

BASE = "https://stable.release.flatcar-linux.net"
STABLE = Stream("flatcar", "stable")


def test_current_is_asked_for_its_version() -> None:
    ask = make_ask(STABLE, None, ImageSettings())
    index = FLATCAR.index(ask)
    assert index is not None
    assert index.url == f"{BASE}/amd64-usr/current/version.txt"
    assert index.signature == f"{BASE}/amd64-usr/current/version.txt.sig"
    assert index.name == "version.txt"


def test_everything_else_comes_from_the_versioned_path() -> None:
    """`current` moves while one reads it."""
    plan = FLATCAR.plan(make_ask(STABLE, None, ImageSettings()), version_text("4593.2.5"))
    assert plan.version == "4593.2.5"
    kernel, initrd = plan.artefacts
    stem = f"{BASE}/amd64-usr/4593.2.5/flatcar_production_pxe"
    assert (kernel.url, initrd.url) == (f"{stem}.vmlinuz", f"{stem}_image.cpio.gz")
    assert (kernel.role, initrd.role) == (Role.KERNEL, Role.INITRD)
    for artefact in plan.artefacts:
        assert artefact.signature == f"{artefact.url}.sig"
        assert artefact.digests == f"{artefact.url}.DIGESTS.asc"
        assert artefact.url.endswith(artefact.name)
        assert 2**27 < artefact.cap < 2**33


def test_a_fixed_version_needs_no_document() -> None:
    ask = make_ask(STABLE, "4593.2.4", ImageSettings())
    assert FLATCAR.index(ask) is None
    assert FLATCAR.plan(ask, None).artefacts[0].url.startswith(f"{BASE}/amd64-usr/4593.2.4/")


@pytest.mark.parametrize(
    ("stream", "host", "path"),
    [
        (Stream("flatcar", "beta"), "beta", "amd64-usr/current"),
        (Stream("flatcar", "alpha", "arm64"), "alpha", "arm64-usr/current"),
        (Stream("flatcar", "lts"), "lts", "amd64-usr/current"),
        (Stream("flatcar", "lts-2024"), "lts", "amd64-usr/current-2024"),
        (Stream("flatcar", "lts-2023", "arm64"), "lts", "arm64-usr/current-2023"),
    ],
    ids=str,
)
def test_streams_have_hosts_and_boards(stream: Stream, host: str, path: str) -> None:
    index = FLATCAR.index(make_ask(stream, None, ImageSettings()))
    assert index is not None
    assert index.url == f"https://{host}.release.flatcar-linux.net/{path}/version.txt"


@pytest.mark.parametrize(
    ("mirror", "url"),
    [
        ("http://m.example", "http://m.example"),
        ("http://m.example/", "http://m.example"),
        ("http://m.example/f/{channel}", "http://m.example/f/lts"),
        ("http://{channel}.m.example/{channel}/", "http://lts.m.example/lts"),
    ],
)
def test_a_mirror_takes_the_place_of_the_host(mirror: str, url: str) -> None:
    ask = make_ask(Stream("flatcar", "lts-2024"), "4081.3.1", ImageSettings(mirror=mirror))
    assert ask == Ask(Stream("flatcar", "lts-2024"), "4081.3.1", url)
    assert FLATCAR.plan(ask, None).artefacts[0].url.startswith(f"{url}/amd64-usr/4081.3.1/")


def test_coreos_is_the_same_under_its_own_names() -> None:
    ask = make_ask(Stream("container-linux", "stable"), None, ImageSettings())
    plan = CONTAINER_LINUX.plan(ask, version_text("2512.3.0", "coreos"))
    base = "https://stable.release.core-os.net/amd64-usr/2512.3.0/coreos_production_pxe"
    assert [a.url for a in plan.artefacts] == [f"{base}.vmlinuz", f"{base}_image.cpio.gz"]
    assert CONTAINER_LINUX.boot.args == ("coreos.first_boot=1",)
    with pytest.raises(UnreadableIndex, match="COREOS_VERSION"):
        CONTAINER_LINUX.plan(ask, version_text("4593.2.5"))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"<html>FLATCAR_VERSION=1.2.3</html>", b"FLATCAR_VERSION=", b"FLATCAR_VERSION=1.2",
        b"FLATCAR_VERSION=1.2.3\nFLATCAR_VERSION=1.2.4\n", b"FLATCAR_VERSION=../../x", b"\xff\xfe" * 50,
        b"FLATCAR_VERSION=1.2.3/../4", b"FLATCAR_VERSION_ID=1.2.3\n", b"XFLATCAR_VERSION=1.2.3",
        "FLATCAR_VERSION=٣.2.3".encode(),
    ],
)  # fmt: skip
def test_no_version_txt(text: bytes) -> None:
    with pytest.raises(UnreadableIndex):
        FLATCAR.plan(make_ask(STABLE, None, ImageSettings()), text)


@pytest.mark.parametrize(
    "text", [b"FLATCAR_VERSION=1.2.3", b'FLATCAR_VERSION="1.2.3"\r\nX=1\r\n', b"A=1\nFLATCAR_VERSION=1.2.3\n"]
)
def test_other_ways_to_write_it(text: bytes) -> None:
    assert FLATCAR.plan(make_ask(STABLE, None, ImageSettings()), text).version == "1.2.3"


@given(st.binary(max_size=200))
def test_whatever_it_says_a_version_is_three_numbers(text: bytes) -> None:
    try:
        plan = FLATCAR.plan(make_ask(STABLE, None, ImageSettings()), b"FLATCAR_VERSION=" + text)
    except UnreadableIndex:
        return
    assert [part.isdigit() for part in plan.version.split(".")] == [True] * 3


@pytest.mark.parametrize(
    ("stream", "version", "says"),
    [
        ("stable", "4593.2.5", None), ("stable", "4757.1.0", "beta"), ("stable", "4790.0.0", "alpha"),
        ("stable", "4081.3.10", "lts"), ("beta", "4593.2.5", "stable"), ("lts-2024", "4081.3.10", None),
        ("lts", "4081.3.10", None), ("stable", "2605.12.0", None), ("stable", "2765.2.0", None),
        ("stable", "2765.0.0", "alpha"), ("stable", "4593.7.0", None), ("stable", "rubbish", None),
    ],
)  # fmt: skip
def test_numbers_tell_of_which_channel_a_release_is(stream: str, version: str, says: str | None) -> None:
    assert FLATCAR.foreign_number(Stream("flatcar", stream), version) == says


def test_numbers_of_coreos_tell_nothing() -> None:
    assert CONTAINER_LINUX.foreign_number(Stream("container-linux", "stable"), "2514.1.0") is None


def test_projects_are_pinned_by_full_primary_fingerprints() -> None:
    for source in SOURCES.values():
        for fingerprint in source.pins:
            assert len(fingerprint) == 40
            assert set(fingerprint) <= set("0123456789ABCDEF")
    assert list(FLATCAR.pins) == ["F88CFEDEFF29A5B4D9523864E25D9AED0593B34A"]
    assert list(CONTAINER_LINUX.pins) == ["04127D0BFABEC8871FFB2CCE50E0885593D2DCB4"]
