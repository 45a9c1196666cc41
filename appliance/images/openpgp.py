"""Signatures, checked by OpenPGP implementations that are not ours, each in a process of its own.

pysequoia does it where it is installed; sqv, which shares its policy, where it is not; gpgv only for the
retired CoreOS keys, whose own signatures are SHA-1 and which Sequoia therefore refuses as a whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from appliance.errors import SurroundingsError
from appliance.images.trust import Case, Keyring, Signature, SignedText, Untrusted
from appliance.system.command import environment, run, spawn

_CHILD: Final = (sys.executable, "-I", "-m", "appliance.images.openpgp_child")
_HEAD: Final = 8
_PIPE: Final = 2**20  # with the usual 64 KiB the two hashes take turns instead of running side by side
_SECONDS: Final = 600.0  # for one file that is on disk: 4 GB at a tenth of the measured speed
_MD5, _SHA1, _RIPEMD160 = "1", "2", "3"  # RFC 4880 section 9.4
_REASONS: Final = {
    Case.WEAK_HASH: "it, or the key that signed it, relies on a broken hash (SHA-1)",
    Case.REVOKED_KEY: "the key that signed it is revoked",
    Case.EXPIRED_KEY: "it was signed after its key had expired",
    Case.FOREIGN_KEY: "no pinned key signed it",
    Case.FUTURE_SIGNATURE: "by this host's clock, it is signed in the future",
    Case.BAD_SIGNATURE: "the signature is not over these bytes",
}
_HINTS: Final = {
    Case.FOREIGN_KEY: "a mirror with keys of its own needs keys = [...] in the settings; "
    "a new key of the project comes with: pxe-appliance images keys --refresh",
    Case.EXPIRED_KEY: "pxe-appliance images keys --refresh, if the project has prolonged the key",
    Case.FUTURE_SIGNATURE: "is the clock right? timedatectl",
    Case.WEAK_HASH: "for the retired CoreOS images, and for nothing else: --legacy-sha1",
    Case.BAD_SIGNATURE: "the mirror has damaged or other bytes: try again, or another mirror",
}
# sqv says in words what the others say in facts.
_SQV_WORDS: Final = (
    ("sha1", Case.WEAK_HASH),
    ("revoked", Case.REVOKED_KEY),
    ("expired", Case.EXPIRED_KEY),
    ("not live", Case.EXPIRED_KEY),
    ("missing", Case.FOREIGN_KEY),
)


class Backend(StrEnum):
    """Who checks."""

    PYSEQUOIA = "pysequoia"
    SQV = "sqv"
    GPGV = "gpgv"


def choose_backend(*, legacy: bool) -> Backend:
    """The implementation to use; `legacy` asks for the one that still reads SHA-1 certificates.

    Raises:
        SurroundingsError: none of them is installed.
    """
    if legacy:
        wanted = [Backend.GPGV] if shutil.which("gpgv", path=environment()["PATH"]) else []
    elif importlib.util.find_spec("pysequoia") is not None:
        wanted = [Backend.PYSEQUOIA]
    else:
        wanted = [Backend.SQV] if shutil.which("sqv", path=environment()["PATH"]) else []
    if not wanted:
        package = "gpgv" if legacy else "sqv"
        raise SurroundingsError(
            "cannot check a signature: no OpenPGP implementation is installed", hint=f"apt install {package}"
        )
    return wanted[0]


def verify_text(what: str, text: bytes, keyring: Keyring) -> SignedText:
    """The signed part of a clearsigned document. pysequoia only.

    Raises:
        Untrusted: no pinned key signed it.
    """
    request = _request(keyring, text=b64encode(text).decode())
    answer = _answer(run(_CHILD, timeout=_SECONDS, input=request).stdout)
    return SignedText(str(answer.get("text")), _signature(what, answer, keyring))


def forecast(what: str, signature: bytes, keyring: Keyring) -> None:
    """Refuse now what cannot become good, rather than after a gigabyte. pysequoia only.

    Raises:
        Untrusted: no pinned key made the signature, or not in its time, or over a broken hash.
    """
    request = _request(keyring, signature=b64encode(signature).decode(), forecast="yes")
    answer = _answer(run(_CHILD, timeout=_SECONDS, input=request).stdout)
    if "refused" in answer:
        raise _refusal(what, Case(str(answer["refused"])))


class Detached:
    """One detached signature, checked over a file that is still arriving, or that is there.

    Feed it everything in order, then ask `verdict`. Where the implementation cannot read a stream, the file
    is read at the end. Not to be used twice; `close` ends what is left.
    """

    def __init__(self, what: str, signature: bytes, keyring: Keyring, backend: Backend) -> None:
        self._what, self._raw, self._keyring, self._backend = what, signature, keyring, backend
        self._child: subprocess.Popen[bytes] | None = None
        if backend is Backend.PYSEQUOIA:
            self._child = spawn(_CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._child.stdin is not None
            with contextlib.suppress(OSError):  # fcntl(2): whoever has too many pipes may not
                fcntl.fcntl(self._child.stdin.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
            raw = b64encode(signature).decode()
            self._write(_request(keyring, signature=raw, path="/dev/stdin"))

    def feed(self, chunk: bytes | memoryview) -> None:
        """The next bytes of the file. Blocks while the checker is behind."""
        if self._child is not None:
            self._write(chunk)

    def verdict(self, file: Path) -> Signature:
        """What the signature is worth over `file`, which was fed as a whole.

        Raises:
            Untrusted: it is not a pinned key's good signature over these bytes.
        """
        match self._backend:
            case Backend.SQV:
                return _by_sqv(self._what, self._raw, self._keyring, file)
            case Backend.GPGV:
                return _by_gpgv(self._what, self._raw, self._keyring, file)
        assert self._child is not None
        try:
            output, _ = self._child.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SurroundingsError(
                f"cannot check the signature of {self._what}: it takes too long"
            ) from error
        finally:
            self.close()
        return _signature(self._what, _answer(output.decode(errors="replace")), self._keyring)

    def close(self) -> None:
        """End the checker, whatever it was doing."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.kill()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        child.wait()

    def _write(self, data: bytes | memoryview) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        # A checker that has seen enough ends early; what it found is in its answer.
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(data)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that may sign. `expires` None: never."""

    fingerprint: str
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate: its primary fingerprint, who it says it is, its signing keys, its binary form."""

    fingerprint: str
    user: str
    revoked: bool
    signing: tuple[SigningKey, ...]
    raw: bytes

    @property
    def expires(self) -> datetime | None:
        """When the last of its signing keys ends; None when one of them never does, or there is none."""
        ends = [key.expires for key in self.signing]
        return None if None in ends or not ends else max(end for end in ends if end)

    @property
    def signs(self) -> bool:
        """Whether any of its keys may sign."""
        return bool(self.signing) and not self.revoked


