"""Names of machines for the shell's completion: from the inventory as it is written, without the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import session_paths
from appliance.errors import ApplianceError


def machine_names(context: typer.Context, incomplete: str) -> list[str]:
    """The machines whose names begin so. A prompt is no place for errors: none, then."""
    from appliance.inventory.load import load_drafts  # with the readers of four formats behind it

    root = context.find_root().params.get("root")
    try:
        drafts = load_drafts(Path(session_paths(Path(root) if root else None).inventory))
    except (ApplianceError, OSError):
        return []
    names = {str(draft.name) for draft in drafts.machines if draft.name}
    return sorted(name for name in names if name.startswith(incomplete))


MachineName = Annotated[str, typer.Argument(autocompletion=machine_names, help="The machine's name.")]
