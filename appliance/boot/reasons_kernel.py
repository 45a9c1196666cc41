"""Reasons between a script and a running kernel: kernel, initrd, and whatever else is loaded. Pure."""

from __future__ import annotations

from typing import Final

from appliance.boot.events import EventKind, Refusal
from appliance.boot.evidence import Evidence, clock, expected
from appliance.boot.reasons import (
    PATIENCE,
    Rule,
    ago,
    at,
    base,
    lost,
    profile_place,
    refused_files,
    rungs,
    times,
    told,
)
from appliance.boot.signs import Sign

K = EventKind


def _kernel(evidence: Evidence) -> Sign | None:
    name = base(evidence.course.kernel)
    return next((s for s in refused_files(evidence) if base(s.get("path")) == name), None)


def _initrd(evidence: Evidence) -> Sign | None:
    names = {base(name) for name in evidence.course.initrd}
    return next((s for s in refused_files(evidence) if base(s.get("path")) in names), None)


def _mend(evidence: Evidence, sign: Sign | None) -> str:
    if told(sign, "code") == Refusal.IMAGE:
        return "pxe-appliance images verify; pxe-appliance images fetch"
    path = told(sign, "path").removeprefix("/assets/")
    return (
        f"put the file below the Matchbox data directory as assets/{path}, or correct "
        f"{profile_place(evidence)} and run pxe-appliance sync"
    )


def _cut(evidence: Evidence) -> Sign | None:
    return next(iter(refused_files(evidence, cut=True)), None)


def _came_back(evidence: Evidence) -> bool:
    """Whether it asked for its script again after it had got one: what was in it did not work."""
    again, since = evidence.sign(K.SCRIPT, again="yes"), evidence.ladder.rung_at
    if again is None or since is None or evidence.loading:
        return False
    return again.last > since or _before(evidence) is not None


def _before(evidence: Evidence) -> EventKind | None:
    """How far it came before it asked DHCP anew and then for its script again: kernel, initrd."""
    if not evidence.sign(K.SCRIPT, again="yes"):
        return None
    return next((rung for rung in (K.INITRD, K.KERNEL) if evidence.sign(rung)), None)


def _loaded(evidence: Evidence) -> EventKind | None:
    rung = evidence.ladder.rung
    return _before(evidence) if rung is K.SCRIPT else rung


def _elsewhere(evidence: Evidence) -> bool:
    return bool(evidence.course.kernel) and not evidence.course.here


