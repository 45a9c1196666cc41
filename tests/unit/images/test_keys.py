"""Whose signatures count: the operator's keys where there are any, else the project's pinned ones, by
whatever way they came."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from appliance.errors import OperatorError, SurroundingsError
from appliance.images.coreos_layout import FLATCAR, CoreOsLayout
from appliance.images.ipxe import IPXE_SOURCE
from appliance.images.keys import known_keys, load_keyring, refresh_keys
from appliance.images.openpgp import Backend, Certificate, Detached
from appliance.images.source import Source
from appliance.images.trust import Case, Keyring, Untrusted
from appliance.paths import Paths
from appliance.settings import ImageSettings
from tests.fakes.signing import Signer

AT = datetime(2024, 3, 1, tzinfo=UTC)
URL = "https://project.example/key.asc"
NOTHING = ImageSettings()


@dataclass(frozen=True)
class Signers:
    project: Signer
    second: Signer  # also pinned
    other: Signer  # of the same name, and nobody's


@pytest.fixture(scope="module")
def signers() -> Iterator[Signers]:
    with ExitStack() as stack:
        yield Signers(*(stack.enter_context(Signer.make()) for _ in range(3)))


@pytest.fixture
def source(signers: Signers) -> CoreOsLayout:
    """Flatcar, if it had the test's keys."""
    pins = {signers.project.fingerprint: "Project", signers.second.fingerprint: "Second"}
    return replace(FLATCAR, pins=pins, key_url=URL)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(PurePosixPath(tmp_path))
    Path(paths.keys).mkdir(parents=True)
    return paths


@dataclass
class Web:
    """What the project's server has."""

    content: bytes | None
    asked: str = ""

    async def document(self, url: str, cap: int) -> bytes | None:
        self.asked = url
        assert self.content is None or len(self.content) <= cap
        return self.content


def put(paths: Paths, name: str, content: bytes) -> None:
    Path(paths.keys / name).write_bytes(content)


def refresh(paths: Paths, source: Source, content: bytes | None) -> tuple[Certificate, ...]:
    web = Web(content)
    found = asyncio.run(refresh_keys(paths, "flatcar", source, web))
    assert web.asked == URL
    return found


def pins(keyring: Keyring) -> set[str]:
    return set(keyring.pins)


# ---- the project's ----


def test_nothing_is_known_at_first(paths: Paths, source: CoreOsLayout) -> None:
    assert load_keyring(paths, "flatcar", source, NOTHING) == Keyring(frozenset(), ())
    Path(paths.keys).rmdir()
    assert load_keyring(paths, "flatcar", source, NOTHING) == Keyring(frozenset(), ())


def test_a_key_in_keys_d_counts_when_it_is_pinned(
    paths: Paths, source: CoreOsLayout, signers: Signers
) -> None:
    put(paths, "project.asc", signers.project.cert())
    put(paths, "other.asc", signers.other.cert())
    put(paths, "readme.txt", b"these are keys")
    put(paths, ".second.asc.swp", signers.second.cert())
    keyring = load_keyring(paths, "flatcar", source, NOTHING)
    assert (pins(keyring), keyring.operators) == ({signers.project.fingerprint}, False)
    assert len(keyring.certificates) == 1


def test_many_keys_in_one_file(paths: Paths, source: CoreOsLayout, signers: Signers) -> None:
    ring = b"".join(s.cert(armor=False) for s in (signers.other, signers.second, signers.project))
    put(paths, "ring.gpg", ring)
    keyring = load_keyring(paths, "flatcar", source, NOTHING)
    assert pins(keyring) == {signers.project.fingerprint, signers.second.fingerprint}


def test_a_key_from_where_the_project_documents_it(
    paths: Paths, source: CoreOsLayout, signers: Signers
) -> None:
    """A page that somebody took over may hold any key: the pin is what makes one count."""
    ring = signers.other.cert(armor=False) + signers.project.cert(armor=False)
    (found,) = refresh(paths, source, ring)
    assert found.fingerprint == signers.project.fingerprint
    keyring = load_keyring(paths, "flatcar", source, NOTHING)
    assert pins(keyring) == {signers.project.fingerprint}
    (known,) = known_keys(paths, "flatcar", source, NOTHING)
    assert known.file == str(paths.fetched_keys / "flatcar.pgp")


