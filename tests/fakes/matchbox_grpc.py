"""A small Matchbox in the recorded shapes (`python -m tests.fakes.matchbox_grpc`), and a test's handle on it.

It knows nothing of the appliance: field numbers, Go's error texts, the files and the answers are written down
here a second time, from what the real program does. Files are rewritten in place, in two halves, as Matchbox
does; every failure is UNKNOWN with a text; a GroupPut without a group ends the process. What its HTTP side
does wrong is said by a faults file, which is read for each request; calls are logged as JSON lines.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

import grpc

from tests.fakes.certificates import Authority
from tests.fakes.matchbox_wire import (
    GoError,
    Store,
    encode,
    fields,
    go_json,
    group_from,
    group_to,
    one,
    profile_from,
    profile_to,
)

Work = Callable[[bytes], tuple[str, bytes]]

PROJECT = Path(__file__).parents[2]
NOT_FOUND = b"404 page not found\n"
BOOT_IPXE = (
    "#!ipxe\nchain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}"
    "&serial=${serial}&arch=${buildarch:uristring}\n"
)


@dataclass(frozen=True)
class Matchbox:
    """A running Matchbox. `grpc` is HOST:PORT, empty without certificates."""

    url: str
    grpc: str
    data: Path
    folder: Path
    pid: int

    def calls(self) -> Counter[str]:
        """How often each call came so far, such as `GroupPut`."""
        return Counter(json.loads(line)["call"] for line in self.log())

    def log(self) -> list[str]:
        """The calls as JSON lines: `call`, `id`."""
        return (self.folder / "calls.jsonl").read_text().splitlines()

    def order(self) -> list[str]:
        """The calls that change something, in order: `IgnitionPut x.ign`."""
        every = (json.loads(line) for line in self.log())
        return [f"{c['call']} {c['id']}" for c in every if c["call"].endswith(("Put", "Delete"))]

    def forget(self) -> None:
        """Empty the log."""
        (self.folder / "calls.jsonl").write_bytes(b"")

    def faults(self, **faults: object) -> None:
        """What goes wrong from now on, in place of what went wrong before.

        `http`: path to a fault (`html`, `endless`, `drip`, `redirect`, `stall`, `slow`, `close`, a number
        is a status). `delay`: seconds before each gRPC call. `refuse`: calls that fail with a text.
        `die_after`: writes after which the process ends.
        """
        fresh = self.folder / "faults.new"
        fresh.write_text(json.dumps(faults))
        fresh.replace(self.folder / "faults.json")


@contextlib.contextmanager
def matchbox(
    data: Path,
    authority: Authority | None = None,
    server: tuple[Path, Path] | None = None,
    *,
    flavour: str = "0.11",
    ports: tuple[int, int] = (0, 0),
) -> Iterator[Matchbox]:
    """Run one over `data` until the block ends. `flavour`: 0.11 renders Ignition anew, 0.9 passes it on.

    With a certificate, and an authority for those of its clients, it speaks gRPC.
    """
    with tempfile.TemporaryDirectory(prefix="matchbox-") as place:
        folder = Path(place)
        (folder / "calls.jsonl").touch()
        command = [sys.executable, "-m", "tests.fakes.matchbox_grpc", str(data), str(folder), flavour]
        command += ["--ports", *map(str, ports)]
        if authority is not None and server is not None:
            command += ["--tls", str(authority.cert), *map(str, server)]
        with (
            (folder / "errors").open("wb") as stderr,
            subprocess.Popen(
                command,
                cwd=PROJECT,
                env={**os.environ, "GRPC_VERBOSITY": "NONE"},  # it writes about every handshake that fails
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                said = process.stdout.readline().split()
                assert len(said) == 2, (folder / "errors").read_text()
                http, rpc = map(int, said)
                address = f"localhost:{rpc}" if rpc else ""
                yield Matchbox(f"http://127.0.0.1:{http}", address, data, folder, process.pid)
            finally:
                process.kill()
        wrong = (folder / "errors").read_text()
        assert not wrong, f"the fake itself failed: {wrong}"


# ---- gRPC ----


class Rpc:
    """The calls of Groups, Profiles and Ignition."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._lock = threading.Lock()
        self._writes = 0

    def handlers(self) -> Iterator[tuple[str, str, Work]]:
        """Service, method, and what it does: request to (id, response)."""
        yield "Groups", "GroupPut", self._group_put
        yield "Groups", "GroupGet", lambda raw: self._get(raw, "groups", group_to)
        yield "Groups", "GroupDelete", lambda raw: self._delete(raw, "groups", ".json")
        yield "Groups", "GroupList", lambda _: self._list("groups", group_to)
        yield "Profiles", "ProfilePut", self._profile_put
        yield "Profiles", "ProfileGet", lambda raw: self._get(raw, "profiles", profile_to)
        yield "Profiles", "ProfileDelete", lambda raw: self._delete(raw, "profiles", ".json")
        yield "Profiles", "ProfileList", lambda _: self._list("profiles", profile_to)
        yield "Ignition", "IgnitionPut", self._ignition_put
        yield "Ignition", "IgnitionGet", self._ignition_get
        yield "Ignition", "IgnitionDelete", lambda raw: self._delete(raw, "ignition", "")

    def handle(
        self, name: str, work: Callable[[bytes], tuple[str, bytes]]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """A method as the server wants it."""

        def call(raw: bytes, context: grpc.ServicerContext) -> bytes:
            faults = read_faults(self._folder)
            time.sleep(faults.get("delay", 0))
            self._note(name, raw)
            if name in faults.get("refuse", []):
                context.abort(grpc.StatusCode.UNKNOWN, f"open {self._store.root}: permission denied")
            if name.endswith(("Put", "Delete")):
                with self._lock:
                    self._writes += 1
                    if self._writes > faults.get("die_after", self._writes):
                        os._exit(0)
            try:
                return work(raw)[1]
            except GoError as error:
                context.abort(grpc.StatusCode.UNKNOWN, str(error))

        return grpc.unary_unary_rpc_method_handler(call)

    def _note(self, name: str, raw: bytes) -> None:
        found = fields(raw)
        ident = found.get(1, [b""])[-1]
        if name in {"GroupPut", "ProfilePut"} and ident:
            ident = fields(ident).get(1, [b""])[-1]
        line = json.dumps({"call": name, "id": ident.decode()})
        with self._lock, (self._folder / "calls.jsonl").open("a") as log:
            log.write(f"{line}\n")

    def _group_put(self, raw: bytes) -> tuple[str, bytes]:
        if 1 not in fields(raw):
            os._exit(2)  # a nil dereference, which nothing recovers from (measured)
        group = group_from(fields(raw)[1][-1])
        if not group["id"]:
            raise GoError("matchbox: Group must have an id")
        if not group["profile"]:
            raise GoError("matchbox: Group must have a profile")
        self._store.write(go_json(group), "groups", f"{group['id']}.json")
        return group["id"], b""

    def _profile_put(self, raw: bytes) -> tuple[str, bytes]:
        profile = profile_from(fields(raw)[1][-1])
        if not profile["id"]:
            raise GoError("matchbox: Profile must have an id")
        order = ("id", "name", "ignition_id", "cloud_id", "boot", "generic_id")
        ordered = {key: profile[key] for key in order if key in profile}
        self._store.write(go_json(ordered), "profiles", f"{profile['id']}.json")
        return profile["id"], b""

    def _ignition_put(self, raw: bytes) -> tuple[str, bytes]:
        found = fields(raw)
        self._store.write(found.get(2, [b""])[-1], "ignition", one(found, 1))
        return one(found, 1), b""

    def _ignition_get(self, raw: bytes) -> tuple[str, bytes]:
        name = one(fields(raw), 1)
        return name, encode((1, self._store.read("ignition", name)))

    def _get(
        self, raw: bytes, folder: str, convert: Callable[[Mapping[str, Any]], bytes]
    ) -> tuple[str, bytes]:
        name = one(fields(raw), 1)
        return name, encode((1, convert(self._store.json(folder, name))))

    def _list(self, folder: str, convert: Callable[[Mapping[str, Any]], bytes]) -> tuple[str, bytes]:
        return "", encode(*((1, convert(value)) for value in self._store.every(folder)))

    def _delete(self, raw: bytes, folder: str, suffix: str) -> tuple[str, bytes]:
        name = one(fields(raw), 1)
        self._store.remove(folder, f"{name}{suffix}")
        return name, b""


def serve_grpc(store: Store, folder: Path, tls: Sequence[Path], port: int) -> tuple[grpc.Server, int]:
    """Start it, with the authority of its clients, its certificate and its key; it, and its port."""
    ca, cert, key = (path.read_bytes() for path in tls)
    server = grpc.server(futures.ThreadPoolExecutor(16))
    rpc = Rpc(store, folder)
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for service, name, work in rpc.handlers():
        services.setdefault(service, {})[name] = rpc.handle(name, work)
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(f"rpcpb.{name}", calls) for name, calls in services.items()
        )
    )
    credentials = grpc.ssl_server_credentials([(key, cert)], ca, require_client_auth=True)
    port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    return server, port


