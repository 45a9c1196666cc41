"""Whole files compared with tests/golden/<case>/. PXE_UPDATE_GOLDEN=1 writes them anew and stays red."""

from __future__ import annotations

import difflib
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
    before, after = read_tree(folder), dict(files)
    lines: list[str] = []
    for name in sorted(before.keys() | after.keys()):
        old, new = (tree.get(name, b"").decode().splitlines() for tree in (before, after))
        lines += difflib.unified_diff(old, new, f"golden/{case}/{name}", "now", lineterm="", n=0)
    if before != after:
        names = sorted(before.keys() ^ after.keys())
        head = f"{folder} differs; files that come or go: {', '.join(names) or 'none'}"
        pytest.fail("\n".join([head, *lines]), pytrace=False)


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by its relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
