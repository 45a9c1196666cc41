"""iPXE's archive, taken apart after it was proven: the binaries that client classes are served."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from appliance.images.ipxe import MEMBERS, NEEDED
from appliance.images.model import Role, StoredFile
from appliance.images.trust import Case, Untrusted

_CAP: Final = 16 * 2**20  # the largest iPXE build known has about 2 MiB


def unpack_ipxe(archive: Path, folder: Path, proven: StoredFile) -> Iterator[StoredFile]:
    """Write the archive's binaries into `folder` under our names; each is as well proven as the archive.

    Raises:
        Untrusted: it is no such archive, or lacks what every rack needs.
        OSError: the disk did not do its part.
    """
    found: set[str] = set()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = MEMBERS.get(member.name.removeprefix("./"))
                if name is None or name in found or not member.isreg() or member.size > _CAP:
                    continue
                stream = tar.extractfile(member)
                assert stream is not None, "a regular member has content"
                content = stream.read(_CAP)
                _write(folder / name, content)
                found.add(name)
                digest = hashlib.sha512(content).hexdigest()
                yield replace(proven, name=name, role=Role.BOOT_FILE, size=len(content), sha512=digest)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise Untrusted(Case.UNREADABLE, archive.name, f"it is not a tar archive: {error}") from error
    if missing := sorted(NEEDED - found):
        raise Untrusted(Case.UNREADABLE, archive.name, f"it lacks {', '.join(missing)}")


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(fd, "wb") as stream:
        stream.write(content)
