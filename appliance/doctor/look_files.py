"""Looks at owners and modes below our three directories; opens nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from appliance.doctor.files import Entry
from appliance.doctor.reach import Reach
from appliance.paths import Paths
from appliance.settings import Settings

_MOST = 20_000  # entries of one place
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFSOCK: "socket",
}


def look_at_files(reach: Reach, paths: Paths, settings: Settings | None) -> list[Entry]:
    """Every entry of the operator's directory, the state (images have seals) and the run directory."""
    secrets = _secrets(paths, settings)
    found = [
        *_below(reach, Path(paths.etc), "etc", secrets),
        *_below(reach, Path(paths.tftp), "tftp", secrets),
        *_below(reach, Path(paths.run), "run", secrets, deep=False),
    ]
    apart = {Path(paths.tftp), Path(paths.images), Path(paths.incoming)}
    return found + list(_below(reach, Path(paths.state), "state", secrets, apart=apart))


def service_of(paths: Paths) -> tuple[int, int] | None:
    """Whose the state is: uid and gid; None when there is none yet."""
    try:
        found = Path(paths.state).stat()
    except OSError:
        return None
    return found.st_uid, found.st_gid


def _secrets(paths: Paths, settings: Settings | None) -> set[Path]:
    """Files, and directories whose files are secret: documents with passwords, keys, tokens."""
    found = {Path(paths.ignition), Path(paths.history), Path(paths.secrets)}
    if settings is not None:
        matchbox = settings.matchbox
        found.add(Path(paths.in_keys(matchbox.key)))
        if matchbox.keyring:
            found.add(Path(paths.keyring(matchbox.keyring)))
    return found


def _below(
    reach: Reach,
    top: Path,
    place: str,
    secrets: set[Path],
    *,
    deep: bool = True,
    apart: set[Path] = frozenset(),  # type: ignore[assignment]
) -> Iterator[Entry]:
    reachable = _open_to_others(top.parent)
    waiting = [(top, reachable, False)]
    count = 0
    while waiting and count < _MOST:
        path, reachable, secret = waiting.pop()
        try:
            found = path.lstat()
        except OSError as error:
            if isinstance(error, PermissionError):
                reach.hidden(f"{path}")
            continue
        count += 1
        secret = secret or path in secrets or _is_secret(path)
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "other")
        mode = stat.S_IMODE(found.st_mode)
        target = str(path.readlink()) if kind == "link" else ""
        yield Entry(
            str(path),
            place,
            kind,
            mode,
            found.st_uid,
            found.st_gid,
            secret and kind == "file",
            reachable,
            target,
        )
        if kind == "directory" and path not in apart and (deep or path == top):
            waiting += _children(reach, path, reachable and bool(mode & 0o001), secret)


def _children(reach: Reach, path: Path, reachable: bool, secret: bool) -> list[tuple[Path, bool, bool]]:
    try:
        return [(Path(entry.path), reachable, secret) for entry in os.scandir(path)]
    except PermissionError:
        reach.hidden(f"what lies in {path}")
        return []
    except OSError:
        return []


def _is_secret(path: Path) -> bool:
    """Within a generation, the documents of machines; beside the history, its journal."""
    return (path.name == "ignition" and path.parent.parent.name == "generations") or path.name in (
        "history.db-wal",
        "history.db-shm",
    )


def _open_to_others(directory: Path) -> bool:
    """Whether every user of the host can come as far as `directory`."""
    try:
        return all(d.stat().st_mode & 0o001 for d in (directory, *directory.parents))
    except OSError:
        return False
