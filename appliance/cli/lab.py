"""lab run, up, boot, down: the virtual rack. Decisions are `appliance.lab.run`'s, imported when asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import stdout_console
from appliance.lab.kernel import CACHE
from appliance.lab.rack import DEFAULT_TIMEOUT, MOST_MACHINES, FirmwareChoice

_Machines = Annotated[int, typer.Option("--machines", min=1, max=MOST_MACHINES, help="How many.")]
_Firmware = Annotated[
    FirmwareChoice, typer.Option("--firmware", help="What they have; mixed goes round bios, uefi, uefi-http.")
]
_Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds that the boots may take.")]
_Cache = Annotated[Path, typer.Option("--cache", help="Where the kernel is kept between runs.")]


def run(
    machines: _Machines = 2,
    firmware: _Firmware = FirmwareChoice.MIXED,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything there at the end.")] = False,
    timeout: _Timeout = DEFAULT_TIMEOUT,
    cache: _Cache = CACHE,
    image: Annotated[
        bool,
        typer.Option("--image", help="Boot a release of the image store, then a second one, then roll back."),
    ] = False,
    lifecycle: Annotated[
        bool,
        typer.Option(
            "--lifecycle",
            help="Five machines of its own: install, disk, reinstall; a loop, a thief, a bond.",
        ),
    ] = False,
    faults: Annotated[
        bool,
        typer.Option("--faults", help="Four machines of its own: what goes wrong, and how soon it is named."),
    ] = False,
) -> None:
    """Boot machines through the appliance: 0 when all called home and no outsider got an address."""
    from appliance.lab.run import Wishes, lab_run

    lab_run(Wishes(machines, firmware, keep, timeout, cache, image, lifecycle, faults), stdout_console())


def up(machines: _Machines = 2, firmware: _Firmware = FirmwareChoice.MIXED, cache: _Cache = CACHE) -> None:
    """Build the rack with the appliance running and all machines off."""
    from appliance.lab.run import Wishes, lab_up

    lab_up(Wishes(machines, firmware, cache=cache), stdout_console())


def boot(name: str, timeout: _Timeout = DEFAULT_TIMEOUT) -> None:
    """Power on one machine of the lab that is up, and follow it home."""
    from appliance.lab.run import lab_boot

    lab_boot(name, timeout, stdout_console())


def down() -> None:
    """Remove every lab on this host."""
    from appliance.lab.run import lab_down

    lab_down(stdout_console())


def register(app: typer.Typer) -> None:
    """Make these the commands of `app`."""
    for command in (run, up, boot, down):
        app.command()(command)
