"""Machines that run the appliance as a service, installed as an operator does with pip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import ClientMaker
from tests.netns.machines import Machine as Client
from tests.netns.machines import put_on, take_away
from tests.production import Total, beside
from tests.systemd.machine import Machine, machine
from tests.systemd.operator import install, put_program, wheel, write_configuration


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a release of another number."""
    return wheel(tmp_path_factory.mktemp("newer"), "99.1")


@pytest.fixture
def bare(built: Path, production_total: Total) -> Iterator[Machine]:
    """A machine with the program and the operator's files; nothing is installed as a service."""
    with machine() as made, beside(made.network, production_total):
        put_program(made, built)
        write_configuration(made)
        yield made


@pytest.fixture(scope="module")
def host(built: Path, production_total: Total) -> Iterator[Machine]:
    """A machine whose service runs; the tests of a module share it, and leave it serving."""
    with machine() as made, beside(made.network, production_total):
        put_program(made, built)
        write_configuration(made)
        install(made)
        yield made


@pytest.fixture
def node1(host: Machine) -> Iterator[Client]:
    """A machine of the inventory on the host's PXE wire."""
    maker = ClientMaker()
    found = put_on(host.link, "node1", maker)
    try:
        yield found
    finally:
        take_away(found)
        for client in maker.made:
            client.close()
