"""Reasons after the kernel: its network, its Ignition, its call home, and what comes after the end."""

from __future__ import annotations

from typing import Final

from appliance.boot.events import EventKind
from appliance.boot.evidence import Evidence, clock
from appliance.boot.policy import BootPolicy
from appliance.boot.reasons import EVERY, PATIENCE, Rule, ago, at, profile_place, rungs, times, told
from appliance.boot.reasons_strangers import other_nic_note
from appliance.boot.signs import Sign

K = EventKind
_LOADED: Final = rungs(K.SCRIPT, K.INITRD)
_DISK_BOOTS: Final = 3  # in a row: an installer's reboot and the firmware's next turn are two
_DISK_WITHIN: Final = 600.0
_BAD: Final = ("fail", "error", "abort")


def _ignition(evidence: Evidence) -> Sign | None:
    found = [s for s in evidence.signs(K.HTTP_ERROR) if s.get("path") == "/ignition"]
    return max(found, key=lambda sign: sign.last, default=None)


def _report(evidence: Evidence) -> Sign | None:
    """The newest refusal of a report, when none was taken after it."""
    found = [s for s in evidence.signs(K.HTTP_ERROR) if s.get("path") == "/v1/report"]
    newest, taken = max(found, key=lambda sign: sign.last, default=None), evidence.sign(K.REPORT)
    return newest if newest and (taken is None or newest.last > taken.last) else None


def _failed(evidence: Evidence) -> Sign | None:
    newest = evidence.sign(K.REPORT)
    return newest if newest and newest.get("stage").lower().startswith(_BAD) else None


def _system_asks(evidence: Evidence) -> bool:
    """Whether the system itself asked for an address after its kernel was loaded."""
    loaded = evidence.ladder.rungs.get(evidence.ladder.rung) if evidence.ladder.rung else None
    return any(loaded is None or s.last >= loaded for s in evidence.signs(K.ACK, stage="os"))


def _waits_for_ignition(evidence: Evidence) -> bool:
    return evidence.course.ignition and _all_loaded(evidence)


def _all_loaded(evidence: Evidence) -> bool:
    """Whether nothing that we would see is left to load before the kernel runs."""
    if evidence.ladder.rung is K.INITRD:
        return True
    if evidence.ladder.rung is K.KERNEL:
        return not evidence.course.initrd
    return False


def _installs(evidence: Evidence) -> bool:
    return evidence.policy is BootPolicy.INSTALL_ONCE and not evidence.life.installed


def _disk_boots(evidence: Evidence) -> int:
    return sum((evidence.now - began).total_seconds() <= _DISK_WITHIN for began in evidence.ladder.to_disk)


