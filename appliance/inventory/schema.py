"""The JSON Schemas that editors complete inventory and settings files with, from the parser's own tables.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from appliance.inventory.fields import INVENTORY
from appliance.settings_fields import SETTINGS
from appliance.shapes import Table

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def inventory_schema() -> dict[str, object]:
    """The schema of one file of inventory.d/ (CSV aside). It knows single values; `check` knows the rest."""
    return _schema(INVENTORY, "pxe-appliance inventory")


def settings_schema() -> dict[str, object]:
    """The schema of appliance.toml."""
    return _schema(SETTINGS, "pxe-appliance settings")


def schema_text(schema: Mapping[str, object]) -> str:
    """A schema as it is shipped in docs/."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _schema(table: Table, title: str) -> dict[str, object]:
    return {"$schema": _DIALECT, "title": title, **table.as_schema()}
