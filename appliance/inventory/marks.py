"""The line of every entry of a parsed document, for the formats whose parser knows it at once (YAML, JSON).

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from appliance.reading import Path

# The inventory's deepest value is machine.NAME.bond.NAME.vlans.NAME.dns[0]; the rest is room to be wrong in.
DEEPEST: Final = 32
NOT_OURS: Final = "nothing of ours is that deep: is this file meant for the appliance?"


class Marks:
    """Lines of entries, kept beside the containers which hold them.

    Containers are told apart by identity: `root` keeps them alive, so that an identity means one thing.
    """

    def __init__(self) -> None:
        self.root: dict[str, object] = {}
        self._of_dicts: dict[int, dict[str, int]] = {}
        self._of_lists: dict[int, list[int]] = {}

    def dict(self) -> tuple[dict[str, object], dict[str, int]]:
        """A new table, and the lines of its keys, both to be filled."""
        table: dict[str, object] = {}
        lines = self._of_dicts[id(table)] = {}
        return table, lines

    def list(self) -> tuple[list[object], list[int]]:
        """A new list, and the lines of its entries, both to be filled."""
        entries: list[object] = []
        lines = self._of_lists[id(entries)] = []
        return entries, lines

    def __call__(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing above it; 0 when there is none."""
        node: object = self.root
        line = 0
        for step in path:
            if isinstance(node, Mapping) and isinstance(step, str) and step in node:
                line = self._of_dicts[id(node)][step]
                node = node[step]
            elif isinstance(node, list) and isinstance(step, int) and step < len(node):
                line = self._of_lists[id(node)][step]
                node = node[step]
            else:
                break
        return line
