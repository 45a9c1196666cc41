"""What the daemon needs of the host before it serves: limits, rights, a place for its socket."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from appliance.errors import Refused
from appliance.paths import Paths
from appliance.system.acting import acting_for
from appliance.system.files import make_directory

_FILES = 4096
_CAPABILITIES = 1 << 12 | 1 << 10  # NET_ADMIN, NET_BIND_SERVICE (linux/capability.h)


def prepare() -> None:
    """The process as it has to be before anything is opened or written.

    Raises:
        Refused: as `refuse_without_rights`.
    """
    allow_many_files()
    keep_from_others()
    refuse_without_rights()


def allow_many_files() -> None:
    """Room for a rack at once: the TFTP child takes one descriptor for each of its 1,024 transfers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def keep_from_others() -> None:
    """Whatever is written from now on is no other user's to read: tokens and secrets are among it."""
    os.umask(os.umask(0o077) | 0o027)


def refuse_without_rights() -> None:
    """Say what is missing: dnsmasq would exit at once, with a word that names neither us nor the remedy.

    Raises:
        Refused: we are not root and cannot pass on the capabilities that it needs.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    ambient = int(next(line for line in status.splitlines() if line.startswith("CapAmb")).split()[1], 16)
    if os.geteuid() != 0 and ambient & _CAPABILITIES != _CAPABILITIES:
        raise Refused(
            "cannot serve: the capabilities CAP_NET_ADMIN and CAP_NET_BIND_SERVICE are missing",
            hint="run it as root, or as systemd/pxe-appliance.service does",
        )


def clear_socket(paths: Paths) -> None:
    """No socket file: one that a killed daemon left would refuse everybody."""
    make_directory(Path(paths.run))
    with acting_for(Path(paths.run)):
        Path(paths.control).unlink(missing_ok=True)


def open_to_group(paths: Paths) -> None:
    """Whoever is in the group that owns the run directory may ask and tell."""
    Path(paths.control).chmod(0o660)
