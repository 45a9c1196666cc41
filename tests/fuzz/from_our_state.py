"""Parsers of what we wrote ourselves, before a power cut, a damaged disk or an older version got at it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

from appliance.boot.arming import Armed
from appliance.boot.ladder import Ladder
from appliance.boot.policy import Life
from appliance.boot.signs import Sign, read_sign
from appliance.cli.client import _parsed, restored_error
from appliance.cli.watch import messages
from appliance.daemon import handed_over
from appliance.daemon.adopt import adopted_generation
from appliance.daemon.history import TABLES, History
from appliance.daemon.ledger import Ledger, Stray, restored
from appliance.daemon.remember import read_event, remembered
from appliance.daemon.served_lately import ServedLately
from appliance.daemon.sightings import Sighting
from appliance.daemon.signals import Adopted
from appliance.errors import ApplianceError, Refused, SurroundingsError
from appliance.images.intake import Intake
from appliance.images.seals import Seals
from appliance.images.store import _parse_pointers
from appliance.inventory.model import Inventory
from appliance.inventory.serialize import restore_inventory
from appliance.paths import Paths
from appliance.service.plan import parse_record
from appliance.sync import generations
from appliance.sync.generations import Manifest
from appliance.sync.remembered import Remembered
from appliance.tree import RenderedFile, Tree
from tests.fuzz.parser import Parser, any_text, kept, text
from tests.unit.daemon.rooms import PXE, served

_SERVED: Final = served()
_GOLDEN: Final = Path(__file__).parents[1] / "golden/compose-rack"


def _ladder(data: bytes) -> Ladder:
    ladder = Ladder.from_json(kept(data))
    assert Ladder.from_json(ladder.as_json()).rungs == ladder.rungs
    return ladder


def _life(data: bytes) -> Life:
    life = Life.from_json(kept(data))
    assert Life.from_json(life.as_json()).state is life.state
    return life


def _armed(data: bytes) -> Armed:
    return Armed.from_json(kept(data))


def _stray(data: bytes) -> Stray:
    return Stray.from_json(kept(data))


def _ledger(data: bytes) -> Ledger:
    raw = kept(data)
    return restored(raw if isinstance(raw, dict) else {"a": raw})


def _sighting(data: bytes) -> Sighting:
    return Sighting.from_json(kept(data))


def _sign(data: bytes) -> Sign:
    return read_sign(kept(data))


def _event(data: bytes) -> object:
    line = any_text(data)
    remembered([line], _SERVED)
    return read_event(line)


def _row(data: bytes) -> dict[str, object]:
    """The row of a table of the history, as the disk gives it back."""
    history = _history()
    history.append(kept={table: {"node1": data.decode("utf-8", "replace")} for table in TABLES})
    found: dict[str, object] = {}
    for table in TABLES:
        found |= history.kept(table)
    return found


@cache
def _history() -> History:
    return History(_place() / "history-of-rows.db")


def _history_file(data: bytes) -> History:
    """A history file with other octets in it: set aside, and begun anew."""
    for old in _place().glob("history.db*"):
        old.unlink()
    path = _place() / "history.db"
    path.write_bytes(data)
    with closing(History(path)) as history:
        history.append([("node1", "{}")])
        history.kept("life")
        history.events(limit=10)
    return history


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """In memory: what is tested is reading, not the disk. It goes when the interpreter does."""
    return tempfile.TemporaryDirectory(prefix="pxe-fuzz-", dir="/dev/shm")


def _place() -> Path:
    return Path(_folder().name)


@cache
def _root() -> Paths:
    """A root with one generation, of which a parser's case replaces a file."""
    paths = Paths(PurePosixPath(_place()))
    tree = Tree.of(
        RenderedFile("appliance.toml", (_GOLDEN / "appliance.toml").read_bytes()),
        RenderedFile("inventory.json", (_GOLDEN / "inventory.json").read_bytes()),
        RenderedFile("boot.json", (_GOLDEN / "boot.json").read_bytes()),
    )
    manifest = generations.render_manifest("2025-01-31T04:00:00.000Z", "w", "y", "s", tree)
    directory = generations.generation_directory(paths, 1)
    directory.mkdir(parents=True)
    for file in (*tree, manifest):
        (directory / file.path).write_bytes(file.content)
    generations.make_current(paths, 1)
    return paths


