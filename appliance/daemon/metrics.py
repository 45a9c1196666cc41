"""What is counted while things happen, and the page that tells Prometheus of it.

A registry of our own: nothing of a process-wide one is shown. No label holds what a client says, a machine's
name or a MAC: the number of series depends on the settings alone, however many machines there are and
whoever is on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from appliance.boot.events import Event, EventKind
from appliance.boot.ladder import RUNGS
from appliance.daemon.notable import Climb

PREFIX: Final = "pxe_appliance_"
DHCP_MESSAGES: Final = (
    EventKind.DISCOVER,
    EventKind.OFFER,
    EventKind.REQUEST,
    EventKind.ACK,
    EventKind.NAK,
    EventKind.DECLINE,
    EventKind.RELEASE,
)
SYNC_RESULTS: Final = ("applied", "unchanged", "failed", "rolled-back")
HOOK_RESULTS: Final = ("delivered", "retried", "failed", "dropped")
# A rung takes milliseconds (DHCP), seconds (iPXE) or minutes (a kernel over firmware's own HTTP).
_STAGE_SECONDS: Final = (0.05, 0.25, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
_BOOT_SECONDS: Final = (10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 2400, 3600)
_HTTP_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300)
_OPENMETRICS: Final = "application/openmetrics-text"
_OF_NO_NETWORK: Final = ""


class Metrics:
    """Counters and histograms. Each method takes what happened; none of them waits for anything."""

    def __init__(self) -> None:
        # They would double the series, and tell what the start time tells.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry(auto_describe=True)

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(PREFIX + name, words, labels, registry=registry)

        def histogram(name: str, words: str, buckets: Iterable[float], *labels: str) -> Histogram:
            return Histogram(PREFIX + name, words, labels, registry=registry, buckets=tuple(buckets))

        self._events = counter("events", "Events by kind, as pxe-appliance events lists them.", "event")
        self._dhcp = counter(
            "dhcp_messages", "DHCP messages to and from machines of the inventory.", "network", "type"
        )
        self._files = counter("tftp_files_sent", "First stages that were sent by TFTP, whole.")
        self._started = counter("boots_started", "Boots that began.", "network")
        self._finished = counter(
            "boots_finished", "Boots that came to their end: image (it called home) or disk.", "network", "to"
        )
        self._stages = histogram(
            "boot_stage_seconds", "Time from the rung before to this one.", _STAGE_SECONDS, "stage"
        )
        self._boots = histogram(
            "boot_seconds", "Time from a boot's first DISCOVER to its end.", _BOOT_SECONDS, "to"
        )
        self._requests = counter(
            "http_requests", "HTTP requests on the PXE addresses, by what was asked for.", "kind", "code"
        )
        self._durations = histogram(
            "http_request_duration_seconds", "Time to answer, the whole body sent.", _HTTP_SECONDS, "kind"
        )
        self._syncs = counter("syncs", "Syncs and rollbacks, by how they ended.", "result")
        self._hooks = counter(
            "webhook_deliveries", "Deliveries to webhooks, by what became of them.", "webhook", "result"
        )
        self._begin()

    def _begin(self) -> None:
        """Series that are known exist from the start: a rate needs the zero before the first one."""
        for kind in EventKind:
            self._events.labels(kind.value)
        for rung in RUNGS[1:]:
            self._stages.labels(rung.value)
        for result in SYNC_RESULTS:
            self._syncs.labels(result)
        for end in ("image", "disk"):
            self._boots.labels(end)

    def networks(self, names: Iterable[str]) -> None:
        """These networks are served now."""
        for name in names:
            self._started.labels(name)
            for end in ("image", "disk"):
                self._finished.labels(name, end)
            for kind in DHCP_MESSAGES:
                self._dhcp.labels(name, kind.value)

    def hooks(self, names: Iterable[str]) -> None:
        """These webhooks are in force now."""
        for name in names:
            for result in HOOK_RESULTS:
                self._hooks.labels(name, result)

    def event(self, event: Event, *, network: str) -> None:
        """Something was seen; `network` is one of the settings, or empty."""
        self._events.labels(event.kind.value).inc()
        if event.kind in DHCP_MESSAGES:
            self._dhcp.labels(network or _OF_NO_NETWORK, event.kind.value).inc()
        elif event.kind is EventKind.BOOTFILE and "path" not in event.detail:
            self._files.inc()

    def climb(self, climb: Climb, *, network: str) -> None:
        """A machine came a rung further."""
        if climb.seconds is None and climb.rung is EventKind.DISCOVER:
            self._started.labels(network).inc()
        elif climb.seconds is not None:
            self._stages.labels(climb.rung.value).observe(climb.seconds)
        if climb.to:
            self._finished.labels(network, climb.to).inc()
            if climb.whole is not None:
                self._boots.labels(climb.to).observe(climb.whole)

    def request(self, kind: str, status: int, seconds: float | None) -> None:
        """An HTTP request was answered; `seconds` None: an answer that has no end by itself."""
        code = f"{status // 100}xx" if 100 <= status < 600 else "none"
        self._requests.labels(kind, code).inc()
        if seconds is not None:
            self._durations.labels(kind).observe(seconds)

    def sync(self, result: str) -> None:
        """A sync ended; `result` is one of `SYNC_RESULTS`."""
        self._syncs.labels(result).inc()

    def delivery(self, hook: str, result: str) -> None:
        """A delivery to a webhook came to a result of `HOOK_RESULTS`."""
        self._hooks.labels(hook, result).inc()

    def page(self, accept: str, more: Callable[[], Iterable[Metric]]) -> tuple[bytes, str]:
        """Everything in the format that `accept` asks for, and that format's content type.

        `more` gives what is not counted but so at this moment.
        """
        whole = CollectorRegistry(auto_describe=False)
        whole.register(_Both(self._registry, more))
        encoder, content_type = choose_encoder(chosen_form(accept))
        return encoder(whole), content_type


def chosen_form(accept: str) -> str:
    """One of two: OpenMetrics for whoever accepts it, else empty, for the older text format."""
    asked = {part.partition(";")[0].strip() for part in accept.split(",")}
    return _OPENMETRICS if _OPENMETRICS in asked else ""


class _Both(Collector):
    def __init__(self, counted: CollectorRegistry, more: Callable[[], Iterable[Metric]]) -> None:
        self._counted, self._more = counted, more

    def describe(self) -> Iterable[Metric]:
        return []  # else registering would collect

    def collect(self) -> Iterable[Metric]:
        yield from self._counted.collect()
        yield from self._more()
