"""The page of metrics: right, parsed by others, bounded whatever is on the wire, and cheap."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from datetime import timedelta

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from appliance.boot.events import EventKind
from appliance.boot.ladder import Ladder, climb
from appliance.daemon.metrics import PREFIX, Metrics
from appliance.daemon.notable import Climb, climbed
from appliance.daemon.status import Process, status_json
from tests.unit.daemon.moments import many, metrics, moment, page, parsed, value
from tests.unit.daemon.rooms import AT, event

K = EventKind


def boot(counted: Metrics, *steps: tuple[EventKind, float], detail: Mapping[str, str] | None = None) -> None:
    """A boot of node1, step by step."""
    ladder = Ladder()
    for kind, at in steps:
        one = event(kind, after=at, detail=detail if kind is K.SCRIPT else None)
        after = climb(ladder, one)
        counted.event(one, network="pxe")
        step = climbed(ladder, one, after)
        if step is not None:
            counted.climb(step, network="pxe")
        ladder = after


WHOLE = ((K.DISCOVER, 0.0), (K.OFFER, 0.1), (K.REQUEST, 2.0), (K.ACK, 2.1), (K.BOOTFILE, 2.5), (K.IPXE, 9.0),
         (K.SCRIPT, 9.5), (K.KERNEL, 12.0), (K.INITRD, 20.0), (K.IGNITION, 31.0), (K.DONE, 41.0))  # fmt: skip


def test_a_boot_is_counted_and_each_step_of_it_timed() -> None:
    counted = metrics()
    boot(counted, *WHOLE)
    found = parsed(page(counted, moment())).values()
    assert value(found, "pxe_appliance_boots_started_total", network="pxe") == 1
    assert value(found, "pxe_appliance_boots_finished_total", network="pxe", to="image") == 1
    assert value(found, "pxe_appliance_boot_seconds_sum", to="image") == 41
    for (_, before), (kind, at) in itertools.pairwise(WHOLE):
        assert value(found, "pxe_appliance_boot_stage_seconds_count", stage=kind.value) == 1
        seconds = value(found, "pxe_appliance_boot_stage_seconds_sum", stage=kind.value)
        assert seconds == pytest.approx(at - before)
    assert value(found, "pxe_appliance_dhcp_messages_total", network="pxe", type="ack") == 1
    assert value(found, "pxe_appliance_events_total", event="kernel") == 1
    assert value(found, "pxe_appliance_tftp_files_sent_total") == 1


def test_a_boot_to_the_disk_ends_there() -> None:
    counted = metrics()
    boot(counted, *WHOLE[:7], detail={"to": "disk"})
    found = parsed(page(counted, moment())).values()
    assert value(found, "pxe_appliance_boots_finished_total", network="pxe", to="disk") == 1
    assert value(found, "pxe_appliance_boot_seconds_sum", to="disk") == 9.5


def test_a_repeated_question_and_a_renewed_lease_begin_no_boot() -> None:
    counted = metrics()
    boot(counted, (K.DISCOVER, 0), (K.DISCOVER, 4), (K.DISCOVER, 12), (K.OFFER, 12.1), (K.OFFER, 13))
    found = parsed(page(counted, moment())).values()
    assert value(found, "pxe_appliance_boots_started_total", network="pxe") == 1
    assert value(found, "pxe_appliance_boot_stage_seconds_count", stage="offer") == 1


def test_a_clock_that_was_set_back_takes_no_time_from_anybody() -> None:
    step = climbed(
        climb(Ladder(), event(K.DISCOVER, after=100)), event(K.OFFER, after=40),
        climb(climb(Ladder(), event(K.DISCOVER, after=100)), event(K.OFFER, after=40)),
    )  # fmt: skip
    assert step == Climb(K.OFFER, 0.0)


def test_every_known_series_is_there_before_anything_happens() -> None:
    text = page(metrics(), moment())
    for kind in EventKind:
        assert f'pxe_appliance_events_total{{event="{kind.value}"}} 0.0' in text
    assert 'pxe_appliance_syncs_total{result="rolled-back"} 0.0' in text
    assert 'pxe_appliance_webhook_deliveries_total{result="failed",webhook="pager"} 0.0' in text
    assert "_created" not in text


def test_the_gauges_are_what_status_and_the_board_say() -> None:
    at = moment()
    found = parsed(page(metrics(), at)).values()
    states = ("idle", "booting", "booted", "stuck", "held")
    by_state = {s: value(found, "pxe_appliance_machines", network="pxe", state=s) or 0 for s in states}
    assert sum(by_state.values()) == 40, "the states exclude each other"
    told = status_json(at.state, Process(1, AT, {}), at.now)["machines"]
    assert isinstance(told, dict)
    assert by_state["held"] == told["held"] > 0
    assert by_state["booted"] <= told["booted"]
    assert by_state["stuck"] + by_state["held"] >= told["stuck"] >= by_state["stuck"] > 0
    lives = parsed(page(metrics(), at))["pxe_appliance_machines_lifecycle"].samples
    assert sum(sample.value for sample in lives) == 40
    assert value(found, "pxe_appliance_dnsmasq_up", child="dhcp:pxe") == 1
    assert value(found, "pxe_appliance_dnsmasq_up", child="tftp") == 0
    assert value(found, "pxe_appliance_dnsmasq_restarts_total", child="dhcp:pxe") == 2
    assert value(found, "pxe_appliance_problems", id="history", severity="warning") == 1
    assert value(found, "pxe_appliance_network_up", network="pxe") == 0
    assert value(found, "pxe_appliance_generation") == 3
    assert value(found, "pxe_appliance_start_time_seconds") == AT.timestamp()
    assert value(found, "pxe_appliance_images", state="damaged") == 0
    assert (value(found, "pxe_appliance_verdicts", verdict="held") or 0) > 0


def test_the_names_are_as_prometheus_wants_them() -> None:
    for family in parsed(page(metrics(), moment())).values():
        assert family.name.startswith((PREFIX, "process_"))
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_total", "_ms", "_milliseconds", "_kb")), family.name
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith("_total")


def test_openmetrics_is_given_to_who_accepts_it() -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
    body, content_type = metrics().page(accept, list)
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    found = openmetrics(page(metrics(), moment(), accept))  # type: ignore[no-untyped-call]
    assert any(family.name == "pxe_appliance_events" for family in found)
    for other in ("", "*/*", "text/html", 'application/openmetrics-text; version="\x01"zz', "a" * 10_000):
        assert metrics().page(other, list)[1].startswith(("text/plain; version=0.0.4", "application/open"))


def test_the_number_of_series_does_not_grow_with_the_machines() -> None:
    counted = metrics()
    few, all_of_them = page(counted, moment(many(40))), page(counted, moment(many(5_000)))
    assert len(series(all_of_them)) == len(series(few))
    assert len(series(all_of_them)) < 600
    assert "52:54" not in all_of_them
    labels = {name for family in parsed(all_of_them).values() for s in family.samples for name in s.labels}
    assert not labels & {"mac", "machine", "ip", "name"}


def series(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_five_thousand_machines_cost_a_tenth_of_a_second() -> None:
    counted, large = metrics(), moment(many(5_000), now=AT + timedelta(minutes=20))
    took = []
    for _ in range(3):
        began = time.process_time()
        page(counted, large)
        took.append(time.process_time() - began)
    assert min(took) < 0.1, took
