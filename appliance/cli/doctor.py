"""`doctor`: checks with evidence and the command that fixes what they find. So far: the image store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from appliance.cli.common import Output, print_json, print_lines
from appliance.cli.images import settings_of
from appliance.errors import ApplianceError, ExitCode
from appliance.images.health import Finding, findings
from appliance.images.seals import Seals
from appliance.images.store import Store
from appliance.paths import Paths
from appliance.system.clock import now

_CHECKS: Final = {
    "images-lock": "images.lock can be read and pins what it says",
    "images-store": "the store and its pointers can be read",
    "images-damaged": "every pinned file has the bytes that were proven",
    "images-unpinned": "nothing lies in the store that is not pinned",
    "images-current": "every stream has a current release",
    "images-missing": "what is current, or a canary's, is in the store",
    "images-keys": "the keys that sign images are valid for three months and more",
}
_SIGNS: Final = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}


def doctor(paths: Paths, *, output: Output) -> int:
    """Print every check; 5 when one of them found an error."""
    found = image_findings(paths)
    checks = [row for identity, words in _CHECKS.items() for row in _rows(identity, words, found)]
    if output is Output.JSON:
        print_json(checks)
    else:
        print_lines(line for row in checks for line in _lines(row))
    failed = any(row["verdict"] == "error" for row in checks)
    return ExitCode.SURROUNDINGS if failed else ExitCode.FINE


def image_findings(paths: Paths) -> list[Finding]:
    """Everything that is wrong with the image store."""
    store, seals = Store(paths), Seals(Path(paths.image_seals))
    try:
        found = findings(store, seals, settings_of(paths), now())
    except ApplianceError as error:
        unread = Finding("images-keys", "warning", f"not checked: {error.message}", "pxe-appliance check")
        found = [*findings(store, seals, None, now()), unread]
    seals.keep()
    return found


def _rows(identity: str, words: str, found: Sequence[Finding]) -> list[dict[str, object]]:
    mine = [f for f in found if f.id == identity]
    if not mine:
        return [{"id": identity, "verdict": "ok", "message": words, "evidence": [], "fix": ""}]
    return [
        {
            "id": identity,
            "verdict": f.severity,
            "message": f.message,
            "evidence": list(f.evidence),
            "fix": f.fix,
        }
        for f in mine
    ]


def _lines(row: dict[str, object]) -> list[str]:
    lines = [f"{_SIGNS[str(row['verdict'])]} {row['id']}: {row['message']}"]
    evidence = row["evidence"]
    if isinstance(evidence, list):
        lines += [f"          {line}" for line in evidence]
    return [*lines, f"          fix: {row['fix']}"] if row["fix"] else lines
