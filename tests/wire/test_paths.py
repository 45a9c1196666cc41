"""Hundreds of ways to ask for a file outside, and links planted inside: not one byte of it comes back."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.figures import Figures
from tests.netns.appliance import Appliance
from tests.netns.conftest import Link, run
from tests.netns.wire import inside, mac_bytes, wait_until
from tests.wire.frames import frame, mac_at
from tests.wire.rack import ip_of, mac_of
from tests.wire.variants import MARKER, http_targets, tftp_names

pytestmark = pytest.mark.netns

PATIENCE = 5.0  # seconds for one answer; a FIFO that is waited on would take for ever
OTHERS_OWN = (b"root:x:0:0", b"PATH=", b"[network.pxe]", b"SQLite format")


@pytest.fixture
def planted(rack: Appliance, open_tmp: Path) -> Iterator[Path]:
    """The appliance serves; then somebody plants into everything that is served what leads out of it."""
    canary = open_tmp / "canary"
    canary.write_bytes(MARKER * 64)
    rack.serve()
    state, etc = rack.root / "var/lib/pxe-appliance", rack.root / "etc/pxe-appliance"
    for place in (etc / "canary", state / "canary", state / "images/canary", rack.root / "canary"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(MARKER * 64)
    sockets = []
    image = state / "images/flatcar/stable"
    for folder in (state / "tftp", etc / "matchbox/assets", image / "amd64-usr/current", image):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "link").symlink_to(canary)
        (folder / "folder").symlink_to(open_tmp)
        (folder / "dangling").symlink_to("/nothing")
        (folder / "loop").symlink_to("loop")
        os.mkfifo(folder / "fifo", 0o644)
        os.mknod(folder / "device", 0o644 | 0o020000, os.makedev(1, 5))  # /dev/zero
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[-1].bind(str(folder / "socket"))
        if folder != etc / "matchbox/assets":  # there a second name of a file is its operator's wish
            (folder / "hard").hardlink_to(canary)
    yield canary
    for each in sockets:
        each.close()


def await_sweep(rack: Appliance, canary: Path) -> None:
    """dnsmasq would serve what a link in its root leads to: within seconds there is none."""
    root = rack.root / "var/lib/pxe-appliance/tftp"
    wait_until(lambda: all(f.is_file() and not f.is_symlink() for f in root.iterdir()), "the sweep", 15)
    assert not (root / "hard").exists(), "nor a second name of a file that lies elsewhere"
    assert canary.exists()
    wait_until(lambda: "link was taken out of the TFTP root" in rack.log(), "a line about it")


def leaks(raw: bytes) -> bool:
    return MARKER[:12] in raw or any(words in raw for words in OTHERS_OWN)


def test_http_gives_nothing_from_outside(
    rack: Appliance, rack_link: Link, planted: Path, figures: Figures
) -> None:
    await_sweep(rack, planted)
    targets = http_targets(str(planted).encode())
    assert len(targets) >= 200
    slowest = 0.0
    for target in targets:
        for method in (b"GET",) if len(target) > 200 else (b"GET", b"HEAD"):
            began = time.monotonic()
            raw = asked(rack_link, method + b" " + target + b" HTTP/1.1\r\nHost: 172.0.1.1:8080\r\n"
                        b"Connection: close\r\n\r\n")  # fmt: skip
            slowest = max(slowest, time.monotonic() - began)
            assert raw.startswith(b"HTTP/1."), (target, raw[:100])
            assert not leaks(raw), target
            assert b" 500 " not in raw.partition(b"\r\n")[0], target
    figures.tell("wire", f"bytes leaked by {len(targets)} path variants over HTTP", "0", "0")
    figures.tell("wire", "... slowest answer", f"{slowest * 1000:.0f} ms", "no hang")
    assert slowest < PATIENCE
    assert "Traceback" not in rack.log()


def test_tftp_gives_nothing_from_outside(
    rack: Appliance, rack_link: Link, planted: Path, figures: Figures
) -> None:
    await_sweep(rack, planted)
    names = tftp_names(str(planted).encode())
    assert len(names) >= 200
    before = rack.dnsmasq()["children"]
    with_addresses(rack_link, 250)
    answers = read_requests(rack_link, names)
    leaked = [names[i] for i, raw in answers.items() if leaks(raw)]
    silent = [names[i] for i in range(len(names)) if i not in answers]
    assert leaked == []
    assert silent == [], "each is refused, at once"
    given = [names[i] for i, raw in answers.items() if raw[:2] != b"\0\5"]
    assert given == [], "and refused is what each of them is"
    assert rack.dnsmasq()["children"] == before
    figures.tell("wire", f"bytes leaked by {len(names)} path variants over TFTP", "0", "0")


def asked(link: Link, request: bytes) -> bytes:
    """All that comes back for these bytes on a connection of their own."""

    def connect() -> socket.socket:
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        sock.connect(("172.0.1.1", 8080))
        return sock

    with inside(link.clients, connect) as sock:
        sock.sendall(request)
        found = b""
        try:
            while more := sock.recv(65536):
                found += more
        except ConnectionResetError:
            pass
        return found


def with_addresses(link: Link, count: int) -> None:
    """The appliance's host knows the MACs of so many machines, as after their DHCP."""
    for number in range(count):
        run("ip", "-n", link.server, "neigh", "replace", ip_of(number), "lladdr", mac_of(number),
            "dev", link.device, "nud", "permanent")  # fmt: skip


def read_requests(link: Link, names: list[bytes]) -> dict[int, bytes]:
    """The first answer (from its opcode on) to a read request for each name, each sent by another machine."""

    def bind() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        sock.bind((link.client_device, 0x0800))
        sock.setblocking(False)
        return sock

    server = mac_at(link.server, link.device)
    answers: dict[int, bytes] = {}
    with inside(link.clients, bind) as sock:
        for turn in range(3):  # as a client would: UDP may lose one
            waiting = [i for i in range(len(names)) if i not in answers]
            for at, i in enumerate(waiting):
                machine = i % 250
                rrq = b"\0\1" + names[i] + b"\0octet\0"
                sock.send(frame(rrq, source=ip_of(machine), to="172.0.1.1", ports=(20_000 + i, 69),
                                from_mac=mac_bytes(mac_of(machine)), to_mac=server))  # fmt: skip
                if at % 40 == 39 or i == waiting[-1]:
                    _collect(sock, server, answers, 1.0 if turn or i == waiting[-1] else 0.2)
    return answers


def _collect(sock: socket.socket, server: bytes, answers: dict[int, bytes], seconds: float) -> None:
    """Take what comes until it is quiet for so long; say at once that no more is wanted."""
    while select.select([sock], [], [], seconds)[0]:
        raw = sock.recv(65535)
        port, number = int.from_bytes(raw[34:36]), int.from_bytes(raw[36:38]) - 20_000
        if raw[23] != 17 or raw[26:30] != socket.inet_aton("172.0.1.1") or number < 0:
            continue  # not to one of our ports
        payload = raw[42:]
        answers.setdefault(number, payload)
        if payload[:2] == b"\0\3":
            machine = number % 250
            sock.send(frame(b"\0\5\0\0enough\0", source=ip_of(machine), to="172.0.1.1",
                            ports=(20_000 + number, port), from_mac=raw[:6], to_mac=server))  # fmt: skip
        if len(answers) and seconds < 1.0 and not select.select([sock], [], [], 0.005)[0]:
            return
