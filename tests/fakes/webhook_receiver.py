"""A receiver of webhooks that checks every signature and can misbehave, step by step.

    python -m tests.fakes.webhook_receiver PORT SECRET [STEP ...]

prints a line of JSON for each delivery. A step is what the next delivery gets: a status, `429:SECONDS` with
Retry-After, `redirect:URL`, `hang` (no answer), `reset` (the connection is cut), `silent-body` (200, and
a body that does not come). When no step is left, 200.

Not the product's code: it reads the public scheme by itself.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

_TOLERANCE: Final = 300  # seconds between the two clocks


@dataclass(frozen=True)
class Delivery:
    """One request, and whether its signature is the secret's."""

    id: str
    body: dict[str, Any]
    genuine: bool
    path: str
    at: float


@dataclass
class Receiver:
    """What came, and what comes next."""

    secret: bytes
    steps: list[str] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    port: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def types(self) -> list[str]:
        return [str(d.body.get("type")) for d in self.deliveries]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away, or does not trust us, is no fault of this program."""


@contextlib.contextmanager
def receiving(
    secret: bytes,
    *steps: str,
    listener: socket.socket | None = None,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Receiver]:
    """Receive on a port of the loopback, or on `listener`, for as long as the block runs."""
    state = Receiver(secret, list(steps))
    handler = _handler(state)
    if listener is None:
        listener = socket.create_server(("127.0.0.1", 0))
    server = _Server(("127.0.0.1", 0), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)
    state.port = listener.getsockname()[1] if tls is None else server.socket.getsockname()[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()


def _handler(state: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            step, state.steps[:] = (state.steps or ["200"])[0], state.steps[1:]
            stamp, identity = (self.headers.get(f"webhook-{k}", "") for k in ("timestamp", "id"))
            said = self.headers.get("webhook-signature", "")
            genuine = _genuine(state.secret, identity, stamp, said, raw)
            state.deliveries.append(Delivery(identity, json.loads(raw), genuine, self.path, time.monotonic()))
            self._do(step)

        def _do(self, step: str) -> None:
            word, _, value = step.partition(":")
            match word:
                case "hang":
                    state.released.wait(60)
                case "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                case "redirect":
                    self._answer(307, {"Location": value})
                case "silent-body":
                    self.send_response(200)
                    self.send_header("Content-Length", "100")
                    self.end_headers()
                    self.wfile.flush()
                    state.released.wait(60)
                case _:
                    self._answer(int(word), {"Retry-After": value} if value else {})

        def _answer(self, status: int, headers: dict[str, str]) -> None:
            body = b"thank you \x1b[31m" if status == 200 else b""
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            state.deliveries.append(Delivery("", {"type": "GET"}, False, self.path, time.monotonic()))
            self._answer(200, {})

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own word
            """Say nothing: the test reads `deliveries`."""

    return Handler


def _genuine(secret: bytes, identity: str, stamp: str, said: str, body: bytes) -> bool:
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > _TOLERANCE:
        return False
    signed = f"{identity}.{stamp}.".encode() + body
    ours = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return any(
        version == "v1" and hmac.compare_digest(ours, value)
        for version, _, value in (each.partition(",") for each in said.split(" "))
    )


def main(port: str, secret: str, *steps: str) -> None:
    """Run until interrupted."""
    with receiving(secret.encode(), *steps, listener=socket.create_server(("0.0.0.0", int(port)))) as state:
        shown = 0
        while True:
            time.sleep(0.1)
            for delivery in state.deliveries[shown:]:
                shown += 1
                sys.stdout.write(json.dumps(delivery.__dict__) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
