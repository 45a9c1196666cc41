"""The pages for bad nights hold what they promise: the tests that they name exist, and so do the commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from appliance.cli.main import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
PAGES = ["threat-model.md", "promises.md", "runbook.md"]


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page: str) -> None:
    named = REFERENCE.findall((DOCS / page).read_text())
    assert len(named) >= 12
    for file, name in named:
        path = ROOT / file
        assert path.is_file(), f"{page} names {file}"
        if name:
            assert re.search(rf"^(?:async )?def {name}\b", path.read_text(), re.MULTILINE), f"{file}::{name}"


def rows(page: str) -> list[list[str]]:
    """The cells of a page's tables of promises and threats, without their heads."""
    found, inside = [], False
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] in {"promise", "threat"}:
            inside = True
        elif inside and not set(cells[0]) <= {"-", "|"}:
            found.append(cells)
    return found


@pytest.mark.parametrize("page", ["threat-model.md", "promises.md"])
def test_every_row_names_a_test(page: str) -> None:
    """By its function: a file alone would be named still when nothing of the kind is left in it."""
    found = rows(page)
    assert len(found) >= 20
    for cells in found:
        named = REFERENCE.findall(cells[-1])
        assert any(name.startswith("test_") for _, name in named), f"{page}: no test for: {cells[0]}"
        for file, name in named:
            test = Path(file).name.startswith("test_")
            assert name.startswith("test_") or not test, f"{page}: {file} is no test, for: {cells[0]}"


def nights() -> list[str]:
    text = (DOCS / "runbook.md").read_text()
    return re.split(r"^## \d+\. ", text, flags=re.MULTILINE)[1:]


def test_there_are_twelve_nights_and_each_says_what_a_tired_person_asks() -> None:
    assert len(nights()) == 12
    for night in nights():
        title = night.splitlines()[0]
        for part in ("**You see**", "**Still works:**", "**It is over**", "Rehearsed:"):
            assert part in night, f"{title}: {part}"
        assert re.search(r"^1\. ", night, re.MULTILINE), f"{title}: nothing to do"


def commands() -> list[list[str]]:
    """What the runbook has an operator type, word by word."""
    text = (DOCS / "runbook.md").read_text()
    typed = re.findall(r"`(?:sudo )?pxe-appliance ([^`|]+)", text)
    typed += re.findall(r"^pxe-appliance ([^#\n]+)", text, re.MULTILINE)
    return [shlex.split(words) for words in typed]


def test_every_command_of_the_runbook_is_taken_as_it_is_written() -> None:
    root = typer.main.get_command(app)
    assert len(commands()) > 30
    for words in commands():
        command, context, rest = root, None, words
        while isinstance(command, TyperGroup):
            assert rest, words
            assert rest[0] in command.commands, f"pxe-appliance {shlex.join(words)}"
            command, rest = command.commands[rest[0]], rest[1:]
            if isinstance(command, TyperGroup) and (not rest or rest[0] not in command.commands):
                assert not rest, f"pxe-appliance {shlex.join(words)}"
                break
        if not isinstance(command, TyperGroup):
            context = command.make_context(words[0], list(rest))
            assert context.command is command
