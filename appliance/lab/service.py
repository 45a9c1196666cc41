"""The appliance under trial, driven as its operator does: by its own commands, inside its namespace."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from appliance.errors import SurroundingsError
from appliance.lab.segment import inside
from appliance.system.command import Completed, ending, run, spawn

_COMMAND_TIME: Final = 120.0  # seconds; a busy 2-core host starts Python slowly
_READY_TIME: Final = 60.0
_STOP_TIME: Final = 15.0
_BETWEEN_POLLS: Final = 0.2
_LONGEST_LINE: Final = 65536


@dataclass(frozen=True, slots=True)
class Service:
    """An appliance: its `--root`, and the namespace that it lives in."""

    root: Path
    namespace: str
    logs: Path

    def call(self, *words: str, check: bool = True) -> Completed:
        """Run one of its commands to the end."""
        return run(self.command(*words), timeout=_COMMAND_TIME, check=check)

    def command(self, *words: str) -> list[str]:
        """The argument list of one of its commands."""
        return inside(self.namespace, [program(), "--root", str(self.root), *words])


def program() -> str:
    """The installed command that belongs to this very interpreter."""
    beside = Path(sys.executable).with_name("pxe-appliance")
    found = str(beside) if beside.exists() else shutil.which("pxe-appliance")
    if found is None:
        raise SurroundingsError(
            "cannot run the appliance: the command pxe-appliance is not installed", hint="pip install -e ."
        )
    return found


def start(service: Service) -> subprocess.Popen[bytes]:
    """Check, sync, serve; back when dnsmasq serves.

    Raises:
        SurroundingsError: a command failed, or the daemon did not come to serve in time.
    """
    service.call("check")
    service.call("sync", "--yes")
    log = service.logs / "serve.log"
    with log.open("wb") as stream:
        daemon = spawn(service.command("serve"), stdout=stream.fileno(), stderr=stream.fileno())
    deadline = time.monotonic() + _READY_TIME
    state = ""
    while state != "serving":
        rc = daemon.poll()
        if rc is not None or time.monotonic() > deadline:
            stop(daemon)
            why = (
                ending("pxe-appliance serve", rc)
                if rc is not None
                else f"dnsmasq is {state or 'not heard of'}"
            )
            raise SurroundingsError(
                f"the appliance does not serve: {why}: {_last_line(log)}", hint=f"see {log}"
            )
        time.sleep(_BETWEEN_POLLS)
        state = _dnsmasq_state(service.call("status", "-o", "json", check=False).stdout)
    return daemon


def processes(service: Service) -> tuple[int, ...]:
    """The daemon's process and dnsmasq's, by what `status` says."""
    facts: object = json.loads(service.call("status", "-o", "json", check=False).stdout)
    parts = [facts.get(key) for key in ("daemon", "dnsmasq")] if isinstance(facts, Mapping) else []
    pids = [part.get("pid") for part in parts if isinstance(part, Mapping)]
    return tuple(pid for pid in pids if isinstance(pid, int))


def stop(daemon: subprocess.Popen[bytes]) -> None:
    """End the daemon as an init system does."""
    daemon.terminate()
    try:
        daemon.wait(_STOP_TIME)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


@contextlib.contextmanager
def events(service: Service) -> Iterator[queue.SimpleQueue[str]]:
    """The daemon's events as JSON lines from now on; an empty line when the stream ends.

    They are also kept in the logs.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    log = (service.logs / "events.jsonl").open("ab")
    reader = spawn(service.command("events", "--follow", "-o", "json"), stdout=subprocess.PIPE)
    stream = reader.stdout
    assert stream is not None  # a pipe was asked for
    thread = threading.Thread(target=_pump, args=(stream, log, lines))
    thread.start()
    try:
        yield lines
    finally:
        stop(reader)
        thread.join()
        stream.close()
        log.close()


def _pump(stream: IO[bytes], log: IO[bytes], lines: queue.SimpleQueue[str]) -> None:
    while raw := stream.readline(_LONGEST_LINE):
        log.write(raw)
        log.flush()
        if text := raw.decode(errors="replace").strip():
            lines.put(text)
    lines.put("")


def _dnsmasq_state(said: str) -> str:
    try:
        facts: object = json.loads(said)
    except ValueError:
        return ""
    dnsmasq = facts.get("dnsmasq") if isinstance(facts, Mapping) else None
    state = dnsmasq.get("state") if isinstance(dnsmasq, Mapping) else None
    return state if isinstance(state, str) else ""


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
