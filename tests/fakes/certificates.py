"""TLS certificates that tests make with the `openssl` program: an authority, and servers under it."""

from __future__ import annotations

import ipaddress
import subprocess
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 60.0
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")


@dataclass(frozen=True)
class Authority:
    """A certificate authority that only a test trusts: `cert` is what a client is given."""

    cert: Path
    key: Path

    def server(self, *hosts: str) -> tuple[Path, Path]:
        """A certificate for these names or addresses, and its key."""
        stem = self.cert.with_name(hosts[0].replace(":", "_").replace("*", "any"))
        cert, key = stem.with_name(stem.name + ".crt"), stem.with_name(stem.name + ".key")
        names = ",".join(f"{_kind(host)}:{host}" for host in hosts)
        request: list[str | Path] = ["req", "-x509", "-CA", self.cert, "-CAkey", self.key]
        request += ["-out", cert, "-keyout", key, "-subj", f"/CN={hosts[0]}", *NEW_KEY]
        for extension in (f"subjectAltName={names}", "basicConstraints=critical,CA:FALSE"):
            request += ["-addext", extension]
        _openssl(*request)
        return cert, key

    def expired(self, host: str) -> tuple[Path, Path]:
        """As `server`, for one name, over since yesterday."""
        stem = self.cert.with_name(f"expired-{host}")
        cert, key, asked = (stem.with_name(f"{stem.name}.{end}") for end in ("crt", "key", "csr"))
        request: list[str | Path] = ["req", "-new", "-out", asked, "-keyout", key, "-subj", f"/CN={host}"]
        _openssl(*request, *NEW_KEY[:-2], "-addext", f"subjectAltName={_kind(host)}:{host}")
        sign: list[str | Path] = ["x509", "-req", "-in", asked, "-CA", self.cert, "-CAkey", self.key]
        _openssl(*sign, "-days", "-1", "-copy_extensions", "copy", "-out", cert)
        return cert, key


def authority(folder: Path) -> Authority:
    """A new authority, whose files and whose servers' files lie in `folder`."""
    made = Authority(folder / "authority.crt", folder / "authority.key")
    request: list[str | Path] = ["req", "-x509", "-out", made.cert, "-keyout", made.key]
    _openssl(*request, "-subj", "/CN=Test authority", *NEW_KEY, "-addext", "keyUsage=critical,keyCertSign")
    return made


def _kind(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "DNS"
    return "IP"


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
