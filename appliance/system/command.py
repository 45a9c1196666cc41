"""The one door for other programs: argument lists, a small environment, no standard input, a deadline.

What failed is said in three different sentences, because the operator's next step differs: the program is
not there, it was killed, or it exited with a code of its own.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import SurroundingsError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended: its exit code (negative: killed by that signal) and what it printed."""

    rc: int
    stdout: str
    stderr: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that children get: a fixed PATH and an English, unlocalised voice."""
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "TERM") if k in os.environ}
    return {"PATH": _PATH, "LC_ALL": "C.UTF-8", **kept, **(extra or {})}


def pasteable(argv: Sequence[str]) -> str:
    """The command as a line for a shell."""
    return shlex.join(argv)


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    input: bytes | None = None,  # noqa: A002 - subprocess's own word
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a program to its end.

    Args:
        argv: program and arguments; never a shell line.
        timeout: seconds before it is killed.
        input: what it reads; nothing (not our terminal) when None.
        check: raise unless it exits with 0.

    Raises:
        SurroundingsError: not found, timed out, or (with `check`) killed or failed.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=timeout,
            env=environment(env),
            check=False,
        )
    except FileNotFoundError as error:
        raise SurroundingsError(f"cannot run {argv[0]}: it is not installed") from error
    except PermissionError as error:
        raise SurroundingsError(f"cannot run {argv[0]}: permission denied") from error
    except OSError as error:
        raise SurroundingsError(f"cannot run {argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SurroundingsError(f"{argv[0]} did not end within {timeout:g} s: {pasteable(argv)}") from error
    result = Completed(
        done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
    if check and result.rc != 0:
        raise SurroundingsError(f"{ending(argv[0], result.rc)}: {_last_line(result)}", hint=pasteable(argv))
    return result


def spawn(
    argv: Sequence[str],
    *,
    stdout: int | None = None,
    stderr: int | None = None,
    stdin: int | None = None,
    env: Mapping[str, str] | None = None,
    new_session: bool = True,
) -> subprocess.Popen[bytes]:
    """Start a program that lives on; its standard streams are closed unless file descriptors are given.

    A session of its own keeps a Ctrl-C on our terminal away from it: we decide when it ends.
    """
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.DEVNULL if stdout is None else stdout,
            stderr=subprocess.DEVNULL if stderr is None else stderr,
            env=environment(env),
            start_new_session=new_session,
        )
    except FileNotFoundError as error:
        raise SurroundingsError(f"cannot start {argv[0]}: it is not installed") from error
    except OSError as error:
        raise SurroundingsError(f"cannot start {argv[0]}: {error.strerror}") from error


def cpu_nanoseconds(pid: int | None) -> int:
    """The time that a process has spent on a processor (proc(5), schedstat); 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def ending(program: str, rc: int) -> str:
    """How a program ended, in words."""
    if rc < 0:
        try:
            name = signal.Signals(-rc).name
        except ValueError:
            name = str(-rc)
        return f"{program} was killed by {name}"
    return f"{program} exited with {rc}"


def _last_line(result: Completed) -> str:
    lines = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    return lines[-1][:400] if lines else "it said nothing"
