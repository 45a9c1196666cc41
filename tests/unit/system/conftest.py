"""What tests of rights need: a place that other users can come to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory of root's that every user can enter (pytest's own is closed to others)."""
    path = Path(tempfile.mkdtemp(prefix="pxe-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
