"""Strangers in a process of their own, as fast as the kernel lets them; started by test_fast_peers.py.

The first argument is JSON: `sources` (pairs of address and device), `request` (text, asked on every
connection, and again as soon as it is answered) and `resets` (whether others are opened and reset all the
time). It says how many ask, once each had its first answer or its end, and goes on until it is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
import sys
import time

SERVER = ("172.0.1.1", 8080)
EACH = 16  # connections of one address
AT_ONCE = 300  # that are opened and not reset yet
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: a reset, not an end


def opened(source: tuple[str, str], *, wait: bool) -> socket.socket:
    """One connection; without waiting, one that may come to be."""
    address, device = source
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    sock.bind((address, 0))
    sock.settimeout(30)
    sock.setblocking(wait)
    with contextlib.suppress(BlockingIOError):
        sock.connect(SERVER)
    return sock


def ask(sources: list[tuple[str, str]], request: bytes, *, resets: bool) -> None:
    """For ever."""
    selector = selectors.DefaultSelector()
    for source in sources * EACH:
        with contextlib.suppress(OSError):
            sock = opened(source, wait=True)
            sock.sendall(request)
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
    silent, said = set(selector.get_map()), False
    opening: list[socket.socket] = []
    began = time.monotonic()
    while True:
        for key, _ in selector.select(0.0 if resets else 1.0):
            asking = key.fileobj
            assert isinstance(asking, socket.socket)
            try:
                data = asking.recv(1 << 20)
                if data.count(b"HTTP/1.1 "):
                    silent.discard(key.fd)
                    asking.send(request)
                if data:
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            silent.discard(key.fd)
            selector.unregister(asking)
            asking.close()
        for number in range(AT_ONCE if resets else 0):
            with contextlib.suppress(OSError):
                other = opened(sources[number % len(sources)], wait=False)
                other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                opening.append(other)
            if len(opening) > AT_ONCE:
                opening.pop(0).close()
        if not said and (not silent or time.monotonic() - began > 20):
            said = True
            sys.stdout.write(f"{len(selector.get_map())} ask\n")
            sys.stdout.flush()


if __name__ == "__main__":
    os.nice(10)  # the clients' time is not what is measured
    given = json.loads(sys.argv[1])
    ask([(a, d) for a, d in given["sources"]], given["request"].encode(), resets=given["resets"])
