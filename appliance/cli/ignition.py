"""`machine show NAME --ignition`: the document that a machine would be given at its next boot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import quote

from appliance.cli.client import ask, daemon_is_running
from appliance.cli.common import print_json
from appliance.daemon.adopt import adopted_generation
from appliance.errors import Refused, SurroundingsError
from appliance.paths import Paths
from appliance.sync.documents import shown_document


def show_ignition(paths: Paths, name: str) -> None:
    """Print it, pretty; where a boot's token goes stands a word. It can hold secrets.

    Raises:
        Refused: nobody knows the machine, or it boots without Ignition.
        SurroundingsError: no daemon runs and there is no generation to look at.
    """
    if daemon_is_running(paths):
        print_json(ask(paths, "GET", f"/v1/machines/{quote(name, safe='')}/ignition"))
        return
    adopted = adopted_generation(paths)
    if adopted is None:
        raise SurroundingsError(
            f"there is no generation below {Path(paths.generations)} yet", hint="pxe-appliance sync"
        )
    served = adopted.served
    document = shown_document(served.settings, served.inventory, served.ignition, name)
    if document is None:
        raise Refused(f"{name} boots without Ignition", hint="its profile names none")
    sys.stderr.write(f"The daemon does not run: this is generation {served.id}, the current one.\n")
    print_json(json.loads(document))
