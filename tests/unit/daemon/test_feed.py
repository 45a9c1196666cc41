"""The feed: all there is first, then what changes; nobody is waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from immutables import Map

from appliance.boot.events import EventKind as K
from appliance.boot.ladder import Ladder, climb
from appliance.daemon.board import RUNG_NAMES
from appliance.daemon.diagnosis import Outside
from appliance.daemon.feed import EVERY, Feed, Follower
from appliance.daemon.known import State
from appliance.daemon.status import Process, status_json
from appliance.inventory.model import Inventory
from tests.unit.daemon.rooms import AT, event, rack, served
from tests.unit.dnsmasq.rooms import machine


@dataclass
class Daemon:
    """What is known, set by hand."""

    state: State

    def known(self) -> State:
        return self.state

    def outside(self) -> Outside:
        return Outside()

    def status(self) -> dict[str, object]:
        return status_json(self.state, Process(1, AT, {}), AT)

    def climb(self, name: str, kind: K) -> None:
        ladder = climb(
            self.state.ladders.get(name, Ladder()), event(kind, name, detail={"stage": "firmware"})
        )
        self.state = replace(self.state, ladders=self.state.ladders.set(name, ladder))


def parsed(message: bytes) -> tuple[str, dict[str, Any]]:
    assert message.endswith(b"\n\n")
    head, data = message.decode("ascii").rstrip("\n").split("\n")
    return head.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def heard(follower: Follower, kind: str) -> dict[str, Any]:
    """The next message of a kind."""
    async with asyncio.timeout(5):
        while True:
            message = await follower.queue.get()
            assert message is not None
            event_name, facts = parsed(message)
            if event_name == kind:
                return facts


def feed_of(daemon: Daemon) -> Feed:
    return Feed(daemon, lambda: AT, "edition-1")


def test_all_there_is_comes_first_and_in_pieces() -> None:
    macs = (f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(501))
    ips = (f"172.0.{1 + n // 200}.{20 + n % 200}" for n in range(501))
    machines = tuple(machine(f"n{n}", mac, ip) for n, (mac, ip) in enumerate(zip(macs, ips, strict=True)))

    async def follow() -> list[tuple[str, dict[str, Any]]]:
        feed = feed_of(Daemon(State(served(machines=machines))))
        async with feed.following() as (_, past):
            return [parsed(message) for message in past]

    past = asyncio.run(follow())
    assert [name for name, _ in past] == ["hello", "status", "rows", "rows", "rows", "ready"]
    assert past[0][1] == {
        "now": "2025-01-31T04:05:06.789Z", "rungs": list(RUNG_NAMES), "edition": "edition-1", "machines": 501,
    }  # fmt: skip
    assert past[1][1]["health"]["sentence"]
    assert past[1][1]["status"]["version"] == 1
    assert len([row for name, facts in past if name == "rows" for row in facts["rows"]]) == 501


def test_a_boot_that_climbs_is_told_and_others_are_not() -> None:
    async def follow() -> dict[str, Any]:
        daemon = Daemon(State(served()))
        feed = feed_of(daemon)
        async with feed.following() as (follower, _):
            daemon.climb("node1", K.DISCOVER)
            daemon.climb("node1", K.OFFER)
            return await heard(follower, "rows")

    told = asyncio.run(follow())
    assert [(row["name"], row["cells"]) for row in told["rows"]] == [("node1", "rce--------")]
    assert told["gone"] == []


def test_a_machine_that_left_the_inventory_is_gone_and_a_renamed_one_too() -> None:
    async def follow() -> dict[str, Any]:
        daemon = Daemon(State(served()))
        feed = feed_of(daemon)
        async with feed.following() as (follower, _):
            others = tuple(
                replace(m, name=type(m.name).parse("fresh")) if str(m.name) == "node2" else m for m in rack()
            )
            inventory = Inventory(others[1:], daemon.state.served.inventory.profiles)
            new = replace(daemon.state.served, inventory=inventory)
            daemon.state = replace(daemon.state, served=new)
            return await heard(follower, "rows")

    told = asyncio.run(follow())
    assert sorted(told["gone"]) == ["node1", "node2"]
    assert [row["name"] for row in told["rows"]] == ["fresh"]


def test_time_alone_makes_a_boot_late() -> None:
    """No event comes, and the row changes all the same."""
    clock = {"now": AT}

    async def follow() -> dict[str, Any]:
        daemon = Daemon(State(served()))
        daemon.climb("node1", K.DISCOVER)
        feed = Feed(daemon, lambda: clock["now"])
        async with feed.following() as (follower, _):
            clock["now"] = AT.replace(hour=5)
            return await heard(follower, "rows")

    told = asyncio.run(follow())
    assert [(row["name"], row["mood"], row["cells"][0]) for row in told["rows"]] == [("node1", "stuck", "f")]


def test_who_does_not_read_is_dropped_and_the_others_hear_on() -> None:
    async def follow() -> None:
        daemon = Daemon(State(served()))
        feed = feed_of(daemon)
        async with feed.following() as (slow, _), feed.following() as (quick, _):
            for _ in range(600):
                slow.tell(b"event: beat\ndata: {}\n\n")
            assert slow.dropped
            assert await slow.queue.get() is None
            daemon.climb("node1", K.DISCOVER)
            assert (await heard(quick, "rows"))["rows"]
            assert feed.followers == 2

    asyncio.run(follow())


def test_nobody_looks_while_nobody_follows() -> None:
    async def follow() -> int:
        daemon = Daemon(State(served()))
        feed = feed_of(daemon)
        asked = 0

        def count(known: Callable[[], State] = daemon.known) -> State:
            nonlocal asked
            asked += 1
            return known()

        daemon.known = count  # type: ignore[method-assign]
        async with feed.following():
            pass
        before = asked
        await asyncio.sleep(2.5 * EVERY)
        assert feed.followers == 0
        return asked - before

    assert asyncio.run(follow()) == 0


def test_a_second_follower_gets_what_is_there_at_once() -> None:
    async def follow() -> list[str]:
        daemon = Daemon(State(served()))
        feed = feed_of(daemon)
        async with feed.following() as (first, _):
            daemon.climb("node1", K.DISCOVER)
            await heard(first, "rows")
            async with feed.following() as (_, past):
                rows = [row for name, facts in map(parsed, past) if name == "rows" for row in facts["rows"]]
                return [row["cells"] for row in rows if row["name"] == "node1"]

    assert asyncio.run(follow()) == ["ce---------"]


def test_a_failure_ends_the_streams_so_that_pages_come_again() -> None:
    async def follow() -> None:
        daemon = Daemon(State(served()))
        feed = feed_of(daemon)
        async with feed.following() as (follower, _):
            daemon.state = replace(daemon.state, ladders=Map({"node1": "broken"}))  # type: ignore[arg-type]
            async with asyncio.timeout(5):
                while await follower.queue.get() is not None:
                    pass
            daemon.state = replace(daemon.state, ladders=Map())
        async with feed.following() as (_, past):
            assert parsed(past[-1])[0] == "ready"

    asyncio.run(follow())


def test_changed_strays_are_announced_once() -> None:
    async def follow() -> None:
        daemon = Daemon(State(served()))
        feed = feed_of(daemon)
        async with feed.following() as (follower, _):
            assert await heard(follower, "changed") == {"strays": 0}
            daemon.state = replace(daemon.state, strays=replace(daemon.state.strays, noted=0))
            await heard(follower, "changed")
            await asyncio.sleep(2.5 * EVERY)
            kinds = [parsed(m)[0] for m in iter_now(follower)]
            assert "changed" not in kinds

    asyncio.run(follow())


def iter_now(follower: Follower) -> list[bytes]:
    """What waits at this moment."""
    found = []
    while not follower.queue.empty():
        message = follower.queue.get_nowait()
        assert message is not None
        found.append(message)
    return found


def test_whoever_waits_for_a_first_look_that_fails_is_let_go_and_the_next_one_is_served() -> None:
    async def work() -> None:
        daemon = Broken(State(served=served()))
        feed = Feed(daemon, lambda: AT)
        async with asyncio.timeout(5), feed.following() as (follower, past):
            assert (follower.dropped, past) == (True, [])
            assert await follower.queue.get() is None
        daemon.broken = False
        async with asyncio.timeout(5), feed.following() as (follower, past):
            assert not follower.dropped
            assert parsed(past[-1])[0] == "ready"

    asyncio.run(work())


@dataclass
class Broken(Daemon):
    """A daemon with a bug."""

    broken: bool = True

    def status(self) -> dict[str, object]:
        if self.broken:
            raise LookupError("a bug")
        return super().status()
