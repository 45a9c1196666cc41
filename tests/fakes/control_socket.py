"""A daemon that says what it is told to say: canned answers on a control socket, and what it was asked."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path


@dataclass
class Canned:
    """Answers by `METHOD /path`: status and body (text as it is, everything else as JSON)."""

    answers: Mapping[str, tuple[int, object]]
    asked: list[tuple[str, object]] = field(default_factory=list)


@contextlib.contextmanager
def canned(place: Path, answers: Mapping[str, tuple[int, object]]) -> Iterator[Canned]:
    """Answer on the socket at `place` for as long as the block runs; anything unknown is 404 in HTML."""
    state = Canned(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(json.loads(body) if body else None)

        def _answer(self, body: object) -> None:
            key = f"{self.command} {self.path.partition('?')[0]}"
            state.asked.append((f"{self.command} {self.path}", body))
            status, value = state.answers.get(key, (404, "<html>not found</html>"))
            octets = (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "surrogatepass")
            self.send_response(status)
            self.send_header("Content-Length", str(len(octets)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(octets)

        def address_string(self) -> str:
            return "unix"  # a Unix peer has no address to show

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own word
            """Say nothing: the test reads `asked`."""

    place.parent.mkdir(parents=True, exist_ok=True)
    with socketserver.ThreadingUnixStreamServer(str(place), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield state
        finally:
            server.shutdown()
            place.unlink()
