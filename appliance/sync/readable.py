"""Whether the daemon may read what the operator wrote: root, who writes and checks it, may read it all."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from appliance.errors import Problem
from appliance.inventory.load import is_read, shown_path
from appliance.paths import Paths

_ACL: Final = "system.posix_acl_access"


def closed_to_the_daemon(paths: Paths, files: Iterable[Path]) -> list[Problem]:
    """Files, and directories on the way to them, that root may read and the service's user may not.

    None where there is no service (the state is root's, or is not there), or where we are not root: then who
    checks sees what is closed by itself. Access lists (acl(5)) are not looked at: who uses them is believed.
    """
    if os.geteuid() != 0:
        return []
    try:
        service = Path(paths.state).stat()
    except OSError:
        return []
    top = Path(paths.etc)
    if service.st_uid == 0 or not _is_there(top):
        return []
    groups = _groups_of(service.st_uid, service.st_gid)
    wanted = [path for path in files if _is_there(path)]
    ways = {parent for path in wanted for parent in path.parents if parent.is_relative_to(top)}
    found = []
    for path in sorted({top, *ways, *wanted}):
        if not _open_to(path, service.st_uid, groups):
            words = f"cannot be read by the daemon, which runs as uid {service.st_uid} and applies it"
            quoted = shlex.quote(str(path))
            hint = f"chgrp {service.st_gid} {quoted} && chmod g+rX {quoted}"
            found.append(Problem(shown_path(path), 0, "", words, hint))
    return found


def operators_files(paths: Paths, ignition: Iterable[str] = ()) -> Iterator[Path]:
    """What a sync reads: settings, the files of inventory.d/ and dnsmasq.d/ that count, those of ignition.d/
    that profiles name. What an editor has left there is nobody's to read."""
    yield from (Path(p) for p in (paths.settings, paths.inventory, paths.ignition, paths.dnsmasq_extra))
    yield from (Path(paths.ignition / name) for name in ignition)
    for directory, counts in ((paths.inventory, is_read), (paths.dnsmasq_extra, _is_extra)):
        try:
            yield from sorted(p for p in Path(directory).iterdir() if counts(p.name))
        except OSError:  # not there, or told by who reads it
            continue


def _is_extra(name: str) -> bool:
    return name.endswith(".conf") and not name.startswith(".")


def _is_there(path: Path) -> bool:
    try:
        return stat.S_IFMT(path.stat().st_mode) in {stat.S_IFREG, stat.S_IFDIR}
    except OSError:
        return False


def _groups_of(uid: int, gid: int) -> frozenset[int]:
    """systemd gives a service the groups of its user, as login does."""
    try:
        return frozenset(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return frozenset({gid})


def _open_to(path: Path, uid: int, groups: Collection[int]) -> bool:
    """As the kernel decides for a user of these groups (path_resolution(7))."""
    found = path.stat()
    if _ACL in os.listxattr(path):
        return True
    need = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
    return (found.st_mode >> shift) & need == need
