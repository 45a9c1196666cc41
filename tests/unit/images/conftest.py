"""A mirror that a room's tests share, and a clean place for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.images.model import Artefact, Role
from tests.fakes.mirror import Mirror, mirror
from tests.unit.images.bench import CONTENT, SIZE, Bench, Notes


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "kernel").write_bytes(CONTENT)
    with mirror(folder) as found:
        yield found


@pytest.fixture
def bench(running: Mirror, tmp_path: Path) -> Bench:
    running.faults({})
    artefact = Artefact("kernel", Role.KERNEL, f"{running.url}/kernel", 2 * SIZE)
    return Bench(running, tmp_path, Notes(), artefact)
