"""How long `check` takes for a large inventory: 10,000 machines in one TOML file, by default.

    python bench/check.py [MACHINES]

Prints seconds for reading settings and inventory with all rules, and for storing and restoring the result.
"""

from __future__ import annotations

import sys
import tempfile
import time
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

from appliance.inventory.load import load_all
from appliance.inventory.serialize import dump_inventory, restore_inventory
from appliance.paths import Paths

_SETTINGS = '[network.pxe]\ninterface = "eth0"\nsubnet = "10.0.0.0/8"\n'
_PROFILE = '[profile.worker]\nimage = "flatcar/stable"\nargs = ["console=ttyS0"]\n\n'
_FIRST = IPv4Address("10.0.1.0")


def _machine(number: int) -> str:
    tail = f"{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    return (
        f"[machine.node{number}]\n"
        f'mac     = "52:54:00:{tail}"\n'
        f'ip      = "{_FIRST + number}"\n'
        'profile = "worker"\n'
        f'labels  = {{ rack = "r{number % 40}", role = "worker" }}\n'
        f"[machine.node{number}.nic.eno2]\n"
        f'mac = "52:54:01:{tail}"\n\n'
    )


def main(machines: int) -> None:
    """Make the inventory, read it three times, print the best."""
    with tempfile.TemporaryDirectory() as directory:
        paths = Paths(PurePosixPath(directory))
        Path(paths.inventory).mkdir(parents=True)
        Path(paths.settings).write_text(_SETTINGS)
        text = _PROFILE + "".join(_machine(number) for number in range(machines))
        (Path(paths.inventory) / "machines.toml").write_text(text)
        best = float("inf")
        for _ in range(3):
            begin = time.perf_counter()
            _, inventory = load_all(paths)
            best = min(best, time.perf_counter() - begin)
        begin = time.perf_counter()
        stored = dump_inventory(inventory)
        middle = time.perf_counter()
        restored = restore_inventory(stored)
        end = time.perf_counter()
        assert restored == inventory
    lines = (
        f"{len(inventory.machines)} machines, {len(text)} bytes of TOML",
        f"load and rules  {best:.3f} s",
        f"store           {middle - begin:.3f} s",
        f"restore         {end - middle:.3f} s",
    )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
