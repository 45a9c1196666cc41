"""Every route, asked by everybody who may not: other sites' pages, strangers on the wire, users of the host.

The routes are taken from the applications themselves: one that is not in the lists below fails, until
somebody has said who may ask it.
"""

from __future__ import annotations

import ast
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
from aiohttp import web

from appliance.daemon.control import Actions, control_app
from appliance.daemon.prove_door import Proves, add_proof
from tests.browser.racks import rack
from tests.browser.site import running
from tests.figures import Figures
from tests.netns.appliance import Appliance
from tests.netns.conftest import Segment
from tests.netns.wire import inside, wait_until

pytestmark = pytest.mark.netns

# Listings: anybody on the PXE networks may read them, browsers on our own pages alone.
LISTINGS: Final = (
    *("/v1/status", "/v1/images", "/v1/machines", "/v1/machines/{name}", "/v1/machines/{name}/why"),
    *("/v1/leases", "/v1/strays", "/v1/strays/{mac}", "/metrics", "/v1/networks", "/v1/generations"),
    *("/v1/generations/{number}", "/v1/board", "/v1/events"),
)
PAGE: Final = ("/ui", "/ui/", "/ui/{file}", "/ui/stream", "/ui/{rest}")
MACHINES: Final = ("/healthz", "/v1/report", "/{path}")  # their loaders send any Host
# On the control socket alone. The first holds secrets, all others change something or speak to others.
OPERATORS: Final = (
    ("GET", "/v1/machines/{name}/ignition"),
    ("POST", "/v1/strays/{mac}/ignore"),
    ("POST", "/v1/strays/{mac}/unignore"),
    ("POST", "/v1/webhooks/{name}/test"),
    ("POST", "/v1/sync"),
    ("POST", "/v1/confirm"),
    ("POST", "/v1/machines/{name}/{cue}"),
    ("POST", "/v1/prove"),
)
_FILLED: Final = {
    "{name}": "node1", "{mac}": "52:54:00:ee:00:01", "{number}": "1", "{cue}": "hold",
    "{file}": "app.js", "{rest}": "a/b", "{path}": "metadata",
}  # fmt: skip
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")
_EVIL: Final = "http://evil.example"
# What a browser sends when a page of another site asks, and what it is told.
_FOREIGN: Final[tuple[tuple[dict[str, str], int], ...]] = (
    ({"Host": "evil.example"}, 421),
    ({"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}, 421),  # a name that points here
    ({"Host": "172.0.1.1.evil.example"}, 421),
    ({"Host": "2886729985:8080"}, 421),
    ({"Origin": _EVIL}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": _EVIL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
    ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "websocket", "Upgrade": "websocket"}, 403),
)
_SOURCE: Final = Path(__file__).parents[2] / "appliance/daemon"


@pytest.fixture
def up(appliance: Appliance) -> Appliance:
    appliance.serve()
    return appliance


def _routes(app: web.Application) -> set[tuple[str, str]]:
    """Method and path; HEAD is what comes with GET."""
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        if route.method != "HEAD":
            found.add((route.method, route.resource.canonical))
    return found


def _all_listed() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    listings = {("GET", path) for path in LISTINGS}
    site = {(("*" if path == "/ui/{rest}" else "GET"), path) for path in PAGE}
    return listings | site | {("GET", "/healthz"), ("POST", "/v1/report"), ("*", "/{path}")}, listings | {
        *OPERATORS
    }


def test_every_route_is_listed(tmp_path: Path) -> None:
    wire, control = _all_listed()
    with running(tmp_path, rack(2)) as site:
        assert site.desk is not None
        app = control_app(site.desk, cast("Actions", None))
        add_proof(app, cast("Proves", None))
        assert _routes(site.desk.web.application()) == wire
        assert _routes(app) == control
    assert _written_paths() <= {path for _, path in wire | control}, "a route that neither application has"


def _written_paths() -> set[str]:
    """The paths of all routes that are added anywhere in the daemon, read from its source."""
    found = set()
    for file in _SOURCE.glob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).partition(".")[2].startswith(
                "router.add_"
            ):
                path = next((a for a in call.args if "/" in ast.unparse(a)), None)
                if path is not None:
                    text = "".join(str(p.value) if isinstance(p, ast.Constant) else "" for p in _parts(path))
                    found.add(text.replace("{cue:}", "{cue}").replace(":.*}", "}"))
    return found


