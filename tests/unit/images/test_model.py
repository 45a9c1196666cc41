"""Versions ordered as people read them, names that cannot lead out of the store, paths read and written."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.images.catalogue import OSES
from appliance.images.model import (
    AssetPath,
    Role,
    StoredFile,
    StoredRelease,
    Stream,
    is_file_name,
    is_stream_name,
    is_version,
    older,
    parse_asset_path,
    parse_release,
    release_name,
    version_key,
)
from tests.hostile import STRINGS
from tests.unit.images.rooms import FILE_NAMES, NUMBERS, STREAMS, VERSIONS

ASCENDING = [
    ["4593.2.5", "4593.2.6", "4593.2.10", "4593.10.0", "4600.0.0", "10000.0.0"],
    ["1.2.0-alpha", "1.2.0-beta1", "1.2.0-rc1", "1.2.0-rc2", "1.2.0", "1.2.1-rc1", "1.2.1"],
    ["44.20260707.3.1", "44.20260707.3.2", "44.20260708.3.0", "45.20260101.3.0"],
    ["20240301.120000", "20240301.120001", "20240302.000000"],
    ["9", "10", "99999999999999999", "999999999999999999", "1000000000000000000", "9" * 40],
]  # fmt: skip
# Versions so short that many of them differ in the one thing that an order could get wrong.
ALIKE = st.one_of(st.text("012.-rc", min_size=1, max_size=7).filter(is_version), VERSIONS)


@pytest.mark.parametrize("versions", ASCENDING, ids=lambda v: v[0])
def test_versions_are_ordered_as_people_read_them(versions: list[str]) -> None:
    assert sorted(versions, key=version_key) == versions
    for low, high in itertools.combinations(versions, 2):
        assert older(low, high)
        assert not older(high, low)


@pytest.mark.parametrize(
    ("one", "other"), [("1.2", "1.2.0"), ("1.2.0", "1.2"), ("1.02", "1.2"), ("7", "7.0.0")]
)
def test_versions_that_are_equal(one: str, other: str) -> None:
    assert not older(one, other)


@given(VERSIONS)
def test_no_version_is_older_than_itself(version: str) -> None:
    assert not older(version, version)


@given(ALIKE, ALIKE)
def test_of_two_versions_one_at_most_is_older(one: str, other: str) -> None:
    assert not (older(one, other) and older(other, one))


@given(ALIKE, ALIKE, ALIKE)
def test_older_goes_on(one: str, two: str, three: str) -> None:
    if older(one, two) and older(two, three):
        assert older(one, three)


@given(st.lists(ALIKE, min_size=1, max_size=6))
@example(["1", "1.0-rc1"])
@example(["2-a", "2.0"])
def test_what_sorts_last_is_older_than_none(versions: list[str]) -> None:
    """The lock's newest version is found by one order, a downgrade by the other."""
    newest = max(versions, key=version_key)
    assert not any(older(newest, each) for each in versions)


@given(st.lists(NUMBERS, min_size=3, max_size=3), st.lists(NUMBERS, min_size=3, max_size=3))
def test_numbers_are_compared_as_numbers(one: list[int], other: list[int]) -> None:
    ours, theirs = (".".join(map(str, parts)) for parts in (one, other))
    assert older(ours, theirs) == (one < other)


# ---- names ----


@given(STRINGS)
def test_no_name_leads_anywhere_else(text: str) -> None:
    for fits in (is_version, is_file_name, is_stream_name):
        if fits(text):
            assert text.isascii()
            assert text.isprintable()
            assert not set(text) & set("/\\ \"'$`*?[]{}<>|&;#%")
            assert text not in {"", ".", ".."}
            assert not text.startswith((".", "-"))


@pytest.mark.parametrize(
    "text", ["", "current", "v2.0", ".1", "1..2", "1/2", "1 2", "1\n", "1" * 64, "-1", "١"]
)
def test_not_a_version(text: str) -> None:
    assert not is_version(text)


@pytest.mark.parametrize("text", ["", "release.json", ".x", "a/b", "a\n", "x" * 128, "ä", "-x", "a b"])
def test_not_a_file_name(text: str) -> None:
    assert not is_file_name(text)


