"""A daemon's metrics when everything has happened at least once: what the documents are held against."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from immutables import Map
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from appliance.boot.events import EventKind
from appliance.boot.ladder import Ladder, climb
from appliance.boot.policy import Life, LifeState
from appliance.daemon.gauges import Moment, families
from appliance.daemon.known import State
from appliance.daemon.metrics import Metrics
from appliance.daemon.status import problem
from appliance.dnsmasq.lifecycle import Child, Phase
from appliance.inventory.model import Machine
from appliance.system.figures import own_figures
from tests.unit.daemon.rooms import AT, event, served
from tests.unit.dnsmasq.rooms import machine, network

K = EventKind
WIDE = network("pxe", "eno4", "10.0.0.0/16", "10.0.0.1")


def many(count: int) -> tuple[Machine, ...]:
    """So many machines on one network."""
    return tuple(
        machine(f"n{i}", f"52:54:00:00:{i >> 8:02x}:{i & 255:02x}", f"10.0.{1 + (i >> 8)}.{i & 255}")
        for i in range(count)
    )


def moment(machines: tuple[Machine, ...] = (), *, now: datetime | None = None) -> Moment:
    """A rack in every state there is, an hour after it was switched on."""
    chosen = machines or many(40)
    state = State(served=served((WIDE,), chosen), endpoint_reachable=True)
    dice = random.Random(7)
    ladders, lives = {}, {}
    for each in chosen:
        name, ladder = str(each.name), Ladder()
        for n, kind in enumerate((K.DISCOVER, K.OFFER, K.REQUEST, K.ACK, K.DONE)[: dice.randrange(6)]):
            ladder = climb(ladder, event(kind, name, after=float(n)))
        ladders[name] = ladder
        lives[name] = Life(dice.choice(list(LifeState)))
    children = {
        "dhcp:pxe": Child("dhcp:pxe", Phase.SERVING, restarts=2),
        "tftp": Child("tftp", Phase.BACKOFF),
    }
    state = replace(state, ladders=Map(ladders), lives=Map(lives), children=children)
    at = now or AT + timedelta(hours=1)
    return Moment(
        state=state,
        problems=[problem("history", "warning", "full", "df -h")],
        now=at,
        started=AT,
        figures=own_figures(),
        images={"ok": 2},
        waiting={"pager": 3},
        queue=4,
        events_dropped=5,
        log_skipped=6,
        events_left_out=8,
        lines_dropped=7,
        synced_at=AT,
    )


def metrics() -> Metrics:
    """Counters of a daemon with one network and one webhook, which was asked for something once."""
    made = Metrics()
    made.networks(["pxe"])
    made.hooks(["pager"])
    made.request("script", 200, 0.01)
    return made


def page(counted: Metrics, at: Moment, accept: str = "") -> str:
    """What Prometheus reads."""
    return counted.page(accept, lambda: families(at))[0].decode()


def parsed(text: str) -> dict[str, Metric]:
    """The families of a page, by name."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(found: Iterable[Metric], sample: str, **labels: str) -> float | None:
    """The value of one sample; None where there is none."""
    for family in found:
        for each in family.samples:
            if each.name == sample and each.labels == labels:
                return float(each.value)
    return None