def _parts(path: ast.expr) -> Iterator[Any]:
    yield from path.values if isinstance(path, ast.JoinedStr) else [path]


def _filled(path: str) -> str:
    for word, value in _FILLED.items():
        path = path.replace(word, value)
    return path


class Wire:
    """A stranger on the VLAN with one connection after the other."""

    def __init__(self, namespace: str) -> None:
        self.asked = 0
        self._namespace = namespace
        self._link: http.client.HTTPConnection | None = None

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, bytes, Any]:
        """Status, the beginning of the body, and the headers."""
        self.asked += 1
        link = http.client.HTTPConnection("172.0.1.1", 8080, timeout=10)
        link.sock = inside(self._namespace, lambda: socket.create_connection(("172.0.1.1", 8080), 10))
        try:
            link.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in headers.items():
                link.putheader(name, value)
            if body is not None or method in {"POST", "PUT", "PATCH"}:
                link.putheader("Content-Length", str(len(body or b"")))
            link.endheaders(body)
            answer = link.getresponse()
            follows = answer.headers["Content-Type"] in {"text/event-stream", "application/x-ndjson"}
            return answer.status, b"" if follows else answer.read(2000), answer.headers
        finally:
            link.close()


def test_other_sites_and_strangers(up: Appliance, segment: Segment, figures: Figures) -> None:
    """Each route, by each method, as a page of another site asks; and what writes, as anybody on the wire."""
    wire, before = Wire(segment.clients), up.run("generations", "-o", "json").stdout
    guarded = (*LISTINGS, *PAGE)
    for path in map(_filled, guarded):
        for headers, status in _FOREIGN:
            for method in _METHODS:
                if method in {"TRACE", "PROPFIND"} and "Upgrade" in headers:
                    continue
                told, body, answered = wire.ask(method, path, headers)
                known = method in {"GET", "HEAD"}
                assert told == status or (not known and told in {404, 405}), (method, path, headers, told)
                assert "Access-Control-Allow-Origin" not in answered
                assert b"node1" not in body
    for method, path in OPERATORS:
        for tried in (method, *_METHODS):
            for headers in ({}, {"Origin": "http://172.0.1.1:8080"}, {"Authorization": "Bearer x"}):
                told, body, _ = wire.ask(tried, _filled(path), headers, b"{}" if tried == "POST" else None)
                assert told in {404, 405}, (tried, path, told, body)
    for path in map(_filled, MACHINES):
        for headers, _ in _FOREIGN:
            told, _, answered = wire.ask("GET", path, headers)
            assert told in {200, 404, 405, 421, 403}, (path, told)
            assert "Access-Control-Allow-Origin" not in answered
    reports = (
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"stage": 1}',
        b'{"stage": "done"}',
        b"\xff",
        b"[" * 8000,
        b"{}" * 5000,
    )
    for body in reports:
        told, said, _ = wire.ask("POST", "/v1/report", {"Content-Type": "text/plain"}, body)
        assert told in {400, 403, 413}, (body[:20], told)
        assert b"Traceback" not in said
    assert up.run("generations", "-o", "json").stdout == before
    assert "Traceback" not in up.log()
    figures.tell(
        "routes", "routes on the wire x requests of others", f"{wire.asked:,}", "421, 403, 404 or 405"
    )


