"""The installed command, run as an operator runs it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.fakes.control_socket import Canned, canned
from tests.unit.sync.rooms import Site

COMMAND: Final = str(Path(sys.executable).parent / "pxe-appliance")


@dataclass
class Said:
    """How it ended and what it printed."""

    rc: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Operator(Site):
    """A root directory, and somebody who types."""

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {
            k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "FORCE_COLOR", "PXE_APPLIANCE_ROOT"}
        }
        return {**kept, "TERM": "xterm-256color", "COLUMNS": "200", **(extra or {})}

    def run(self, *args: str, env: Mapping[str, str] | None = None, root: bool = True) -> Said:
        """Run to the end with pipes for all streams."""
        argv = [COMMAND, *(("--root", str(self.root)) if root else ()), *args]
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
            env=self.environment(env), errors="strict",
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def on_a_terminal(self, *args: str, env: Mapping[str, str] | None = None) -> str:
        """Everything that a terminal would have got, bytes as Latin-1 so that none is lost."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [COMMAND, "--root", str(self.root), *args], stdin=theirs, stdout=theirs, stderr=theirs,
            env=self.environment(env), start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the far end is closed
            while piece := os.read(ours, 1 << 16):
                shown += piece
        os.close(ours)
        process.wait(60)
        return shown.decode("latin-1")

    @contextlib.contextmanager
    def daemon(self, **answers: tuple[int, object]) -> Iterator[Canned]:
        """A daemon that answers `status="…"` to GET /v1/status, `post_sync="…"` to POST /v1/sync, and so on."""
        by_path = {
            f"POST /v1/{name.removeprefix('post_')}"
            if name.startswith("post_")
            else f"GET /v1/{name}": answer
            for name, answer in answers.items()
        }
        with canned(Path(self.paths.control), by_path) as state:
            yield state