RULES: Final = (
    Rule(
        "slow-download",
        "a file takes long to be sent",
        rungs(K.ACK, K.IGNITION),
        lambda e: e.loading and (e.now - e.loading.since).total_seconds() >= 60,
        lambda e: (
            f"{e.machine} loads {x.path} ({x.size / 2**20:.0f} MiB) since {clock(x.since)}, and goes on"
            if (x := e.loading)
            else e.machine
        ),
        "look at the speed and the errors of its switch port (100 Mbit/s, duplex); else wait",
        stuck_after=None,
    ),
    Rule(
        "kernel-refused",
        "its kernel was asked for and refused",
        rungs(K.SCRIPT),
        _kernel,
        lambda e: lost(_kernel(e), e, "kernel"),
        lambda e: _mend(e, _kernel(e)),
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "initrd-refused",
        "its initrd was asked for and refused",
        rungs(K.SCRIPT, K.INITRD),
        _initrd,
        lambda e: lost(_initrd(e), e, "initrd"),
        lambda e: _mend(e, _initrd(e)),
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "download-cut",
        "a download broke off",
        rungs(K.SCRIPT, K.INITRD),
        lambda e: _cut(e) and not e.loading,
        lambda e: (
            f"{e.machine} took {s.get('bytes') or '0'} octets of {s.get('path')} and went away, "
            f"{times(s.count)}, last at {at(s)}"
            if (s := _cut(e))
            else e.machine
        ),
        (
            "has it enough memory for the file, twice over? look at the errors of its switch port; it tries "
            "on by itself while its script runs"
        ),
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "file-refused",
        "it asked for a file that is not there",
        rungs(K.SCRIPT, K.IGNITION),
        refused_files,
        lambda e: lost(refused_files(e)[0], e, "file"),
        lambda e: _mend(e, refused_files(e)[0]),
        stuck_after=60,
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "initrd-not-loaded",
        "its initrd could not be loaded",
        rungs(K.SCRIPT, K.KERNEL),
        lambda e: _came_back(e) and _loaded(e) is K.KERNEL and e.course.initrd,
        lambda e: (
            f"{e.machine} loaded its kernel, then asked for its script again: "
            f"{', '.join(e.course.initrd)} could not be loaded"
        ),
        lambda e: (
            f"has it enough memory? is the file there ({profile_place(e)})? pxe-appliance events --machine "
            f"{e.machine}"
        ),
    ),
    Rule(
        "boot-refused",
        "everything is loaded, and the kernel does not start",
        rungs(K.SCRIPT, K.INITRD),
        lambda e: _came_back(e) and _loaded(e) in {K.KERNEL, K.INITRD},
        lambda e: (
            f"{e.machine} loaded kernel and initrd and then asked for its script again: the kernel was not "
            "started"
        ),
        (
            "is the image for its architecture (arch in the inventory)? does Secure Boot refuse the kernel? "
            "has it enough memory? iPXE's screen says which"
        ),
    ),
    Rule(
        "kernel-not-loaded",
        "its kernel could not be loaded",
        rungs(K.SCRIPT),
        _came_back,
        lambda e: (
            f"{e.machine} asked for its script again at {at(e.sign(K.SCRIPT, again='yes'))}: it could not "
            f"load {e.course.kernel or 'the kernel in it'}"
        ),
        lambda e: (
            f"curl -I {e.course.kernel} from that VLAN; correct {profile_place(e)} and run pxe-appliance sync"
            if _elsewhere(e)
            else f"pxe-appliance events --machine {e.machine}; open TCP {e.place.port} (pxe-appliance doctor)"
        ),
    ),
    Rule(
        "kernel-elsewhere",
        "its kernel comes from another host, and nothing followed",
        rungs(K.SCRIPT),
        _elsewhere,
        lambda e: (
            f"{e.machine} got its script at {e.rung_clock}; its kernel {e.course.kernel} is another host's "
            f"to send, and nothing came after it in {ago(e)}"
        ),
        lambda e: f"curl -I {e.course.kernel} from that VLAN; look at its console",
        after=120,
        stuck_after=600,
        silent=True,
    ),
    Rule(
        "kernel-elsewhere",
        "its kernel comes from another host, and nothing followed",
        rungs(K.SCRIPT),
        lambda e: _elsewhere(e) and (e.waited < 120 or expected(e.ladder, e.course) is None),
        lambda e: (
            f"{e.machine} got its script at {e.rung_clock}; its kernel {e.course.kernel} is another host's "
            "to send, and what becomes of it there is not seen here"
        ),
        lambda e: f"curl -I {e.course.kernel} from that VLAN; look at its console",
        after=50,
        stuck_after=None,
        listed=False,
    ),
    Rule(
        "kernel-not-asked",
        "it has its script and never asks for its kernel",
        rungs(K.SCRIPT),
        lambda e: e.course.here,
        lambda e: (
            f"{e.machine} got its script at {e.rung_clock} and never asked for "
            f"{e.course.kernel or 'its kernel'} ({ago(e)})"
        ),
        lambda e: (
            "look at its console: iPXE shows what it does; an option of the kernel's line that iPXE cannot "
            f"read stops it, too ({profile_place(e)})"
        ),
        after=PATIENCE[K.SCRIPT],
        silent=True,
    ),
    Rule(
        "initrd-not-asked",
        "it has its kernel and never asks for its initrd",
        rungs(K.KERNEL),
        lambda e: e.course.here and e.course.initrd,
        lambda e: (
            f"{e.machine} loaded its kernel at {e.rung_clock} and never asked for {e.course.initrd[0]} "
            f"({ago(e)})"
        ),
        lambda e: (
            "look at its console: out of memory (the image needs 2 GiB and more), or iPXE hangs: "
            f"power-cycle it; pxe-appliance events --machine {e.machine}"
        ),
        after=PATIENCE[K.KERNEL],
        silent=True,
    ),
)
