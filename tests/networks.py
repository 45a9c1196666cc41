"""The servers of tests/cases/networks: their renderings are goldens, and run in the real systemd-networkd."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from appliance.inventory.load import load_inventory
from appliance.inventory.model import Inventory, Machine
from appliance.settings import NetworkSettings
from appliance.settings_parse import parse_settings

CASE = Path(__file__).parent / "cases/networks"


def servers() -> tuple[Inventory, Mapping[str, NetworkSettings]]:
    """The inventory, and the PXE networks."""
    settings = parse_settings((CASE / "appliance.toml").read_text(), "appliance.toml")
    return load_inventory(CASE / "inventory.d", settings, ()), settings.networks


def server(name: str) -> Machine:
    """One of them."""
    return next(machine for machine in servers()[0].machines if machine.name.text == name)
