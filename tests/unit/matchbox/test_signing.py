"""Signatures as verifiers of others see them, the key's file, and what a flood of requests may cost."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.addresses import Mac
from appliance.matchbox.answer import NOT_FOUND
from appliance.matchbox.assets import AssetRoot
from appliance.matchbox.model import Boot, MachineBoot, Profile
from appliance.matchbox.request import (
    BootRequest,
    Deny,
    RequestKind,
    SignatureForm,
)
from appliance.matchbox.signing import (
    CREDENTIAL,
    PASSPHRASE_VARIABLE,
    Busy,
    KeyringError,
    KeyringLocked,
    Signatures,
    SigningKey,
    given_passphrase,
    load_key,
    open_to_all,
)
from tests.fakes.keyrings import Exported, export
from tests.fakes.matchbox_endpoint import Served, ask, serving

DATA = Path(__file__).parents[2] / "corpus/matchbox/data.tar"
SIGNED = ("ipxe", "grub", "boot.ipxe", "boot.ipxe.0", "ignition", "generic", "cloud", "metadata")
VERIFIERS = ("gpgv", "sqv")
BINARY, ARMOURED = SignatureForm.BINARY, SignatureForm.ARMOURED
NODE1 = Mac.parse("52:54:00:aa:00:01")
MACHINE = MachineBoot(
    "node1", (NODE1,), Profile("p", boot=Boot("k", (), ())), {}, lambda token: b"secret of " + token.encode()
)


@pytest.fixture(
    scope="module",
    params=[("rsa3072", None), ("ed25519", None), ("rsa3072", "hunter 2é"), ("ed25519", "hunter 2é")],
    ids=["rsa", "ed25519", "rsa-encrypted", "ed25519-encrypted"],
)
def exported(request: pytest.FixtureRequest) -> Exported:
    """Keys of either kind, with a passphrase and without."""
    return export(*request.param)


@pytest.fixture(scope="module")
def plain() -> Exported:
    """A key for what does not depend on its kind."""
    return export("ed25519")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded data directory that has something of everything."""
    root = tmp_path_factory.mktemp("data")
    with tarfile.open(DATA) as archive:
        archive.extractall(root)
    return root / "data/edge"


@pytest.fixture(scope="module")
def served(edge: Path) -> Iterator[Served]:
    with serving(edge, [AssetRoot(edge / "assets")]) as running:
        yield running


def use(served: Served, tmp_path: Path, key: Exported) -> None:
    """Sign with `key` from now on."""
    file = tmp_path / "signing.pgp"
    file.write_bytes(key.secret)
    signatures = Signatures(load_key(file, key.passphrase))
    served.call(lambda: served.endpoint.use_signatures(signatures))


def test_others_verify_what_is_served(served: Served, tmp_path: Path, exported: Exported) -> None:
    use(served, tmp_path, exported)
    for name in SIGNED:
        target = f"/{name}{{}}?case=noid&os=x%20y"
        content = ask(served.port, target.format(""))
        assert content.status == 200
        for ending, kind in ((".sig", "application/octet-stream"), (".asc", "text/plain; charset=utf-8")):
            signature = ask(served.port, target.format(ending))
            assert (signature.status, signature.header("Content-Type")) == (200, kind)
            assert signature.body.startswith(b"-----BEGIN PGP SIGNATURE-----") == (ending == ".asc")
            for program in VERIFIERS:
                assert exported.verified_by(program, tmp_path, signature.body, content.body), (name, program)
                assert not exported.verified_by(program, tmp_path, signature.body, content.body + b"\n")


def test_the_record_is_the_documents_and_says_signature(
    served: Served, tmp_path: Path, plain: Exported
) -> None:
    use(served, tmp_path, plain)
    signature = ask(served.port, "/ipxe.sig?case=noid", method="POST")
    record = served.records[-1]
    assert (record.kind, record.signature, record.status) == (RequestKind.SCRIPT, True, 200)
    assert (record.path, record.sent) == ("/ipxe.sig", len(signature.body))
    head = ask(served.port, "/ipxe.sig?case=noid", method="HEAD")
    assert (head.body, head.header("Content-Length")) == (b"", str(len(signature.body)))
    part = ask(served.port, "/generic.sig?case=noid", headers={"Range": "bytes=0-3"})
    whole = ask(served.port, "/generic?case=noid").body
    assert part.status == 200
    assert plain.verified_by("gpgv", tmp_path, part.body, whole)
    ask(served.port, "/ipxe?case=noid")
    assert not served.records[-1].signature


