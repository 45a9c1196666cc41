"""The signing key follows its setting and its file; what a signature request is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from appliance.boot.events import EventKind
from appliance.daemon.keyring import Keyring
from appliance.daemon.requests_seen import event_of
from appliance.matchbox.request import RequestKind, RequestRecord, SignatureForm
from appliance.matchbox.signing import PASSPHRASE_VARIABLE, Signatures
from appliance.paths import Paths
from appliance.settings import MatchboxSettings, Settings
from tests.fakes.keyrings import export
from tests.unit.daemon.rooms import AT, PXE, served

OFF = Settings({"pxe": PXE})
ON = replace(OFF, matchbox=MatchboxSettings(keyring="signing.pgp"))


def test_the_key_follows_setting_and_file(tmp_path: Path) -> None:
    paths = Paths(PurePosixPath(tmp_path))
    file = Path(paths.keys) / "signing.pgp"
    file.parent.mkdir(parents=True)
    key, other = export("ed25519"), export("ed25519")
    keyring = Keyring(paths, {})

    async def taken(settings: Settings) -> Signatures | str:
        await keyring.refresh(settings)
        return keyring.signatures

    async def main() -> None:
        assert "the settings name no keyring" in str(await taken(OFF))
        assert await taken(ON) == f"nothing is signed: {file} does not exist"
        (problem,) = keyring.problems
        assert (problem["id"], problem["severity"]) == ("keyring", "error")
        assert str(file) in problem["message"]
        assert "put the key there" in problem["fix"]
        file.write_bytes(key.secret)
        first = await taken(ON)
        assert isinstance(first, Signatures)
        assert keyring.problems == ()
        assert await taken(ON) is first, "read once"
        file.write_bytes(other.secret)
        second = await taken(ON)
        assert isinstance(second, Signatures)
        made = await second.over(b"x", SignatureForm.BINARY)
        assert other.verified_by("gpgv", tmp_path, made, b"x")
        file.write_bytes(b"half")
        assert "nothing is signed" in str(await taken(ON))
        assert "the settings name no keyring" in str(await taken(OFF))
        assert keyring.problems == ()

    asyncio.run(main())


def test_the_passphrase_comes_from_the_environment(tmp_path: Path) -> None:
    paths = Paths(PurePosixPath(tmp_path))
    locked = export("ed25519", "hunter2")
    (tmp_path / "key").write_bytes(locked.secret)
    settings = replace(OFF, matchbox=MatchboxSettings(keyring=str(tmp_path / "key")))
    for environ, reason in (
        ({}, "no passphrase is given"),
        ({PASSPHRASE_VARIABLE: "wrong"}, "is not unlocked"),
        ({PASSPHRASE_VARIABLE: "hunter2"}, ""),
    ):
        keyring = Keyring(paths, environ)
        asyncio.run(keyring.refresh(settings))
        assert isinstance(keyring.signatures, Signatures) is (not reason)
        assert [reason in problem["message"] for problem in keyring.problems] == [True] * bool(reason)
        assert "wrong" not in str(keyring.problems)


@pytest.mark.parametrize("kind", [RequestKind.CHAIN, RequestKind.SCRIPT, RequestKind.IGNITION])
def test_a_signature_is_no_step_of_a_boot(kind: RequestKind) -> None:
    record = RequestRecord(kind, "172.0.1.21", "GET", "/x.sig", 200, 7, machine="node1", signature=True)
    assert event_of(record, served(), AT) is None
    assert event_of(replace(record, client="172.0.1.99", machine=None), served(), AT) is None
    refused = event_of(replace(record, status=404, reason="not armed"), served(), AT)
    assert refused is not None
    assert (refused.kind, refused.detail["reason"]) == (EventKind.HTTP_ERROR, "not armed")
