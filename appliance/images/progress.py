"""What a fetch tells whoever watches it. Pure: the words; how they look is the command line's business."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Somebody who watches artefacts arrive. Names are file names; counts are bytes."""

    def begins(self, name: str, total: int | None, done: int) -> None:
        """An artefact is fetched from now on, `done` of its bytes being there already."""

    def advances(self, name: str, count: int) -> None:
        """So many bytes more have arrived."""

    def says(self, words: str) -> None:
        """Something worth a line."""

    def ends(self, name: str, words: str) -> None:
        """An artefact is there and proven."""


class Nobody:
    """A watcher who does not look."""

    def begins(self, name: str, total: int | None, done: int) -> None:
        """Not seen."""

    def advances(self, name: str, count: int) -> None:
        """Not seen."""

    def says(self, words: str) -> None:
        """Not heard."""

    def ends(self, name: str, words: str) -> None:
        """Not seen."""
