"""Secret keys as an operator exports them: made by real GnuPG, in a home that is gone afterwards."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 120.0


@dataclass(frozen=True)
class Exported:
    """A key as gpg exports it; the certificate is binary, as gpgv wants it."""

    fingerprint: str
    secret: bytes
    armoured: bytes
    certificate: bytes
    passphrase: str | None

    def verified_by(self, program: str, room: Path, signature: bytes, content: bytes) -> bool:
        """Whether `gpgv` or `sqv` takes `signature` for this key's over `content`."""
        for name, raw in (("key", self.certificate), ("sig", signature), ("doc", content)):
            (room / name).write_bytes(raw)
        files = ["--keyring", str(room / "key"), str(room / "sig"), str(room / "doc")]
        done = subprocess.run(
            [program, *files],
            capture_output=True,
            check=False,
            timeout=DEADLINE,
            env={"GNUPGHOME": str(room), "PATH": "/usr/bin:/bin"},
        )
        return done.returncode == 0


def export(algorithm: str, passphrase: str | None = None, *, expired: bool = False) -> Exported:
    """A new key that signs, or one that ended years ago. `algorithm` as gpg knows it: rsa3072, ed25519."""
    with _home() as home:

        def gpg(*arguments: str) -> bytes:
            command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-options"]
            command += ["--pinentry-mode", "loopback", "--passphrase-fd", "0"]
            command += ["--faked-system-time", "20200101T000000!"] if expired else []
            done = subprocess.run(
                [*command, *arguments],
                input=(passphrase or "").encode(),
                capture_output=True,
                check=True,
                timeout=DEADLINE,
            )
            return done.stdout

        gpg("--quick-generate-key", "signer@example.com", algorithm, "sign", "1d" if expired else "never")
        listed = gpg("--with-colons", "--list-keys").decode()
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        return Exported(
            fingerprint,
            gpg("--export-secret-keys", fingerprint),
            gpg("--armor", "--export-secret-keys", fingerprint),
            gpg("--export", fingerprint),
            passphrase,
        )


@contextmanager
def _home() -> Iterator[Path]:
    # The agent's socket lies in the home, and a socket's path has room for about 100 characters.
    home = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    try:
        yield home
    finally:
        kill = ["gpgconf", "--homedir", str(home), "--kill", "all"]
        subprocess.run(kill, check=False, capture_output=True, timeout=DEADLINE)
        shutil.rmtree(home, ignore_errors=True)