def _manifest(data: bytes) -> Manifest:
    paths = _root()
    path = generations.generation_directory(paths, 1) / "manifest.json"
    before = path.read_bytes()
    try:
        path.write_bytes(data)
        found = generations.read_manifest(paths, 1)
        generations.list_generations(paths)
        generations.load_generation(paths, 1)
        found.as_json()
        return found
    finally:
        path.write_bytes(before)


def _generation(name: str) -> Callable[[bytes], Adopted | None]:
    def read(data: bytes) -> Adopted | None:
        """A file of a generation with a manifest that vouches for it: an older version wrote both."""
        paths = _root()
        directory = generations.generation_directory(paths, 1)
        manifest = json.loads((directory / "manifest.json").read_text())
        before = {path: path.read_bytes() for path in (directory / name, directory / "manifest.json")}
        try:
            (directory / name).write_bytes(data)
            manifest["files"][name] = RenderedFile(name, data).digest
            (directory / "manifest.json").write_text(json.dumps(manifest))
            return adopted_generation(paths)
        finally:
            for path, content in before.items():
                path.write_bytes(content)

    return read


def _inventory(data: bytes) -> Inventory:
    return restore_inventory(text(data))


def _in_a_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def through(data: bytes) -> object:
        path = _place() / "a file"
        path.write_bytes(data)
        return read(path)

    return through


def _served_lately(path: Path) -> bool:
    ServedLately(path).note([PXE])
    return ServedLately(path).has(PXE)


def _seals(path: Path) -> Seals:
    return Seals(path)


def _remembered(data: bytes) -> bool:
    paths = _root()
    path = Path(paths.state / "ignition-verdicts.json")
    path.write_bytes(data)
    known = Remembered(paths)
    known.learn("judge", b"document")
    known.save()
    return Remembered(paths).knows("judge", b"document")


def _pointers(data: bytes) -> dict[str, object]:
    return dict(_parse_pointers(data))


def _intake(path: Path) -> bool:
    """A note of an earlier download beside its part."""
    part = path.with_name("part")
    part.write_bytes(b"half of it")
    path.replace(path.with_name("part.json"))
    with ExitStack() as after:
        intake = Intake(part, None, sha256=False)
        after.callback(intake.discard)
        return intake.resume("https://mirror.example.com/a") is not None


def _answer(data: bytes) -> ApplianceError:
    return restored_error(_parsed(data))


def _board(data: bytes) -> list[object]:
    return list(messages(iter(any_text(data).split("\n"))))


def _parsers() -> Iterator[Parser]:
    bad = (ValueError,)
    yield Parser("kept-ladder", _ladder, Ladder, bad)
    yield Parser("kept-life", _life, Life, bad)
    yield Parser("kept-token", _armed, Armed, bad)
    yield Parser("kept-stray", _stray, Stray, bad)
    yield Parser("kept-strays", _ledger, Ledger)
    yield Parser("kept-sighting", _sighting, Sighting, bad)
    yield Parser("kept-sign", _sign, Sign, (ValueError, KeyError, TypeError, AttributeError, OverflowError))
    yield Parser("kept-event", _event, object)
    yield Parser("history-row", _row, dict, cost=2)
    yield Parser("history-file", _history_file, History, cost=20)
    damaged = (SurroundingsError, Refused)
    yield Parser("generation-manifest", _manifest, Manifest, damaged)
    yield Parser("generation-boot", _generation("boot.json"), Adopted, damaged, cost=2)
    yield Parser("generation-settings", _generation("appliance.toml"), Adopted, damaged, cost=2)
    yield Parser("generation-inventory", _inventory, Inventory, damaged)
    yield Parser("served-lately", _in_a_file(_served_lately), bool, cost=4)
    yield Parser("image-seals", _in_a_file(_seals), Seals)
    yield Parser("image-pointers", _pointers, dict, bad)
    yield Parser("image-intake", _in_a_file(_intake), bool)
    yield Parser("ignition-verdicts", _remembered, bool, cost=4)
    yield Parser("service-record", parse_record, dict)
    yield Parser("handed-over", handed_over.read, handed_over.HandedOver, bad)
    yield Parser("daemon-answer", _answer, ApplianceError, (SurroundingsError,))
    yield Parser("daemon-board", _board, list, (ApplianceError,))


FROM_OUR_STATE: Final = tuple(_parsers())
