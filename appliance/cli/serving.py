"""The command that stays: serve."""

from __future__ import annotations

from appliance.errors import ExitCode
from appliance.paths import Paths


def serve(paths: Paths, *, verbose: bool) -> int:
    """Run the daemon in the foreground until SIGTERM or SIGINT; the exit code."""
    # The event loop and its HTTP side take half of the start-up time of every other command.
    from appliance.daemon.readiness import is_only_checked, show
    from appliance.daemon.run import run_daemon

    if is_only_checked():
        show(paths)
        return ExitCode.FINE
    return run_daemon(paths, verbose=verbose)
