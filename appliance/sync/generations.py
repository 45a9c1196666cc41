"""Generations on disk: immutable directories `generations/N`, and `current`, which points at one of them.

Besides its files a generation holds `manifest.json` (who, when, why, what, the digest of every file); once a
real exchange has shown that it works, an empty file `proven`; and when it was taken back, a file `rejected`
that says why. One that a person has to confirm is not proven before that; meanwhile a file `pending` says
until when. Numbers are never used twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ApplianceError, OperatorError, Refused, SurroundingsError
from appliance.inventory.serialize import restore_inventory
from appliance.paths import Paths
from appliance.settings_parse import parse_settings
from appliance.sync.plan import Desired, child_of
from appliance.system.acting import acting_for, way_out
from appliance.system.files import fsync_directory, point_symlink, read_regular, remove_tree, write_atomic
from appliance.tree import Activation, RenderedFile, Tree

_FILE_LIMIT = 256 * 2**20
_STAGING = ".staging-"
KEEP = 20  # proven generations, and as many that never were: a night of failures must not push those out


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a generation. `at` in RFC 3339, UTC; `files` maps path to SHA-256."""

    id: int
    at: str
    who: str
    why: str
    summary: str
    files: Mapping[str, str]
    proven: bool = False
    rejected: str = ""  # why it was taken back, when it was
    pinned: bool = False  # by a rollback: a restart of the daemon keeps it, the next sync replaces it
    confirm_within: int = 0  # seconds in which a person has to confirm it; 0: nobody has to
    pending: str = ""  # until when it can be confirmed, in RFC 3339; empty before it was shown to work
    settled: bool = False  # not confirmed, and a sync since then found nothing to do

    @property
    def waits(self) -> bool:
        """Whether it has to be confirmed, and neither was nor was taken back."""
        return bool(self.confirm_within) and not self.proven and not self.rejected

    @property
    def unconfirmed(self) -> bool:
        """Whether it had to be confirmed and never was: nobody but a person applies it again."""
        return bool(self.confirm_within) and not self.proven and not self.settled

    def as_json(self) -> dict[str, object]:
        """The shape of `generations -o json`, without the file list."""
        return {
            "id": self.id,
            "at": self.at,
            "who": self.who,
            "why": self.why,
            "summary": self.summary,
            "proven": self.proven,
            "rejected": self.rejected or None,
            "pinned": self.pinned,
            "pending": (self.pending or None) if self.waits else None,
        }


def generation_directory(paths: Paths, number: int) -> Path:
    """Where generation `number` lives."""
    return Path(paths.generations / str(number))


def current_id(paths: Paths) -> int | None:
    """The number that `current` points at, None when there is no generation yet.

    Raises:
        SurroundingsError: `current` is not a link into generations/: somebody changed it by hand.
    """
    link = Path(paths.current)
    try:
        target = link.readlink()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Refused(f"cannot read {link}: permission denied", hint="run it as root") from error
    except OSError as error:
        raise SurroundingsError(f"cannot read {link}: it is not the link that sync makes") from error
    ours = {Path("generations"), Path(paths.generations)}  # a person may have turned it by its full path
    if target.parent not in ours or not _is_number(target.name):
        raise SurroundingsError(f"{link} points at {target}, which is not a generation of ours")
    return int(target.name)