def can_inspect() -> bool:
    """Whether certificates can be read here; without pysequoia, sqv checks signatures and tells no more."""
    return importlib.util.find_spec("pysequoia") is not None


def inspect(certificates: Sequence[bytes]) -> tuple[Certificate, ...]:
    """What stands in some key files, armored or not; what is no certificate is left out."""
    if not can_inspect():
        return ()
    raw = [b64encode(data).decode() for data in certificates]
    request = _packed({"inspect": True, "certificates": raw})
    answer = _answer(run(_CHILD, timeout=_SECONDS, input=request).stdout)
    found = answer.get("certificates")
    return tuple(_certificate(facts) for facts in found) if isinstance(found, list) else ()


def _certificate(facts: Mapping[str, object]) -> Certificate:
    signing = facts["signing"]
    assert isinstance(signing, list)
    keys = tuple(
        SigningKey(str(k["fingerprint"]), datetime.fromisoformat(k["expires"]) if k["expires"] else None)
        for k in signing
    )
    raw = b64decode(str(facts["raw"]))
    return Certificate(str(facts["fingerprint"]), str(facts["user"]), bool(facts["revoked"]), keys, raw)


def _request(keyring: Keyring, **facts: str) -> bytes:
    raw = [b64encode(data).decode() for data in keyring.certificates]
    return _packed({"pins": sorted(keyring.pins), "certificates": raw, **facts})


