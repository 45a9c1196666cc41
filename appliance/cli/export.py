"""export: the inventory for others to use."""

from __future__ import annotations

import csv
import sys
from typing import Final

from appliance.cli.common import Listing, print_json, print_table
from appliance.errors import OperatorError
from appliance.inventory.load import load_all
from appliance.inventory.switchports import SwitchPort, switch_ports
from appliance.paths import Paths

_HEADINGS: Final = (
    "MACHINE",
    "NIC",
    "MAC",
    "PORT",
    "MODE",
    "UNTAGGED",
    "TAGGED",
    "LAG",
    "SPANNING TREE",
    "MTU",
    "REMARKS",
)


def switchports(paths: Paths, *, output: Listing) -> None:
    """Print what every switch port has to be, from the files as they are now.

    Raises:
        OperatorError: settings or inventory are wrong; every problem is named.
    """
    loaded = load_all(paths)
    if loaded.settings is None or loaded.inventory is None or loaded.problems:
        raise OperatorError("cannot use settings and inventory", problems=sorted(loaded.problems))
    rows = switch_ports(loaded.inventory, loaded.settings.networks)
    if output is Listing.JSON:
        print_json([row.as_json() for row in rows])
    elif output is Listing.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([heading.lower().replace(" ", "_") for heading in _HEADINGS])
        writer.writerows(_plain(row) for row in rows)
    else:
        empty = "No machines: put some into inventory.d/."
        print_table(_HEADINGS, (tuple(cell or "-" for cell in _plain(row)) for row in rows), empty=empty)


def _plain(row: SwitchPort) -> tuple[str, ...]:
    return (
        row.machine,
        row.nic,
        str(row.mac),
        row.port,
        row.mode,
        row.untagged,
        row.tagged,
        row.lag,
        row.spanning_tree,
        str(row.mtu or ""),
        row.remarks,
    )
