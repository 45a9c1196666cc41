"""`machine add|remove|replace-mac`, `strays adopt`: edit a file, show what came of it, apply it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from rich.text import Text

from appliance.addresses import Mac
from appliance.cli.client import ask, daemon_is_running
from appliance.cli.common import Output, print_json, print_lines, stderr_console, stdout_console
from appliance.cli.syncing import apply_agreed, sync
from appliance.errors import ApplianceError, OperatorError, Refused, SurroundingsError
from appliance.inventory.amend import Amendment, Editor, editor
from appliance.inventory.choosing import (
    AUTO,
    NEW_FILE,
    chosen_network,
    file_for_new,
    like_neighbours,
    mac_change,
    machine_called,
    new_machine,
    next_address,
    written_name,
)
from appliance.inventory.edit import Edit, Removal
from appliance.inventory.load import shown_path
from appliance.paths import Paths
from appliance.plain_text import safe_text
from appliance.settings import Origin
from appliance.sync import run as route
from appliance.sync.apply import whoami
from appliance.sync.plan import Plan
from appliance.sync.show import plan_lines

# Clues that name whose a stray is, not only whose it may be near (daemon/owners.py).
_STRONG: Final = frozenset({"uuid", "typo", "name"})
_STYLES: Final = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(frozen=True, slots=True)
class How:
    """What is done with an edit: only shown, written, or written and applied (`yes`: without asking)."""

    dry_run: bool
    sync: bool
    yes: bool
    output: Output


@dataclass(frozen=True, slots=True)
class NewMachine:
    """What an operator says of a machine to be added; `ip` is an address or `auto`."""

    name: str
    macs: Sequence[str]
    ip: str = AUTO
    network: str | None = None
    profile: str | None = None
    labels: Mapping[str, str] | None = None
    file: str | None = None


def add(paths: Paths, wanted: NewMachine, how: How) -> None:
    """Put a machine into the inventory."""
    _carry_out(
        paths,
        how,
        f"machine add {wanted.name}",
        lambda desk: _addition(desk, wanted, named=wanted.network is not None),
    )


def remove(paths: Paths, name: str, how: How) -> None:
    """Take a machine out of the inventory, with all that belongs to it."""

    def choose(desk: Editor) -> tuple[Path, Edit]:
        draft = machine_called(desk.drafts, name)
        return desk.file_of(draft.origin), Removal(written_name(draft))

    _carry_out(paths, how, f"machine remove {name}", choose)


def replace_mac(paths: Paths, name: str, new: str, old: str | None, how: How) -> None:
    """Give one NIC of a machine another MAC."""

    def choose(desk: Editor) -> tuple[Path, Edit]:
        draft = machine_called(desk.drafts, name)
        change = mac_change(draft, new, old, desk.drafts)
        for bond in draft.bonds:
            if bond.mac == change.old:
                _warn(f"{bond.name} of {draft.name} keeps its fixed MAC {bond.mac}")
        return desk.file_of(draft.origin), change

    _carry_out(paths, how, f"machine replace-mac {name}", choose)


def adopt(paths: Paths, raw_mac: str, wanted: NewMachine, how: How, *, anyway: bool) -> None:
    """Make a machine of a stray, on the network where it was heard.

    Raises:
        Refused: it seems to be a machine of the inventory that was given another board, unless `anyway`.
    """
    try:
        mac = Mac.parse(raw_mac)
    except ValueError as error:
        raise OperatorError(str(error), hint="pxe-appliance strays lists them") from error

    def choose(desk: Editor) -> tuple[Path, Edit]:
        row = _stray(paths, mac)
        heard = row.get("network")
        network = wanted.network or (heard if isinstance(heard, str) else None)
        if wanted.network and heard and wanted.network != heard:
            _warn(f"{mac} was heard on the network {heard}, not on {wanted.network}")
        known = {m.text for draft in desk.drafts.machines for m in draft.macs}
        if mac.text not in known and not anyway:
            _refuse_replaced(mac, row)
        chosen = NewMachine(
            wanted.name, [mac.text], wanted.ip, network, wanted.profile, wanted.labels, wanted.file
        )
        return _addition(desk, chosen, named=wanted.network is not None)

    _carry_out(paths, how, f"strays adopt {mac}", choose)


def _addition(desk: Editor, wanted: NewMachine, *, named: bool) -> tuple[Path, Edit]:
    """The file and the edit for a new machine; `named` says that the operator named its network."""
    raw: dict[str, object] = {"mac": wanted.macs[0]} if len(wanted.macs) == 1 else {"macs": list(wanted.macs)}
    raw |= {"ip": wanted.ip, "network": wanted.network, "profile": wanted.profile}
    if wanted.ip == AUTO or wanted.network is not None:
        network = chosen_network(desk.settings, wanted.network)
        raw["network"] = network.name
        if wanted.ip == AUTO:
            raw["ip"] = str(next_address(network, desk.drafts, desk.settings, _held(desk.paths)))
    if wanted.labels:
        raw["labels"] = dict(wanted.labels)
    addition = new_machine(wanted.name, {k: v for k, v in raw.items() if v is not None}, desk.drafts)
    if wanted.file is not None:
        path = desk.file_named(wanted.file)
    else:
        file = file_for_new(addition, desk.drafts, desk.settings)
        path = desk.file_of(Origin(file)) if file else desk.file_named(NEW_FILE)
    return path, like_neighbours(addition, shown_path(path), desk.drafts, desk.settings, named=named)


def _carry_out(paths: Paths, how: How, why: str, choose: Callable[[Editor], tuple[Path, Edit]]) -> None:
    """Edit, judge, plan; then write, unless that is only to be shown; then say all of it."""
    with editor(paths) as desk:
        amendment = desk.amend(*choose(desk))
        plan, trouble = _planned(paths, amendment)
        if not how.dry_run:
            desk.write(amendment)
    if how.output is Output.JSON:
        _print_json(paths, amendment, plan, trouble, how, why)
        return
    _print_diff(amendment.diff())
    said = "Nothing was written." if how.dry_run else f"Wrote {amendment.path}."
    print_lines(["", said])
    if how.sync:
        sync(paths, yes=how.yes, why=why, allow_mass_change=False, output=how.output)
        return
    if plan is not None:
        print_lines(["", *plan_lines(plan)])
    else:
        _warn(f"what a sync would change cannot be told here: {trouble}")
    if not how.dry_run and (plan is None or not plan.empty):
        print_lines(["", "To apply it: pxe-appliance sync"])


def _planned(paths: Paths, amendment: Amendment) -> tuple[Plan | None, str]:
    """What a sync would change with the edit; or why this host cannot tell.

    Raises:
        OperatorError: a sync would refuse what the operator wrote, as it is with the change.
    """
    try:
        return route.plan(paths, route.Request(), inventory=amendment.inventory), ""
    except SurroundingsError as error:
        return None, error.message


def _print_json(
    paths: Paths, amendment: Amendment, plan: Plan | None, trouble: str, how: How, why: str
) -> None:
    facts: dict[str, object] = {
        "file": str(amendment.path),
        "diff": "".join(f"{line}\n" for line in amendment.diff()),
        "plan": plan.as_json() if plan is not None else None,
        "written": not how.dry_run,
    }
    if trouble:
        facts["trouble"] = trouble
    failed: ApplianceError | None = SurroundingsError(trouble) if how.sync and plan is None else None
    if how.sync and plan is not None:
        try:
            agreed = route.Request(why=why, who=whoami(), expected=plan.fingerprint)
            facts["sync"] = apply_agreed(paths, agreed)
        except ApplianceError as error:  # the file is written all the same, and has to be told
            facts["sync"], failed = None, error
    print_json(facts)
    if failed is not None:
        raise failed


def _print_diff(lines: Iterable[str]) -> None:
    console = stdout_console()
    for line in lines:
        shown = safe_text(line.rstrip("\r").expandtabs(), limit=2000)
        console.print(Text(shown, _STYLES.get(line[:1], "")), soft_wrap=True)


def _stray(paths: Paths, mac: Mac) -> Mapping[str, object]:
    """What the daemon's ledger says of a MAC; nothing, and a word about it, when it says nothing."""
    if not daemon_is_running(paths):
        _warn(f"the daemon is not running: whether {mac} has asked for anything is not known")
        return {}
    try:
        answer = ask(paths, "GET", f"/v1/strays/{mac}")
    except Refused as error:
        _warn(f"{error.message}; it is added all the same")
        return {}
    return answer if isinstance(answer, dict) else {}


