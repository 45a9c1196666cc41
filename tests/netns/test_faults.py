"""Faults of the host while it serves, one each: what is kept, what is told, and how soon it is well again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.figures import Figures
from tests.netns.appliance import SETTINGS, Appliance
from tests.netns.conftest import ClientMaker, Link, Segment, run
from tests.netns.test_appliance import NODE1, NODE2, discover
from tests.netns.test_resilience import curl, fill, report, same_children
from tests.netns.wire import Client, inside, tftp_get, wait_until

pytestmark = pytest.mark.netns
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


@pytest.fixture
def link(appliance: Appliance, segment: Segment) -> Link:
    return segment.links[0]


@pytest.fixture
def client(appliance: Appliance, segment: Segment, client_on: ClientMaker) -> Client:
    appliance.serve()
    return client_on(segment.links[0])


def served(client: Client, mac: str = NODE1) -> bool:
    return client.ask(discover(mac), seconds=0.2) is not None


def problems(appliance: Appliance) -> set[str]:
    return {p["id"] for p in appliance.status()["problems"]}


def told(appliance: Appliance) -> str:
    return "\n".join(p["message"] for p in appliance.status()["problems"])


def child(appliance: Appliance, network: str = "pxe") -> dict[str, object]:
    return next(c for c in appliance.dnsmasq()["children"] if network in c["name"])


def seconds_until(condition: Callable[[], object], what: str, limit: float) -> float:
    began = time.monotonic()
    wait_until(condition, what, limit)
    return time.monotonic() - began


def test_a_dnsmasq_that_is_killed_again_and_again(
    appliance: Appliance, client: Client, figures: Figures
) -> None:
    """Crash upon crash is mended with growing patience; as soon as they end, it serves as ever."""
    took = []
    for _ in range(6):
        pid = wait_until(lambda: child(appliance)["pid"], "a dnsmasq")
        os.kill(int(str(pid)), signal.SIGKILL)
        took.append(seconds_until(lambda: served(client), "an offer after the crash", 15))
    assert took[0] < 1.5, "one second, and what an unanswered question waits"
    assert appliance.dnsmasq()["restarts"] >= 6
    wait_until(lambda: appliance.dnsmasq()["state"] == "serving", "it to be well again")
    figures.tell("faults", "dnsmasq killed: an offer again", f"{took[0]:.2f} s", "< 1 s")
    figures.tell("faults", "dnsmasq killed six times: the slowest", f"{max(took):.2f} s")


def test_a_dnsmasq_that_hangs(appliance: Appliance, client: Client, figures: Figures) -> None:
    os.kill(int(str(child(appliance)["pid"])), signal.SIGSTOP)
    took = seconds_until(lambda: served(client), "an offer after the hang", 10)
    assert took <= 5
    figures.tell("faults", "dnsmasq hangs: an offer again", f"{took:.2f} s", "<= 5 s")


def test_a_dnsmasq_that_hangs_right_after_a_change(
    appliance: Appliance, client: Client, figures: Figures
) -> None:
    appliance.edit('ip = "172.0.1.21"', 'ip = "172.0.1.71"')
    appliance.run("sync", "--yes")
    os.kill(int(str(child(appliance)["pid"])), signal.SIGSTOP)
    took = seconds_until(lambda: served(client), "an offer after the hang", 20)
    assert took <= 5
    figures.tell("faults", "dnsmasq hangs after a sync: an offer again", f"{took:.2f} s", "<= 5 s")


def test_a_dnsmasq_that_hangs_as_it_takes_up_a_change(
    appliance: Appliance, client: Client, figures: Figures
) -> None:
    """It is replaced like any other; the one in its place has read the change, which is proven and stays."""
    board = "52:54:00:aa:00:12"
    appliance.edit("52:54:00:aa:00:11", board)
    os.kill(int(str(child(appliance)["pid"])), signal.SIGSTOP)
    sync = subprocess.Popen(appliance.argv("sync", "--yes"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    took = seconds_until(lambda: served(client), "an offer after the hang", 20)
    out, errors = sync.communicate(timeout=60)
    assert took <= 5
    assert (sync.returncode, b"active and verified" in out) == (0, True), errors
    figures.tell("faults", "dnsmasq hangs in a reload: an offer again", f"{took:.2f} s", "<= 5 s")
    assert client.expect(discover(board)).yiaddr == "172.0.1.22"
    appliance.await_event("offer", machine="node2", mac=board)
    assert not appliance.events("stray")


def test_the_daemon_is_stopped_while_a_change_waits_for_a_dnsmasq_that_hangs(
    appliance: Appliance, client: Client, figures: Figures
) -> None:
    """What systemd has to kill leaves its packet filter behind, and who asked for the change unanswered."""
    assert served(client)
    pid = int(str(child(appliance)["pid"]))
    appliance.edit('ip = "172.0.1.21"', 'ip = "172.0.1.71"')
    sync = subprocess.Popen(appliance.argv("sync", "--yes"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    generations = appliance.root / "var/lib/pxe-appliance/generations"
    wait_until(lambda: list(generations.glob("*2")), "the change to be checked", 20)
    os.kill(pid, signal.SIGSTOP)
    wait_until((generations / "2").exists, "dnsmasq to be told", 20)
    daemon, began = appliance.process, time.monotonic()
    assert daemon is not None
    daemon.terminate()
    assert daemon.wait(60) == 0
    took = time.monotonic() - began
    appliance.process = None
    _, said = sync.communicate(timeout=30)
    assert sync.returncode == 0 or (sync.returncode == 6 and b"the daemon was stopped" in said)
    assert took < 20, "TimeoutStopSec"
    figures.tell("faults", "stopped while a change waits for a dnsmasq that hangs", f"{took:.1f} s", "< 20 s")
    appliance.serve()
    wait_until(lambda: client.expect(discover(NODE1)).yiaddr == "172.0.1.71", "the change to be brought", 30)


@contextmanager
def port_taken(namespace: str, kind: socket.SocketKind, address: str, port: int) -> Iterator[None]:
    def take() -> socket.socket:
        found = socket.socket(socket.AF_INET, kind)
        found.bind((address, port))
        if kind is socket.SOCK_STREAM:
            found.listen()
        return found

    taken = inside(namespace, take)
    try:
        yield
    finally:
        taken.close()


def test_the_tftp_port_is_taken(
    appliance: Appliance, link: Link, client_on: ClientMaker, figures: Figures
) -> None:
    with port_taken(link.server, socket.SOCK_DGRAM, "172.0.1.1", 69):
        appliance.serve(wait=False)
        client = client_on(link)
        wait_until(lambda: served(client), "addresses without TFTP")
        wait_until(lambda: "Address already in use" in told(appliance), "that it is told, and why", 20)
    read = (link.clients, "172.0.1.200", "172.0.1.1", "undionly.kpxe")
    took = seconds_until(lambda: _reads(*read), "boot files once the port is free", 30)
    figures.tell("faults", "port 69 free again: boot files", f"{took:.2f} s")


def _reads(*args: str) -> bool:
    try:
        return len(tftp_get(*args)) > 10_000
    except (AssertionError, OSError):
        return False


def test_the_http_port_is_taken(
    appliance: Appliance, link: Link, client_on: ClientMaker, figures: Figures
) -> None:
    with port_taken(link.server, socket.SOCK_STREAM, "172.0.1.1", 8080):
        appliance.serve(wait=False)
        client = client_on(link)
        wait_until(lambda: served(client), "addresses without HTTP")
        wait_until(lambda: "8080" in told(appliance), "that it is told", 20)
    health = "http://172.0.1.1:8080/healthz"
    took = seconds_until(lambda: "ok" in curl_quietly(link, health), "HTTP once the port is free", 30)
    figures.tell("faults", "port 8080 free again: HTTP", f"{took:.2f} s")


def curl_quietly(link: Link, url: str) -> str:
    argv = ["ip", "netns", "exec", link.clients, "curl", "-s", "-m", "2", "--interface", "172.0.1.200", url]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20).stdout


def _renamed(old: str, new: str) -> list[list[str]]:
    return [["link", "set", old, "down"], ["link", "set", old, "name", new], ["link", "set", new, "up"]]


@pytest.mark.parametrize(
    ("away", "back"),
    [
        pytest.param(
            _renamed("pxe0", "other0"),
            _renamed("other0", "pxe0"),
            id="renamed",
        ),
        pytest.param(
            [["addr", "flush", "dev", "pxe0"]],
            [["addr", "add", "172.0.1.1/24", "dev", "pxe0"]],
            id="without an address",
        ),
        pytest.param(
            [["link", "set", "pxe0", "down"]],
            [["link", "set", "pxe0", "up"]],
            id="down",
        ),
    ],
)  # fmt: skip
def test_the_interface_is(
    appliance: Appliance,
    link: Link,
    client: Client,
    figures: Figures,
    request: pytest.FixtureRequest,
    away: list[list[str]],
    back: list[list[str]],
) -> None:
    for words in away:
        run("ip", "-n", link.server, *words)
    wait_until(lambda: appliance.status()["networks"][0]["up"] is False, "that it is told", 15)
    assert problems(appliance)
    for words in back:
        run("ip", "-n", link.server, *words)
    took = seconds_until(lambda: served(client), "an offer again", 20)
    wait_until(lambda: appliance.status()["networks"][0]["up"] is True, "that all is well", 15)
    what = request.node.callspec.id
    figures.tell("faults", f"interface {what}, back: an offer again", f"{took:.2f} s")


def test_the_interface_is_removed_and_made_anew(
    appliance: Appliance, segment: Segment, client: Client, client_on: ClientMaker, figures: Figures
) -> None:
    old = segment.links.pop()
    run("ip", "-n", segment.server, "link", "del", "pxe0")
    wait_until(lambda: appliance.status()["networks"][0]["up"] is False, "that it is told", 15)
    new = segment.wire(old.device, old.address, old.client_address)
    another = client_on(new)
    took = seconds_until(lambda: served(another), "an offer on the new one", 30)
    wait_until(lambda: appliance.status()["networks"][0]["up"] is True, "that all is well", 15)
    figures.tell("faults", "interface removed, made anew: an offer again", f"{took:.2f} s")


@pytest.fixture
def few_inodes(open_tmp: Path) -> Iterator[Path]:
    """A state directory on a file system with room and few inodes."""
    place = open_tmp / "root/var/lib/pxe-appliance"
    place.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=200", "tmpfs", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_no_inode_is_left(few_inodes: Path, appliance: Appliance, client: Client) -> None:
    made = []
    for number in range(1000):
        try:
            (few_inodes / f"filler{number}").touch()
        except OSError:
            break
        made.append(few_inodes / f"filler{number}")
    assert len(made) < 999
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    assert "No space left" in appliance.run("sync", "--yes", rc=5).stderr
    assert client.expect(discover("52:54:00:aa:00:21")).yiaddr == "172.0.1.23"
    appliance.stop()
    appliance.serve(wait=False)
    wait_until(lambda: served(client), "an offer without inodes", 10)
    for path in made:
        path.unlink()
    appliance.run("sync", "--yes")
    assert client.expect(discover("52:54:00:aa:00:21")).yiaddr == "172.0.1.73"


def test_what_is_published_is_damaged_while_it_serves(
    appliance: Appliance, link: Link, client: Client, figures: Figures
) -> None:
    """Whoever loads a first stage runs it: nothing but what was published, and not nothing either."""
    root, took = appliance.root / "var/lib/pxe-appliance/tftp", []
    for name in ("undionly.kpxe", "autoexec.ipxe"):
        good = (root / name).read_bytes()
        read = (link.clients, link.client_address, link.address, name)
        assert tftp_get(*read) == good
        ruins: dict[str, Callable[[Path], object]] = {
            "other bytes": lambda path: path.write_bytes(b"EVIL" * 1000),
            "fewer": lambda path: os.truncate(path, 100),
            "none": Path.unlink,
        }
        for what, ruin in ruins.items():
            ruin(root / name)
            mended = partial(_holds, root / name, good)
            took.append(seconds_until(mended, f"{name} with {what} to be published anew", 30))
            assert tftp_get(*read) == good
    assert "undionly.kpxe in the TFTP root was missing" in appliance.log()
    assert "boot-published" not in problems(appliance)
    figures.tell("faults", "a damaged first stage: published anew", f"{max(took):.1f} s", "5 s")
    assert "No changes" in appliance.run("sync", "--yes").stdout


def _holds(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


# What is read at a start, and what is put in its place.
SMALL = (
    "var/lib/pxe-appliance/history.db",
    "var/lib/pxe-appliance/image-pointers.json",
    "var/lib/pxe-appliance/image-seals.json",
    "var/lib/pxe-appliance/tftp/undionly.kpxe",
    "var/lib/pxe-appliance/tftp/autoexec.ipxe",
    "run/pxe-appliance/served-lately.json",
    "run/pxe-appliance/lock",
    "run/pxe-appliance/daemon.lock",
)


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(3000))


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _dangling(path: Path) -> None:
    path.symlink_to("/nonexistent/there")


RUINS: dict[str, Callable[[Path], None]] = {
    "garbage": _garbage,
    "nothing": _nothing,
    "a directory": Path.mkdir,
    "a dangling link": _dangling,
}


@pytest.mark.parametrize("ruin", RUINS)
def test_every_small_file_is_damaged_at_once(appliance: Appliance, client: Client, ruin: str) -> None:
    """The state of a disk that lost what it had: addresses at once, and the rest mended or told."""
    appliance.stop()
    for name in SMALL:
        path = appliance.root / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        RUINS[ruin](path)
    appliance.serve(wait=False)
    locks = ruin in {"a directory", "a dangling link"}
    if locks:
        assert appliance.process is not None
        assert appliance.process.wait(20) in {4, 5}, "a lock that is none cannot be held"
        for name in SMALL[-2:]:
            path = appliance.root / name
            path.rmdir() if path.is_dir() else path.unlink()
        appliance.serve(wait=False)
    wait_until(lambda: served(client), "an offer", 15)
    appliance.await_serving()
    assert "Traceback" not in appliance.log()


def fake_clock(**more: str) -> dict[str, str]:
    """The environment of a program whose wall clock can be set, and whose monotonic clock is the true one."""
    return {
        "LD_PRELOAD": FAKETIME,
        "DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(Path(__file__).parent.parent / "fakes/faketime"),
        **more,
    }


@pytest.mark.parametrize("days", [400, -400, -20_000])
def test_the_clock_jumps(
    appliance: Appliance, link: Link, client_on: ClientMaker, open_tmp: Path, days: int
) -> None:
    """Durations are of the clock that only moves forward: nobody is taken for hung, nothing restarts."""
    control = open_tmp / "clock"
    control.write_text("+0\n")
    appliance.environment = fake_clock(FAKETIME_TIMESTAMP_FILE=str(control), FAKETIME_NO_CACHE="1")
    appliance.serve(wait=False)
    appliance.environment = {}
    appliance.await_serving(40)  # each look at the clock opens a file
    client = client_on(link)
    client.acquire(discover(NODE1))
    before = same_children(appliance)
    control.write_text(f"{days:+d}d\n")
    deadline = time.monotonic() + 7  # longer than a hang may last
    while time.monotonic() < deadline:
        assert client.ask(discover(NODE1), seconds=1)
        threading.Event().wait(0.2)  # a machine's pace, not a flood's
    client.acquire(discover(NODE2))
    event = appliance.await_event("ack", machine="node2")
    away = datetime.fromisoformat(event["at"]).timestamp() - time.time()
    assert abs(away - days * 86400) < 600, "the daemon saw the jump"
    assert same_children(appliance) == before
    assert appliance.dnsmasq()["restarts"] == 0
    appliance.edit('ip = "172.0.1.23"', 'ip = "172.0.1.73"')
    appliance.run("sync", "--yes")
    assert client.expect(discover("52:54:00:aa:00:21")).yiaddr == "172.0.1.73"
    control.write_text("+0\n")
    assert client.expect(discover(NODE1)).yiaddr == "172.0.1.21"
    assert appliance.status()["dnsmasq"]["state"] == "serving"


LIES = {
    "slow": b"",
    "closed": b"",
    "garbage": os.urandom(2000),
    "another page": b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n<html>router login</",
    "endless": b"HTTP/1.1 200 OK\r\n\r\n",
    "500": b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
    "a redirect": b"HTTP/1.1 302 Found\r\nlocation: http://172.0.1.200:9999/\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("lie", LIES)
def test_the_matchbox_endpoint_is(open_tmp: Path, segment: Segment, client_on: ClientMaker, lie: str) -> None:
    """Whatever it does, addresses and boot files are ours; and what it is not is told."""
    link = segment.wire("pxe0", "172.0.1.1", "172.0.1.200")
    appliance = Appliance(open_tmp / "root", segment.server)
    appliance.write(settings=SETTINGS + '[matchbox]\nendpoint = "http://172.0.1.200:9999"\n')
    with _liar(link.clients, lie):
        appliance.serve()
        try:
            client = client_on(link)
            wait_until(lambda: "172.0.1.200:9999" in told(appliance), "the lie to be told", 30)
            before = same_children(appliance)
            for _ in range(20):
                assert client.ask(discover(NODE1), seconds=1)
            answer = client.expect(discover(NODE1, o77=b"iPXE", o175=b"\x01\x01\x01"))
            assert answer.file == "http://172.0.1.1:8080/boot.ipxe"
            began = time.monotonic()
            assert "chain" in curl(link, answer.file, source="172.0.1.200")
            assert time.monotonic() - began < 2, "ours is not slowed down by theirs"
            assert same_children(appliance) == before
        finally:
            appliance.stop()


@contextmanager
def _liar(namespace: str, lie: str) -> Iterator[None]:
    """An endpoint that says one thing to everybody."""

    def listen() -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("172.0.1.200", 9999))
        made.listen(50)
        made.settimeout(0.1)
        return made

    listener, stop, held = inside(namespace, listen), threading.Event(), []

    def lie_to(sock: socket.socket) -> None:
        with sock:
            sock.settimeout(1)
            try:
                sock.recv(4096)
                sock.sendall(LIES[lie])
                while lie == "endless" and not stop.is_set():
                    sock.sendall(b"x" * 1000)
            except OSError:
                pass

    def answer() -> None:
        while not stop.is_set():
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            if lie == "slow":
                held.append(sock)
            elif lie == "closed":
                sock.close()
            else:
                threading.Thread(target=lie_to, args=(sock,)).start()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for sock in [listener, *held]:
            sock.close()


def test_the_inventory_is_half_written(appliance: Appliance, client: Client) -> None:
    """A copy that takes its time, and syncs meanwhile: whole, or not at all."""
    path = appliance.root / "etc/pxe-appliance/inventory.d/rack.toml"
    pieces = path.read_text().split("\n\n")  # each beginning of it reads like an inventory
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with path.open("w") as file:
                for piece in pieces:
                    file.write(piece + "\n\n")
                    file.flush()
                    stop.wait(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            done = appliance.run("sync", "--yes", rc=3)
            assert "is being written" in done.stderr
    finally:
        stop.set()
        writer.join()
    names = [m["name"] for m in appliance.run("machines", "-o", "json").json()]
    assert names == ["node1", "node2", "node3"]
    assert "No changes" in appliance.run("sync", "--yes").stdout


def test_the_log_is_written_full(
    small_run: Path, appliance: Appliance, client: Client, figures: Figures
) -> None:
    """dnsmasq's log on a small file system, filled: addresses go on, and the log comes back."""
    fill(small_run)
    for _ in range(40):
        assert client.ask(discover(NODE1), seconds=1)
    wait_until(lambda: "log" in problems(appliance), "that it is told", 15)
    (small_run / "filler").unlink()

    def heard() -> bool:
        return bool(client.ask(discover(NODE2), seconds=1) and appliance.events("offer"))

    # A dnsmasq that failed to write writes no more (2.90), so another one takes its place.
    took = seconds_until(heard, "events again", 20)
    figures.tell("faults", "log full, then with room: events again", f"{took:.2f} s")