@pytest.mark.parametrize("text", ["", "current", "amd64", "arm64", "a..b", "a/b", ".a", "x" * 64, "a\n"])
def test_not_a_stream(text: str) -> None:
    assert not is_stream_name(text)


# ---- paths ----

PATHS = [
    ("flatcar/stable/k", AssetPath(Stream("flatcar", "stable"), None, "k")),
    ("flatcar/stable/current/k", AssetPath(Stream("flatcar", "stable"), None, "k")),
    ("flatcar/stable/4593.2.5/k", AssetPath(Stream("flatcar", "stable"), "4593.2.5", "k")),
    ("flatcar/stable/arm64/k", AssetPath(Stream("flatcar", "stable", "arm64"), None, "k")),
    ("flatcar/stable/amd64/k", AssetPath(Stream("flatcar", "stable"), None, "k")),
    ("flatcar/lts-2024/arm64/4081.3.1/k", AssetPath(Stream("flatcar", "lts-2024", "arm64"), "4081.3.1", "k")),
    ("/assets/local/rescue/1/k", AssetPath(Stream("local", "rescue"), "1", "k")),
]  # fmt: skip
NO_PATHS = [
    "", "k", "flatcar", "flatcar/stable", "debian/stable/k", "flatcar/stable/x86/k", "flatcar/stable/a/b/c/d",
    "flatcar/stable/arm64", "flatcar/stable/arm64/current/4593.2.5/k", "flatcar/stable/latest/k",
]  # fmt: skip


@pytest.mark.parametrize(("path", "found"), PATHS, ids=[path for path, _ in PATHS])
def test_a_path_into_the_store(path: str, found: AssetPath) -> None:
    assert parse_asset_path(path, OSES) == found


@pytest.mark.parametrize("path", NO_PATHS)
def test_a_path_to_something_else(path: str) -> None:
    assert parse_asset_path(path, OSES) is None


@given(STREAMS, st.one_of(st.none(), VERSIONS), FILE_NAMES)
def test_every_file_of_the_store_has_a_path(stream: Stream, version: str | None, file: str) -> None:
    folder = stream.folder / version if version else stream.folder
    assert parse_asset_path(f"/assets/{folder}/{file}", OSES) == AssetPath(stream, version, file)


@given(
    st.lists(st.one_of(STRINGS, st.sampled_from(["flatcar", "..", "", ".", "current", "arm64"])), max_size=5)
)
def test_no_path_leads_out_of_the_store(parts: list[str]) -> None:
    found = parse_asset_path("/".join(["flatcar", *parts]), OSES)
    if found is not None:
        for part in (*found.stream.folder.parts, found.version or "current", found.file):
            assert part not in {"", ".", ".."}
            assert "/" not in part


@given(STREAMS, VERSIONS)
def test_a_release_in_a_word(stream: Stream, version: str) -> None:
    assert parse_release(release_name(stream, version)) == (stream, version)


@given(STRINGS)
def test_a_word_that_is_no_release(text: str) -> None:
    found = parse_release(text)
    assert found is None or release_name(*found) == text.replace("/amd64@", "@")


# ---- a release in the store ----


def test_a_file_is_found_by_its_role_where_its_name_changes() -> None:
    kernel = StoredFile("fcos-44-kernel.x86_64", Role.KERNEL, 1, "")
    rootfs = StoredFile("fcos-44-rootfs.img", Role.ROOTFS, 2, "")
    release = StoredRelease(Stream("fedora-coreos", "stable"), "44", (kernel, rootfs), datetime.now(UTC))
    assert release.file("kernel") is kernel
    assert release.file("rootfs.img") is rootfs
    assert release.file("fcos-44-rootfs.img") is rootfs
    assert release.file("initramfs.img") is None
    assert release.file("vmlinuz") is None
    assert release.size == 3
    assert (release.signer, release.signed_at) == ("operator", None)


def test_a_release_is_as_old_as_the_first_of_its_signatures() -> None:
    early, late = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
    files = (
        StoredFile("a", Role.KERNEL, 1, "", signer="K", signed_at=late),
        StoredFile("b", Role.INITRD, 1, "", signer="K", signed_at=early),
    )
    release = StoredRelease(Stream("flatcar", "stable"), "1", files, datetime.now(UTC))
    assert (release.signer, release.signed_at) == ("K", early)