def _refuse_replaced(mac: Mac, row: Mapping[str, object]) -> None:
    clues = row.get("clues")
    found = [clue for clue in clues if isinstance(clue, dict)] if isinstance(clues, list) else []
    best = found[0] if found else {"kind": "uuid", "text": row.get("owner"), "machine": row.get("machine")}
    machine = best.get("machine")
    if not machine:
        return
    if best.get("kind") not in _STRONG:
        _warn(f"it may be known: {best.get('text')}")
        return
    raise Refused(
        f"{mac} seems to be {machine} itself: {best.get('text')}",
        hint=f"pxe-appliance machine replace-mac {machine} {mac}; or adopt it --anyway",
    )


def _held(paths: Paths) -> set[IPv4Address]:
    """The addresses that somebody holds a lease of, as far as the daemon can be asked."""
    held: set[IPv4Address] = set()
    if not daemon_is_running(paths):
        return held
    rows = ask(paths, "GET", "/v1/leases")
    for row in rows if isinstance(rows, list) else ():
        with contextlib.suppress(ValueError):
            held.add(IPv4Address(str(row.get("ip")) if isinstance(row, dict) else ""))
    return held


def _warn(message: str) -> None:
    stderr_console().print(f"warning: {safe_text(message, limit=500)}", markup=False)
