"""Whole files compared with tests/golden/<case>/. PXE_UPDATE_GOLDEN=1 writes them anew and stays red."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

GOLDEN: Final = Path(__file__).parent / "golden"


def assert_golden(case: str, files: Mapping[str, bytes]) -> None:
    """`files`, by relative path, are exactly what lies in the folder `case`."""
    folder = GOLDEN / case
    if os.environ.get("PXE_UPDATE_GOLDEN") == "1":
        shutil.rmtree(folder, ignore_errors=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        pytest.fail(f"{folder} was written anew: look at the difference, then run without PXE_UPDATE_GOLDEN")
    assert sorted(files) == sorted(read_tree(folder))
    for name, content in read_tree(folder).items():
        assert files[name].decode() == content.decode(), name


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by its relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
