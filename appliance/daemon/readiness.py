"""Whether the program on disk could take the daemon's place: it is asked before anything is let go."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from appliance.daemon.adopt import adopted_generation
from appliance.errors import ApplianceError, SurroundingsError
from appliance.paths import Paths
from appliance.system.command import run

VARIABLE: Final = "PXE_APPLIANCE_TAKEOVER"  # the file descriptor of what is handed over, or the word
_CHECK: Final = "check"  # by which a program only shows that it can start
_SERVED: Final = "PXE_APPLIANCE_SERVED"  # the generation that it would have to go on with
_SECONDS: Final = 60.0


def check(argv: Sequence[str], generation: int | None) -> None:
    """See that the program starts at all, with our arguments, and could go on with what is served.

    Raises:
        SurroundingsError: it does not, or could not.
    """
    served = "" if generation is None else str(generation)
    run(argv, timeout=_SECONDS, env={**os.environ, VARIABLE: _CHECK, _SERVED: served}, check=True)


def is_only_checked(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether we are asked to show that we could take over, and no more."""
    return environ.get(VARIABLE) == _CHECK


def show(paths: Paths, environ: Mapping[str, str] = os.environ) -> None:
    """See that we could go on with what the program that asks serves.

    Its children have that in memory. Who takes over has what is on disk, and would leave them.

    Raises:
        SurroundingsError: it is damaged, or written in a way that this version does not understand.
    """
    served = environ.get(_SERVED, "")
    if not (served.isascii() and served.isdecimal() and len(served) < 10):
        return  # an earlier version asks, or one that serves nothing yet
    try:
        adopted_generation(paths, int(served))
    except ApplianceError as error:
        words = f"cannot go on with generation {served}: {error.message}; pxe-appliance sync writes it anew"
        raise SurroundingsError(words) from error
