"""The installed command, run as an operator runs it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.cli.main import main
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
        ours = {"NO_COLOR", "FORCE_COLOR", "PXE_APPLIANCE_ROOT"}
        kept = {k: v for k, v in os.environ.items() if k not in ours}
        return {**kept, "TERM": "xterm-256color", "COLUMNS": "200", **(extra or {})}

    def run(self, *args: str) -> Said:
        """Run to the end with pipes for all streams."""
        done = subprocess.run(
            [COMMAND, "--root", str(self.root), *args], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=60, env=self.environment(), errors="strict",
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def call(self, *args: str) -> Said:
        """The same in this process, where a start costs nothing; the streams are as strict as a pipe."""
        out, err = io.BytesIO(), io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [COMMAND, "--root", str(self.root), *args])
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, "utf-8", write_through=True))
            for name in ("NO_COLOR", "FORCE_COLOR"):
                patch.delenv(name, raising=False)
            with pytest.raises(SystemExit) as ended:
                main()
            return Said(int(ended.value.code or 0), out.getvalue().decode(), err.getvalue().decode())

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
        """A daemon with answers: `status=` to GET /v1/status, `post_sync=` to POST /v1/sync, and so on."""
        by_path = {}
        for name, answer in answers.items():
            method, path = ("POST", name[5:]) if name.startswith("post_") else ("GET", name)
            by_path[f"{method} /v1/{path}"] = answer
        with canned(Path(self.paths.control), by_path) as state:
            yield state
