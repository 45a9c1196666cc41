"""The daemon, asking more often for other DHCP servers: `python -m tests.fakes.brisk ROOT SECONDS`.

SECONDS is how long it waits for their answers. Everything else is `pxe-appliance serve`.
"""

from __future__ import annotations

import sys
from pathlib import PurePosixPath

from appliance.daemon.question import Rhythm
from appliance.daemon.run import run_daemon
from appliance.errors import ApplianceError
from appliance.paths import Paths


def main() -> int:
    """Serve until told to stop."""
    rhythm = Rhythm(every=1.5, again=(0.0,), window=float(sys.argv[2]))
    try:
        return run_daemon(Paths(PurePosixPath(sys.argv[1])), verbose=False, rhythm=rhythm)
    except ApplianceError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
