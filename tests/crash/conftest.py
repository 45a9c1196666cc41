"""The two workers that all of these tests share: what an operation calls is watched once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.campaign import Team, team


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Two of them."""
    with team(tmp_path_factory.mktemp("crash")) as found:
        yield found