def test_a_rebound_browser_reads_no_document_of_the_operator_s_own_groups(
    appliance: Appliance, segment: Segment
) -> None:
    """They are for whoever is on this host, and a browser at the other end of `ssh -L` is."""
    matchbox = appliance.root / "etc/pxe-appliance/matchbox"
    user = {"name": "core", "passwordHash": "SECRET-HASH"}
    documents: dict[str, object] = {
        "groups/own.json": {"id": "own", "profile": "own", "selector": {"mac": "52:54:00:99:99:99"}},
        "profiles/own.json": {"id": "own", "ignition_id": "own.ign", "generic_id": "own", "cloud_id": "own"},
        "ignition/own.ign": {"ignition": {"version": "3.3.0"}, "passwd": {"users": [user]}},
        "generic/own": "SECRET-HASH",
        "cloud/own": "#cloud-config\nhostname: SECRET-HASH\n",
    }
    for name, content in documents.items():
        (matchbox / name).parent.mkdir(exist_ok=True)
        (matchbox / name).write_text(content if isinstance(content, str) else json.dumps(content))
    appliance.serve()

    def told(kind: str, headers: dict[str, str]) -> tuple[int, bytes]:
        status, body, _ = Wire(segment.server).ask("GET", f"/{kind}?mac=52-54-00-99-99-99", headers)
        return status, body

    wait_until(lambda: told("ignition", {})[0] == 200, "the operator's own groups")
    for kind in ("ignition", "generic", "cloud"):
        for headers, status in _FOREIGN:
            answer = told(kind, headers)
            assert answer[0] == status, (kind, headers)
            assert b"SECRET-HASH" not in answer[1]
        for host in ("172.0.1.1:8080", "localhost:8080", "127.0.0.1:4711"):
            assert b"SECRET-HASH" in told(kind, {"Host": host})[1], "curl on this host, or through a tunnel"


# Bodies that no program of ours sends, and the statuses that they may have.
_BODIES: Final[tuple[tuple[bytes, str], ...]] = (
    *((b"", "application/json"), (b"{", "application/json"), (b"[]", "application/json"), (b"null", "a/b")),
    *((b'"text"', "application/json"), (b"1", "application/json"), (b"NaN", "application/json")),
    *((b"\xff\xfe", "application/json"), (b"{}", "application/json; charset=nonsense"), (b"[" * 100_000, "")),
    *((b'{"a":' * 20_000, "application/json"), (b"a=b&c=d", "application/x-www-form-urlencoded")),
    *((b"x" * (3 << 20), "application/json"), (b'{"to": true}', "application/json")),
    *((b'{"to": "1"}', "application/json"), (b'{"to": 1e400}', "application/json"), (b'{"to": -1}', "a/b")),
    *((b'{"to": 99999999999999999999}', "application/json"), (b'{"why": []}', "application/json")),
    *((b'{"who": {}}', "application/json"), (b'{"allow_mass_change": "yes"}', "application/json")),
    *((b'{"expected": 1}', "application/json"), (b'{"reason": 1, "note": 1}', "application/json")),
    *((b'{"machines": "node1"}', "application/json"), (b'{"archs": [1.5]}', "application/json")),
    *((b'{"machines": [1]}', "application/json"), (b'{"archs": [true]}', "application/json")),
    *((b'{"confirm_within": true}', "application/json"), (b'{"confirm_within": -5}', "application/json")),
)


class Control:
    """The control socket, as anybody who may open it asks."""

    def __init__(self, path: str) -> None:
        self.asked = 0
        self._path = path

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.asked += 1
        link = http.client.HTTPConnection("localhost", timeout=20)
        link.sock = socket.socket(socket.AF_UNIX)
        link.sock.settimeout(20)
        link.sock.connect(self._path)
        # It may have answered before it had all of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            link.request(method, path, body, headers)
        try:
            answer = link.getresponse()
            follows = answer.headers["Content-Type"] in {"text/event-stream", "application/x-ndjson"}
            return answer.status, b"" if follows else answer.read(4000)
        finally:
            link.close()