def list_generations(paths: Paths) -> list[Manifest]:
    """Every readable generation, oldest first."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in Path(paths.generations).iterdir():
            if _is_number(entry.name):
                with contextlib.suppress(SurroundingsError):
                    found.append(read_manifest(paths, int(entry.name)))
    return sorted(found, key=lambda m: m.id)


def next_id(paths: Paths) -> int:
    """One more than the largest number ever used here."""
    with contextlib.suppress(FileNotFoundError):
        names = [entry.name for entry in Path(paths.generations).iterdir()]
        return 1 + max((int(n) for n in names if _is_number(n)), default=0)
    return 1


def staging_directory(paths: Paths, number: int) -> Path:
    """Where generation `number` is written before it gets its name."""
    return Path(paths.generations / f"{_STAGING}{number}")


def clear_staging(paths: Paths) -> None:
    """Remove what a sync that died left behind. Call it with the lock held.

    Raises:
        SurroundingsError: it cannot be removed.
    """
    try:
        with acting_for(Path(paths.generations)):
            for entry in Path(paths.generations).iterdir():
                if entry.name.startswith(_STAGING):
                    remove_tree(entry)
                elif _is_number(entry.name):
                    for left in entry.glob(".*.tmp"):  # half a mark
                        left.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise SurroundingsError(
            f"cannot clear {paths.generations} of what a sync left: {error.strerror}",
            hint=way_out(error, Path(error.filename or paths.generations)),
        ) from error


def read_manifest(paths: Paths, number: int) -> Manifest:
    """The manifest of one generation.

    Raises:
        SurroundingsError: there is none, or it cannot be read.
    """
    directory = generation_directory(paths, number)
    try:
        with acting_for(directory):
            return _manifest(directory, number)
    except FileNotFoundError as error:
        raise SurroundingsError(
            f"there is no generation {number}", hint="pxe-appliance generations lists them"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SurroundingsError(f"cannot read generation {number}: {error}") from error


def _manifest(directory: Path, number: int) -> Manifest:
    raw = json.loads(read_regular(directory / "manifest.json", _FILE_LIMIT))
    return Manifest(
        id=number,
        at=str(raw["at"]),
        who=str(raw["who"]),
        why=str(raw["why"]),
        summary=str(raw["summary"]),
        files={str(k): str(v) for k, v in raw["files"].items()},
        proven=(directory / "proven").exists(),
        rejected=_marked(directory / "rejected"),
        pinned=raw.get("pinned") is True,
        confirm_within=int(raw.get("confirm_within", 0)),
        pending=_marked(directory / "pending"),
        settled=(directory / "settled").exists(),
    )


def render_manifest(
    at: str, who: str, why: str, summary: str, tree: Tree, *, pinned: bool = False, confirm_within: int = 0
) -> RenderedFile:
    """The manifest as a file of the generation it describes."""
    body: dict[str, object] = {
        "at": at,
        "who": who,
        "why": why,
        "summary": summary,
        "pinned": pinned,
        "files": {f.path: f.digest for f in tree},
    }
    if confirm_within:
        body["confirm_within"] = confirm_within
    return RenderedFile("manifest.json", (json.dumps(body, indent=1, sort_keys=True) + "\n").encode())


def load_generation(paths: Paths, number: int) -> Desired:
    """A generation as the values it was made from, each file held against its digest.

    Raises:
        SurroundingsError: a file is missing or is not what was written.
    """
    manifest = read_manifest(paths, number)
    directory = generation_directory(paths, number)
    with acting_for(directory):
        tree = Tree.of(*(_read(directory, path, digest) for path, digest in manifest.files.items()))
    try:
        settings = parse_settings(_text(tree, "appliance.toml"), f"{directory}/appliance.toml")
        inventory = restore_inventory(_text(tree, "inventory.json"))
    except (OperatorError, ValueError, KeyError) as error:
        raise SurroundingsError(f"cannot understand generation {number}: {error}") from error
    return Desired(settings, inventory, tree)


def _read(directory: Path, path: str, digest: str) -> RenderedFile:
    """A file of a generation, held against its digest."""
    try:
        content = read_regular(directory / path, _FILE_LIMIT)
        mode = (directory / path).stat().st_mode & 0o7777
    except PermissionError as error:
        raise Refused(
            f"cannot read {path} of generation {directory.name}: permission denied",
            hint=way_out(error, directory / path),
        ) from error
    except (OSError, ValueError) as error:
        raise SurroundingsError(f"cannot read {path} of generation {directory.name}: {error}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise SurroundingsError(
            f"{directory / path} is not what sync wrote: its digest differs",
            hint="pxe-appliance rollback goes to an intact generation; sync writes a new one",
        )
    return RenderedFile(path, content, mode, activation_of(path))


def activation_of(path: str) -> Activation:
    """What a change of this file costs the child that reads it (measured on 2.90)."""
    if child_of(path) is None:
        return Activation.NONE
    return Activation.RELOAD if path.endswith(("/hosts", "/opts")) else Activation.RESTART


def commit_directory(paths: Paths, number: int) -> None:
    """Give a staged generation its name, durable."""
    staged = staging_directory(paths, number)
    try:
        with acting_for(staged.parent):
            staged.rename(generation_directory(paths, number))
            fsync_directory(staged.parent)
    except OSError as error:
        raise SurroundingsError(
            f"cannot commit generation {number} in {staged.parent}: {error.strerror}",
            hint=way_out(error, staged),
        ) from error


def make_current(paths: Paths, number: int) -> None:
    """Point `current` at generation `number` in one durable step; what is no link is moved aside."""
    link = Path(paths.current)
    try:
        with acting_for(link.parent):
            if link.exists() and not link.is_symlink():
                link.rename(link.with_name(f"current.aside-{number}"))
    except OSError as error:
        raise SurroundingsError(f"cannot move {link} aside: {error.strerror}") from error
    point_symlink(Path(paths.current), f"generations/{number}")


def mark_proven(paths: Paths, number: int) -> None:
    """Remember that a generation was shown to work."""
    write_atomic(generation_directory(paths, number) / "proven", b"")


def mark_pending(paths: Paths, number: int, until: str) -> None:
    """Remember that a generation was shown to work and waits for its confirmation; `until` in RFC 3339."""
    write_atomic(generation_directory(paths, number) / "pending", until.encode())


def mark_settled(paths: Paths, number: int) -> None:
    """Remember that a sync after an unconfirmed generation found nothing to do: its change is gone."""
    write_atomic(generation_directory(paths, number) / "settled", b"")


def mark_rejected(paths: Paths, number: int, why: str) -> None:
    """Remember that a generation was taken back, so that it is never served by mistake."""
    directory = generation_directory(paths, number)
    with acting_for(directory):
        (directory / "proven").unlink(missing_ok=True)
    write_atomic(directory / "rejected", why.encode())


def newest_proven(paths: Paths) -> tuple[int, Desired] | None:
    """The newest generation that is proven and intact, None when there is none."""
    for manifest in reversed(list_generations(paths)):
        if manifest.proven:
            with contextlib.suppress(ApplianceError):  # damaged, or not ours to read
                return manifest.id, load_generation(paths, manifest.id)
    return None


def prune(paths: Paths, keep: int = KEEP) -> None:
    """Remove the oldest generations but for the last `keep` proven ones, and as many others.

    The current one and the newest proven one always stay; all of them where nobody can tell which that is.
    """
    try:
        current = current_id(paths)
    except ApplianceError:
        return
    manifests = list_generations(paths)
    proven = [m.id for m in manifests if m.proven]
    others = [m.id for m in manifests if not m.proven]
    stays = {current, *proven[-1:]}
    for known in (proven, others):
        stays |= set(known[max(len(known) - keep, 0) :])
    for manifest in manifests:
        if manifest.id not in stays:
            # First its name: half of a generation must not be offered to a rollback.
            leaving = staging_directory(paths, manifest.id)
            with contextlib.suppress(OSError), acting_for(leaving.parent):
                generation_directory(paths, manifest.id).rename(leaving)
                fsync_directory(leaving.parent)
                remove_tree(leaving)


def _marked(path: Path) -> str:
    """What a marker file says; empty when there is none."""
    try:
        return read_regular(path, _FILE_LIMIT).decode(errors="replace") or path.name
    except (OSError, ValueError):
        return ""


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _text(tree: Tree, path: str) -> str:
    file = tree.get(path)
    if file is None:
        raise KeyError(f"{path} is missing")
    return file.content.decode()
