"""The round: everything is looked at at once, judged, and over in seconds, whatever hangs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

import psutil

from appliance.doctor.boot_files import judge_boot_files
from appliance.doctor.catalogue import CHECKS, ids_of
from appliance.doctor.daemon import DaemonFacts, judge_daemon
from appliance.doctor.fetching import judge_fetching
from appliance.doctor.files import judge_files
from appliance.doctor.finding import Finding, doubtful, fine, merged
from appliance.doctor.firewall import judge_firewall
from appliance.doctor.forwarding import judge_forwarding
from appliance.doctor.host import judge_host
from appliance.doctor.interface import judge_interface
from appliance.doctor.leases import judge_leases
from appliance.doctor.look_boot_files import digests_of, look_at_choice, look_at_shelf
from appliance.doctor.look_daemon import Ask, children_of, look_at_daemon
from appliance.doctor.look_files import look_at_files, service_of
from appliance.doctor.look_firewall import look_at_chains, look_at_firewall
from appliance.doctor.look_host import look_at_host
from appliance.doctor.look_images import image_findings, judge_images
from appliance.doctor.look_links import look_at_kernel, look_at_links, look_at_routes
from appliance.doctor.look_packages import look_at_packages
from appliance.doctor.look_sockets import look_at_listeners
from appliance.doctor.look_sources import (
    has_generation,
    look_at_current,
    look_at_written,
    settings_served,
)
from appliance.doctor.look_unit import look_at_unit
from appliance.doctor.look_wire import look_at_http, look_at_tftp
from appliance.doctor.packages import judge_packages
from appliance.doctor.ports import Ours, judge_ports
from appliance.doctor.reach import Reach
from appliance.doctor.sources import judge_current, judge_written
from appliance.doctor.unit import judge_unit
from appliance.errors import ApplianceError, OperatorError, Problem
from appliance.inventory.load import load_all, load_settings
from appliance.inventory.model import Inventory
from appliance.paths import Paths
from appliance.settings import Settings
from appliance.system.clock import monotonic
from appliance.system.routes import default_routes

FIRST_SECONDS: Final = 1.2  # for the daemon's answer and the operator's files, on which the rest builds
ASK_SECONDS: Final = 0.9
_OF_ALL: Final = frozenset(ids_of("doctor"))  # to know these, everything has to be looked at
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, in the order of the catalogue, and the checks that could not be tried."""

    findings: tuple[Finding, ...]
    not_tried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Patient:
    """What the subjects need: the files as they could be read, and what is known of the daemon."""

    paths: Paths
    reach: Reach
    settings: Settings | None
    inventory: Inventory | None
    unusable: tuple[Problem, ...]  # why the settings cannot be used
    daemon: DaemonFacts


