"""Secrets that systemd hands to the service (systemd.exec(5), LoadCredential=).

`secrets.d` is root's alone, and the service is nobody special: what it may not read there, it finds as a copy
that was made when it started. A file that it may read itself, because the operator gave it the group, counts
at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
SECRETS: Final = "secrets.d"  # the id that the unit gives to the whole directory


def given(file: Path, secrets: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Where to read a secret from: `file` itself, or the copy that systemd made of it.

    Args:
        file: as the settings name it.
        secrets: the directory that the unit hands over; other places have no copies.
    """
    handed = environ.get(DIRECTORY, "")
    if not handed or not file.is_relative_to(secrets) or os.access(file, os.R_OK):
        return file
    # systemd joins the names of a directory and of what lies in it with an underscore.
    copy = Path(handed) / "_".join((SECRETS, *file.relative_to(secrets).parts))
    return copy if copy.exists() else file


def closed(file: Path, secrets: Path) -> bool:
    """Whether nobody but root can come to `file`, whatever its own mode says."""
    try:
        return file.is_relative_to(secrets) and not secrets.stat().st_mode & 0o011
    except OSError:
        return False


def only_for_the_service(file: Path, secrets: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `file` is kept from this process on purpose, and not from the service."""
    if environ.get(DIRECTORY) or not file.is_relative_to(secrets) or not secrets.is_dir():
        return False
    return not os.access(secrets, os.X_OK)
