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


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """The healthy host."""
    segment = Segment(f"pxe-doc{os.getpid()}")
    folder = Path(tempfile.mkdtemp(prefix="pxe-doctor-"))
    folder.chmod(0o755)
    try:
        for namespace in (segment.server, segment.clients):
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        with healthy_host(segment, folder) as made:
            yield made
    finally:
        for namespace in (segment.server, segment.clients):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        shutil.rmtree(folder)
