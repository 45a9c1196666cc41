"""The programs that finish an operator's files: our own child for templates, `butane` where there is one."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from appliance.errors import SurroundingsError
from appliance.matchbox.errors import Flaw
from appliance.matchbox.tool_messages import flaws_of
from appliance.sync.bases import Job, Rendered, Translate, translate_here
from appliance.sync.remembered import Remembered
from appliance.system.command import ending, environment, run

_CHILD: Final = (sys.executable, "-I", "-m", "appliance.sync.template_child")
_START_SECONDS: Final = 60.0
_JOB_SECONDS: Final = 0.1
_BUTANE_SECONDS: Final = 10.0
_INLINE: Final = "files beside it are not read: put the text in place, with inline"


def workers() -> int:
    """How many programs may run at a time."""
    return max(2, os.cpu_count() or 1)


def found(program: str) -> str | None:
    """Where a program is, on the path that every child of ours gets."""
    return shutil.which(program, path=environment()["PATH"])


def render_apart(
    templates: Mapping[str, str], jobs: Sequence[Job], *, lines: bool = False
) -> list[Rendered | Flaw]:
    """Render in a process of its own, bounded in time and memory (see `template_child`)."""
    if not jobs:
        return []
    request = {
        "templates": dict(templates),
        "jobs": [(job.name, job.variables) for job in jobs],
        "lines": lines,
    }
    seconds = _START_SECONDS + _JOB_SECONDS * len(jobs)
    done = run(_CHILD, timeout=seconds, input=json.dumps(request).encode(), check=False)
    made = [_made(json.loads(line)) for line in done.stdout.splitlines() if line.endswith("}")]
    if len(made) < len(jobs):
        why = Flaw(f"it ended what renders it ({ending('the renderer', done.rc)})")
        return [*made, *([why] * (len(jobs) - len(made)))]
    return made


def translator(remembered: Remembered) -> tuple[Translate, str]:
    """What translates Butane on this host, and its name for the notes; a text is translated once."""
    program = found("butane")
    if program is None:
        return translate_here, "our own translator: the butane program is not installed"
    version = run([program, "--version"], timeout=_BUTANE_SECONDS, check=False).stdout.strip()

    name = f"{program} ({version or 'of unknown version'})"

    def translate(butane: Mapping[str, bytes]) -> dict[str, bytes | tuple[Flaw, ...]]:
        kept = {key: remembered.made(name, text, key) for key, text in butane.items()}
        made: dict[str, bytes | tuple[Flaw, ...]] = {k: old for k, old in kept.items() if old is not None}
        rest = {key: text for key, text in butane.items() if key not in made}
        if rest:
            with ThreadPoolExecutor(workers()) as pool:
                results = pool.map(lambda text: _translated(program, text), rest.values())
                made |= zip(rest, results, strict=True)
        for key, text in rest.items():
            if isinstance(result := made[key], bytes):
                remembered.keep(name, text, result)
        return {key: made[key] for key in butane}

    return translate, name


def _made(answer: Mapping[str, object]) -> Rendered | Flaw:
    if "message" in answer:
        line = answer.get("line")
        return Flaw(str(answer["message"]), line if isinstance(line, int) else 0)
    lines = answer.get("lines")
    return Rendered(str(answer["text"]), tuple(lines) if isinstance(lines, list) else ())


def _translated(program: str, text: bytes) -> bytes | tuple[Flaw, ...]:
    try:
        done = run([program, "--strict"], timeout=_BUTANE_SECONDS, input=text, check=False)
    except SurroundingsError as error:
        return (Flaw(error.message),)
    if done.rc != 0 or done.stderr.strip():
        return tuple(_hinted(flaw) for flaw in flaws_of(done.stderr))
    return done.stdout.encode()


def _hinted(flaw: Flaw) -> Flaw:
    if "files-dir" not in flaw.message:
        return flaw
    return Flaw(flaw.message, flaw.line, flaw.path, _INLINE, flaw.keys)
