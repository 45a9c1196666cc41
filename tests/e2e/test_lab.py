"""The main job for real: machines with plain firmware boot through the appliance, and outsiders get nothing.

It needs root, and what `pxe-appliance lab run` names when it is missing. It never skips.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("pxe-appliance")
DHCP = ("discover", "offer", "request", "ack")
RUNGS = (*DHCP, "bootfile", "ipxe", "script", "kernel", "initrd", "ignition", "done")
NAMESPACES = Path("/run/netns")
PREMISES = Path("/run/pxe-appliance-lab")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


@contextmanager
def lab(*words: str) -> Iterator[subprocess.Popen[str]]:
    """`lab run` as a process of ours; ended as Ctrl-C ends it, should the test fail before it does."""
    command = [str(PROGRAM), "lab", "run", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


def left_of(number: int) -> list[str]:
    """What is still there of the lab that process `number` built."""
    namespaces = NAMESPACES.iterdir() if NAMESPACES.is_dir() else ()
    found = [path.name for path in namespaces if path.name.startswith(f"pxelab-{number}-")]
    return found + [str(path) for path in [PREMISES / str(number)] if path.exists()]


def read_until(process: subprocess.Popen[str], words: str) -> None:
    """Read what the lab prints up to a line with `words` in it."""
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        if words in " ".join(line.split()):
            return
    raise AssertionError(f"no {words!r} in:\n{''.join(seen)}")


def went_up_every_rung(said: str, machine: str) -> bool:
    """Whether the lines as they came, and the verdict, say so."""
    return f"ok     {machine}: went through every rung" in said and all(
        re.search(rf"^ *[0-9.]+ s  {machine} +{rung}$", said, re.MULTILINE) for rung in RUNGS
    )


def test_a_bios_and_a_uefi_machine_boot_and_outsiders_get_nothing() -> None:
    with lab() as process:
        said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    assert went_up_every_rung(said, "node1"), said
    assert went_up_every_rung(said, "node2"), said
    assert re.search(r"^node1 +bios +172\.0\.1\.11 ", said, re.MULTILINE), said
    assert re.search(r"^node2 +uefi +172\.0\.1\.12 ", said, re.MULTILINE), said
    assert "ok     node1's second NIC: got nothing, and the events say so" in said
    assert "ok     the stranger: got nothing, and the events say so" in said
    assert left_of(process.pid) == []
    assert shape(readme_sample()) == shape(said[said.index("seconds after power-on") :])


def readme_sample() -> str:
    """What the README says that the lab prints at its end."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (sample,) = re.findall(r"```\n(seconds after power-on\n.*?)```", text, re.DOTALL)
    return str(sample)


def shape(text: str) -> list[list[str]]:
    """Words of each line; seconds differ from run to run."""
    return [re.sub(r"\b\d+\.\d\b(?!\.)", "S", line).split() for line in text.splitlines()]


def test_after_a_killed_run_the_next_one_boots_over_http_and_sweeps_up() -> None:
    with lab("--machines", "1") as killed:
        read_until(killed, "node1 discover")
        killed.kill()
    assert left_of(killed.pid), "a killed run leaves its namespaces: what else should be swept?"
    with lab("--machines", "1", "--firmware", "uefi-http") as process:
        said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    assert went_up_every_rung(said, "node1"), said
    assert re.search(r"^node1 +uefi-http +172\.0\.1\.11 ", said, re.MULTILINE), said
    assert left_of(killed.pid) == []
    assert left_of(process.pid) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_an_interrupted_run_removes_everything(number: signal.Signals) -> None:
    with lab() as process:
        read_until(process, "node1 discover")
        assert left_of(process.pid)
        os.kill(process.pid, number)
        os.kill(process.pid, number)  # the impatient operator's second one must not cut the way out short
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert left_of(process.pid) == []


def test_machines_that_do_not_get_home_in_time_are_named_and_their_logs_kept() -> None:
    with lab("--machines", "1", "--timeout", "1") as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 6, said
    assert re.search(r"^FAILED node1: .*: still running", said, re.MULTILINE), said
    kept = re.search(r"are in (/var/log/pxe-appliance-lab/\S+)", said)
    assert kept, said
    assert (Path(kept[1]) / "node1.serial.log").exists()
    assert (Path(kept[1]) / "serve.log").exists()
    assert left_of(process.pid) == []
