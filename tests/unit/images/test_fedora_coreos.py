"""Fedora CoreOS's metadata: names come from it, everything else it says is held against what was asked."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.images.catalogue import make_ask
from appliance.images.fedora_coreos import FEDORA_COREOS
from appliance.images.model import Role, Stream, is_file_name
from appliance.images.source import Ask, UnreadableIndex
from appliance.settings import ImageSettings

STABLE = Stream("fedora-coreos", "stable")
PROJECT = "https://builds.coreos.fedoraproject.org"
VERSION = "44.20260707.3.1"
ASK = Ask(STABLE, None, PROJECT)
EXACT = Ask(STABLE, VERSION, PROJECT)


def parts(
    version: str = VERSION, arch: str = "x86_64", base: str = PROJECT, dash: str = "."
) -> dict[str, Any]:
    """The three files as the metadata describe them; `dash` stands before the kernel's architecture."""
    stem = f"{base}/prod/streams/stable/builds/{version}/{arch}/fedora-coreos-{version}-live"
    names = {
        "kernel": f"{stem}-kernel{dash}{arch}",
        "initramfs": f"{stem}-initramfs.{arch}.img",
        "rootfs": f"{stem}-rootfs.{arch}.img",
    }
    return {
        role: {"location": name, "signature": f"{name}.sig", "sha256": str(n) * 64}
        for n, (role, name) in enumerate(names.items())
    }


def stream(pxe: object = None, version: object = VERSION, arch: str = "x86_64", name: str = "stable") -> Any:
    """A stream's metadata."""
    metal = {"release": version, "formats": {"pxe": pxe if pxe is not None else parts()}}
    return {"stream": name, "architectures": {arch: {"artifacts": {"metal": metal}}}}


def build(version: str = VERSION) -> Any:
    """A build's own metadata."""
    media = {"metal": {"artifacts": {"pxe": parts(version)}}}
    return {"release": version, "stream": "stable", "architectures": {"x86_64": {"media": media}}}


def read(document: object, ask: Ask = ASK) -> Any:
    return FEDORA_COREOS.plan(ask, json.dumps(document).encode())


def test_the_stream_says_what_is_current() -> None:
    index = FEDORA_COREOS.index(make_ask(STABLE, None, ImageSettings()))
    assert index is not None
    assert (index.url, index.signature) == (f"{PROJECT}/streams/stable.json", None)
    plan = read(stream())
    assert plan.version == VERSION
    assert [a.role for a in plan.artefacts] == [Role.KERNEL, Role.INITRD, Role.ROOTFS]
    for artefact, facts in zip(plan.artefacts, parts().values(), strict=True):
        assert (artefact.url, artefact.signature) == (facts["location"], facts["signature"])
        assert artefact.sha256 == facts["sha256"]
        assert artefact.digests is None


def test_a_build_has_metadata_of_its_own() -> None:
    index = FEDORA_COREOS.index(make_ask(STABLE, VERSION, ImageSettings()))
    assert index is not None
    assert index.url == f"{PROJECT}/prod/streams/stable/builds/{VERSION}/release.json"
    assert read(build(), EXACT).version == VERSION


@pytest.mark.parametrize("dash", [".", "-"])
def test_names_come_from_the_metadata(dash: str) -> None:
    """The hyphen went away with release 42, and every tool that built names broke."""
    kernel = read(stream(parts(dash=dash))).artefacts[0]
    assert kernel.name == f"fedora-coreos-{VERSION}-live-kernel{dash}x86_64"
    assert kernel.url.endswith(f"/{kernel.name}")


def test_processors_have_other_words_there() -> None:
    arm = Ask(Stream("fedora-coreos", "stable", "arm64"), None, PROJECT)
    both = stream()
    both["architectures"] |= stream(parts(arch="aarch64"), arch="aarch64")["architectures"]
    assert read(both, arm).artefacts[0].name.endswith("kernel.aarch64")
    assert read(both).artefacts[0].name.endswith("kernel.x86_64")
    with pytest.raises(UnreadableIndex, match="aarch64"):
        read(stream(), arm)


def test_a_mirror_serves_the_project_s_metadata_as_they_are() -> None:
    mirror = make_ask(STABLE, None, ImageSettings(mirror="http://m.example/fcos/"))
    for base in (PROJECT, "http://m.example/fcos"):
        plan = read(stream(parts(base=base)), mirror)
        for artefact in plan.artefacts:
            assert artefact.url.startswith(f"http://m.example/fcos/prod/streams/stable/builds/{VERSION}/")
            assert artefact.signature == f"{artefact.url}.sig"


