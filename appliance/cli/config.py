"""`config show`: the settings in force, and where each was written."""

from __future__ import annotations

from appliance.cli.common import Output, print_json, print_table
from appliance.inventory.load import load_settings
from appliance.paths import Paths
from appliance.settings_parse import describe_settings


def config_show(paths: Paths, *, origin: bool = False, output: str = Output.TABLE) -> None:
    """Print every effective setting; with `origin`, its file and line, or `default`.

    Raises:
        OperatorError: there are no settings, or they are wrong.
    """
    described = describe_settings(load_settings(paths))
    if output == Output.JSON:
        print_json(
            [
                {"path": path, "value": value} | ({"file": at.file, "line": at.line} if origin else {})
                for path, value, at in described
            ]
        )
        return
    columns = ("SETTING", "VALUE", "ORIGIN") if origin else ("SETTING", "VALUE")
    rows = [(path, value or "-", str(at))[: len(columns)] for path, value, at in described]
    print_table(columns, rows, empty="no settings")
