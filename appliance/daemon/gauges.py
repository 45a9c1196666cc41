"""What is so at the moment when Prometheus asks: from the state and the public answers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from appliance import __version__
from appliance.boot.ladder import BootState
from appliance.boot.policy import Life, LifeState
from appliance.daemon.diagnosis import Diagnosis, Outside
from appliance.daemon.known import State
from appliance.daemon.metrics import PREFIX
from appliance.dnsmasq.lifecycle import Phase
from appliance.system.figures import Figures

_HELD: Final = "held"
_STATES: Final = (*(state.value for state in BootState), _HELD)
_IMAGE_STATES: Final = ("ok", "damaged", "unpinned", "absent")
_IDS: Final = 200  # different ids of verdicts or problems; there are some dozens

_Key = TypeVar("_Key", bound=tuple[str, ...])


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything that a page of metrics shows besides what was counted.

    `problems` are those of `status`, `outside` is what a diagnosis needs; `images` counts releases by state,
    `waiting` deliveries by webhook; `events_dropped`, `log_skipped`, `events_left_out`, `lines_dropped` are
    totals since the daemon (or its children) started; times are aware.
    """

    state: State
    problems: Sequence[Mapping[str, str]]
    now: datetime
    started: datetime
    figures: Figures
    outside: Outside = Outside()
    images: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    waiting: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    queue: int = 0
    events_dropped: int = 0
    log_skipped: int = 0
    events_left_out: int = 0
    lines_dropped: int = 0
    synced_at: datetime | None = None


def families(moment: Moment) -> Iterator[Metric]:
    """All of it."""
    yield InfoMetricFamily(PREFIX + "build", "The version that runs.", value={"version": __version__})
    yield _gauge("start_time_seconds", "When the daemon started.", moment.started.timestamp())
    yield from _machines(moment)
    yield from _children(moment)
    yield from _wire(moment)
    yield from _generation(moment)
    yield from _own(moment)


def _machines(moment: Moment) -> Iterator[Metric]:
    state, new = moment.state, Life()
    diagnosis = Diagnosis(state, moment.now, moment.outside)
    boots: Counter[tuple[str, str]] = Counter()
    lives: Counter[tuple[str, str]] = Counter()
    verdicts: Counter[str] = Counter()
    for machine in state.served.inventory.machines:
        name = str(machine.name)
        life = state.lives.get(name, new)
        judged = diagnosis.of(machine)
        boots[machine.network, _HELD if life.held else judged.state.value] += 1
        if judged.verdict is not None:
            verdicts[judged.verdict.id] += 1
        lives[machine.network, life.state.value] += 1
    words = "Machines of the inventory by how their last boot stands; the states exclude each other."
    yield _table("machines", words, ("network", "state"), _full(moment, boots, _STATES))
    words = "Machines of the inventory by where they are in their life."
    every = tuple(each.value for each in LifeState)
    yield _table("machines_lifecycle", words, ("network", "state"), _full(moment, lives, every))
    words = "Machines with a verdict on their boot, by its id (pxe-appliance explain ID)."
    yield _table("verdicts", words, ("verdict",), {(i,): n for i, n in verdicts.most_common(_IDS)})


def _full(
    moment: Moment, found: Mapping[tuple[str, str], int], states: Sequence[str]
) -> dict[tuple[str, ...], float]:
    networks = moment.state.served.settings.networks
    return {(net, state): found.get((net, state), 0) for net in networks for state in states}


def _children(moment: Moment) -> Iterator[Metric]:
    children = sorted(moment.state.children.items())
    up = {(name,): float(child.phase is Phase.SERVING) for name, child in children}
    yield _table("dnsmasq_up", "Whether a dnsmasq child serves.", ("child",), up)
    words = "How often a dnsmasq child was started again, by itself or by a hang."
    restarts = CounterMetricFamily(PREFIX + "dnsmasq_restarts", words, labels=("child",))
    for name, child in children:
        restarts.add_metric((name,), child.restarts)
    yield restarts