FOREIGN = [
    "https://evil.example/prod/kernel", "http://builds.coreos.fedoraproject.org/prod/kernel",
    f"{PROJECT}.evil.example/kernel", f"{PROJECT}@evil.example/kernel", f"{PROJECT}/../kernel",
    f"{PROJECT}/a/../../kernel", f"{PROJECT}/kernel?x=1", f"{PROJECT}/kernel#x", f"{PROJECT}/%2e%2e/kernel",
    f"{PROJECT}/a kernel", f"{PROJECT}\\kernel", "/prod/kernel", "kernel", "", PROJECT,
    "file:///etc/passwd", f" {PROJECT}/kernel",
]  # fmt: skip


@pytest.mark.parametrize("key", ["location", "signature"])
@pytest.mark.parametrize("url", FOREIGN)
def test_metadata_do_not_lead_elsewhere(url: str, key: str) -> None:
    pxe = parts()
    pxe["kernel"][key] = url
    with pytest.raises(UnreadableIndex, match="another server"):
        read(stream(pxe))


@pytest.mark.parametrize("name", ["", ".hidden", "release.json", "-x", "ä", "x" * 200, "a\nb"])
def test_names_that_cannot_be_files(name: str) -> None:
    pxe = parts()
    pxe["initramfs"]["location"] = f"{PROJECT}/prod/{name}"
    with pytest.raises(UnreadableIndex, match="file name"):
        read(stream(pxe))


def test_two_files_of_one_name() -> None:
    """They would be written over one another."""
    pxe = parts()
    pxe["initramfs"] = pxe["kernel"]
    with pytest.raises(UnreadableIndex):
        read(stream(pxe))


@pytest.mark.parametrize("sha256", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, None, 5])
def test_digests_that_are_none(sha256: object) -> None:
    pxe = parts()
    pxe["rootfs"]["sha256"] = sha256
    with pytest.raises(UnreadableIndex, match="sha256"):
        read(stream(pxe))


@pytest.mark.parametrize("role", ["kernel", "initramfs", "rootfs"])
@pytest.mark.parametrize("key", ["location", "signature", "sha256"])
def test_what_every_file_needs(role: str, key: str) -> None:
    pxe = parts()
    del pxe[role][key]
    with pytest.raises(UnreadableIndex, match=role):
        read(stream(pxe))


def test_another_stream_is_refused() -> None:
    with pytest.raises(UnreadableIndex, match="testing"):
        read(stream(name="testing"))
    with pytest.raises(UnreadableIndex, match=r"44\.20260707\.3\.2"):
        read(build("44.20260707.3.2"), EXACT)


@pytest.mark.parametrize("version", [None, 44, "", "../x", "v44", "a/b", "1" * 64, ["44"]])
def test_versions_that_are_none(version: object) -> None:
    with pytest.raises(UnreadableIndex, match="version of the form"):
        read(stream(version=version))


@pytest.mark.parametrize("raw", [b"", b"{", b"<html>", b"[" * 100_000, b"\xff", b"null", b"[]", b"3"])
def test_what_is_not_json(raw: bytes) -> None:
    with pytest.raises(UnreadableIndex):
        FEDORA_COREOS.plan(ASK, raw)


def objects(value: object) -> list[dict[str, Any]]:
    """Every object of a document, itself among them."""
    if not isinstance(value, dict):
        return []
    return [value, *(found for inner in value.values() for found in objects(inner))]


@given(st.data(), st.sampled_from([None, 1, "x", [], {}, [{}]]))
def test_whatever_is_in_the_place_of_something_is_refused_in_words(
    data: st.DataObject, other: object
) -> None:
    document = copy.deepcopy(stream())
    node = data.draw(st.sampled_from(objects(document)))
    node[data.draw(st.sampled_from(sorted(node)))] = other
    with pytest.raises(UnreadableIndex):
        read(document)


@given(st.text(max_size=60))
def test_whatever_a_location_is_its_name_is_one(text: str) -> None:
    pxe = parts()
    pxe["kernel"]["location"] = f"{PROJECT}/{text}"
    try:
        kernel = read(stream(pxe)).artefacts[0]
    except UnreadableIndex:
        return
    assert is_file_name(kernel.name)
    assert kernel.url.startswith(f"{PROJECT}/")


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("stable", "44.20260707.3.1", None), ("stable", "44.20260707.2.1", "testing"),
        ("stable", "44.20260707.1.0", "next"), ("next", "44.20260707.3.1", "stable"),
        ("stable", "44.20260707.20.1", None), ("stable", "44.1", None),
    ],
)  # fmt: skip
def test_numbers_tell_of_which_stream_a_release_is(name: str, version: str, says: str | None) -> None:
    assert FEDORA_COREOS.foreign_number(Stream("fedora-coreos", name), version) == says