def test_an_error_is_signed_too(served: Served, tmp_path: Path, plain: Exported) -> None:
    use(served, tmp_path, plain)
    for target in ("/ipxe.sig?mac=zz", "/generic.asc?mac=zz"):
        reply = ask(served.port, target)
        assert reply.status == 404
        assert plain.verified_by("gpgv", tmp_path, reply.body, NOT_FOUND)
        assert served.records[-1].reason


@pytest.mark.parametrize(
    "target", ["/.sig", "/assets.sig", "/assets/.asc", "/nope.sig", "/ipxe.sig.sig", "/sig"]
)
def test_nothing_else_is_signed(served: Served, tmp_path: Path, plain: Exported, target: str) -> None:
    use(served, tmp_path, plain)
    reply = ask(served.port, target)
    assert (reply.status, reply.body) == (404, NOT_FOUND)
    assert not served.records[-1].signature


def test_an_asset_that_is_called_so_is_an_asset(served: Served, tmp_path: Path, plain: Exported) -> None:
    before = [ask(served.port, f"/assets/a.{ending}").body for ending in ("sig", "asc")]
    use(served, tmp_path, plain)
    assert [ask(served.port, f"/assets/a.{ending}").body for ending in ("sig", "asc")] == before


@pytest.mark.parametrize("ending", ["sig", "asc"])
@pytest.mark.parametrize("name", SIGNED)
def test_without_a_key_there_is_nothing(edge: Path, name: str, ending: str) -> None:
    asked: list[BootRequest] = []
    with serving(edge, resolve=asked.append) as running:
        reply = ask(running.port, f"/{name}.{ending}?case=noid")
        assert (reply.status, reply.body) == (404, NOT_FOUND)
        record = running.records[-1]
    assert record.signature
    assert record.reason == "signatures are off: the settings name no keyring"
    assert not asked, "nobody's life is looked at for it"


def test_who_may_not_read_may_not_have_the_signature(tmp_path: Path, plain: Exported) -> None:
    asked: list[BootRequest] = []

    def resolve(request: BootRequest) -> Deny | None:
        asked.append(request)
        return None if request.labels.get("token") == "right" else Deny("not armed")

    with serving(machines=[MACHINE], resolve=resolve) as running:
        use(running, tmp_path, plain)
        denied = ask(running.port, f"/ignition.sig?mac={NODE1}&token=wrong")
        assert denied.status == 404
        assert running.records[-1].reason == "not armed"
        assert not plain.verified_by("gpgv", tmp_path, denied.body, b"secret of wrong")
        given = ask(running.port, f"/ignition.asc?mac={NODE1}&token=right")
        assert plain.verified_by("gpgv", tmp_path, given.body, b"secret of right")
    assert [(request.kind, request.signature) for request in asked] == [(RequestKind.IGNITION, True)] * 2


def test_what_ipxe_is_told_is_what_is_signed_for_it(tmp_path: Path, plain: Exported) -> None:
    loader = {"User-Agent": "iPXE/1.21.1"}
    with serving(tell=lambda _client, _reason: "#!ipxe\necho refused\n") as running:
        use(running, tmp_path, plain)
        told = ask(running.port, "/ipxe?mac=52:54:00:aa:00:99", headers=loader)
        signature = ask(running.port, "/ipxe.sig?mac=52:54:00:aa:00:99", headers=loader)
        assert (told.status, signature.status) == (200, 200)
        assert plain.verified_by("sqv", tmp_path, signature.body, told.body)
        assert running.records[-1].status == 404, "it is a refusal, whatever is shown"


def key_of(tmp_path: Path, exported: Exported) -> SigningKey:
    (tmp_path / "key").write_bytes(exported.secret)
    return load_key(tmp_path / "key", exported.passphrase)


