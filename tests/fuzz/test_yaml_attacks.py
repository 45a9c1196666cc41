"""Fourteen things that YAML is known for, each in an inventory that the installed command checks.

Exit 3, the file and the line, within a second of processor time and 200 MB: or, where YAML as we read it has
no such trap, the value as it stands there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.inventory.load import load_drafts
from tests.figures import Figures

_COMMAND: Final = str(Path(sys.executable).parent / "pxe-appliance")
_SETTINGS: Final = '[network.pxe]\ninterface = "pxe0"\nsubnet = "172.0.1.0/24"\n'
_SECONDS: Final = 1.0
_MEGABYTES: Final = 200
_GOOD: Final = "machine:\n  node1:\n    mac: 52:54:00:aa:00:01\n    ip: 172.0.1.21\n"


# The kernel counts what a process was before its exec as its own memory: a small one starts it, not pytest.
_MEASURED: Final = """
import os, resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
child = subprocess.Popen(sys.argv[1:])
_, status, used = os.wait4(child.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""


@dataclass(frozen=True)
class Attack:
    """A name, a file, and the line that has to be named; 0: the file is fine, and says what it says."""

    name: str
    text: str | bytes
    line: int
    words: str = ""


def _bomb(levels: int = 9) -> str:
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


ATTACKS: Final = (
    Attack("base-60: a MAC of digits is a number of seconds", _GOOD.replace("aa:00:01", "00:00:01"), 0),
    Attack("no, yes, on, off are booleans", f"{_GOOD}    labels: {{a: no, b: yes, c: on, d: off}}\n", 0),
    Attack(
        "010 is eight, 1_000 a thousand, 0x1f thirty-one",
        f"{_GOOD}    labels: {{a: 010, b: 1_000, c: 0x1f}}\n",
        0,
    ),
    Attack("a key twice: the last one wins", f"{_GOOD}    ip: 172.0.1.22\n", 5, "twice"),
    Attack("alias bomb: 430 bytes become gigabytes", _bomb(), 1, "anchor"),
    Attack("200,000 brackets: the C parser's stack", "machine: " + "[" * 200_000, 1, "deep"),
    Attack("a file of 9 MiB", _GOOD + "# " + "x" * (9 << 20) + "\n", 0, "large"),
    Attack(
        "!!python/object runs a program",
        _GOOD + "    serial: !!python/object/apply:os.system ['id']\n",
        5,
        "tag",
    ),
    Attack(
        "merge keys bring in what stands elsewhere",
        _GOOD + "  node2:\n    <<: {mac: 52:54:00:aa:00:02}\n",
        6,
        "<<",
    ),
    Attack("an anchor and an alias", _GOOD.replace("ip: ", "ip: &a ") + "    serial: *a\n", 4, "anchor"),
    Attack("UTF-16, a byte order mark, a NUL", _GOOD.encode("utf-16"), 1, "UTF-8"),
    Attack("a tab that indents", _GOOD.replace("    ip", "\tip"), 4, "not YAML"),
    Attack("a key that is no text", _GOOD + "  ? [a, b]\n  : {mac: 52:54:00:aa:00:02}\n", 5, "key"),
    Attack(
        "a second document, behind a directive", _GOOD + "...\n%YAML 1.1\n---\nmachine: {}\n", 6, "second"
    ),
    Attack(
        "dates, infinity, null", f"{_GOOD}    labels: {{a: 2024-01-01, b: .inf, c: .nan, d: 'null'}}\n", 0
    ),
)


@dataclass(frozen=True)
class _Ended:
    rc: int
    out: Any
    seconds: float
    megabytes: float


def _check(root: Path, text: str | bytes) -> _Ended:
    """`check` on one inventory file, in a process that dies of what it may not take."""
    etc = root / "etc/pxe-appliance"
    (etc / "inventory.d").mkdir(parents=True)
    (etc / "appliance.toml").write_text(_SETTINGS)
    (etc / "inventory.d/rack.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    out = root / "out"
    with out.open("wb") as stdout:
        said = subprocess.run(
            [sys.executable, "-c", _MEASURED, _COMMAND, "--root", str(root), "check", "-o", "json"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=True,
            timeout=60,
        )
    rc, seconds, kilobytes = said.stderr.decode().splitlines()[-1].split()
    words = out.read_text()
    assert "Traceback" not in words + said.stderr.decode()
    return _Ended(int(rc), json.loads(words), float(seconds), int(kilobytes) / 1024)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack(attack: Attack, tmp_path: Path, worst: list[_Ended]) -> None:
    ended = _check(tmp_path, attack.text)
    worst.append(ended)
    problems = ended.out["problems"]
    if attack.line or attack.words:
        assert ended.rc == 3
        assert all(problem["file"].endswith("rack.yaml") for problem in problems)
        lines = {problem["line"]: problem["message"] for problem in problems}
        assert attack.line in lines, problems
        assert attack.words in f"{lines[attack.line]}", problems
    else:
        assert (ended.rc, problems) == (0, [])
    assert ended.seconds < _SECONDS
    assert ended.megabytes < _MEGABYTES


@pytest.fixture(scope="module")
def worst(figures: Figures) -> Any:
    """What each of them took; the most is told."""
    ended: list[_Ended] = []
    yield ended
    figures.tell("inventory", "YAML attacks: exit 3 with the line, or as written", f"{len(ended)}", "14")
    seconds, size = max(e.seconds for e in ended), max(e.megabytes for e in ended)
    figures.tell("inventory", "the slowest of them, processor time", f"{seconds:.2f} s", "< 1 s")
    figures.tell("inventory", "the largest of them", f"{size:.0f} MB", "< 200 MB")


def test_values_are_as_they_are_written(tmp_path: Path) -> None:
    """The traps that are none here: what stands in the file is what a machine is labelled with."""
    values = ("no", "010", "2024-01-01", ".inf", "1_000", "12:30:45", "~", "0x1f", "1e3", "null", "yes")
    labels = ", ".join(f"l{n}: {value}" for n, value in enumerate(values))
    (tmp_path / "rack.yaml").write_text(f"{_GOOD.replace('aa:00:01', '00:00:01')}    labels: {{{labels}}}\n")
    drafts = load_drafts(tmp_path)
    assert drafts.problems == []
    (machine,) = drafts.machines
    assert tuple(machine.labels.values()) == values
    assert [mac.text for mac in machine.macs] == ["52:54:00:00:00:01"]
