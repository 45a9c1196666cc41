"""A change that is kept only if somebody confirms it: on real dnsmasq, with real exchanges, past crashes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.system.files import exclusive_lock
from tests.figures import Figures
from tests.netns.appliance import Appliance
from tests.netns.conftest import ClientMaker, Segment, run
from tests.netns.test_appliance import NODE1, NODE3, discover
from tests.netns.wire import Client, wait_until

pytestmark = pytest.mark.netns

OLD, NEW = "172.0.1.21", "172.0.1.71"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
SLEEPS = Path(__file__).parent.parent / "fakes/faketime"


@pytest.fixture
def client(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Client:
    """A raw client on the appliance's wire, which serves; node1 has moved in the inventory alone."""
    appliance.serve()
    move(appliance)
    return client_on(segment.links[0])


def move(appliance: Appliance) -> None:
    appliance.edit(f'ip = "{OLD}"', f'ip = "{NEW}"')


def begin(appliance: Appliance, within: str, *more: str, command: str = "sync") -> Any:
    """Apply a change for a while; what it says of that."""
    done = appliance.run(command, *more, "--yes", "--confirm-within", within, "-o", "json")
    return done.json()["pending"]


def told(appliance: Appliance, path: str, *more: str) -> str:
    """What the daemon answers, without the price of a command."""
    socket = appliance.root / "run/pxe-appliance/control.sock"
    return run("curl", "-s", "--unix-socket", str(socket), f"http://localhost/v1/{path}", *more)


def status(appliance: Appliance) -> Any:
    return json.loads(told(appliance, "status"))


def rollbacks(appliance: Appliance) -> list[Any]:
    """The events of that kind."""
    events = [json.loads(line) for line in told(appliance, "events?limit=1000").splitlines()]
    return [event for event in events if event["event"] == "rollback"]


def problem(appliance: Appliance) -> str:
    """What `status` says of the change that is not confirmed; empty for nothing."""
    return next((str(p["message"]) for p in status(appliance)["problems"] if p["id"] == "unconfirmed"), "")


def address(client: Client) -> str:
    """Which address node1 is offered and given by a whole exchange."""
    offer, ack = client.acquire(discover(NODE1))
    assert offer.yiaddr == ack.yiaddr
    return ack.yiaddr


def until_old(client: Client, seconds: float = 15) -> None:
    """Wait until node1 is offered its old address again."""

    def old() -> bool:
        reply = client.ask(discover(NODE1), seconds=0.1)
        return reply is not None and reply.yiaddr == OLD

    wait_until(old, "the old reservation", seconds)


def last_year(appliance: Appliance, client: Client) -> int:
    """The year in which the daemon sees node1 ask."""
    assert address(client) == NEW
    return int(json.loads(told(appliance, "events?limit=1"))["at"][:4])


def listed(appliance: Appliance) -> list[tuple[int, bool, bool, bool]]:
    """Number, proven, taken back, waiting."""
    rows = json.loads(told(appliance, "generations"))
    return [(g["id"], g["proven"], bool(g["rejected"]), bool(g["pending"])) for g in rows]


def test_a_confirmed_change_survives_a_crash(appliance: Appliance, client: Client) -> None:
    pending = begin(appliance, "10m")
    assert (pending["generation"], pending["previous"]) == (2, 1)
    assert address(client) == NEW
    now = status(appliance)
    assert (now["pending"], now["generation"]["proven"]) == (pending, False)
    assert "waits until" in problem(appliance)
    assert listed(appliance) == [(1, True, False, False), (2, False, False, True)]
    assert f"to confirm until {pending['until']}" in appliance.run("generations").stdout
    for command in (["sync", "--yes"], ["rollback", "--yes", "--confirm-within", "9s"]):
        refused = appliance.run(*command, rc=4).stderr
        assert "generation 2 waits until" in refused
        assert "pxe-appliance confirm keeps it, pxe-appliance rollback takes it back" in refused
    other = appliance.run("confirm", "3", rc=4).stderr
    assert "generation 3 does not wait for a confirmation, generation 2 does" in other
    assert status(appliance)["pending"] == pending
    assert appliance.run("confirm", "2").stdout == "Generation 2 is confirmed and kept.\n"
    appliance.stop(signal.SIGKILL)
    appliance.serve()
    assert address(client) == NEW
    now = status(appliance)
    assert (now["pending"], now["problems"], now["generation"]["id"]) == (None, [], 2)
    assert "generation 2 is confirmed already" in appliance.run("confirm", rc=4).stderr
    assert not rollbacks(appliance)


