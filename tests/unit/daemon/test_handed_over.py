"""What a daemon hands to the program that takes its place arrives as it was, and nothing else does."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from appliance.addresses import Mac
from appliance.daemon.handed_over import (
    LIMIT,
    Guest,
    HandedChild,
    HandedOver,
    Listener,
    Log,
    Runner,
    Sending,
    fitting,
    read,
    written,
)
from appliance.dnsmasq.lifecycle import Child, Phase

SENDING = Sending(31, 4096, 1 << 40, 4096, "/assets/lab/vmlinuz\x1b[31m", 206, keep=True)
DOCUMENT = HandedOver(
    pid=4711,
    started=123456,
    version="1.2.3",
    generation=7,
    lock=3,
    control=4,
    children=(
        HandedChild(
            Child("dhcp:pxe", Phase.SERVING, since=12.5, failures=1, restarts=3),
            Runner(
                4712, 123460, True, Log(5, 8000, torn=True, open=True), frozenset({Mac.parse("525400aa0001")})
            ),
            declined=True,
        ),
        HandedChild(Child("tftp", Phase.STARTING, since=1.0), Runner(4713, 123461, False, None)),
        HandedChild(Child("dhcp:lab", Phase.BACKOFF, failures=40, restarts=41)),
    ),
    listeners=(Listener(IPv4Address("172.0.1.1"), 8080, 6),),
    guests=(Guest(7, b"GET /boo\xff"), Guest(30, b"", SENDING)),
    xids=(0, 2**32 - 1),
)


def test_it_arrives_as_it_was() -> None:
    assert read(written(DOCUMENT)) == DOCUMENT


def test_every_descriptor_is_named_once() -> None:
    assert sorted(DOCUMENT.descriptors()) == [3, 4, 5, 6, 7, 30, 31]


def test_without_anything_served_it_is_short() -> None:
    bare = HandedOver(1, 0, "0", None, 3, None)
    assert read(written(bare)) == bare


def changed(change: Callable[[Any], None]) -> bytes:
    whole = json.loads(written(DOCUMENT))
    change(whole)
    return json.dumps(whole).encode()


def put(value: object, *path: str | int) -> Callable[[Any], None]:
    def change(whole: Any) -> None:
        for step in path[:-1]:
            whole = whole[step]
        whole[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        put(2, "format"),
        put(True, "format"),
        put("1", "format"),
        put(0, "pid"),
        put(1.5, "pid"),
        put(-1, "started"),
        put("", "version"),
        put("1\n2", "version"),
        put("x" * 5000, "version"),
        put(2, "lock"),
        put(-1, "lock"),
        put(True, "lock"),
        put(2**40, "lock"),
        put(3, "control"),
        put({}, "children"),
        put([None], "children"),
        put("", "children", 0, "name"),
        put("tftp", "children", 0, "name"),
        put("asleep", "children", 0, "phase"),
        put("stopped", "children", 0, "phase"),
        put("serving", "children", 2, "phase"),
        put(float("nan"), "children", 0, "since"),
        put(float("inf"), "children", 0, "since"),
        put(1, "children", 0, "declined"),
        put(1, "children", 0, "runner", "pid"),
        put(0, "children", 0, "runner", "log", "fd"),
        put(-5, "children", 0, "runner", "log", "position"),
        put(["5"], "children", 0, "runner", "marks"),
        put([7], "children", 0, "runner", "marks"),
        put("172.0.1.256", "listeners", 0, "address"),
        put("::1", "listeners", 0, "address"),
        put(0, "listeners", 0, "port"),
        put(65536, "listeners", 0, "port"),
        put(6, "guests", 0, "fd"),
        put(7, "guests", 1, "sending", "fd"),
        put([7], "guests"),
        put([2**32], "xids"),
        put([0] * 300_000, "xids"),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable[[Any], None]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read(changed(change))


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (put("%%%", "guests", 0, "unread"), {7}),
        (put("A" * 200_000, "guests", 0, "unread"), {7}),
        (put(None, "guests", 0, "unread"), {7}),
        (put(None, "guests", 1, "sending", "path"), {30, 31}),
        (put(99, "guests", 1, "sending", "status"), {30, 31}),
        (put(-1, "guests", 1, "sending", "length"), {30, 31}),
        (put("x", "guests", 1, "sending"), {30}),
    ],
    ids=range(7),
)
def test_a_guest_that_does_not_fit_is_turned_away_alone(
    change: Callable[[Any], None], left: set[int]
) -> None:
    document = read(changed(change))
    assert set(document.unfit) == left
    assert document.guests == tuple(x for x in DOCUMENT.guests if x.fd not in left)
    assert document.children == DOCUMENT.children


def test_what_strangers_have_sent_makes_no_document_too_long() -> None:
    asking = [Guest(100 + n, b"GET /" + b"x" * 32_000) for n in range(1024)]
    sent = [Guest(2000, b"", SENDING), Guest(3000)]
    guests = fitting([*asking, *sent])
    assert {2000, 3000} < {guest.fd for guest in guests}
    document = replace(DOCUMENT, guests=guests)
    assert read(written(document)) == document


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"7", b'{"format": 1}', b" " * (LIMIT + 1)],
    ids=range(9),
)
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read(raw)


def test_a_document_without_any_one_of_its_values_is_refused() -> None:
    whole = json.loads(written(DOCUMENT))
    optional = {"generation", "control"}
    for key in whole.keys() - optional:
        rest = {name: value for name, value in whole.items() if name != key}
        with pytest.raises(ValueError, match=r".+"):
            read(json.dumps(rest).encode())


def test_damage_anywhere_is_refused_or_a_document() -> None:
    """Seeded: whatever a byte becomes, there is a document or a ValueError, and nothing else."""
    raw, dice = written(DOCUMENT), random.Random(6)
    for _ in range(5000):
        damaged = bytearray(raw)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            found = read(bytes(damaged))
        except ValueError:
            continue
        assert len(set(found.descriptors())) == len(found.descriptors())


def test_two_guests_cannot_share_a_descriptor() -> None:
    twice = replace(DOCUMENT, guests=(Guest(9), Guest(9)))
    with pytest.raises(ValueError, match="twice"):
        read(written(twice))
