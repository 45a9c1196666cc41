"""Completion in the shells themselves: a terminal, a TAB, and what stands there afterwards."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.cli.completions import completions
from tests.figures import Figures

PROGRAMS = Path(sys.executable).parent
INVENTORY = """
[machine.node1]
mac = "52:54:00:aa:00:01"
ip = "172.0.1.21"
[machine.node2]
mac = "52:54:00:aa:00:02"
ip = "172.0.1.22"
[machine.storage]
mac = "52:54:00:aa:00:03"
ip = "172.0.1.23"
"""
# How each shell is started with nothing of this host's, and finds completions below `share`.
STARTS = {
    "bash": (
        ("bash", "--norc", "--noprofile", "-i"),
        "set +o history; bind 'set enable-bracketed-paste off'; . /usr/share/bash-completion/bash_completion",
    ),
    "zsh": (
        ("zsh", "-f", "-i"),
        "fpath=({share}/zsh/vendor-completions $fpath); autoload -Uz compinit; compinit -D -u",
    ),
    "fish": (
        ("fish", "--no-config", "--private", "-i"),
        "set -g fish_complete_path {share}/fish/vendor_completions.d $fish_complete_path",
    ),
}


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, shell: str, share: Path, root: Path) -> None:
        argv, setup = STARTS[shell]
        environment = {
            "PATH": f"{PROGRAMS}:/usr/bin:/bin",
            "HOME": str(root),
            "TERM": "dumb" if shell != "fish" else "xterm",
            "LC_ALL": "C.UTF-8",
            "PS1": "> ",
            "BASH_COMPLETION_USER_DIR": str(share / "bash-completion"),
            "XDG_DATA_HOME": str(root / "data"),
            "XDG_CONFIG_HOME": str(root / "config"),
            "PXE_APPLIANCE_ROOT": str(root),
            "COLUMNS": "160",
        }
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, environment)
        self.typed(setup.format(share=share) + "; echo rea''dy\n", r"ready\r?\n")

    def typed(self, keys: str, pattern: str, seconds: float = 30) -> str:
        """What the terminal shows until `pattern` stands there."""
        os.write(self.fd, keys.encode())
        seen, deadline = "", time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.1)[0]:
                seen += os.read(self.fd, 65536).decode(errors="replace")
                if re.search(pattern, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>(][A-Z0-9]?", "", seen)):
                    return seen
        raise AssertionError(f"{pattern!r} does not stand in {seen!r}")

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture(params=sorted(STARTS))
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    shell = request.param
    assert shutil.which(shell), f"{shell} is not installed: ./dev test does that"
    share, root = tmp_path / "share", tmp_path / "root"
    for name, text in completions().items():
        path = share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    inventory = root / "etc/pxe-appliance/inventory.d/rack.toml"
    inventory.parent.mkdir(parents=True)
    inventory.write_text(INVENTORY)
    made = Terminal(shell, share, root)
    try:
        yield made
    finally:
        made.close()


def test_a_tab_completes_commands_options_and_machines(terminal: Terminal, figures: Figures) -> None:
    began = time.monotonic()
    terminal.typed("pxe-appliance gener\t", r"pxe-appliance generations")
    figures.tell("package", "completion, the first TAB", f"{time.monotonic() - began:.2f} s")
    terminal.typed("\x15pxe-appliance why sto\t", r"pxe-appliance why storage")
    terminal.typed("\x15pxe-appliance sync --allow\t", r"sync --allow-mass-change")
    terminal.typed("\x15pxe-appliance why node\t\t", r"node1\b[\s\S]*node2")


def test_a_broken_inventory_is_silence_at_the_prompt(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "root/etc/pxe-appliance/inventory.d/rack.toml").write_text("[machine\n")
    seen = terminal.typed("pxe-appliance why sto\t", r"why sto")
    seen += terminal.typed("\x15pxe-appliance gener\t", r"pxe-appliance generations")
    assert not re.search("(?i)error|traceback", seen)