def test_what_is_not_pinned_there_is_not_kept(paths: Paths, source: CoreOsLayout, signers: Signers) -> None:
    refresh(paths, source, signers.project.cert())
    for content in (signers.other.cert(), b"", b"<html>moved</html>", bytes(1000), None):
        with pytest.raises(Untrusted) as refused:
            refresh(paths, source, content)
        assert refused.value.case is Case.NO_KEY
        assert signers.project.fingerprint in refused.value.hint
        assert ("there is none" in refused.value.message) == (not content)
    assert pins(load_keyring(paths, "flatcar", source, NOTHING)) == {signers.project.fingerprint}


def test_a_project_without_keys(paths: Paths) -> None:
    with pytest.raises(Untrusted) as refused:
        asyncio.run(refresh_keys(paths, "ipxe", IPXE_SOURCE, Web(b"")))
    assert "[images.ipxe] keys" in refused.value.hint


def test_a_disk_that_keeps_no_keys(paths: Paths, source: CoreOsLayout, signers: Signers) -> None:
    Path(paths.state).parent.mkdir(parents=True)
    Path(paths.state).write_bytes(b"in the way")
    with pytest.raises(SurroundingsError):
        refresh(paths, source, signers.project.cert())


def accepted(keyring: Keyring, signature: bytes, folder: Path) -> bool:
    file = folder / "file"
    file.write_bytes(b"data")
    check = Detached("file", signature, keyring, Backend.PYSEQUOIA)
    check.feed(b"data")
    try:
        check.verdict(file)
    except Untrusted:
        return False
    return True


def test_an_old_copy_in_keys_d_does_not_hide_a_newer_one(
    paths: Paths, source: CoreOsLayout, tmp_path: Path
) -> None:
    """The project makes a new subkey every year or two; refreshing brings it."""
    with Signer.make() as project:
        known = replace(source, pins={project.fingerprint: "Project"})
        put(paths, "project.asc", project.cert())
        project.rotate(at=AT)
        signature = project.sign(b"data", at=AT)
        assert not accepted(load_keyring(paths, "flatcar", known, NOTHING), signature, tmp_path)
        refresh(paths, known, project.cert())
        assert accepted(load_keyring(paths, "flatcar", known, NOTHING), signature, tmp_path)


def test_an_old_copy_does_not_speak_for_a_subkey_that_was_revoked(
    paths: Paths, source: CoreOsLayout, tmp_path: Path
) -> None:
    with Signer.make() as project:
        known = replace(source, pins={project.fingerprint: "Project"})
        put(paths, "project.asc", project.cert())
        signature = project.sign(b"data", at=AT)
        assert accepted(load_keyring(paths, "flatcar", known, NOTHING), signature, tmp_path)
        project.revoke_subkey(reason="compromised")
        refresh(paths, known, project.cert())
        assert not accepted(load_keyring(paths, "flatcar", known, NOTHING), signature, tmp_path)


# ---- the operator's ----


def test_an_operator_s_keys_take_the_place_of_the_project_s(
    paths: Paths, source: CoreOsLayout, signers: Signers
) -> None:
    put(paths, "project.asc", signers.project.cert())
    put(paths, "ours.asc", signers.other.cert())
    keyring = load_keyring(paths, "flatcar", source, ImageSettings(keys=("ours.asc",)))
    assert (pins(keyring), keyring.operators) == ({signers.other.fingerprint}, True)
    both = ImageSettings(keys=("ours.asc", "project.asc"))
    assert pins(load_keyring(paths, "flatcar", source, both)) == {
        signers.other.fingerprint,
        signers.project.fingerprint,
    }


def test_every_key_file_that_cannot_be_used_is_named(
    paths: Paths, source: CoreOsLayout, signers: Signers
) -> None:
    put(paths, "good.asc", signers.other.cert())
    put(paths, "text.asc", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nrubbish\n")
    put(paths, "signature.asc", signers.other.sign(b"x", armor=True))
    Path(paths.keys / "folder.asc").mkdir()
    names = ("absent.asc", "good.asc", "text.asc", "signature.asc", "folder.asc")
    with pytest.raises(OperatorError) as refused:
        load_keyring(paths, "flatcar", source, ImageSettings(keys=names))
    said = {Path(p.file).name: p.message for p in refused.value.problems}
    assert said == {
        "absent.asc": "cannot be read",
        "folder.asc": "cannot be read",
        "text.asc": "holds no OpenPGP certificate",
        "signature.asc": "holds no OpenPGP certificate",
    }