# ---- HTTP ----


def select(store: Store, labels: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The profile for these labels, as Matchbox finds it; None: 404."""
    try:
        groups = store.every("groups")
    except GoError:
        return None
    matching = [
        group
        for group in groups
        if all(labels.get(key, "") == value for key, value in (group.get("selector") or {}).items())
    ]
    matching.sort(key=lambda g: (len(g.get("selector") or {}), sorted((g.get("selector") or {}).items())))
    try:
        return store.json("profiles", matching[-1].get("profile", "")) if matching else None
    except GoError:
        return None


def ipxe(profile: Mapping[str, Any]) -> bytes | None:
    """The boot script of a profile."""
    boot = profile.get("boot")
    if boot is None:
        return None
    words = " ".join([boot.get("kernel", ""), *(boot.get("args") or [])])
    initrd = "".join(f"initrd {image}\n" for image in boot.get("initrd") or [])
    return f"#!ipxe\nkernel {words}\n{initrd}boot\n".encode()


def ignition(store: Store, profile: Mapping[str, Any], flavour: str) -> bytes | None:
    """A raw Ignition document: passed on (0.9), or rendered anew as 3.4.0, or, unknown, as an empty one."""
    try:
        raw = store.read("ignition", profile.get("ignition_id") or "/")
    except GoError:
        return None
    if flavour == "0.9":
        return raw
    try:
        document = json.loads(raw)
        known = re.fullmatch(r"3\.[0-4]\.0", document["ignition"]["version"])
    except (ValueError, KeyError, TypeError):
        document, known = {}, None
    return json.dumps(_rendered(document) if known else _EMPTY, separators=(",", ":")).encode()


_EMPTY: Mapping[str, Any] = {
    "ignition": {"config": {"replace": {"verification": {}}}, "proxy": {}, "security": {"tls": {}},
                 "timeouts": {}, "version": ""},
    "kernelArguments": {}, "passwd": {}, "storage": {}, "systemd": {},
}  # fmt: skip


def _rendered(document: Mapping[str, Any]) -> Mapping[str, Any]:
    out = {**_EMPTY, **document}
    out["ignition"] = {**_EMPTY["ignition"], **document["ignition"], "version": "3.4.0"}
    storage = dict(out["storage"])
    if "files" in storage:
        storage["files"] = [_rendered_file(file) for file in storage["files"]]
    out["storage"] = storage
    return out


def _rendered_file(file: Mapping[str, Any]) -> Mapping[str, Any]:
    contents = {"verification": {}, **file.get("contents", {})}
    source = contents.get("source") or ""
    if source.startswith("data:,"):  # another spelling of the same
        contents["source"] = f"data:;base64,{base64.b64encode(_unquoted(source)).decode()}"
    return {"group": {}, "user": {}, "overwrite": None, **file, "contents": contents}


def _unquoted(source: str) -> bytes:
    return re.sub(rb"%(..)", lambda m: bytes([int(m[1], 16)]), source.removeprefix("data:,").encode())


class Web(BaseHTTPRequestHandler):
    """The HTTP side."""

    store: Store
    folder: Path
    flavour: str
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        target = urlsplit(self.path)
        with (self.folder / "calls.jsonl").open("a") as log:
            log.write(json.dumps({"call": target.path, "id": target.query}) + "\n")
        fault = read_faults(self.folder).get("http", {})
        chosen = fault.get(self.path, fault.get(target.path))
        with contextlib.suppress(ConnectionError):
            if chosen == "slow":
                time.sleep(0.3)
            elif chosen is not None:
                self._fail(chosen)
                return
            body = self._body(target.path, dict(parse_qsl(target.query)))
            self._send(200 if body is not None else 404, body if body is not None else NOT_FOUND)

    def _body(self, path: str, labels: dict[str, str]) -> bytes | None:
        if path == "/boot.ipxe":
            return BOOT_IPXE.encode()
        if "mac" in labels:
            labels["mac"] = labels["mac"].replace("-", ":").lower()
        profile = select(self.store, labels)
        match path:
            case "/ipxe" if profile:
                return ipxe(profile)
            case "/ignition" if profile:
                return ignition(self.store, profile, self.flavour)
            case "/":
                return b"matchbox\n"
        return None

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response_only(status)
        for name, value in {
            "Content-Type": "text/plain",
            "Content-Length": str(len(body)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, fault: object) -> None:
        match fault:
            case int():
                self._send(fault, b"wrong\n")
            case "html":
                self._send(200, b"<!DOCTYPE html><html>Please log in</html>", **{"Content-Type": "text/html"})
            case "redirect":
                self._send(302, b"", Location="https://login.example.com/")
            case "stall":
                time.sleep(60)
            case "close":
                self.close_connection = True
                self.connection.close()
            case "endless" | "drip":
                self.send_response_only(200)
                self.end_headers()
                self.close_connection = True
                piece, pause = (b"#" * 65536, 0.0) if fault == "endless" else (b"#!ipxe\n", 0.05)
                while True:
                    self.wfile.write(piece)
                    time.sleep(pause)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


def read_faults(folder: Path) -> dict[str, Any]:
    """What goes wrong now."""
    try:
        found: dict[str, Any] = json.loads((folder / "faults.json").read_bytes())
    except FileNotFoundError:
        return {}
    return found


def main() -> NoReturn:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("flavour")
    parser.add_argument("--tls", type=Path, nargs=3)
    parser.add_argument("--ports", type=int, nargs=2, default=[0, 0])
    given = parser.parse_args()
    store = Store(given.data)
    handler = type("Bound", (Web,), {"store": store, "folder": given.folder, "flavour": given.flavour})
    web = ThreadingHTTPServer(("127.0.0.1", given.ports[0]), handler)
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, daemon=True).start()
    rpc, server = 0, None  # one that nobody holds stops
    if given.tls:
        server, rpc = serve_grpc(store, given.folder, given.tls, given.ports[1])
    sys.stdout.write(f"{web.server_address[1]} {rpc}\n")
    sys.stdout.flush()
    sys.stdin.read()
    if server is not None:
        server.stop(None)
    os._exit(0)


if __name__ == "__main__":
    main()