def test_an_unconfirmed_change_is_taken_back_although_its_client_is_gone(
    appliance: Appliance, client: Client, figures: Figures
) -> None:
    with terminal(appliance, "sync", "--confirm-within", "5s") as screen:
        screen.answer("Apply this?", "y")
        screen.read_until("Keep generation 2?")
        screen.process.kill()
    assert address(client) == NEW
    until = datetime.fromisoformat(status(appliance)["pending"]["until"]).timestamp()
    until_old(client)
    took = time.time() - until
    figures.tell("confirm", "deadline to the old reservation on the wire", f"{took:.2f} s", "< 2 s")
    assert 0 <= took < 2
    wait_until(lambda: not status(appliance)["pending"], "the end of it")
    assert address(client) == OLD
    assert "was not confirmed until" in problem(appliance)
    (back,) = wait_until(lambda: rollbacks(appliance), "the event")
    assert "generation 2 was not confirmed until" in back["detail"]["reason"]
    assert "was offered its address" in back["detail"]["proof"]
    assert listed(appliance) == [(1, True, False, False), (2, False, True, False)]
    assert "generation 2 was rolled back: not confirmed until" in appliance.run("confirm", rc=4).stderr

    appliance.stop()
    appliance.serve()  # the inventory still asks for the change: no start applies it by itself
    assert address(client) == OLD
    assert "generation 1 is served until the next sync" in problem(appliance)
    assert len(rollbacks(appliance)) == 1
    appliance.run("sync", "--yes")
    assert address(client) == NEW
    assert problem(appliance) == ""


def test_a_crash_before_the_confirmation_serves_what_was_proven(appliance: Appliance, client: Client) -> None:
    begin(appliance, "24h")
    assert address(client) == NEW
    appliance.stop(signal.SIGKILL)
    assert "start" in appliance.run("sync", "--yes", rc=4).stderr
    assert "the daemon is not running" in appliance.run("confirm", rc=4).stderr
    appliance.serve()
    assert address(client) == OLD
    assert "the daemon was started anew before that" in problem(appliance)
    assert len(wait_until(lambda: rollbacks(appliance), "the event")) == 1
    appliance.edit(f'ip = "{NEW}"', f'ip = "{OLD}"')
    assert "No changes" in appliance.run("sync", "--yes", "--confirm-within", "5s").stdout
    assert (problem(appliance), status(appliance)["pending"]) == ("", None)
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    appliance.stop()
    appliance.serve()  # a change that was never tried is nobody's to confirm
    wait_until(lambda: status(appliance)["generation"]["id"] == 3, "the sync at start")
    assert client.acquire(discover(NODE3))[1].yiaddr == "172.0.1.73"


