"""The process that renders templates: `python -m appliance.sync.template_child`.

A process of its own, because a template is a program: one that never ends must not keep a sync waiting, and
one that asks for all memory must not take the daemon's. It reads one request from standard input, templates
and jobs of one machine each, and answers with a line of JSON for every job, in their order.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Final, TypeVar

from appliance.sync.template import CannotRender, Compiled, compile_template, lines_of, render

SECONDS: Final = 2.0  # that one template may take for one machine; usual ones take a thousandth
_MEMORY: Final = 1 * 2**30
_SLACK: Final = 20  # seconds of processor time besides
_LONG: Final = f"it does not come to an end within {SECONDS:g} s"


T = TypeVar("T")


class _TooLong(Exception):
    """The time of a rendering is over."""


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin.buffer)
    jobs = request["jobs"]
    seconds = _SLACK + len(jobs) // 20
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    signal.signal(signal.SIGALRM, _alarm)
    read: dict[str, Compiled | CannotRender] = {}
    for name, source in request["templates"].items():
        read[name] = _bounded(partial(compile_template, source))
    for answer in _answers(read, jobs, where=request.get("lines") is True):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()  # what was answered counts, though the next one may end us


def _answers(
    read: dict[str, Compiled | CannotRender], jobs: list[tuple[str, dict[str, object] | None]], *, where: bool
) -> Iterator[dict[str, object]]:
    for name, variables in jobs:
        template = read[name]
        if isinstance(template, CannotRender):
            yield {"message": template.message, "line": template.line}
            continue
        if variables is None:  # no machine has it: that it can be read is all that can be said
            yield {"text": ""}
            continue
        found = _bounded(partial(render, template, variables))
        if isinstance(found, CannotRender):
            yield {"message": found.message, "line": found.line}
            if found.message == _LONG:
                read[name] = found  # for the other machines it will be the same
            continue
        lines = _bounded(partial(lines_of, template, variables, found)) if where else ()
        yield {"text": found, "lines": list(lines) if isinstance(lines, tuple) else []}


def _bounded(work: Callable[[], T]) -> T | CannotRender:
    """What `work` returns, or why it does not, within its time."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return work()
    except CannotRender as error:
        return error
    except _TooLong:
        return CannotRender(_LONG)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _alarm(_number: int, _frame: FrameType | None) -> None:
    raise _TooLong


if __name__ == "__main__":
    main()