def test_a_flood_is_turned_away_and_the_same_is_signed_once(tmp_path: Path, plain: Exported) -> None:
    signatures = Signatures(key_of(tmp_path, plain))

    async def flood() -> list[bytes | BaseException]:
        wanted = [signatures.over(b"%d" % i, BINARY) for i in range(200)]
        return await asyncio.gather(*wanted, return_exceptions=True)

    async def same() -> set[bytes]:
        return set(await asyncio.gather(*[signatures.over(b"same", BINARY) for _ in range(30)]))

    async def main() -> tuple[list[bytes | BaseException], set[bytes], bytes, bytes]:
        flooded, once = await flood(), await same()
        return flooded, once, await signatures.over(b"same", BINARY), await signatures.over(b"same", ARMOURED)

    flooded, once, again, armoured = asyncio.run(main())
    made = [one for one in flooded if isinstance(one, bytes)]
    assert {type(one) for one in flooded} == {bytes, Busy}
    assert 32 <= len(made) <= 40
    assert len(set(made)) == len(made)
    assert once == {again}
    assert armoured != again
    assert plain.verified_by("gpgv", tmp_path, armoured, b"same")


def test_the_armoured_export_and_a_secret_key_among_public_ones(tmp_path: Path, plain: Exported) -> None:
    (tmp_path / "armoured").write_bytes(plain.armoured)
    assert load_key(tmp_path / "armoured", None).fingerprint == plain.fingerprint
    (tmp_path / "ring").write_bytes(export("ed25519").certificate + plain.secret)
    key = load_key(tmp_path / "ring", "a passphrase that it does not need")
    assert repr(key) == f"<SigningKey {plain.fingerprint}>"


def test_an_encrypted_key_wants_its_passphrase(tmp_path: Path) -> None:
    locked = export("rsa2048", "hunter2")
    (tmp_path / "key").write_bytes(locked.secret)
    with pytest.raises(KeyringLocked, match="is encrypted, and no passphrase is given") as caught:
        load_key(tmp_path / "key", None)
    assert PASSPHRASE_VARIABLE in caught.value.hint
    for wrong in ("hunter3", ""):
        with pytest.raises(KeyringError, match="is not unlocked by the passphrase given"):
            load_key(tmp_path / "key", wrong)


def test_what_is_no_keyring_says_why(tmp_path: Path, plain: Exported) -> None:
    other = export("ed25519")
    for content, message in (
        (b"", "holds no secret key"),
        (b"hello", "holds no OpenPGP key"),
        (plain.secret[:60], "holds no OpenPGP key"),
        (plain.certificate, "holds no secret key, where one is expected"),
        (plain.secret + other.secret, "holds 2 secret keys, where one is expected"),
    ):
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(KeyringError, match=message) as caught:
            load_key(tmp_path / "key", None)
        assert "gpg --export-secret-keys" in caught.value.hint
        assert "\n" not in caught.value.message
    (tmp_path / "key").write_bytes(export("ed25519", expired=True).secret)
    with pytest.raises(KeyringError, match="holds no key that may sign now"):
        load_key(tmp_path / "key", None)
    with pytest.raises(KeyringError, match="does not exist"):
        load_key(tmp_path / "nope", None)
    with pytest.raises(KeyringError, match="cannot be read"):
        load_key(tmp_path, None)


def test_where_a_passphrase_comes_from(tmp_path: Path) -> None:
    by_systemd = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert given_passphrase({}) is None
    assert given_passphrase(by_systemd) is None
    (tmp_path / CREDENTIAL).write_text("of systemd \n")
    assert given_passphrase(by_systemd) == "of systemd "
    assert given_passphrase({**by_systemd, PASSPHRASE_VARIABLE: "of the environment"}) == "of the environment"
    (tmp_path / CREDENTIAL).write_bytes(b"\xff")
    with pytest.raises(KeyringError, match=CREDENTIAL):
        given_passphrase(by_systemd)


def test_who_may_read_the_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"")
    file.chmod(0o640)
    assert not open_to_all(file)
    file.chmod(0o644)
    assert open_to_all(file)
    assert not open_to_all(tmp_path / "nope")