class _Errand(threading.Thread, Generic[T]):
    """Something to find out beside other things. Nobody waits for one that hangs, not even at the end."""

    def __init__(self, name: str, work: Callable[[], T]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self.result: T | None = None
        self.failure = ""
        self.ended = False
        self.start()

    def run(self) -> None:
        """Do it; what a host does not let us see is no bug of ours."""
        try:
            self.result = self._work()
        except ApplianceError as error:
            self.failure = error.message
        except (OSError, psutil.Error) as error:
            self.failure = str(error)
        self.ended = True

    def outcome(self, deadline: float) -> T | None:
        """The result, or None at the deadline; `failure` says why."""
        self.join(max(deadline - monotonic(), 0.0))
        if not self.ended and not self.is_alive():
            raise RuntimeError(f"{self.name} ended in a bug of ours")  # its thread has printed where
        if not self.ended:
            self.failure = "not finished in time"
        return self.result


def examine(paths: Paths, ask: Ask, *, reach: Reach | None = None, only: Collection[str] = ()) -> Report:
    """Look, judge, and be done in about four seconds.

    Args:
        paths: where things are.
        ask: puts a question to the control socket; gives up after a second.
        reach: /proc, /sys and programs, when they are not the host's own.
        only: the checks wanted; all when empty.
    """
    hands, began = reach or Reach(), time.time()
    first = monotonic() + FIRST_SECONDS
    daemon = _Errand("daemon", lambda: look_at_daemon(hands, paths, ask))
    settings, unusable = _settings(paths)
    inventory = _Errand("inventory.d", lambda: load_all(paths).inventory)
    unknown = DaemonFacts(running=None)
    known, machines = daemon.outcome(first) or unknown, inventory.outcome(first)
    hands.extend()
    patient = Patient(paths, hands, settings or settings_served(paths), machines, unusable, known)
    everything = not only or bool(_OF_ALL & set(only))
    wanted = [s for s in _SUBJECTS if everything or set(only) & set(s[1])]
    errands = [_Errand(name, partial(_rows_of, work, patient)) for name, _, work in wanted]
    rows: list[Finding] = []
    for errand in errands:
        rows += errand.outcome(hands.deadline) or []
    failures = {e.name: e.failure for e in errands} | {e.name: e.failure for e in (daemon, inventory)}
    late = [f"{name}: {failure}" for name, failure in failures.items() if failure]
    if late:
        _end_children(began)
    rows += [_rights(hands), _in_time([*dict.fromkeys(hands.unanswered), *late])]
    return _report(rows, only)


def _end_children(began: float) -> None:
    """Programs that an errand still waits for: nobody would end them after us."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.create_time() >= began - 0.02:  # it is told in hundredths of a second
                child.kill()


def _rows_of(subject: Callable[[Patient], Iterable[Finding]], patient: Patient) -> list[Finding]:
    return list(subject(patient))


def _settings(paths: Paths) -> tuple[Settings | None, tuple[Problem, ...]]:
    try:
        return load_settings(paths), ()
    except OperatorError as error:
        plain = Problem(str(paths.settings), 0, "", error.message, error.hint)
        return None, error.problems or (plain,)
    except ApplianceError as error:
        return None, (Problem(str(paths.settings), 0, "", error.message, error.hint),)


def _report(rows: Iterable[Finding], only: Collection[str]) -> Report:
    order = {identity: number for number, identity in enumerate(CHECKS)}
    last = order["status"]
    found = sorted(merged(rows), key=lambda f: order.get(f.id, last))
    if only:
        found = [f for f in found if f.id in only or (f.id not in CHECKS and "status" in only)]
    tried = {f.id for f in found} | ({"status"} if any(f.id not in CHECKS for f in found) else set())
    return Report(tuple(found), tuple(i for i in CHECKS if i not in tried and (not only or i in only)))


def _rights(reach: Reach) -> Finding:
    unseen = tuple(dict.fromkeys(reach.unseen))
    if reach.root and not unseen:
        return fine("rights", "everything could be looked at")
    words = "not run as root: " if not reach.root else ""
    words += f"{len(unseen)} things could not be looked at" if unseen else "some of it could not be looked at"
    return doubtful("rights", words, "sudo pxe-appliance doctor", *unseen[:20])


def _in_time(late: Sequence[str]) -> Finding:
    if not late:
        return fine("doctor-time", "everything that was asked answered")
    words = f"{len(late)} things did not answer; what they would have told is not judged"
    return doubtful(
        "doctor-time", words, "pxe-appliance doctor --only doctor-time, once the host is idle", *late
    )


# ---- the subjects ----


def _written(p: Patient) -> Iterable[Finding]:
    return judge_written(look_at_written(p.paths, p.unusable))


def _current(p: Patient) -> Iterable[Finding]:
    return judge_current(look_at_current(p.paths), p.daemon.running is True)


def _interface(p: Patient) -> Iterable[Finding]:
    links, routes = look_at_links(p.reach), look_at_routes(p.reach)
    for network in p.settings.networks.values() if p.settings else ():
        ipv6 = default_routes(network.interface).ipv6
        yield from judge_interface(network, links, routes, ipv6_default=ipv6)


def _ports(p: Patient) -> Iterable[Finding]:
    if p.settings is None or p.daemon.running is None:
        return ()
    listeners = look_at_listeners(p.reach, {53, 67, 69, 4011, p.settings.http.port})
    ours = Ours(p.daemon.pid if p.daemon.running else None, children_of(p.daemon.status))
    return judge_ports(p.settings, listeners, ours)


def _firewall(p: Patient) -> Iterable[Finding]:
    if p.settings is None:
        return ()
    interfaces = [n.interface for n in p.settings.networks.values()]
    return judge_firewall(p.settings, look_at_firewall(p.reach, interfaces))


def _forwarding(p: Patient) -> Iterable[Finding]:
    if p.settings is None:
        return ()
    links, routes = look_at_links(p.reach), look_at_routes(p.reach)
    return judge_forwarding(p.settings, look_at_kernel(p.reach), links, routes, look_at_chains(p.reach))


def _daemon(p: Patient) -> Iterable[Finding]:
    return judge_daemon(p.daemon)


def _tftp(p: Patient) -> Iterable[Finding]:
    if p.settings is None or not p.daemon.running:
        return ()
    selection = look_at_choice(p.paths)
    return judge_fetching(look_at_tftp(p.reach, p.settings, selection), digests_of(selection))


def _http(p: Patient) -> Iterable[Finding]:
    if p.settings is None or not p.daemon.running:
        return ()
    selection = look_at_choice(p.paths)
    return judge_fetching(look_at_http(p.reach, p.settings, selection), digests_of(selection))


def _boot_files(p: Patient) -> Iterable[Finding]:
    shelf = look_at_shelf(p.paths, look_at_choice(p.paths), applied=has_generation(p.paths))
    return judge_boot_files(shelf, p.inventory)


def _files(p: Patient) -> Iterable[Finding]:
    return judge_files(look_at_files(p.reach, p.paths, p.settings), service_of(p.paths))


def _packages(p: Patient) -> Iterable[Finding]:
    return judge_packages(look_at_packages(p.reach))


def _host(p: Patient) -> Iterable[Finding]:
    return judge_host(look_at_host(p.reach, p.paths, len(p.inventory.machines) if p.inventory else 0))


def _leases(p: Patient) -> Iterable[Finding]:
    if p.daemon.leases is None or p.inventory is None:
        return ()
    return judge_leases(p.daemon.leases, p.inventory)


def _unit(p: Patient) -> Iterable[Finding]:
    return judge_unit(look_at_unit(p.reach))


def _images(p: Patient) -> Iterable[Finding]:
    return judge_images(image_findings(p.paths))


# What is slow or waits for others comes first.
_SUBJECTS: Final[tuple[tuple[str, tuple[str, ...], Callable[[Patient], Iterable[Finding]]], ...]] = (
    ("TFTP", ("tftp-fetch",), _tftp),
    ("HTTP", ("http-health", "http-script", "http-fetch"), _http),
    ("firewall", ids_of("firewall"), _firewall),
    ("forwarding", ids_of("forwarding"), _forwarding),
    ("unit", ids_of("unit"), _unit),
    ("packages", ids_of("packages"), _packages),
    ("host", ids_of("host"), _host),
    ("ports", ids_of("ports"), _ports),
    ("interface", ids_of("interface"), _interface),
    ("daemon", ids_of("daemon"), _daemon),
    ("leases", ids_of("leases"), _leases),
    ("files", ids_of("files"), _files),
    ("boot files", ids_of("boot files"), _boot_files),
    ("images", ids_of("images"), _images),
    ("generation", ("inventory-synced", "generation", "generation-proven"), _current),
    ("settings and inventory", ("settings", "inventory", "inventory-doubts"), _written),
)
