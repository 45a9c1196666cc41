"""Every lab that a test builds stands beside a production network, whose frames are judged at the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.production import Production, Total

_NAMESPACES: Final = Path("/run/netns")
_LOOK: Final = 0.05


@pytest.fixture(autouse=True)
def production_beside_labs(production_total: Total) -> Iterator[None]:
    """Labs are built by another process: what appears while the test runs gets its wire at once."""
    watch = _Watch(production_total)
    thread = threading.Thread(target=watch.run, name="production", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.over.set()
        thread.join()
        found = [words for made in watch.made for words in made.end()]
    assert not found, f"{len(found)} frames on the production network are ours: {found[:10]}"
    assert not watch.failures, watch.failures


class _Watch:
    """Looks for namespaces of appliances that were not there before."""

    def __init__(self, total: Total) -> None:
        self.over = threading.Event()
        self.made: list[Production] = []
        self.failures: list[str] = []
        self._total = total
        self._known = set(_servers())

    def run(self) -> None:
        while not self.over.wait(_LOOK):
            for name in _servers():
                if name not in self._known:
                    self._known.add(name)
                    self._lay(name)

    def _lay(self, name: str) -> None:
        made = Production(name, self._total)
        self.made.append(made)
        try:
            made.lay()
        except (AssertionError, OSError) as error:
            if (_NAMESPACES / name).exists():  # else the lab was gone sooner than we were ready
                self.failures.append(f"{name}: {error}")


def _servers() -> list[str]:
    """Namespaces of appliances in labs of our children; a lab has the number of its process."""
    found = _NAMESPACES.iterdir() if _NAMESPACES.is_dir() else ()
    return sorted(path.name for path in found if path.name.endswith("-srv") and _is_ours(path.name))


def _is_ours(name: str) -> bool:
    number = name.split("-")[1]
    with suppress(OSError):
        words = Path(f"/proc/{number}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return int(words[1]) == os.getpid()
    return False