RULES: Final = (
    Rule(
        "ignition-refused",
        "its Ignition was asked for and refused",
        rungs(K.SCRIPT, K.INITRD),
        _ignition,
        lambda e: (
            f"{e.machine} asked for its Ignition {times(s.count)} and was refused: "
            f"{s.get('reason') or s.get('status')}"
            if (s := _ignition(e))
            else e.machine
        ),
        lambda e: (
            f"power-cycle it, so that its script carries a new token; pxe-appliance machine show {e.machine} "
            "--ignition shows the document; pxe-appliance check"
        ),
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "reported-failure",
        "it reported that it failed",
        rungs(K.SCRIPT, K.IGNITION),
        _failed,
        lambda e: (
            f"{e.machine} reported {s.get('stage')} at {at(s)}: {s.get('message') or 'without a word why'}"
            if (s := _failed(e))
            else e.machine
        ),
        lambda e: f"look at its console or its journal; pxe-appliance events --machine {e.machine}",
        needs=K.REPORT,
    ),
    Rule(
        "report-refused",
        "its report was refused",
        rungs(K.SCRIPT, K.IGNITION),
        _report,
        lambda e: (
            f"{e.machine} called home {times(s.count)} and was refused: {s.get('reason') or s.get('status')}"
            if (s := _report(e))
            else e.machine
        ),
        (
            "it has to report with the token of its last boot, from its own address: power-cycle it; "
            "docs/lifecycle.md shows what a report looks like"
        ),
        needs=K.HTTP_ERROR,
    ),
    Rule(
        "ignition-not-asked",
        "its system has an address and never asks for its Ignition",
        rungs(K.KERNEL, K.INITRD),
        lambda e: _waits_for_ignition(e) and _system_asks(e),
        lambda e: (
            f"the system of {e.machine} took its address at {at(e.sign(K.ACK, stage='os'))} and never asked "
            f"for its Ignition ({ago(e)})"
        ),
        lambda e: (
            f"has the kernel's line ignition.config.url=, ignition.platform.id= and the first-boot flag? "
            f"args of {profile_place(e)}; Ignition runs once: an installed disk keeps its own"
        ),
        after=PATIENCE[K.INITRD],
        stuck_after=180,
        silent=True,
    ),
    Rule(
        "initramfs-no-network",
        "kernel and initrd are loaded, and nothing of the system is heard",
        rungs(K.KERNEL, K.INITRD),
        lambda e: _waits_for_ignition(e) and not _system_asks(e),
        lambda e: (
            f"{e.machine} has loaded kernel and initrd at {e.rung_clock}, and its system asked for no "
            f"address in {ago(e)}"
        ),
        lambda e: (
            "look at its console: a panic (memory: 2 GiB and more for a live image), a NIC without driver, "
            "a slow switch port (rd.neednet=1 ip=dhcp rd.net.timeout.carrier=60 in args of "
            f"{profile_place(e)})"
        ),
        after=PATIENCE[K.INITRD],
        stuck_after=180,
        silent=True,
    ),
    Rule(
        "no-call-home",
        "it has its Ignition and never called home",
        rungs(K.KERNEL, K.IGNITION),
        lambda e: (
            e.course.calls_home
            and (e.ladder.rung is K.IGNITION or (_all_loaded(e) and not e.course.ignition))
            and not e.sign(K.REPORT)
            and (not _installs(e) or e.waited >= 300)
        ),
        lambda e: f"{e.machine} has its Ignition since {e.rung_clock} and did not call home in {ago(e)}",
        (
            "look at its console: emergency mode (an Ignition that fails, a disk that is not there), or "
            "journalctl -u pxe-appliance-call-home on it"
        ),
        after=PATIENCE[K.IGNITION],
        stuck_after=600,
        silent=True,
    ),
    Rule(
        "install-unfinished",
        "it installs, and does not come to an end",
        rungs(K.SCRIPT, K.IGNITION),
        lambda e: _installs(e) and e.sign(K.REPORT),
        lambda e: (
            f"{e.machine} reported {told(e.sign(K.REPORT), 'stage')} at {at(e.sign(K.REPORT))} and is not "
            f"installed after {ago(e)}"
        ),
        (
            "look at its console or journal: the disk, the download; the installer has to end with "
            "call-home installed (docs/lifecycle.md)"
        ),
        after=900,
        stuck_after=1800,
        silent=True,
        needs=K.REPORT,
    ),
    Rule(
        "disk-does-not-boot",
        "it was sent to its disk and asks the network again",
        EVERY,
        lambda e: _disk_boots(e) >= _DISK_BOOTS,
        lambda e: (
            f"{e.machine} was sent to its disk {times(_disk_boots(e))} since {clock(e.ladder.to_disk[0])} "
            "and asks the network again: the disk does not boot, or it is not next in the boot order"
        ),
        lambda e: (
            f"put the disk right behind the PXE NIC in its boot order; or install it again: pxe-appliance "
            f"machine reinstall {e.machine}"
        ),
        ended=True,
    ),
    Rule(
        "other-nic-strays",
        "it runs, and another NIC of it asks on the PXE VLAN",
        EVERY,
        other_nic_note,
        other_nic_note,
        ("move that NIC's cable, or its switch port's VLAN, to its own network: it gets nothing here"),
        stuck_after=None,
        ended=True,
        needs=K.IGNORED,
    ),
)