@pytest.fixture
def small_run(open_tmp: Path) -> Iterator[Path]:
    """A run directory of four megabytes."""
    place = open_tmp / "root/run/pxe-appliance"
    place.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_history_keeps_its_place_in_time(appliance: Appliance, client: Client) -> None:
    """A daemon that starts with the clock a year back still tells the newest events last."""
    client.acquire(discover(NODE1))
    appliance.await_event("ack", machine="node1")
    appliance.stop()
    appliance.environment = fake_clock(FAKETIME="-365d")
    appliance.serve(wait=False)
    appliance.environment = {}
    wait_until(lambda: served(client), "an offer a year ago", 15)
    client.acquire(discover(NODE2))
    appliance.await_event("ack", machine="node2")
    last = [e["machine"] for e in appliance.events("ack")][-1]
    assert last == "node2"
    assert timedelta(0) < datetime.now().astimezone() - datetime.fromisoformat(
        appliance.events("ack")[-1]["at"]
    )


def test_the_host_is_dead_and_another_takes_its_place(
    appliance: Appliance, link: Link, client: Client, open_tmp: Path
) -> None:
    """The operator's directory, and who is installed, are all that a new host needs."""
    run("ip", "-n", link.clients, "link", "set", link.client_device, "address", NODE1)
    run("ip", "-n", link.clients, "addr", "add", "172.0.1.21/24", "dev", link.client_device)
    appliance.edit('boot = "always"', 'boot = "install-once"')
    appliance.run("sync", "--yes")
    assert '"ok": true' in report(link, client, '{"stage":"installed","token":"TOKEN"}')
    appliance.stop(signal.SIGKILL)
    another = Appliance(open_tmp / "another", appliance.namespace)
    shutil.copytree(appliance.root / "etc/pxe-appliance", another.root / "etc/pxe-appliance")
    state = another.root / "var/lib/pxe-appliance"
    state.mkdir(parents=True)
    for path in (appliance.root / "var/lib/pxe-appliance").glob("history.db*"):
        shutil.copy(path, state)
    another.serve()
    try:
        assert client.acquire(discover(NODE1))[1].yiaddr == "172.0.1.21"
        assert "sanboot" in curl(link, f"http://172.0.1.1:8080/ipxe?mac={NODE1}"), "it is installed already"
        assert another.status()["generation"]["proven"] is True
    finally:
        another.stop()
