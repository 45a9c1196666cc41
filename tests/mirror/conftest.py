"""Keys and stores that many tests begin with: made once, copied for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.signing import Signer
from tests.mirror.site import ENDS, NEW, NEW_AT, OLD, OLD_AT, Signers, Site, copied, opened, release


@pytest.fixture(scope="session")
def signers() -> Iterator[Signers]:
    """The keys of all releases here."""
    with ExitStack() as stack:
        good = stack.enter_context(Signer.make())
        ending = stack.enter_context(Signer.make("Ending <ending@example.com>", subkey_expires=ENDS))
        foreign = stack.enter_context(Signer.make())
        yield Signers.of(good, ending, foreign)


@pytest.fixture(scope="session")
def with_old(signers: Signers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a site: the old release is current in its store, the new one is on its mirror."""
    folder = tmp_path_factory.mktemp("with-old")
    with opened(folder, signers) as site:
        release(site.tree, signers.good, OLD, OLD_AT)
        said = site.fetch()
        assert said.rc == 0, said.err
        release(site.tree, signers.good, NEW, NEW_AT)
    return folder


@pytest.fixture
def site(with_old: Path, signers: Signers, tmp_path: Path) -> Iterator[Site]:
    """A site of its own that has the old release, and whose mirror has the new one."""
    with copied(with_old, tmp_path, signers) as found:
        yield found


@pytest.fixture
def empty(signers: Signers, tmp_path: Path) -> Iterator[Site]:
    """A site that has nothing yet, and whose mirror has nothing either."""
    with opened(tmp_path, signers) as found:
        yield found
