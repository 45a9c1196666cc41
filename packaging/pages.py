"""Writes the manual and the completions below a share directory, run by what is being packaged."""

from __future__ import annotations

import sys
from pathlib import Path

import typer.main
from typer.core import TyperGroup

from appliance.cli.completions import completions
from appliance.cli.main import app
from appliance.cli.manual import man_pages


def main(share: Path, date: str) -> None:
    """`share` becomes /usr/share; `date` (YYYY-MM-DD) stands at the foot of each page."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    pages = {f"man/man{name[-1]}/{name}": text for name, text in man_pages(root, date).items()}
    for name, text in {**pages, **completions()}.items():
        path = share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