def _wire(moment: Moment) -> Iterator[Metric]:
    state = moment.state
    networks = state.served.settings.networks
    up = {(name,): float(state.usable(name)) for name in networks}
    words = "Whether a network's interface is there, up, and holds our address."
    yield _table("network_up", words, ("network",), up)
    held = Counter(lease.network for lease in state.leases.values() if lease.expires > moment.now)
    leases = {(name,): float(held[name]) for name in networks}
    yield _table("leases", "Addresses that are lent.", ("network",), leases)
    words = "MACs that asked and were not served, and that nobody has ignored."
    yield _gauge("strays", words, state.strays.counted)
    flood = float(state.strays.flood is not None)
    yield _gauge("stray_flood", "Whether strangers ask faster than any rack could.", flood)
    rogues = Counter(rogue.network for rogue in state.rogue_servers.known.values())
    others = {(name,): float(rogues[name]) for name in networks}
    yield _table("rogue_servers", "Other DHCP servers that answer.", ("network",), others)
    if state.endpoint_reachable is not None:
        reachable = float(state.endpoint_reachable)
        yield _gauge("matchbox_reachable", "Whether the Matchbox endpoint answers.", reachable)
    found = Counter((p["id"], p["severity"]) for p in moment.problems)
    words = "Problems that pxe-appliance status lists, by id (pxe-appliance explain ID)."
    yield _table("problems", words, ("id", "severity"), dict(found.most_common(_IDS)))


def _generation(moment: Moment) -> Iterator[Metric]:
    served = moment.state.served
    yield _gauge("generation", "The generation that is served; 0 is none.", served.id or 0)
    yield _gauge("generation_proven", "Whether it was proven on the wire.", float(served.proven))
    if served.at:
        made = datetime.fromisoformat(served.at).timestamp()
        yield _gauge("generation_timestamp_seconds", "When it was made.", made)
    if moment.synced_at is not None:
        words = "When a sync last ended well, with or without changes."
        yield _gauge("last_sync_timestamp_seconds", words, moment.synced_at.timestamp())
    images = {(each,): moment.images.get(each, 0) for each in _IMAGE_STATES}
    yield _table("images", "Releases in the image store.", ("state",), images)


def _own(moment: Moment) -> Iterator[Metric]:
    waiting = {(name,): float(n) for name, n in moment.waiting.items()}
    yield _table("webhook_queue_length", "Deliveries that wait.", ("webhook",), waiting)
    yield _gauge("decider_queue_length", "Signals that wait to be decided about.", moment.queue)
    words = "Events that the history lost, because the disk did not take them."
    yield _counter("history_events_dropped", words, moment.events_dropped)
    words = "Bytes of dnsmasq's log that were too many to read, since its child was started."
    yield _counter("dnsmasq_log_skipped_bytes", words, moment.log_skipped)
    words = "Events of a flood that said nothing new, and were not told."
    yield _counter("events_left_out", words, moment.events_left_out)
    words = "Lines of the daemon's own log that found no room."
    yield _counter("log_lines_dropped", words, moment.lines_dropped)
    figures = moment.figures
    # The names that every client library uses, and every board of others expects.
    cpu = CounterMetricFamily("process_cpu_seconds", "CPU time of the daemon, without dnsmasq.")
    cpu.add_metric((), figures.cpu_seconds)
    yield cpu
    started = moment.started.timestamp()
    yield GaugeMetricFamily("process_start_time_seconds", "When the daemon started.", value=started)
    yield GaugeMetricFamily("process_max_fds", "File descriptors that it may have.", value=figures.max_fds)
    if figures.open_fds is not None:
        yield GaugeMetricFamily("process_open_fds", "File descriptors that it has.", value=figures.open_fds)
    if figures.resident_bytes is not None:
        resident = figures.resident_bytes
        yield GaugeMetricFamily("process_resident_memory_bytes", "Memory of the daemon.", value=resident)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, words, value=value)


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, words, value=value)


def _table(name: str, words: str, labels: Sequence[str], values: Mapping[_Key, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, words, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
