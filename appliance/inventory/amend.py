"""An edit of inventory.d/: a file is read once, changed, judged with all others, and written whole."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import OperatorError, Refused
from appliance.inventory.choosing import NEW_FILE
from appliance.inventory.edit import FORMATS, Edit, edited
from appliance.inventory.load import (
    collector_at_rest,
    ignition_files,
    is_read,
    load_drafts,
    load_settings,
    shown_path,
    size_limit,
)
from appliance.inventory.model import Inventory
from appliance.inventory.parse import Drafts
from appliance.inventory.rules import judge
from appliance.paths import Paths
from appliance.settings import Origin, Settings
from appliance.system.replacing import one_editor, read_for_edit, replace_content

_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Amendment:
    """A file as it was (None: not there) and as it shall be, and the inventory that all files make then."""

    path: Path
    before: bytes | None
    after: bytes
    inventory: Inventory

    def diff(self) -> Iterator[str]:
        """The lines of a unified diff, without line ends; `patch` takes them."""
        name = str(self.path)
        old, new = _lines(self.before or b""), _lines(self.after)
        source = name if self.before is not None else "/dev/null"
        for line in difflib.unified_diff(old, new, source, name):
            yield line.removesuffix("\n")
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"


@dataclass(frozen=True, slots=True)
class Editor:
    """Settings and inventory as they are, while nobody else of us edits them."""

    paths: Paths
    settings: Settings
    drafts: Drafts

    def file_of(self, origin: Origin) -> Path:
        """The file that an origin speaks of."""
        for path in Path(self.paths.inventory).iterdir():
            if shown_path(path) == origin.file:
                return path
        raise Refused(f"cannot edit {origin.file}: it is gone")

    def file_named(self, raw: str) -> Path:
        """The file that an operator named, which need not be there yet.

        Raises:
            OperatorError: it would be no part of the inventory.
        """
        directory = Path(self.paths.inventory)
        path = directory / raw
        if path.parent.resolve() != directory.resolve():
            raise OperatorError(f"{raw} is not in {directory}", hint=f"name a file there: --file {NEW_FILE}")
        if not is_read(path.name):
            hint = f"inventory files are {', '.join(FORMATS)}, and begin with no dot"
            raise OperatorError(f"{path.name} would not be read as inventory", hint=hint)
        return directory / path.name

    def amend(self, path: Path, edit: Edit) -> Amendment:
        """Change a file's text and judge the inventory that comes of it. Writes nothing.

        Raises:
            OperatorError: with every problem that the inventory would have.
            Refused: the file is not one that can be edited, or is not the one that was read before.
        """
        before = read_for_edit(path, size_limit(path))
        try:
            text = None if before is None else before.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise OperatorError(
                f"cannot edit {path}: it is not UTF-8 text", hint="save it as UTF-8"
            ) from error
        new = edited(text, path.suffix.lower(), shown_path(path), edit)
        mark = _MARK if before is not None and before.startswith(_MARK) else b""
        drafts = load_drafts(Path(self.paths.inventory), {path: new})
        inventory = judge(drafts, self.settings, ignition_files(Path(self.paths.ignition)))
        if inventory is None:
            raise OperatorError(
                f"cannot edit {path}: with the change, the inventory could not be used",
                problems=drafts.problems,
                hint="nothing was written; lines are those of the file with the change",
            )
        return Amendment(path, before, mark + new.encode(), inventory)

    def write(self, amendment: Amendment) -> None:
        """Put the new file in place of the old one.

        Raises:
            Refused: it was changed in the meantime.
            SurroundingsError: it cannot be written.
        """
        replace_content(amendment.path, amendment.before, amendment.after)


@contextlib.contextmanager
def editor(paths: Paths) -> Iterator[Editor]:
    """Read everything, and keep other edits of ours waiting for as long as the block runs.

    Raises:
        OperatorError: there are no settings, or they are wrong.
        Refused: somebody else keeps on editing.
        SurroundingsError: a directory cannot be read.
    """
    settings = load_settings(paths)
    directory = Path(paths.inventory)
    if not directory.is_dir():
        load_drafts(directory)  # which says what is wrong, and what to do
    with one_editor(directory), collector_at_rest():
        yield Editor(paths, settings, load_drafts(directory))


def _lines(content: bytes) -> list[str]:
    """Lines with their ends; a byte order mark is left out."""
    text = content.decode("utf-8-sig")
    return [line + "\n" for line in text.split("\n")[:-1]] + (
        [last] if (last := text.split("\n")[-1]) else []
    )
