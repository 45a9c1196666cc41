"""Settings and inventory from an operator's files: each is read once, whole, and bounded."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from appliance.errors import OperatorError, Problem, SurroundingsError
from appliance.inventory.model import Inventory
from appliance.inventory.parse import Drafts
from appliance.inventory.parse_csv import read_csv
from appliance.inventory.parse_json import read_json
from appliance.inventory.parse_yaml import read_yaml
from appliance.inventory.rules import judge
from appliance.paths import Paths
from appliance.plain_text import safe_text
from appliance.reading import Document
from appliance.settings import Settings
from appliance.settings_parse import parse_settings
from appliance.system.clock import monotonic, now, pause
from appliance.system.files import read_regular
from appliance.toml_lines import read_toml

_MIB: Final = 1024 * 1024
_SETTINGS_LIMIT: Final = 1 * _MIB
_INIT_HINT: Final = "run: pxe-appliance init --interface IF --subnet NET"
# A copy over a network, or a program that prints into the file, writes in pieces: a file that was written to
# a moment ago may be half of what it will be, and half an inventory reads like a whole one.
_QUIET_SECONDS: Final = 0.25
_PATIENCE_SECONDS: Final = 2.0
# What editors leave beside a file.
_LEFTOVERS: Final = ("~", ".tmp", ".swp")
NOTHING: Final[Mapping[Path, str]] = MappingProxyType({})

_Reader = Callable[[str, str, list[Problem]], Document | None]
_FORMATS: Final[dict[str, tuple[_Reader, int]]] = {
    ".toml": (read_toml, 16 * _MIB),
    ".yaml": (read_yaml, 8 * _MIB),
    ".yml": (read_yaml, 8 * _MIB),
    ".json": (read_json, 16 * _MIB),
    ".csv": (read_csv, 16 * _MIB),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What could be read: `settings` and `inventory` are None when problems are in the way.

    `ignition` holds the names that profiles, right or wrong, give of files in ignition.d/.
    """

    settings: Settings | None
    inventory: Inventory | None
    ignition: frozenset[str]
    problems: tuple[Problem, ...]


def load_settings(paths: Paths) -> Settings:
    """The settings in force.

    Raises:
        OperatorError: there are none, or what they say is wrong.
    """
    path = Path(paths.settings)
    problems: list[Problem] = []
    try:
        text = _read_text(path, _SETTINGS_LIMIT, problems)
    except FileNotFoundError:
        raise OperatorError(f"cannot find the settings: there is no {path}", hint=_INIT_HINT) from None
    if text is None:
        raise OperatorError(f"cannot read the settings in {path}", problems=problems)
    return parse_settings(text, str(path))


def load_inventory(directory: Path, settings: Settings, ignition_files: Collection[str]) -> Inventory:
    """The inventory that all files of `directory` make together.

    `ignition_files` are the names of the files in ignition.d/.

    Raises:
        OperatorError: with every problem in any of the files.
    """
    with collector_at_rest():
        drafts = load_drafts(directory)
        inventory = judge(drafts, settings, ignition_files)
    if inventory is None:
        raise OperatorError(f"cannot use the inventory in {directory}", problems=drafts.problems)
    return inventory


def load_drafts(directory: Path, instead: Mapping[Path, str] = NOTHING) -> Drafts:
    """All files of `directory`, parsed and typed; what is wrong with any of them is in `problems`.

    `instead` holds texts that stand for those of files, or for files that are not there yet.

    Raises:
        OperatorError: there is no such directory.
    """
    drafts = Drafts()
    for path in _files(directory, drafts.problems, instead):
        reader, limit = _FORMATS[path.suffix.lower()]
        shown = shown_path(path)
        try:
            text = instead[path] if path in instead else _read_text(path, limit, drafts.problems)
        except FileNotFoundError:
            text = None
            drafts.problems.append(
                Problem(shown, 0, "", "is gone, or a link to nothing", "mend or remove the link")
            )
        document = reader(text, shown, drafts.problems) if text is not None else None
        if document is None:
            drafts.complete = False
        else:
            drafts.take(document)
    return drafts