def test_what_is_no_request_of_ours(up: Appliance, figures: Figures) -> None:
    """Each route of the control socket with each body: a status that says whose turn it is, and words."""
    control = Control(str(up.root / "run/pxe-appliance/control.sock"))
    for method, path in OPERATORS:
        for body, kind in _BODIES:
            if path == "/v1/prove" and body in {b"", b'{"to": true}'}:
                continue  # proves everything, which is not what this is about
            told, said = control.ask(method, _filled(path), {"Content-Type": kind}, body)
            assert told != 500, (path, body[:40], said)
            assert told in {200, 400, 404, 409, 413, 422, 503}, (path, body[:40], told, said)
            if told == 400:
                assert json.loads(said)["message"], said
    for body, _ in _BODIES:
        if body == b"{}" or any(word in body for word in (b"machines", b"archs", b"reason")):
            continue  # right for a sync, or of no interest to it
        told, said = control.ask("POST", "/v1/sync", {"Content-Type": "application/json"}, body)
        assert told in {400, 413}, (body[:40], told, said)
    _odd_words(control)
    _from_a_browser(control)
    assert "Traceback" not in up.log()
    figures.tell("routes", "control socket x odd requests", f"{control.asked:,}", "no 500, no traceback")


_QUERIES: Final = ("limit=x", "limit=-1", "limit=99999999999", "limit=%D9%A1", "machine=%00", "ignored=x")
_NAMES: Final = ("%00", "..%2f..", "%ff", "a" * 5000, "%F0%9F%98%80", "%0d%0aX:%20y", "{{7*7}}")


def _odd_words(control: Control) -> None:
    """Queries and names that mean nothing."""
    for path in map(_filled, LISTINGS):
        for query in _QUERIES:
            told, said = control.ask("GET", f"{path}?{query}", {}, b"")
            assert told in {200, 400, 409}, (path, query, told, said)
    for name in _NAMES:
        for method, path in (*(("GET", p) for p in LISTINGS if "{" in p), *OPERATORS):
            odd = path.replace("{cue}", "hold")
            for word in ("{name}", "{mac}", "{number}"):
                odd = odd.replace(word, name)
            told, said = control.ask(method, odd, {}, b"{")
            assert told in {200, 400, 404, 405, 409, 422, 503}, (odd[:60], told, said)


def _from_a_browser(control: Control) -> None:
    """What a browser would send, should somebody put the socket on a port."""
    for headers in ({"Origin": _EVIL}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        for method, path in (*OPERATORS, ("GET", "/v1/status")):
            told, _ = control.ask(method, _filled(path), headers, b"")
            assert told == 403


_CONNECT: Final = """
import os, socket, sys
group, user = int(sys.argv[1]), int(sys.argv[2])
os.setgroups([group] if group else [])
os.setgid(65534); os.setuid(user)
link = socket.socket(socket.AF_UNIX)
try:
    link.connect(sys.argv[3])
except OSError as error:
    print(error.errno); sys.exit()
link.sendall(b"GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
print(link.recv(20).decode())
"""


def test_who_may_open_the_control_socket(up: Appliance) -> None:
    """Its file says it: the owner, and the group of the run directory; others do not get in."""
    path = up.root / "run/pxe-appliance/control.sock"
    up.root.chmod(0o755)
    (up.root / "run").chmod(0o755)
    group, stranger = 54321, 54322
    assert path.stat().st_mode & 0o777 == 0o660
    os.chown(path, 0, group)  # as with the service, whose run directory is the group's
    path.parent.chmod(0o750)
    os.chown(path.parent, 0, group)

    def connects(with_group: int) -> str:
        argv = [sys.executable, "-c", _CONNECT, str(with_group), str(stranger), str(path)]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    assert connects(0) == "13", "EACCES"
    assert connects(group).startswith("HTTP/1.1 200")
    path.parent.chmod(0o755)
    assert connects(0) == "13", "the socket's own mode, where its directory is open"
