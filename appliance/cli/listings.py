"""The commands that only read: status, machines, machine show, events, leases."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode

from appliance.addresses import Mac
from appliance.cli.client import ask, daemon_is_running, no_sense, stream
from appliance.cli.common import Output, print_json, print_lines, print_table
from appliance.daemon.only_one import is_served
from appliance.errors import ExitCode, SurroundingsError
from appliance.paths import Paths
from appliance.plain_text import safe_text
from appliance.sync.generations import current_id, read_manifest

_NONE = "-"


def status(paths: Paths, *, output: Output, watch: bool) -> int:
    """Print the health; 5 when the daemon does not run, so that scripts notice. `watch` ends with Ctrl-C."""
    if watch:
        from appliance.cli import watch as following  # the daemon's board, for this alone

        if output is Output.JSON:
            following.json_lines(lambda: _status(paths))
        following.watch(paths)
    facts = _status(paths)
    if output is Output.JSON:
        print_json(facts)
    else:
        print_lines(_status_lines(facts))
    return ExitCode.FINE if _at(facts, "daemon", "running") else ExitCode.SURROUNDINGS


def machines(paths: Paths, *, output: Output) -> None:
    """Print the boot board."""
    rows = _rows(ask(paths, "GET", "/v1/machines"))
    if output is Output.JSON:
        print_json(rows)
        return
    print_table(
        ("MACHINE", "IP", "MAC", "PROFILE", "BOOT", "LIFE", "STATE", "RUNG", "AT", "VERDICT"),
        (_machine_cells(row) for row in rows),
        empty="No machines: put some into inventory.d/ and run pxe-appliance sync.",
    )


def machine_show(paths: Paths, name: str, *, output: Output) -> None:
    """Print one machine."""
    facts = ask(paths, "GET", f"/v1/machines/{quote(name, safe='')}")
    if output is Output.JSON:
        print_json(facts)
        return
    print_lines(_facts_lines(facts if isinstance(facts, dict) else {}, 0))


def machine_turn(paths: Paths, name: str, turn: str, *, reason: str = "") -> None:
    """Have a machine installed again, held or released; print what that means."""
    body = {"reason": reason} if reason else None
    answer = ask(paths, "POST", f"/v1/machines/{quote(name, safe='')}/{turn}", body)
    life = answer if isinstance(answer, dict) else {}
    said = {
        "new": f"{name} is new: its profile decides what it boots.",
        "installing": f"{name} gets its installer at its next boot.",
        "installed": f"{name} boots from its disk.",
        "reinstall": f"{name} gets its installer again at its next boot.",
        "held": f"{name} is held: it gets nothing to boot until pxe-appliance machine release {name}.",
    }
    print_lines([said.get(str(life.get("state")), f"{name}: {life.get('state')}")])


def events(paths: Paths, *, follow: bool, machine: str | None, limit: int, output: Output) -> None:
    """Print events as they come; one JSON object a line, or one readable line."""
    query = {"limit": str(limit), "follow": "1" if follow else "0"}
    if machine:
        query["machine"] = machine
    for line in stream(paths, f"/v1/events?{urlencode(query)}"):
        event = _event(line)
        sys.stdout.write((json.dumps(event) if output is Output.JSON else event_line(event)) + "\n")
        sys.stdout.flush()


def leases(paths: Paths, *, output: Output) -> None:
    """Print who holds what."""
    rows = _rows(ask(paths, "GET", "/v1/leases"))
    if output is Output.JSON:
        print_json(rows)
        return
    keys = ("ip", "mac", "machine", "network", "granted", "expires")
    cells = ([str(row.get(k) or _NONE) for k in keys] for row in rows)
    print_table([k.upper() for k in keys], cells, empty="No leases.")


def _status(paths: Paths) -> dict[str, object]:
    if daemon_is_running(paths):
        answer = ask(paths, "GET", "/v1/status")
        return answer if isinstance(answer, dict) else {}
    number = manifest = None
    with contextlib.suppress(SurroundingsError):  # damaged: the problem below is told all the same
        number = current_id(paths)
        manifest = read_manifest(paths, number) if number is not None else None
    deaf = is_served(paths)
    problem = {
        "id": "daemon",
        "severity": "error",
        "message": f"a daemon runs and does not listen on {paths.control}"
        if deaf
        else "the daemon is not running: nothing is served",
        "fix": "systemctl restart pxe-appliance"
        if deaf
        else "systemctl start pxe-appliance, or pxe-appliance serve",
    }
    return {
        "version": 1,
        "daemon": {"running": False, "pid": None, "since": None},
        "dnsmasq": {"state": "stopped", "pid": None, "restarts": 0},
        "generation": {
            "id": number,
            "at": manifest.at if manifest else None,
            "proven": manifest.proven if manifest else False,
        },
        "pending": None,
        "networks": [],
        "machines": {"known": 0, "booting": 0, "booted": 0, "stuck": 0},
        "strays": 0,
        "rogue_servers": [],
        "matchbox": {"endpoint": None, "reachable": None},
        "problems": [problem, *_image_problems(paths)],
    }


def _image_problems(paths: Paths) -> list[dict[str, str]]:
    """What is wrong with the image store; a daemon that runs says it itself."""
    from appliance.doctor.look_images import image_findings  # OpenPGP is needed here and nowhere else

    return [
        {"id": f.id, "severity": f.severity, "message": f.message, "fix": f.fix}
        for f in image_findings(paths)
    ]


def _status_lines(facts: Mapping[str, object]) -> Iterable[str]:
    running = "running" if _at(facts, "daemon", "running") else "not running"
    pid = _at(facts, "daemon", "pid")
    yield f"daemon      {running}" + (f", pid {pid}, since {_at(facts, 'daemon', 'since')}" if pid else "")
    yield f"dnsmasq     {_at(facts, 'dnsmasq', 'state')}, restarted {_at(facts, 'dnsmasq', 'restarts')} times"
    number = _at(facts, "generation", "id")
    proven = "proven" if _at(facts, "generation", "proven") else "not proven"
    yield (
        f"generation  {number} of {_at(facts, 'generation', 'at')}, {proven}"
        if number
        else "generation  none yet"
    )
    if until := _at(facts, "pending", "until"):
        yield f"pending     generation {_at(facts, 'pending', 'previous')} again at {until}, unless confirmed"
    for network in _rows(facts.get("networks")):
        up = "up" if network.get("up") else "waiting"
        yield (
            f"network     {network.get('name')}: {network.get('subnet')} on {network.get('interface')}, "
            f"mode {network.get('mode')}, {up}"
        )
    counts = facts.get("machines")
    if isinstance(counts, dict):
        yield "machines    " + ", ".join(f"{v} {k}" for k, v in counts.items())
    yield f"strays      {facts.get('strays')}"
    reachable = {"True": "reachable", "False": "NOT reachable"}
    answer = reachable.get(str(_at(facts, "matchbox", "reachable")), "not asked yet")
    endpoint = _at(facts, "matchbox", "endpoint")
    yield f"matchbox    {endpoint}, {answer}" if endpoint else "matchbox    -"
    for problem in _rows(facts.get("problems")):
        yield f"{problem.get('severity')}: {problem.get('message')}"
        if problem.get("fix"):
            yield f"    {problem.get('fix')}"


def _machine_cells(row: Mapping[str, object]) -> tuple[str, ...]:
    macs = row.get("macs")
    return (
        str(row.get("name")),
        str(row.get("ip")),
        ", ".join(macs) if isinstance(macs, list) else _NONE,
        str(row.get("profile") or _NONE),
        str(_at(row, "boot", "policy") or _NONE),
        str(row.get("lifecycle") or _NONE),
        str(_at(row, "boot", "state") or _NONE),
        str(row.get("rung") or _NONE),
        str(row.get("rung_at") or _NONE),
        str(_at(row, "verdict", "message") or _NONE),
    )


def _event(line: str) -> dict[str, object]:
    try:
        event: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise no_sense(line) from error
    if not isinstance(event, dict):
        raise no_sense(line)
    return event


def event_line(event: Mapping[str, object]) -> str:
    """An event as one line, safe for a terminal."""
    who = str(event.get("machine") or event.get("mac") or _NONE)
    facts = event.get("detail")
    detail = " ".join(f"{k}={v}" for k, v in sorted(facts.items())) if isinstance(facts, dict) else ""
    kind, ip = str(event.get("event")), str(event.get("ip") or _NONE)
    if kind == "stray" and (vendor := _vendor(event.get("mac"))):
        detail = f"({vendor}) {detail}"
    return safe_text(f"{event.get('at')}  {kind:<12} {who:<18} {ip:<15} {detail}", limit=1000)


def _vendor(mac: object) -> str:
    """Who made a stranger's NIC: often enough to know whose it is."""
    try:
        return Mac.parse(mac).vendor if isinstance(mac, str) else ""
    except ValueError:
        return ""


def _facts_lines(facts: Mapping[str, object], depth: int) -> Iterable[str]:
    for key, value in facts.items():
        head = "  " * depth + key.replace("_", " ")
        if isinstance(value, dict) and value:
            yield head
            yield from _facts_lines(value, depth + 1)
        else:
            shown = ", ".join(str(v) for v in value) if isinstance(value, list) else value
            yield f"{head:<16} {shown if shown not in (None, '', {}) else _NONE}"


def _rows(value: object) -> list[dict[str, object]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _at(facts: Mapping[str, object], *path: str) -> object:
    value: object = facts
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