def _packed(request: Mapping[str, object]) -> bytes:
    body = json.dumps(request).encode()
    return f"{len(body):0{_HEAD}d}".encode() + body


def _answer(output: str) -> Mapping[str, object]:
    try:
        value: object = json.loads(output)
    except ValueError as error:
        raise SurroundingsError("cannot check a signature: the checker died") from error
    assert isinstance(value, dict)
    return value


def _signature(what: str, answer: Mapping[str, object], keyring: Keyring) -> Signature:
    if "refused" in answer:
        raise _refusal(what, Case(str(answer["refused"])))
    primary = str(answer["primary"])
    if primary not in keyring.pins:
        raise _refusal(what, Case.FOREIGN_KEY)
    made_at = datetime.fromisoformat(str(answer["made_at"]))
    return Signature(primary, str(answer["subkey"]), made_at)


def _refusal(what: str, case: Case) -> Untrusted:
    return Untrusted(case, what, _REASONS[case], hint=_HINTS.get(case, ""))


@contextlib.contextmanager
def _beside(signature: bytes, keyring: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """A signature and a keyring as the files that other programs want."""
    with tempfile.TemporaryDirectory(prefix="pxe-appliance-") as folder:
        keys, file = Path(folder, "keyring"), Path(folder, "signature")
        keys.write_bytes(b"".join(keyring))
        file.write_bytes(signature)
        yield str(keys), str(file)


def _by_sqv(what: str, signature: bytes, keyring: Keyring, file: Path) -> Signature:
    good, complaints = "", []
    for certificate in keyring.certificates:
        # One certificate a call: armored ones cannot be joined, and the one that answers is the signer.
        with _beside(signature, [certificate]) as (keys, place):
            done = run(["sqv", "--keyring", keys, place, str(file)], timeout=_SECONDS, check=False)
        primary = done.stdout.strip().replace(" ", "").upper()
        if done.rc != 0:
            complaints.append(done.stderr.lower())
        elif primary in keyring.pins or keyring.unread:
            good = primary
    # The signer's own certificate has something to say; all others, and what is none, only miss a key. Of two
    # copies of it, the one that knows of a revocation is right.
    told = [words for words in complaints if "missing key" not in words and "parse keyring" not in words]
    if good and not any("revoked" in words for words in told):
        return Signature(good, good, None)
    said = next(iter(told), "missing key")
    raise _refusal(what, next((case for word, case in _SQV_WORDS if word in said), Case.BAD_SIGNATURE))


def _by_gpgv(what: str, signature: bytes, keyring: Keyring, file: Path) -> Signature:
    known = [c for c in inspect(keyring.certificates) if c.fingerprint in keyring.pins]
    with _beside(signature, [c.raw for c in known]) as (keys, place):
        argv = ["gpgv", "--keyring", keys, "--status-fd", "1", place, str(file)]
        done = run(argv, timeout=_SECONDS, check=False)
    status = [line.removeprefix("[GNUPG:] ").split() for line in done.stdout.splitlines()]
    words = {fields[0] for fields in status if fields}
    if words & {"REVKEYSIG", "KEYREVOKED"}:
        raise _refusal(what, Case.REVOKED_KEY)
    valid = [fields for fields in status if fields[:1] == ["VALIDSIG"] and len(fields) >= 11]
    if done.rc != 0 or len(valid) != 1 or words & {"BADSIG", "EXPSIG", "ERRSIG"}:
        raise _refusal(what, Case.FOREIGN_KEY if "NO_PUBKEY" in words else Case.BAD_SIGNATURE)
    subkey, made_at = valid[0][1], datetime.fromtimestamp(int(valid[0][3]), UTC)
    algorithm, primary = valid[0][8], valid[0][10]
    if algorithm in {_MD5, _SHA1, _RIPEMD160}:
        raise _refusal(what, Case.WEAK_HASH)
    if primary not in keyring.pins:
        raise _refusal(what, Case.FOREIGN_KEY)
    ends = next((k.expires for c in known for k in c.signing if k.fingerprint == subkey), None)
    if ends is not None and made_at > ends:
        raise _refusal(what, Case.EXPIRED_KEY)
    return Signature(primary, subkey, made_at)
