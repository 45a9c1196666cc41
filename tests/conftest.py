"""What every test may ask for: the size of this run, and a place for what it measures."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.figures import Figures
from tests.production import production_total
from tests.seeds import VARIABLE, draw_for_the_night, seed_of_run

__all__ = ["production_total"]  # a fixture of every folder

_figures = pytest.StashKey[Figures]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="run the large sizes: a night's, not a commit's")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_figures] = Figures()
    if config.getoption("--nightly"):
        draw_for_the_night()
    # A commit is not refused by chance: that is for the night, and for a seed of one's own.
    settings.register_profile("commit", derandomize=VARIABLE not in os.environ)
    settings.load_profile("commit")


def pytest_report_header() -> str:
    return f"seed {seed_of_run()}: repeat with {VARIABLE}={seed_of_run()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash[_figures].table()
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Figures:
    """Where a test tells what it measured."""
    return request.config.stash[_figures]


@pytest.fixture(scope="session")
def sized(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`sized(10_000, 1_000_000)`: the first in a usual run, the second in a nightly one."""
    nightly = bool(request.config.getoption("--nightly"))
    return lambda usual, night: night if nightly else usual
