"""Judges the host itself: room, clock, processors, and kernel limits that a large rack meets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from appliance.doctor.finding import Finding, doubtful, fine, wrong

_MIB: Final = 2**20
_LITTLE: Final = 512 * _MIB
_RELEASED: Final = 2025  # no clock that is right shows an earlier year
_FAR: Final = 2100
_SKEW: Final = timedelta(hours=1)
# A DISCOVER takes this much of a socket's buffer: 166 of them fit in the kernel's 212,992 (measured).
_OF_BUFFER: Final = 1300
_BURST: Final = 150  # machines that ask at once without any care
# These drivers call it powersave and go up and down all the same (kernel, admin-guide/pm/intel_pstate).
_ADAPTIVE: Final = ("intel_pstate", "amd-pstate-epp")


@dataclass(frozen=True, slots=True)
class Room:
    """A file system by one of our directories: bytes and inodes, free and in all (0 inodes: not counted)."""

    path: str
    free: int
    total: int
    inodes_free: int = 0
    inodes: int = 0
    uses: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What was seen. None: it could not be told here.

    `newest` is the time of the newest generation; `governors` by processor, with the driver.
    """

    now: datetime
    rooms: Sequence[Room] = ()
    synchronised: bool | None = None
    clock_words: str = ""
    newest: datetime | None = None
    governors: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    rmem_default: int | None = None
    neighbours: int | None = None
    machines: int = 0


def judge_host(facts: HostFacts) -> Iterator[Finding]:
    """Each thing that the host has to give."""
    yield from _judge_room(facts.rooms)
    yield _judge_sync(facts)
    yield _judge_clock(facts)
    yield _judge_governor(facts.governors)
    yield _judge_buffer(facts)
    yield _judge_neighbours(facts)


def _judge_room(rooms: Sequence[Room]) -> Iterator[Finding]:
    for room in rooms:
        seen = f"{room.path}: {room.free // _MIB} of {room.total // _MIB} MiB free"
        share = room.free / room.total if room.total else 1.0
        if room.free < _MIB or share < 0.01:
            words = f"there is no room in {room.path}: {room.uses}"
            yield wrong("disk-space", words, f"df -h {room.path}; pxe-appliance images prune", seen)
        elif share < 0.05 and room.free < _LITTLE:
            words = f"{room.path} is nearly full: {room.uses}"
            yield doubtful("disk-space", words, f"df -h {room.path}; pxe-appliance images prune", seen)
        else:
            yield fine("disk-space", "there is room", seen)
        if not room.inodes:
            continue
        seen = f"{room.path}: {room.inodes_free} of {room.inodes} inodes free"
        if room.inodes_free < 8 or room.inodes_free / room.inodes < 0.01:
            words = f"no inode is free in {room.path}: no file can be made, whatever room there is"
            yield wrong("disk-inodes", words, f"df -i {room.path}; du --inodes -xd1 {room.path}", seen)
        else:
            yield fine("disk-inodes", "there are inodes", seen)


def _judge_sync(facts: HostFacts) -> Finding:
    if facts.synchronised is None:
        return fine(
            "clock-synchronised", "nothing here tells whether the clock is synchronised", facts.clock_words
        )
    if facts.synchronised:
        return fine("clock-synchronised", "the clock is synchronised", facts.clock_words)
    words = "the clock is not synchronised: machines are told times, keys and certificates end by it"
    return doubtful(
        "clock-synchronised", words, "apt install chrony && timedatectl set-ntp true", facts.clock_words
    )


def _judge_clock(facts: HostFacts) -> Finding:
    seen = [f"now: {facts.now:%Y-%m-%d %H:%M} UTC"]
    fix = "timedatectl set-time 'YYYY-MM-DD HH:MM:SS', or let NTP do it: timedatectl set-ntp true"
    if not _RELEASED <= facts.now.year < _FAR:
        return wrong("clock-sane", f"the clock shows the year {facts.now.year}", fix, *seen)
    if facts.newest is not None:
        seen.append(f"newest generation: {facts.newest:%Y-%m-%d %H:%M} UTC")
        if facts.newest - facts.now > _SKEW:
            words = "the newest generation was made in the future: the clock went back"
            return wrong("clock-sane", words, fix, *seen)
    return fine("clock-sane", "the clock is plausible", *seen)


def _judge_governor(governors: Mapping[str, tuple[str, str]]) -> Finding:
    slow = sorted(
        cpu for cpu, (name, driver) in governors.items() if name == "powersave" and driver not in _ADAPTIVE
    )
    seen = sorted({f"{name} ({driver})" for name, driver in governors.values()})
    if slow:
        words = f"{len(slow)} processors are kept at their slowest: a rack that boots at once waits for them"
        fix = (
            'for g in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do echo performance >"$g"; done'
        )
        return doubtful("cpu-governor", words, fix, *seen, *slow[:8])
    return fine("cpu-governor", "processors are not kept slow", *(seen or ["no frequency scaling here"]))


def _kept(setting: str) -> str:
    """The command for a kernel setting that is to last; dnsmasq's sockets take it when they are made."""
    file = "/etc/sysctl.d/60-pxe-appliance.conf"
    return f"echo {setting} >> {file} && sysctl -p {file} && systemctl restart pxe-appliance"


def _judge_buffer(facts: HostFacts) -> Finding:
    """dnsmasq takes the default size for its sockets, and is deaf while it reads a hosts file."""
    if facts.rmem_default is None:
        return fine("receive-buffer", "net.core.rmem_default is not shown here")
    needed = facts.machines * _OF_BUFFER
    seen = f"net.core.rmem_default = {facts.rmem_default}, {facts.machines} machines"
    if facts.machines <= _BURST or needed <= facts.rmem_default:
        return fine("receive-buffer", "all machines may ask at once", seen)
    words = f"{facts.machines} machines that ask at once overflow the socket: some wait 4 s and ask again"
    return doubtful("receive-buffer", words, _kept(f"net.core.rmem_default={needed}"), seen)


def _judge_neighbours(facts: HostFacts) -> Finding:
    if facts.neighbours is None:
        return fine("neighbour-table", "gc_thresh3 is not shown here")
    seen = f"net.ipv4.neigh.default.gc_thresh3 = {facts.neighbours}, {facts.machines} machines"
    if facts.machines <= facts.neighbours * 3 // 4:
        return fine("neighbour-table", "every machine fits in the neighbour table", seen)
    wanted = max(4096, facts.machines * 2)
    words = f"{facts.machines} machines do not fit in the neighbour table: packets to some are dropped"
    return doubtful("neighbour-table", words, _kept(f"net.ipv4.neigh.default.gc_thresh3={wanted}"), seen)
