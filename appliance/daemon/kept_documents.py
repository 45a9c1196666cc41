"""The finished Ignition of a generation: what machines share in memory, each machine's own on disk.

Ten thousand machines whose profile names a template have ten thousand documents; each is asked for once in a
boot. A generation never changes, and what was changed behind our back is not given out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from appliance.system.files import read_regular
from appliance.tree import Tree

_FOLDER: Final = "ignition/"
_LIMIT: Final = 64 * 2**20


class KeptDocuments(Mapping[str, bytes]):
    """Documents by NAME, or NAME/MACHINE for what a template made."""

    def __init__(self, directory: Path, tree: Tree) -> None:
        """Take what `tree`, read from `directory`, has below ignition/."""
        found = {path.removeprefix(_FOLDER): f for path, f in tree.files.items() if path.startswith(_FOLDER)}
        self._directory = directory / _FOLDER
        self._shared = {key: file.content for key, file in found.items() if "/" not in key}
        self._digests = {key: file.digest for key, file in found.items() if "/" in key}

    def __getitem__(self, key: str) -> bytes:
        """The document; KeyError also for one that is gone or was changed."""
        if key in self._shared:
            return self._shared[key]
        digest = self._digests[key]
        try:
            content = read_regular(self._directory / key, _LIMIT)
        except (OSError, ValueError) as error:
            raise KeyError(key) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise KeyError(key)
        return content

    def __contains__(self, key: object) -> bool:
        return key in self._shared or key in self._digests

    def __iter__(self) -> Iterator[str]:
        yield from self._shared
        yield from self._digests

    def __len__(self) -> int:
        return len(self._shared) + len(self._digests)