def test_a_crash_before_there_is_anything_to_confirm_applies_nothing(
    appliance: Appliance, client: Client
) -> None:
    with exclusive_lock(appliance.root / "run/pxe-appliance/lock"):
        asking = subprocess.Popen(
            appliance.argv("sync", "--yes", "--confirm-within", "1h"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: waits_for_a_lock(appliance.daemon_pid()), "the sync to begin", 30)
        appliance.stop(signal.SIGKILL)
    assert asking.wait(30) != 0
    for _ in range(2):
        appliance.serve()
        assert address(client) == OLD
        wait_until(lambda: "a change that was to be confirmed was cut short" in problem(appliance), "it")
        assert "~machine node1; generation 1 is served until the next sync" in problem(appliance)
        assert listed(appliance) == [(1, True, False, False)]
        appliance.stop(signal.SIGKILL)
    appliance.serve()
    begin(appliance, "1h")
    appliance.run("confirm")
    assert (address(client), status(appliance)["problems"]) == (NEW, [])
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    appliance.stop(signal.SIGKILL)
    appliance.serve()  # nobody has asked to confirm that one
    wait_until(lambda: status(appliance)["generation"]["id"] == 3, "the sync at start")


def waits_for_a_lock(pid: int) -> bool:
    """Whether a process is held up by another one's lock (proc_locks(5))."""
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(row[1] == "->" and row[5] == str(pid) for row in rows)


def test_jumps_of_the_clock_move_no_deadline(
    appliance: Appliance, segment: Segment, client_on: ClientMaker
) -> None:
    clock = appliance.root / "clock"
    clock.write_text("+0")
    appliance.environment = {
        "LD_PRELOAD": FAKETIME,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(SLEEPS),
    }
    appliance.serve(wait=False)
    appliance.environment = {}
    appliance.await_serving(60)
    move(appliance)
    raw = client_on(segment.links[0])
    year = datetime.now().astimezone().year
    began = time.monotonic()
    begin(appliance, "8s")
    clock.write_text("+400d")
    wait_until(lambda: last_year(appliance, raw) > year, "the clock to jump", 6)
    clock.write_text("-400d")
    wait_until(lambda: last_year(appliance, raw) < year, "the clock to jump back", 6)
    assert address(raw) == NEW
    until_old(raw, 40)  # it would be 400 days; under that library the daemon is slow
    assert time.monotonic() - began >= 8


def test_a_rollback_takes_it_back_at_once_and_can_wait_itself(appliance: Appliance, client: Client) -> None:
    begin(appliance, "24h")
    assert "Generation 2 is taken back: generation 1 is served" in appliance.run("rollback", "--yes").stdout
    assert address(client) == OLD
    assert "taken back by" in problem(appliance)
    appliance.run("sync", "--yes")
    pending = begin(appliance, "24h", command="rollback")
    assert (pending["generation"], pending["previous"]) == (4, 3)
    assert address(client) == OLD
    appliance.run("confirm")
    now = status(appliance)["generation"]
    assert (now["id"], now["proven"]) == (4, True)
    appliance.stop()
    appliance.serve()
    assert address(client) == OLD
    assert [p["id"] for p in status(appliance)["problems"]] == ["rolled-back"]


class Screen:
    """A command that runs on a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process = process
        self._terminal = terminal
        self.text = ""

    def read_until(self, words: str) -> None:
        """Read what is printed until it holds `words` (None of what was read before counts)."""

        def found() -> bool:
            with suppress(BlockingIOError, OSError):
                self.text += os.read(self._terminal, 4096).decode(errors="replace")
            return words in self.text

        wait_until(found, f"{words!r} on the terminal", 20)
        self.text = self.text.partition(words)[2]

    def answer(self, question: str, line: str) -> None:
        self.read_until(question)
        os.write(self._terminal, f"{line}\n".encode())

    def ended(self) -> int:
        return self.process.wait(20)


@contextmanager
def terminal(appliance: Appliance, *args: str) -> Iterator[Screen]:
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        appliance.argv(*args), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Screen(process, ours)
    finally:
        process.kill()
        process.wait(10)
        os.close(ours)


def test_on_a_terminal_it_asks_until_the_time_is_over(appliance: Appliance, client: Client) -> None:
    with terminal(appliance, "sync", "--confirm-within", "60s") as screen:
        screen.answer("Apply this?", "y")
        screen.read_until("Unless it is confirmed, generation 1 is served again at")
        screen.answer("Keep generation 2? Enter keeps it, no takes it back; 59 s left", "what?")
        screen.answer("Keep generation 2?", "no")
        screen.read_until("rolled back to generation 1: generation 2 was not confirmed: taken back by")
        assert screen.ended() == 6
    assert address(client) == OLD
    with terminal(appliance, "sync", "--confirm-within", "60s") as screen:
        screen.answer("Apply this?", "y")
        screen.read_until("Keep generation 3?")
        screen.process.send_signal(signal.SIGINT)
        screen.read_until("Generation 3 waits on.")
        assert screen.ended() == 130
    assert address(client) == NEW
    assert status(appliance)["pending"]["generation"] == 3
    appliance.run("rollback", "--yes")
    with terminal(appliance, "sync", "--confirm-within", "60s") as screen:
        screen.answer("Apply this?", "y")
        screen.answer("Keep generation 4?", "")
        screen.read_until("Generation 4 is confirmed and kept.")
        assert screen.ended() == 0
    assert address(client) == NEW
    assert status(appliance)["problems"] == []


def test_where_no_child_is_told_anything_the_way_back_is_proven_all_the_same(
    appliance: Appliance, client: Client
) -> None:
    """Without its profile, node1 falls to an operator's group that gives it nothing to load."""
    matchbox = appliance.root / "etc/pxe-appliance/matchbox"
    for folder, facts in (
        ("profiles", {"id": "other", "boot": {}}),
        ("groups", {"id": "other", "profile": "other", "selector": {"mac": NODE1}}),
    ):
        (matchbox / folder).mkdir()
        (matchbox / folder / "other.json").write_text(json.dumps(facts))
    appliance.edit(f'ip = "{NEW}"\nprofile = "lab"', f'ip = "{OLD}"')
    assert appliance.run("plan", "-o", "json").json()["activation"] == "none"
    said = appliance.run("sync", "--yes", "--confirm-within", "24h", rc=6).stderr
    assert "rolled back to generation 1: node1 does not get its boot script" in said
    again = said.partition("Proven again after the rollback:")[2]
    assert "was offered its address" in again
    assert "HTTP: 2 boot scripts as expected" in again
    assert listed(appliance) == [(1, True, False, False), (2, False, True, False)]
    assert status(appliance)["pending"] is None
    assert "cannot wait 3 seconds" in told(appliance, "sync", "-d", '{"confirm_within": 3}')
    (back,) = wait_until(lambda: rollbacks(appliance), "the event")
    assert "HTTP: 2 boot scripts as expected" in back["detail"]["proof"]
