"""Certificates are made once for all tests of a module."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.push.rooms import Keys, made_keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """An authority, a server's certificate and a client's."""
    return made_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Matchbox's data directory, new."""
    folder = tmp_path / "data"
    (folder / "assets").mkdir(parents=True)
    return folder
