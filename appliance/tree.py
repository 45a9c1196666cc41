"""Rendered files as values: what a generation contains, before anything touches a disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType


class Activation(IntEnum):
    """What the running dnsmasq needs so that a changed file takes effect. Ordered: the larger one wins."""

    NONE = 0
    RELOAD = 1  # SIGHUP: hosts and opts files are read again
    RESTART = 2  # everything else in dnsmasq 2.90 is read at start only

    @property
    def word(self) -> str:
        """The JSON spelling: none, reload, restart."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One file of a generation: relative path, content, permission bits, and what a change of it costs."""

    path: str
    content: bytes
    mode: int = 0o644
    activation: Activation = Activation.NONE

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if not self.path or self.path.startswith("/") or any(p in {"", ".", ".."} for p in parts):
            raise ValueError(f"{self.path!r} is not a clean relative path")

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hex."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Tree:
    """A set of rendered files by path."""

    files: Mapping[str, RenderedFile] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, *files: RenderedFile) -> Tree:
        """Build a tree; a path given twice is a programming error."""
        by_path = {f.path: f for f in files}
        if len(by_path) != len(files):
            raise ValueError("two files with one path in a tree")
        return cls(MappingProxyType(dict(sorted(by_path.items()))))

    def __iter__(self) -> Iterator[RenderedFile]:
        return iter(self.files.values())

    def __len__(self) -> int:
        return len(self.files)

    def get(self, path: str) -> RenderedFile | None:
        """The file at `path`, if there is one."""
        return self.files.get(path)
