"""The command that stays: serve."""

from __future__ import annotations

from appliance.daemon.run import run_daemon
from appliance.paths import Paths


def serve(paths: Paths, *, verbose: bool) -> int:
    """Run the daemon in the foreground until SIGTERM or SIGINT; the exit code."""
    return run_daemon(paths, verbose=verbose)
