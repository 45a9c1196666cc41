"""Real dnsmasq on the state that a fault left: every machine that the generation knows gets its address, and
the first boot file comes over TFTP."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from appliance.dnsmasq.process import DHCP_CAPABILITIES, TFTP_CAPABILITIES, child_argv
from appliance.inventory.model import Machine
from appliance.paths import Paths
from appliance.sync import generations
from tests.crash.disk import run
from tests.netns.wire import OFFER, Packet, Reply, datagram, mac_bytes, pxe_options

DEADLINE: Final = 5.0
SERVER, CLIENT = "pxe0", "client0"
ADDRESS, CLIENT_ADDRESS = "172.0.1.1", "172.0.1.200"


def lay_wire() -> None:
    """The PXE side and a client's end, in the namespace that we are in."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", SERVER, "type", "veth", "peer", "name", CLIENT)
    run("ip", "address", "add", f"{ADDRESS}/24", "dev", SERVER)
    for device in (SERVER, CLIENT):
        run("ip", "link", "set", device, "up")


def unserved(paths: Paths) -> list[str]:
    """What real dnsmasq does not serve of the current generation."""
    number = generations.current_id(paths)
    if number is None:
        return []
    machines = generations.load_generation(paths, number).inventory.machines
    current, logs = Path(paths.current), Path(paths.run) / "log"
    logs.mkdir(parents=True, exist_ok=True)
    try:
        with _started(current / "network/pxe/dnsmasq.conf", DHCP_CAPABILITIES):
            wrong = _without_offer(machines)
        with _started(current / "tftp/dnsmasq.conf", TFTP_CAPABILITIES):
            wrong += _without_file(Path(paths.tftp))
    except (OSError, RuntimeError) as error:
        return [f"dnsmasq does not serve generation {number}: {error}"]
    finally:
        shutil.rmtree(logs)
    return wrong


@contextmanager
def _started(configuration: Path, capabilities: Sequence[str]) -> Iterator[None]:
    argv = child_argv(configuration, capabilities, root=True)
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield
        if process.poll() is not None:
            assert process.stderr is not None
            raise RuntimeError(process.stderr.read().decode(errors="replace"))
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()


def _without_offer(machines: Sequence[Machine]) -> list[str]:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as wire:
        wire.bind((CLIENT, 0))
        wire.settimeout(0.05)
        return [words for machine in machines if (words := _asked(wire, machine))]


def _asked(wire: socket.socket, machine: Machine) -> str:
    packet = Packet(machine.mac.text, options=pxe_options(0))
    payload = packet.payload()
    frame = b"\xff" * 6 + mac_bytes(machine.mac.text) + b"\x08\x00"
    frame += datagram(payload, "0.0.0.0", "255.255.255.255", 68, 67)
    limit = time.monotonic() + DEADLINE
    while time.monotonic() < limit:
        wire.send(frame)
        with suppress(TimeoutError):
            while True:
                heard = wire.recv(2048)[14:]
                body = heard[(heard[0] & 15) * 4 + 8 :]
                if len(body) > 240 and body[0] == 2 and body[4:8] == payload[4:8]:
                    reply = Reply.parse(body)
                    right = reply.kind == OFFER and reply.yiaddr == str(machine.ip)
                    return "" if right else f"{machine.name} is offered {reply.yiaddr}, not {machine.ip}"
    return f"{machine.name} is offered nothing"


def _without_file(folder: Path) -> list[str]:
    """Each file of the TFTP root begins as it does on the disk."""
    there = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    wrong = [p.name for p in there if _first_block(p.name) != p.read_bytes()[:512]]
    return [f"TFTP gives something else for {name}" for name in wrong]


def _first_block(name: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((ADDRESS, 0))
        sock.settimeout(0.05)
        limit = time.monotonic() + DEADLINE
        while time.monotonic() < limit:
            with suppress(TimeoutError, ConnectionRefusedError):
                sock.sendto(b"\0\1" + name.encode() + b"\0octet\0", (ADDRESS, 69))
                packet, peer = sock.recvfrom(2048)
                (kind,) = struct.unpack("!H", packet[:2])
                if kind == 5:
                    raise RuntimeError(f"{name}: {packet[4:].decode(errors='replace')}")
                sock.sendto(b"\0\5\0\0\0", peer)  # that is enough of it
                return packet[4:]
    raise RuntimeError(f"{name}: no answer over TFTP")
