"""The lab's releases: what a mirror of the real project has, and the store's own checks believe it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.images.coreos_layout import FLATCAR
from appliance.images.lock import Lock
from appliance.images.model import Artefact, ReleasePlan
from appliance.images.openpgp import Backend, Detached, inspect, verify_text
from appliance.images.source import Ask
from appliance.images.trust import (
    Case,
    Keyring,
    Measured,
    ProvenFile,
    Untrusted,
    judge_release,
    listed_digest,
    prove_file,
)
from appliance.lab.image_trial import FIRST, SECOND
from appliance.lab.release import INITRD, KERNEL, STREAM, BuildServer
from appliance.tree import Tree

BEGAN = datetime.now(UTC)
BUILDER = BuildServer.make()
RELEASE = BUILDER.release(FIRST, kernel=b"kernel", initrd=b"initrd" * 1000)
STRANGER = BuildServer.make()


def content(name: str, release: Tree = RELEASE) -> bytes:
    file = release.get(name)
    assert file is not None, name
    return file.content


def keyring(builder: BuildServer = BUILDER) -> Keyring:
    (certificate,) = inspect([builder.key])
    return Keyring(frozenset([certificate.fingerprint]), (certificate.raw,), operators=True)


def proven(artefact: Artefact, folder: Path, ring: Keyring) -> ProvenFile:
    """A file of the release by the store's own steps: signature, signed list, digest."""
    data = content(artefact.name)
    file = folder / artefact.name
    file.write_bytes(data)
    check = Detached(artefact.name, content(f"{artefact.name}.sig"), ring, Backend.PYSEQUOIA)
    check.feed(data)
    signature = check.verdict(file)
    text = verify_text(artefact.name, content(f"{artefact.name}.DIGESTS.asc"), ring)
    measured = Measured(len(data), hashlib.sha512(data).hexdigest())
    return prove_file(artefact, measured, listed_digest(text, artefact.name), signature)


def plan() -> ReleasePlan:
    return FLATCAR.plan(Ask(STREAM, None, "http://mirror"), content("version.txt"))


def test_it_is_laid_out_as_the_source_asks_for_it() -> None:
    assert plan().version == FIRST
    asked = {
        url.rpartition("/")[2] for a in plan().artefacts for url in (a.url, a.signature, a.digests) if url
    }
    assert asked == {file.path for file in RELEASE} - {"version.txt", "version.txt.sig"}
    assert {a.name for a in plan().artefacts} == {KERNEL, INITRD}
    assert FLATCAR.boot.kernel == KERNEL
    assert FLATCAR.boot.initrd == (INITRD,)
    assert {FLATCAR.foreign_number(STREAM, version) for version in (FIRST, SECOND)} == {None}


def test_every_file_is_proven_and_the_whole_is_a_release(tmp_path: Path) -> None:
    files = [proven(artefact, tmp_path, keyring()) for artefact in plan().artefacts]
    release = judge_release(
        plan(),
        files,
        Lock(),
        evidence={},
        certificates=keyring().certificates,
        foreign_number=None,
        allow_downgrade=False,
    )
    assert [file.artefact.name for file in release.files] == [KERNEL, INITRD]
    for file in release.files:
        assert file.signature is not None
        assert file.signature.made_at is not None
        assert abs(file.signature.made_at - BEGAN) < timedelta(minutes=5)


def test_another_builders_key_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Untrusted) as refused:
        proven(plan().artefacts[0], tmp_path, keyring(STRANGER))
    assert refused.value.case is Case.FOREIGN_KEY


def test_the_public_key_keeps_the_secret() -> None:
    assert BUILDER.key.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert all(b"PRIVATE KEY" not in file.content for file in RELEASE)
