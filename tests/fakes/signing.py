"""OpenPGP keys as a build server has them, made by real GnuPG in a home of their own; nothing verifies here.

Each signer has two keyrings over one set of secrets. The published one is what `cert()` gives away: there
keys expire and are revoked. On the bench, where signatures are made, no key ever ends, because gpg refuses to
sign with a dead key and a test needs exactly such signatures.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

CREATED = datetime(2020, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DEADLINE = 60.0
HASHES = {"SHA1": 2, "SHA256": 8, "SHA384": 9, "SHA512": 10}

Ring = Literal["public", "bench"]
Reason = Literal["compromised", "superseded", "retired"]
# The menu of `revkey` in gpg's key editor.
REASONS: dict[Reason, str] = {"compromised": "1", "superseded": "2", "retired": "3"}


class GpgFailed(RuntimeError):
    """gpg did not do what the test asked of it."""


@dataclass
class Signer:
    """A certify-only primary key and its signing subkeys; the home goes away with `close()`."""

    home: Path
    fingerprint: str = ""
    subkeys: list[str] = field(default_factory=list)
    created: datetime = CREATED
    algorithm: str = "ed25519"
    bound: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        name: str = "Test Buildbot <buildbot@example.com>",
        *,
        created: datetime | None = None,
        expires: datetime | None = None,
        subkey_expires: datetime | None = None,
        algorithm: str = "ed25519",
        self_digest: str = "SHA512",
        subkey: bool = True,
    ) -> Self:
        """A new primary with one signing subkey, both made at `created` (2020 when not said).

        `expires` ends the primary and `subkey_expires` the subkey. `self_digest="SHA1"` binds the user ID
        with SHA-1, as in the certificate of CoreOS. `subkey=False` gives a primary that signs itself, as
        Fedora's does.
        """
        # The agent's socket lies in the home, and a socket's path has room for about 100 characters.
        signer = cls(Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp")))
        signer.created = created or CREATED
        signer.algorithm = algorithm
        try:
            use = "cert" if subkey else "cert,sign"
            options = ("--cert-digest-algo", self_digest, "--quick-generate-key")
            signer._gpg("public", *options, name, algorithm, use, _end(expires), at=signer.created)
            signer.fingerprint = signer._fingerprints("fpr")[0]
            signer.bound[signer.fingerprint] = signer.created
            signer._onto_bench(signer.created, ends=expires is not None)
            if subkey:
                signer.rotate(at=signer.created, expires=subkey_expires)
            else:
                signer.subkeys.append(signer.fingerprint)
        except BaseException:
            signer.close()
            raise
        return signer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def subkey(self) -> str:
        """The fingerprint of the newest key that signs."""
        return self.subkeys[-1]

    def cert(self, *, armor: bool = True) -> bytes:
        """The public certificate as it stands now."""
        return self._gpg("public", *(["--armor"] if armor else []), "--export", self.fingerprint)

    def sign(
        self,
        data: bytes,
        *,
        at: datetime | None = None,
        digest: str = "SHA512",
        with_subkey: str | None = None,
        armor: bool = False,
    ) -> bytes:
        """A detached signature over `data`, by the newest subkey unless another one is named."""
        form = ["--armor"] if armor else []
        return self._signature([*form, "--detach-sign"], data, at, digest, with_subkey)

    def clearsign(
        self,
        text: bytes,
        *,
        at: datetime | None = None,
        digest: str = "SHA512",
        with_subkey: str | None = None,
    ) -> bytes:
        """`text` inside a clear-text signature."""
        return self._signature(["--clearsign"], text, at, digest, with_subkey)

    def rotate(self, *, at: datetime | None = None, expires: datetime | None = None) -> str:
        """Add a signing subkey, which signs from here on; answers its fingerprint."""
        before = set(self._fingerprints("fpr"))
        made = (at or datetime.now(UTC)).replace(microsecond=0)
        arguments = ("--quick-add-key", self.fingerprint, self.algorithm, "sign", _end(expires))
        self._gpg("public", *arguments, at=made)
        (added,) = (each for each in self._fingerprints("fpr") if each not in before)
        self.subkeys.append(added)
        self.bound[added] = made
        self._onto_bench(made, added, ends=expires is not None)
        return added

    def expire(
        self,
        when: datetime,
        *,
        subkey: str | None = None,
        primary: bool = False,
        at: datetime | None = None,
    ) -> None:
        """Let a subkey (the newest, unless named) or the primary end at `when`, as decided at `at`.

        Without `at` the end was known from the beginning: the new self-signature replaces the first one, and
        what was signed before a self-signature was made does not count.
        """
        keys = [] if primary else [subkey or self.subkey]
        arguments = ("--quick-set-expire", self.fingerprint, _end(when), *keys)
        target = self.fingerprint if primary else keys[0]
        # gpg refuses a self-signature that is not younger than the one before it.
        self.bound[target] = at or self.bound[target] + SECOND
        self._gpg("public", *arguments, at=self.bound[target])

    def revoke_subkey(
        self, fingerprint: str | None = None, reason: Reason = "superseded", *, at: datetime | None = None
    ) -> None:
        """Revoke a subkey in the published certificate; the bench goes on signing with it."""
        chosen = fingerprint or self.subkey
        # gpg 2.2 has no quick command that revokes a subkey: its editor has to be led.
        script = "\n".join([f"key {chosen}", "revkey", "y", REASONS[reason], "", "y", "save", ""])
        arguments = ("--command-fd", "0", "--edit-key", self.fingerprint)
        self._gpg("public", *arguments, at=at, data=script.encode(), batch=False)
        if not any(line[0] == "sub" and line[1] == "r" for line in self._listing_of(chosen)):
            raise GpgFailed(f"gpg did not revoke {chosen}")

    def close(self) -> None:
        """End the agent and remove every key."""
        if not self.home.exists():
            return
        subprocess.run(
            ["gpgconf", "--homedir", str(self.home), "--kill", "all"],
            check=False,
            capture_output=True,
            timeout=DEADLINE,
        )
        # The agent removes its own sockets while it goes.
        shutil.rmtree(self.home, ignore_errors=True)
        if self.home.exists():
            shutil.rmtree(self.home)

    def _signature(
        self, form: list[str], data: bytes, at: datetime | None, digest: str, subkey: str | None
    ) -> bytes:
        chosen = f"{subkey or self.subkey}!"
        options = ["--local-user", chosen, "--digest-algo", digest]
        options += ["--ignore-time-conflict", "--ignore-valid-from"]
        made = self._gpg("bench", *options, *form, at=at, data=data)
        # Of a clear-signed text gpg lists no more than the text.
        signature = made[max(made.find(b"-----BEGIN PGP SIGNATURE-----"), 0) :]
        packets = self._gpg("bench", "--list-packets", data=signature).decode("utf-8", "replace")
        if f"digest algo {HASHES[digest]}," not in packets:
            raise GpgFailed(f"gpg chose another digest than {digest}:\n{packets}")
        return made

    def _onto_bench(self, made: datetime, *subkey: str, ends: bool) -> None:
        """Take a new key over to the bench, and let it live for ever there."""
        self._gpg("bench", "--import", data=self._gpg("public", "--export", self.fingerprint))
        if ends:
            self._gpg("bench", "--quick-set-expire", self.fingerprint, "0", *subkey, at=made + SECOND)

    def _listing(self) -> list[list[str]]:
        listed = self._gpg("public", "--with-colons", "--with-subkey-fingerprint", "--list-keys")
        return [line.split(":") for line in listed.decode().splitlines()]

    def _listing_of(self, fingerprint: str) -> Iterator[list[str]]:
        """The key lines whose fingerprint line follows them."""
        lines = self._listing()
        for key, after in itertools.pairwise(lines):
            if after[0] == "fpr" and after[9] == fingerprint:
                yield key

    def _fingerprints(self, kind: str) -> list[str]:
        return [line[9] for line in self._listing() if line[0] == kind]

    def _gpg(
        self,
        ring: Ring,
        *arguments: str,
        at: datetime | None = None,
        data: bytes = b"",
        batch: bool = True,
    ) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--no-tty", "--quiet", "--no-options", "--yes"]
        command += ["--batch"] if batch else []
        command += ["--no-default-keyring", "--keyring", str(self.home / f"{ring}.kbx")]
        command += ["--trust-model", "always", "--no-auto-check-trustdb"]
        command += ["--pinentry-mode", "loopback", "--passphrase", ""]
        command += ["--allow-weak-digest-algos"]
        if at is not None:
            command += ["--faked-system-time", f"{at.astimezone(UTC):%Y%m%dT%H%M%S}!"]
        done = subprocess.run(
            [*command, *arguments], input=data, capture_output=True, check=False, timeout=DEADLINE
        )
        if done.returncode != 0:
            raise GpgFailed(f"gpg {' '.join(arguments)}: {done.stderr.decode('utf-8', 'replace')}")
        return done.stdout


def _end(when: datetime | None) -> str:
    return "never" if when is None else f"{when.astimezone(UTC):%Y%m%dT%H%M%S}"
