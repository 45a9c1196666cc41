"""Signatures by real keys, checked by real implementations: what each takes, and how it refuses the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.errors import SurroundingsError
from appliance.images.openpgp import Backend, Detached, choose_backend, inspect, verify_text
from appliance.images.trust import Case, Keyring, Signature, Untrusted
from tests.fakes.signing import Signer

DATA = b"a kernel, or something that claims to be one\n" * 100
DAY = timedelta(days=1)
ENDS = datetime(2023, 1, 1, tzinfo=UTC)
BEFORE, AFTER = ENDS - 30 * DAY, ENDS + 30 * DAY


@dataclass(frozen=True)
class Keys:
    """Signers by what became of them; a site pins all but `foreign`."""

    good: Signer
    ending: Signer  # its subkey ends at ENDS
    dying: Signer  # its primary does
    rotated: Signer
    superseded: Signer  # its first subkey, at ENDS
    compromised: Signer
    coreos: Signer  # bound by SHA-1
    fedora: Signer  # one key that signs and certifies
    foreign: Signer
    keyring: Keyring


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    with ExitStack() as stack:

        def make(name: str = "Test <test@example.com>", **facts: object) -> Signer:
            return stack.enter_context(Signer.make(name, **facts))  # type: ignore[arg-type]

        good, foreign, fedora = make(), make(), make(subkey=False)
        ending, dying = make(subkey_expires=ENDS), make(expires=ENDS)
        rotated, superseded, compromised = make(), make(), make()
        coreos = make(self_digest="SHA1")
        rotated.rotate(at=ENDS)
        superseded.revoke_subkey(at=ENDS, reason="superseded")
        compromised.revoke_subkey(at=ENDS, reason="compromised")
        known = (good, ending, dying, rotated, superseded, compromised, coreos, fedora)
        keyring = Keyring(frozenset(s.fingerprint for s in known), tuple(s.cert() for s in known))
        yield Keys(good, ending, dying, rotated, superseded, compromised, coreos, fedora, foreign, keyring)


def check(
    folder: Path, signature: bytes, keyring: Keyring, backend: Backend, data: bytes = DATA
) -> Signature:
    """A file that arrives in pieces, judged when it is there."""
    file = folder / "file"
    file.write_bytes(data)
    detached = Detached("the-file", signature, keyring, backend)
    try:
        for start in range(0, len(data), 1000):
            detached.feed(data[start : start + 1000])
        return detached.verdict(file)
    finally:
        detached.close()


def refusal(folder: Path, signature: bytes, keyring: Keyring, backend: Backend, data: bytes = DATA) -> Case:
    with pytest.raises(Untrusted) as refused:
        check(folder, signature, keyring, backend, data)
    assert "the-file" in refused.value.message
    return refused.value.case


each_backend = pytest.mark.parametrize("backend", Backend)
GOOD: Mapping[str, Callable[[Keys], tuple[Signer, bytes]]] = {
    "binary": lambda k: (k.good, k.good.sign(DATA, at=BEFORE)),
    "armored": lambda k: (k.good, k.good.sign(DATA, at=BEFORE, armor=True)),
    "SHA-256": lambda k: (k.good, k.good.sign(DATA, at=BEFORE, digest="SHA256")),
    "before its subkey ended": lambda k: (k.ending, k.ending.sign(DATA, at=BEFORE)),
    "before its primary ended": lambda k: (k.dying, k.dying.sign(DATA, at=BEFORE)),
    "by the new subkey": lambda k: (k.rotated, k.rotated.sign(DATA, at=AFTER)),
    "by the subkey before": lambda k: (
        k.rotated, k.rotated.sign(DATA, at=BEFORE, with_subkey=k.rotated.subkeys[0])
    ),
    "by a primary": lambda k: (k.fedora, k.fedora.sign(DATA, at=BEFORE)),
}  # fmt: skip


@each_backend
@pytest.mark.parametrize("case", GOOD)
def test_good_signatures(keys: Keys, tmp_path: Path, backend: Backend, case: str) -> None:
    signer, signature = GOOD[case](keys)
    found = check(tmp_path, signature, keys.keyring, backend)
    assert found.primary == signer.fingerprint
    if backend is Backend.SQV:  # it names the primary alone
        assert (found.subkey, found.made_at) == (signer.fingerprint, None)
    else:
        made = AFTER if case == "by the new subkey" else BEFORE
        old = signer.subkeys[0] if case == "by the subkey before" else signer.subkey
        assert (found.subkey, found.made_at) == (old, made)


@dataclass(frozen=True)
class Bad:
    """A signature over other data, or that is none; `cases` says what each implementation calls it."""

    make: Callable[[Keys], bytes]
    pysequoia: Case | None
    sqv: Case | None
    gpgv: Case | None
    data: bytes = DATA


def everywhere(make: Callable[[Keys], bytes], case: Case, data: bytes = DATA) -> Bad:
    return Bad(make, case, case, case, data)


def both(first: Signer, second: Signer) -> bytes:
    return first.sign(DATA, at=BEFORE) + second.sign(DATA, at=BEFORE)


BAD: Mapping[str, Bad] = {
    "changed": everywhere(lambda k: k.good.sign(DATA), Case.BAD_SIGNATURE, DATA[:-1] + b"!"),
    "a byte more": everywhere(lambda k: k.good.sign(DATA), Case.BAD_SIGNATURE, DATA + b"\n"),
    "a byte less": everywhere(lambda k: k.good.sign(DATA), Case.BAD_SIGNATURE, DATA[:-1]),
    "nothing signed": everywhere(lambda k: k.good.sign(DATA), Case.BAD_SIGNATURE, b""),
    "of another file": everywhere(lambda k: k.good.sign(b"other"), Case.BAD_SIGNATURE),
    "by a key of the same name": everywhere(lambda k: k.foreign.sign(DATA), Case.FOREIGN_KEY),
    "after its subkey ended": everywhere(lambda k: k.ending.sign(DATA, at=AFTER), Case.EXPIRED_KEY),
    "after its primary ended": everywhere(lambda k: k.dying.sign(DATA, at=AFTER), Case.EXPIRED_KEY),
    "SHA-1": everywhere(lambda k: k.good.sign(DATA, digest="SHA1"), Case.WEAK_HASH),
    "compromised": everywhere(lambda k: k.compromised.sign(DATA, at=BEFORE), Case.REVOKED_KEY),
    "after it was superseded": everywhere(lambda k: k.superseded.sign(DATA, at=AFTER), Case.REVOKED_KEY),
    "before it was superseded": Bad(
        lambda k: k.superseded.sign(DATA, at=BEFORE), None, None, Case.REVOKED_KEY
    ),
    "bound by SHA-1": Bad(lambda k: k.coreos.sign(DATA, at=BEFORE), Case.WEAK_HASH, Case.WEAK_HASH, None),
    "truncated": everywhere(lambda k: k.good.sign(DATA)[:-1], Case.BAD_SIGNATURE),
    "half": everywhere(lambda k: k.good.sign(DATA)[:40], Case.BAD_SIGNATURE),
    "empty": everywhere(lambda _: b"", Case.BAD_SIGNATURE),
    "html": everywhere(lambda _: b"<html><body>404</body></html>", Case.BAD_SIGNATURE),
    "zeros": everywhere(lambda _: bytes(119), Case.BAD_SIGNATURE),
    "a certificate": everywhere(lambda k: k.good.cert(armor=False), Case.BAD_SIGNATURE),
    "clearsigned": everywhere(lambda k: k.good.clearsign(DATA), Case.BAD_SIGNATURE),
    "a foreign one, then a good one": Bad(
        lambda k: both(k.foreign, k.good), Case.BAD_SIGNATURE, None, Case.FOREIGN_KEY
    ),
    "a good one, then a foreign one": Bad(
        lambda k: both(k.good, k.foreign), Case.BAD_SIGNATURE, None, Case.FOREIGN_KEY
    ),
    "two foreign ones": Bad(
        lambda k: both(k.foreign, k.foreign), Case.BAD_SIGNATURE, Case.FOREIGN_KEY, Case.FOREIGN_KEY
    ),
}  # fmt: skip


@each_backend
@pytest.mark.parametrize("case", BAD)
def test_bad_signatures(keys: Keys, tmp_path: Path, backend: Backend, case: str) -> None:
    bad = BAD[case]
    expected = {Backend.PYSEQUOIA: bad.pysequoia, Backend.SQV: bad.sqv, Backend.GPGV: bad.gpgv}[backend]
    if expected is None:  # the implementations differ, and this one is right to take it
        assert check(tmp_path, bad.make(keys), keys.keyring, backend, bad.data).primary in keys.keyring.pins
    else:
        assert refusal(tmp_path, bad.make(keys), keys.keyring, backend, bad.data) is expected


@each_backend
def test_a_certificate_that_is_at_hand_and_not_pinned_does_not_count(
    keys: Keys, tmp_path: Path, backend: Backend
) -> None:
    signature = keys.good.sign(DATA, at=BEFORE)
    for pins in (frozenset({keys.fedora.fingerprint}), frozenset({keys.good.subkey}), frozenset[str]()):
        keyring = Keyring(pins, keys.keyring.certificates)
        assert refusal(tmp_path, signature, keyring, backend) is Case.FOREIGN_KEY


@each_backend
def test_no_certificate_no_trust(keys: Keys, tmp_path: Path, backend: Backend) -> None:
    for certificates in ((), (b"",), (b"rubbish",), (keys.foreign.cert(),)):
        keyring = Keyring(keys.keyring.pins, certificates)
        assert refusal(tmp_path, keys.good.sign(DATA), keyring, backend) is Case.FOREIGN_KEY


@each_backend
def test_certificates_may_be_armored_or_not_and_in_one_file(
    keys: Keys, tmp_path: Path, backend: Backend
) -> None:
    signature, pins = keys.good.sign(DATA, at=BEFORE), frozenset({keys.good.fingerprint})
    together = keys.fedora.cert(armor=False) + keys.good.cert(armor=False)
    for certificates in ((keys.good.cert(armor=False),), (keys.good.cert(),), (together,)):
        assert check(tmp_path, signature, Keyring(pins, certificates), backend).primary in pins


def test_a_signer_who_is_refused_early_does_not_stop_the_file(keys: Keys, tmp_path: Path) -> None:
    """The checker has seen enough, and its end of the pipe is closed; the bytes go on arriving."""
    data = bytes(8 * 2**20)
    for signature in (b"", keys.foreign.sign(b"")):
        assert refusal(tmp_path, signature, keys.keyring, Backend.PYSEQUOIA, data) in {
            Case.BAD_SIGNATURE,
            Case.FOREIGN_KEY,
        }


def test_a_checker_is_ended_with_its_file(keys: Keys) -> None:
    detached = Detached("f", keys.good.sign(DATA), keys.keyring, Backend.PYSEQUOIA)
    detached.feed(DATA)
    child = detached._child
    assert child is not None
    detached.close()
    assert child.returncode is not None
    detached.close()


def test_a_checker_that_dies_is_no_verdict(keys: Keys, tmp_path: Path) -> None:
    detached = Detached("f", keys.good.sign(DATA), keys.keyring, Backend.PYSEQUOIA)
    assert detached._child is not None
    detached._child.kill()
    detached._child.wait()
    with pytest.raises(SurroundingsError, match="checker died"):
        detached.verdict(tmp_path)


# ---- text ----

TEXT = "# SHA512 HASH\nabc  kernel\n- a line with a dash\nFrom here\n\n"


def test_the_signed_part_of_a_text(keys: Keys) -> None:
    signed = keys.good.clearsign(TEXT.encode(), at=BEFORE)
    evil = b"\n# SHA512 HASH\nevil  kernel\n"
    for before, after in ((b"", b""), (evil, b""), (b"", evil), (b"", keys.good.clearsign(evil))):
        found = verify_text("list", before + signed + after, keys.keyring)
        assert found.text.rstrip("\n") == TEXT.rstrip("\n")
        assert found.signature == Signature(keys.good.fingerprint, keys.good.subkey, BEFORE)


def test_line_ends_are_the_same_in_every_system(keys: Keys) -> None:
    signed = keys.good.clearsign(b"a\nb\n", at=BEFORE)
    assert verify_text("list", signed.replace(b"\n", b"\r\n"), keys.keyring).text.split() == ["a", "b"]


UNSIGNED: Mapping[str, tuple[Callable[[Keys], bytes], Case]] = {
    "changed": (lambda k: k.good.clearsign(TEXT.encode()).replace(b"abc", b"abd"), Case.BAD_SIGNATURE),
    "a line more": (lambda k: k.good.clearsign(TEXT.encode()).replace(b"abc", b"x\nabc"), Case.BAD_SIGNATURE),
    "foreign": (lambda k: k.foreign.clearsign(TEXT.encode()), Case.FOREIGN_KEY),
    "expired": (lambda k: k.ending.clearsign(TEXT.encode(), at=AFTER), Case.EXPIRED_KEY),
    "compromised": (lambda k: k.compromised.clearsign(TEXT.encode(), at=BEFORE), Case.REVOKED_KEY),
    "SHA-1": (lambda k: k.good.clearsign(TEXT.encode(), digest="SHA1"), Case.WEAK_HASH),
    "not signed": (lambda _: TEXT.encode(), Case.BAD_SIGNATURE),
    "empty": (lambda _: b"", Case.BAD_SIGNATURE),
    "html": (lambda _: b"<html></html>", Case.BAD_SIGNATURE),
    "cut": (lambda k: k.good.clearsign(TEXT.encode())[:-60], Case.BAD_SIGNATURE),
    "no text": (lambda k: k.good.sign(TEXT.encode(), armor=True), Case.BAD_SIGNATURE),
    "two texts": (
        lambda k: k.foreign.clearsign(b"evil\n") + k.good.clearsign(TEXT.encode()), Case.FOREIGN_KEY
    ),
    "detached": (lambda k: k.good.sign(TEXT.encode()), Case.BAD_SIGNATURE),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSIGNED)
def test_text_that_nobody_pinned_signed(keys: Keys, case: str) -> None:
    make, expected = UNSIGNED[case]
    with pytest.raises(Untrusted) as refused:
        verify_text("list", make(keys), keys.keyring)
    assert refused.value.case is expected
    assert "list" in refused.value.message


# ---- certificates ----


def test_what_stands_in_key_files(keys: Keys) -> None:
    files = [
        keys.ending.cert(),
        keys.rotated.cert(armor=False) + keys.fedora.cert(armor=False),
        b"rubbish",
        b"",
    ]
    ending, rotated, fedora = inspect(files)
    assert (ending.fingerprint, ending.user) == (keys.ending.fingerprint, "Test <test@example.com>")
    assert [(k.fingerprint, k.expires) for k in ending.signing] == [(keys.ending.subkey, ENDS)]
    assert ending.expires == ENDS
    assert {k.fingerprint for k in rotated.signing} == set(keys.rotated.subkeys)
    assert rotated.expires is None
    assert [k.fingerprint for k in fedora.signing] == [keys.fedora.fingerprint]
    assert not any(c.revoked for c in (ending, rotated, fedora))
    assert inspect([ending.raw]) == (ending,)


def test_when_a_certificate_can_sign_no_more(keys: Keys) -> None:
    (dying,) = inspect([keys.dying.cert()])
    assert dying.expires == ENDS, "a subkey does not outlive its primary"
    (compromised,) = inspect([keys.compromised.cert()])
    assert compromised.signing == ()
    with Signer.make(subkey_expires=ENDS) as prolonged:
        prolonged.expire(AFTER, at=BEFORE)
        (found,) = inspect([prolonged.cert()])
        assert found.expires == AFTER
        prolonged.rotate(at=BEFORE, expires=AFTER + DAY)
        assert inspect([prolonged.cert()])[0].expires == AFTER + DAY


# ---- who checks ----


def test_who_checks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert choose_backend(legacy=False) is Backend.PYSEQUOIA
    assert choose_backend(legacy=True) is Backend.GPGV
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SurroundingsError) as missing:
        choose_backend(legacy=True)
    assert "apt install gpgv" in missing.value.hint
