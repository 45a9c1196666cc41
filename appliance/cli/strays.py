"""`strays …`: the ledger of everything that asked and was not served."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from appliance.addresses import Hostname
from appliance.cli.client import ask, no_sense
from appliance.cli.common import Output, print_json, print_lines, print_table
from appliance.paths import Paths

_NONE = "-"
_COLUMNS = ("MAC", "VENDOR", "NETWORK", "LAST", "COUNT", "ARCH", "NAME", "REASON", "OWNER")
_KEYS = ("mac", "vendor", "network", "last", "count", "arch", "client_name", "reason", "owner")
_FACTS = (
    ("mac", "mac"),
    ("vendor", "vendor"),
    ("network", "network"),
    ("first heard", "first"),
    ("last heard", "last"),
    ("count", "count"),
    ("firmware", "arch"),
    ("vendor class", "vendor_class"),
    ("calls itself", "client_name"),
    ("uuid", "uuid"),
    ("reason", "reason"),
    ("reason code", "reason_code"),
    ("owner", "owner"),
    ("machine", "machine"),
)
_NAME = "NAME"  # what an operator has to put there


def list_strays(paths: Paths, *, ignored: bool, output: Output) -> None:
    """Print the ledger, the latest first; with `ignored`, the strays that are ignored too."""
    rows = stray_rows(paths, ignored=ignored)
    if output is Output.JSON:
        print_json(rows)
        return
    columns = (*_COLUMNS, "IGNORED") if ignored else _COLUMNS
    keys = (*_KEYS, "ignored") if ignored else _KEYS
    cells = ([_shown(row, key) for key in keys] for row in rows)
    print_table(columns, cells, empty="No strays: everything that asked was served.")


def stray_rows(paths: Paths, *, ignored: bool) -> list[dict[str, object]]:
    """The rows of the ledger as the daemon tells them."""
    answer = ask(paths, "GET", f"/v1/strays?ignored={1 if ignored else 0}")
    return [row for row in answer if isinstance(row, dict)] if isinstance(answer, list) else []


def show_stray(paths: Paths, mac: str, *, output: Output) -> None:
    """Print all that is known of one, and what to do."""
    facts = _facts(ask(paths, "GET", f"/v1/strays/{quote(mac, safe=':')}"))
    if output is Output.JSON:
        print_json(facts)
        return
    print_lines(_lines(facts))


def ignore_stray(paths: Paths, mac: str, note: str) -> None:
    """Have it counted no more."""
    row = _facts(ask(paths, "POST", f"/v1/strays/{quote(mac, safe=':')}/ignore", {"note": note}))
    said = f": {row.get('ignored')}" if row.get("ignored") else ""
    print_lines(
        [
            f"{row.get('mac')} is ignored{said}. It still gets nothing.",
            f"To count it again: pxe-appliance strays unignore {row.get('mac')}",
        ]
    )


def unignore_stray(paths: Paths, mac: str) -> None:
    """Have it counted again."""
    row = _facts(ask(paths, "POST", f"/v1/strays/{quote(mac, safe=':')}/unignore"))
    print_lines([f"{row.get('mac')} is counted again."])


def _lines(row: Mapping[str, object]) -> Iterator[str]:
    for words, key in _FACTS:
        yield f"{words:<13} {_shown(row, key)}"
    if row.get("ignored") is not None:
        yield f"{'ignored':<13} {row.get('ignored') or 'yes'}"
    clues = row.get("clues")
    for clue in clues[1:] if isinstance(clues, list) else []:  # the first is the owner
        if isinstance(clue, dict):
            yield f"{'or':<13} {clue.get('text')}"
    yield ""
    if _at_first_clue(row, "remedy"):
        yield f"What to do: {row.get('remedy')}"
    if _at_first_clue(row, "kind") != "nic":  # a machine of the inventory has its entry already
        yield "To make it a machine of its own:"
        yield f"    pxe-appliance strays adopt {row.get('mac')} --name {_suggested_name(row)}"
    if row.get("ignored") is None:
        yield "To leave it alone:"
        yield f'    pxe-appliance strays ignore {row.get("mac")} --note "whose it is"'
    else:
        yield "To count it again:"
        yield f"    pxe-appliance strays unignore {row.get('mac')}"


def _at_first_clue(row: Mapping[str, object], key: str) -> object:
    clues = row.get("clues")
    first = clues[0] if isinstance(clues, list) and clues else None
    return first.get(key) if isinstance(first, dict) else None


def _suggested_name(row: Mapping[str, object]) -> str:
    """What it calls itself, where that can be pasted into a shell and is nobody's; else a word to replace."""
    said = str(row.get("client_name") or "").partition(".")[0]
    if row.get("machine") or not re.search("[a-z]", said, re.IGNORECASE):
        return _NAME
    try:
        return Hostname.parse(said).text
    except ValueError:
        return _NAME


def _shown(row: Mapping[str, object], key: str) -> str:
    value = row.get(key)
    if key == "ignored" and value == "":
        return "yes"
    return _NONE if value in (None, "") else str(value)


def _facts(answer: object) -> Mapping[str, object]:
    if not isinstance(answer, dict):
        raise no_sense(str(answer))
    return answer
