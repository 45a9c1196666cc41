"""What an operator does with pip: a wheel of this checkout, and a virtual environment in /opt for it.

Nothing is downloaded: what the wheel depends on is copied, file by file as its RECORD has it, out of the
environment that runs the tests.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from tests.netns.appliance import INVENTORY
from tests.netns.test_prove import kernel
from tests.systemd.machine import CHECKOUT, Machine

OPT: Final = "/opt/pxe-appliance"
PROGRAM: Final = f"{OPT}/bin/pxe-appliance"
SETTINGS: Final = """
[network.pxe]
interface = "pxe0"
subnet = "172.0.1.0/24"
other_servers = "tell"
"""
_SOURCES: Final = ("appliance", "conf.d", "tftpboot", "systemd", "docs/explain")
_PYTHON: Final = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def wheel(folder: Path, version: str = "") -> Path:
    """Build the wheel, in `folder`; with `version`, as a release of that number."""
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    for name in _SOURCES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source / name)
    if version:
        start = source / "appliance/__init__.py"
        start.write_text(re.sub(r'(__version__ = )".*"', rf'\1"{version}"', start.read_text()))
    argv = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(argv, cwd=source, check=True, capture_output=True)
    return max(folder.glob("*.whl"), key=lambda path: path.stat().st_mtime)


def put_program(machine: Machine, built: Path) -> None:
    """`python3 -m venv /opt/pxe-appliance` and `pip install`, of a new version too."""
    if not (machine.root / OPT.lstrip("/")).exists():
        machine.run("/usr/bin/python3", "-m", "venv", "--without-pip", OPT)
        _copy_dependencies(machine.root / OPT.lstrip("/") / _PYTHON)
    target = f"/tmp/{built.name}"
    machine.write(target, built.read_bytes())
    pip = Path(distribution("pip").locate_file("pip"))  # type: ignore[arg-type]
    machine.run(
        *("/usr/bin/python3", str(pip), "--python", f"{OPT}/bin/python3", "install", "--quiet", "--no-index"),
        *(
            "--no-deps",
            "--force-reinstall",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
            target,
        ),
    )


def _copy_dependencies(target: Path) -> None:
    wanted = (CHECKOUT / "requirements.txt").read_text()
    names = re.findall(r"^([A-Za-z0-9_.-]+)==[0-9.]+ \\$", wanted, re.MULTILINE)  # no marker: for every host
    for name in names:
        found = distribution(name)
        for file in found.files or ():
            if ".." in file.parts or file.suffix == ".pyc":  # programs of it, which nothing here runs
                continue
            place = target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(found.locate_file(file)), place)


def write_configuration(machine: Machine, *, settings: str = SETTINGS, inventory: str = INVENTORY) -> None:
    """The operator's files, as an editor with the usual umask leaves them."""
    etc = "/etc/pxe-appliance"
    machine.write(f"{etc}/appliance.toml", settings)
    machine.write(f"{etc}/inventory.d/rack.toml", inventory)
    machine.write(f"{etc}/ignition.d/lab.ign", '{"ignition":{"version":"3.3.0"}}')
    machine.write(f"{etc}/matchbox/assets/lab/vmlinuz", kernel())
    machine.write(f"{etc}/matchbox/assets/lab/initrd.gz", b"\x1f\x8b" + bytes(500))


def install(machine: Machine, *options: str) -> str:
    """`service install` with the program in /opt; what it printed."""
    return machine.run(PROGRAM, "service", "install", "--yes", *options).stdout