def load_all(paths: Paths) -> Loaded:
    """Settings and inventory with every problem of both: what `check` looks at.

    When the settings are wrong, the rules that compare machines with networks are left for later.

    Raises:
        SurroundingsError: a directory cannot be read.
    """
    problems: list[Problem] = []
    settings: Settings | None = None
    drafts = Drafts()
    inventory: Inventory | None = None
    try:
        settings = load_settings(paths)
    except OperatorError as error:
        problems += error.problems or [Problem(str(paths.settings), 0, "", error.message, error.hint)]
    with collector_at_rest():
        try:
            drafts = load_drafts(Path(paths.inventory))
            if settings is not None:
                inventory = judge(drafts, settings, ignition_files(Path(paths.ignition)))
        except OperatorError as error:
            problems.append(Problem(str(paths.inventory), 0, "", error.message, error.hint))
    named = frozenset(profile.ignition for _, profile in drafts.profiles if profile.ignition)
    return Loaded(settings, inventory, named, (*problems, *drafts.problems))


def ignition_files(directory: Path) -> frozenset[str]:
    """The names of the files in ignition.d/; none when there is no such directory."""
    try:
        return frozenset(p.name for p in directory.iterdir() if not p.name.startswith(".") and p.is_file())
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise SurroundingsError(f"cannot read {directory}: {error.strerror}") from error


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Loading makes no cycles; looking for some anyway takes a quarter of its time (measured)."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def unreadable_hint(error: OSError | ValueError) -> str:
    """What to do about a file of the operator's that cannot be read; who tries may be the daemon."""
    if isinstance(error, PermissionError):
        who = f"user {os.geteuid()}, who tries to, may not: let the daemon's group read it"
        return f"{who} (chgrp pxe-appliance, chmod g+r)"
    return "it has to be a regular file, not too large"


def shown_path(path: Path) -> str:
    """The name of a file as origins and problems spell it."""
    return safe_text(str(path), limit=1000)


def is_read(name: str) -> bool:
    """Whether a file of that name in inventory.d/ is part of the inventory."""
    return not _is_leftover(name) and Path(name).suffix.lower() in _FORMATS


def size_limit(path: Path) -> int:
    """How many bytes a file of the inventory may have."""
    return _FORMATS[path.suffix.lower()][1]


def _is_leftover(name: str) -> bool:
    return name.startswith((".", "#")) or name.endswith(_LEFTOVERS)


def _files(directory: Path, problems: list[Problem], instead: Mapping[Path, str]) -> Iterator[Path]:
    try:
        paths = sorted({*directory.iterdir(), *instead})
    except FileNotFoundError:
        raise OperatorError(f"cannot find the inventory: there is no {directory}", hint=_INIT_HINT) from None
    except OSError as error:
        raise SurroundingsError(f"cannot read {directory}: {error.strerror}") from error
    for path in paths:
        if _is_leftover(path.name):
            continue
        if path.suffix.lower() in _FORMATS:
            yield path
            continue
        what = "is a directory" if path.is_dir() else "has an unknown ending"
        problems.append(Problem(shown_path(path), 0, "", what, f"inventory files are {', '.join(_FORMATS)}"))


def _read_text(path: Path, limit: int, problems: list[Problem]) -> str | None:
    """The text of a file; None and a problem when it has none. FileNotFoundError is the caller's."""
    shown = shown_path(path)
    try:
        before = _at_rest(path)
        content = read_regular(path, limit)
        after = path.stat()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        problems.append(Problem(shown, 0, "", f"cannot be read: {why}", unreadable_hint(error)))
        return None
    if before is None or _version(before) != _version(after) or len(content) != after.st_size:
        problems.append(Problem(shown, 0, "", "is being written", "run it again when it is complete"))
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.append(Problem(shown, line, "", "is not UTF-8 text", "save it as UTF-8"))
        return None


def _at_rest(path: Path) -> os.stat_result | None:
    """The status of a file that nobody has written to for a moment; None when that moment does not come.

    A file that is being emptied has no size for a moment and its old time still (ext4), so none is believed
    to be empty at first sight.
    """
    deadline = monotonic() + _PATIENCE_SECONDS
    found = path.stat()
    doubted = found.st_size == 0
    while doubted or 0 <= now().timestamp() - found.st_mtime < _QUIET_SECONDS:
        if monotonic() > deadline:
            return None
        pause(_QUIET_SECONDS)
        found, doubted = path.stat(), False
    return found


def _version(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
