"""Whether this process has a terminal: one that is closed sends the signal that asks for a reload."""

from __future__ import annotations

import os


def has_terminal() -> bool:
    """Whether there is a terminal that controls us, at this moment."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError:
        return False
    return True
