"""One healthy host for all faults: each is planted, found, taken back, and seen to be gone."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doctor.bench import Bench, healthy_host
from tests.netns.conftest import Segment, run
from tests.production import Total, beside


@pytest.fixture(scope="module")
def bench(production_total: Total) -> Iterator[Bench]:
    """The healthy host."""
    name = f"pxe-doc{os.getpid()}"
    server, clients = f"{name}s", f"{name}c"
    folder = Path(tempfile.mkdtemp(prefix="pxe-doctor-"))
    folder.chmod(0o755)
    try:
        for namespace in (server, clients):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        with (
            beside(server, production_total, default=False) as production,  # it is one of the faults
            healthy_host(Segment(name, production), folder) as made,
        ):
            yield made
    finally:
        for namespace in (server, clients):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        shutil.rmtree(folder)
