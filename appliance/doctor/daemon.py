"""Judges the daemon: does it run, answer, agree with this command, and what does it say of itself? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from appliance.doctor.finding import Finding, Verdict, doubtful, fine, wrong

_RESTART: Final = "systemctl restart pxe-appliance"
# Problems of `status` that a check of ours looks at more closely.
_CHECKED: Final = frozenset({"interface", "dnsmasq", "rogue-server", "daemon"})


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    """What is known of the daemon.

    `running` by its lock, None when that may not be looked at; `status` is its answer, None when none came;
    `failure` says why; `others` are further daemons in this network namespace, in words.
    """

    running: bool | None
    pid: int | None = None
    listening: bool = False
    status: Mapping[str, object] | None = None
    failure: str = ""
    others: tuple[str, ...] = ()
    leases: Sequence[Mapping[str, object]] | None = None
    ours: str = ""  # the version of this command
    lock: str = ""
    hidden: bool = field(default=False)  # it may not be asked by whoever runs this


def judge_daemon(facts: DaemonFacts) -> Iterator[Finding]:
    """From the process to what it says; a daemon that does not run is one finding, not twenty."""
    if facts.others:
        words = f"a second daemon runs here: {facts.others[0]}; two servers answer machines"
        fix = (
            f"kill {facts.others[0].split()[1]}" if facts.others[0].startswith("pid ") else "systemctl status"
        )
        yield wrong("daemon-single", words, fix, *facts.others)
    else:
        yield fine("daemon-single", "no second daemon runs here")
    if facts.running is None:
        return
    if not facts.running:
        words = "the daemon does not run: nothing is served"
        fix = "systemctl start pxe-appliance, or pxe-appliance serve in the foreground"
        yield wrong("daemon-running", words, fix, f"nobody holds {facts.lock}")
        return
    yield fine("daemon-running", f"the daemon runs, pid {facts.pid or 'unknown'}", f"{facts.lock} is held")
    if facts.hidden:
        return
    if facts.status is None:
        words = f"the daemon runs and does not answer: {facts.failure}"
        yield wrong("daemon-answers", words, _RESTART, f"pid {facts.pid}", facts.failure)
        return
    yield fine("daemon-answers", "the daemon answers on its control socket")
    yield _judge_version(facts, facts.status)
    yield _judge_children(facts.status)
    yield from _judge_rogues(facts.status)
    yield from _judge_status(facts.status)


def _judge_version(facts: DaemonFacts, status: Mapping[str, object]) -> Finding:
    told = status.get("daemon")
    version = told.get("version") if isinstance(told, Mapping) else None
    if version == facts.ours:
        return fine("daemon-version", f"daemon and command are {facts.ours}")
    words = f"the daemon is {version or 'of an older version'}, this command {facts.ours}"
    return doubtful("daemon-version", words, _RESTART, f"daemon: {version}", f"command: {facts.ours}")


def _judge_children(status: Mapping[str, object]) -> Finding:
    dnsmasq = status.get("dnsmasq")
    rows = _rows(dnsmasq.get("children")) if isinstance(dnsmasq, Mapping) else []
    seen = tuple(f"{r.get('name')}: {r.get('state')}, restarted {r.get('restarts')} times" for r in rows)
    ailing = [r for r in rows if r.get("state") != "serving"]
    if not ailing:
        return fine("dnsmasq-children", f"{len(rows)} dnsmasq processes serve", *seen)
    first = ailing[0]
    said = f": {first.get('said')}" if first.get("said") else ""
    words = f"{first.get('name')} is {first.get('state')}{said}"
    return wrong("dnsmasq-children", words, "pxe-appliance events -n 50; pxe-appliance status", *seen)


def _judge_rogues(status: Mapping[str, object]) -> Iterator[Finding]:
    found = status.get("rogue_servers")
    servers = found if isinstance(found, list) else []
    if not servers:
        yield fine("rogue-server", "no other DHCP server was heard")
    for server in servers:
        facts: Mapping[str, object] = server if isinstance(server, Mapping) else {"ip": server}
        who = f"{facts.get('ip')}" + (f" ({facts.get('mac')})" if facts.get("mac") else "")
        on = f" on {facts.get('network')}" if facts.get("network") else ""
        words = f"another DHCP server answers{on}: {who}"
        fix = (
            f"find the switch port of {facts.get('mac') or facts.get('ip')} and shut it; pxe-appliance events"
        )
        yield wrong("rogue-server", words, fix, *(f"{k}: {v}" for k, v in facts.items() if v))


def _judge_status(status: Mapping[str, object]) -> Iterator[Finding]:
    """The daemon's own problems under their own ids, where nothing here looks more closely."""
    problems = [p for p in _rows(status.get("problems")) if not _checked(str(p.get("id")))]
    for row in problems:
        verdict = Verdict.ERROR if row.get("severity") == "error" else Verdict.WARNING
        message, fix = str(row.get("message")), str(row.get("fix") or "")
        yield Finding(str(row.get("id")), verdict, message, ("pxe-appliance status says so",), fix)
    if not problems:
        yield fine("status", "the daemon reports no problem of its own")


def _checked(identity: str) -> bool:
    return identity in _CHECKED or identity.startswith("images-")


def _rows(value: object) -> list[Mapping[str, object]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []
