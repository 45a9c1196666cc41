"""Every parser of hostile bytes, on its kept seeds, on mutants of them, on generated and on heavy input.

It returns what it should or raises what it says, in bounded time and memory: never another exception, never a
hang, never an exit. What a run finds is printed as a seed to keep in tests/corpus/fuzz/NAME/.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.figures import Figures
from tests.fuzz.bounds import Hangs, bounded, spent
from tests.fuzz.mutation import WORDS, heavy, mutant
from tests.fuzz.parser import NotOurs, Parser
from tests.fuzz.table import PARSERS
from tests.seeds import seed_of_run

_SEED: Final = str(seed_of_run())
# Where new crashers are put, to be looked at and kept.
_FOUND: Final = Path(os.environ.get("PXE_FUZZ_FOUND", "/tmp/pxe-fuzz-found"))
_LIGHT: Final = 2.0  # processor seconds of a small input
_HEAVY: Final = 5.0  # and of one as large as the product would read
_each = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: str(parser.name))
Sized = Callable[[int, int], int]


@pytest.fixture(scope="module")
def cases(figures: Figures) -> Iterator[list[int]]:
    """How many cases were read; told at the end."""
    counted: list[int] = []
    yield counted
    figures.tell("parsers", "parsers of hostile bytes", f"{len(PARSERS)}")
    figures.tell("parsers", "inputs read, seed " + _SEED, f"{sum(counted):,}", "no crash, hang or exit")


def _try(parser: Parser, data: bytes, seconds: float) -> None:
    """Have it read; whatever is not allowed fails, and is kept."""
    try:
        found, took = spent(lambda: parser.read(data))
        assert isinstance(found, parser.returns), f"it returned a {type(found).__name__}"
        assert took <= seconds, f"it took {took:.1f} s of processor time"
    except (Exception, Hangs, SystemExit) as error:  # whatever it is: that is what is tested
        if isinstance(error, (NotOurs, *parser.raises)):
            return
        file = _FOUND / parser.name / hashlib.sha256(data).hexdigest()[:16]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        message = (
            f"{parser.name} on {data[:200]!r}{'…' if len(data) > 200 else ''} (all in {file}): {error!r}"
        )
        raise AssertionError(message) from error


@_each
def test_kept_seeds(parser: Parser, cases: list[int]) -> None:
    with bounded():
        for seed in parser.seeds:
            _try(parser, seed, _LIGHT)
    cases.append(len(parser.seeds))


@pytest.mark.timeout(7200)
@_each
def test_mutants(parser: Parser, cases: list[int], sized: Sized) -> None:
    wanted = sized(1000, 200_000) // parser.cost
    random = Random(f"{parser.name} {_SEED}")
    words = [word.encode("latin-1") for word in parser.words]
    with bounded():
        for _ in range(wanted):
            _try(parser, mutant(random, parser.seeds, words)[: parser.most], _LIGHT)
    cases.append(wanted)


@pytest.mark.timeout(7200)
@_each
def test_generated(parser: Parser, cases: list[int], sized: Sized) -> None:
    """What hypothesis makes of words of the language, and of nothing; it finds the least that fails."""
    wanted = sized(200, 20_000) // parser.cost
    words = [*WORDS, *(word.encode("latin-1") for word in parser.words)]
    pieces = st.sampled_from(words) | st.binary(max_size=8) | st.sampled_from(parser.seeds)
    inputs = st.binary(max_size=400) | st.lists(pieces, max_size=12).map(b"".join)

    @settings(
        max_examples=wanted,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.seed(seed_of_run())
    @given(inputs)
    def read(data: bytes) -> None:
        _try(parser, data[: parser.most], _LIGHT)

    with bounded():
        read()
    cases.append(wanted)


@_each
def test_heavy_input(parser: Parser, cases: list[int], sized: Sized) -> None:
    """As much as the product would read, at once: nothing that grows with its square, nor with its depth."""
    inputs = heavy(parser.seeds[0], min(parser.most, sized(100_000, 1 << 20)))
    with bounded():
        for name, data in list(inputs.items())[:: max(1, parser.cost // 10)]:
            try:
                _try(parser, data, _HEAVY)
            except AssertionError as error:
                raise AssertionError(f"{name}: {str(error)[:600]}") from error
    cases.append(len(inputs))
