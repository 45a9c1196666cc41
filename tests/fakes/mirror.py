"""A download server that lies on request: `python -m tests.fakes.mirror ROOT`, and a test's handle on it.

It serves a folder over HTTP/1.1 on loopback, written on bare streams because a server library would not let
go of the protocol's rules. What goes wrong is said by a faults file (`mirror_faults` knows the kinds), which
is read for each request; what was asked is logged as JSON lines.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import itertools
import json
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.fakes.mirror_faults import Asked, Book, Reply, Resource, Slice, answer, blocks, cut, read_faults

DEADLINE = 20.0
PROJECT = Path(__file__).parents[2]
LONGEST_HEAD = 1 << 16


@dataclass
class Mirror:
    """A running mirror."""

    url: str
    port: int
    pid: int
    folder: Path

    def faults(self, faults: Mapping[str, object]) -> None:
        """Let these faults, by path glob, take the place of the ones before; counts begin anew."""
        text = json.dumps(faults)
        read_faults(text)
        fresh = self.folder / "faults.new"
        fresh.write_text(text)
        fresh.replace(self.folder / "faults.json")

    def requests(self, *, settled: bool = False) -> list[dict[str, object]]:
        """What was asked, in order: method, path, headers, status, faults, and at its end `sent` and `end`.

        A request that is still being answered has no `sent` (None); `settled` waits until there is none.
        """
        limit = time.monotonic() + DEADLINE
        while True:
            found = self._read()
            if not settled or all(each["end"] is not None for each in found):
                return found
            if time.monotonic() > limit:
                raise TimeoutError(f"still being answered: {found}")
            time.sleep(0.005)

    def forget(self) -> None:
        """Empty the log."""
        (self.folder / "requests.jsonl").write_bytes(b"")

    def _read(self) -> list[dict[str, object]]:
        found: dict[int, dict[str, object]] = {}
        for line in (self.folder / "requests.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if "method" in entry:
                found[entry["id"]] = {**entry, "sent": None, "end": None}
            elif entry["id"] in found:
                found[entry["id"]].update(entry)
        return list(found.values())


@contextlib.contextmanager
def mirror(root: Path, *, tls: tuple[Path, Path] | None = None) -> Iterator[Mirror]:
    """Serve `root` from a process of its own until the block ends; `tls` is a certificate and its key."""
    with tempfile.TemporaryDirectory(prefix="mirror-") as place:
        folder = Path(place)
        log, faults, errors = folder / "requests.jsonl", folder / "faults.json", folder / "errors"
        log.touch()
        command = [sys.executable, "-m", "tests.fakes.mirror", str(root), "--until-eof"]
        command += ["--log", str(log), "--faults", str(faults)]
        command += ["--tls", *map(str, tls)] if tls else []
        with (
            errors.open("wb") as stderr,
            subprocess.Popen(
                command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
            ) as process,
        ):
            try:
                assert process.stdout is not None
                said = process.stdout.readline().decode().strip()
                port = said.rpartition(":")[2]
                assert port.isdigit(), f"the mirror did not start: {errors.read_text()}"
                yield Mirror(
                    f"{'https' if tls else 'http'}://127.0.0.1:{port}", int(port), process.pid, folder
                )
            finally:
                process.kill()
        wrong = errors.read_text()
        assert not wrong, f"the mirror itself failed: {wrong}"


class Server:
    """The program: one folder, one log, one faults file."""

    def __init__(self, root: Path, log: Path, faults: Path | None) -> None:
        self._root = root
        self._log = log
        self._book = Book(faults)
        self._numbers = itertools.count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        # Nothing waits in our own buffer: what `drain` has passed, the kernel has.
        # (Python 3.11 counts a TLS buffer of 0 bytes as full when the limit is 0, and waits for ever.)
        limit = 1 if writer.get_extra_info("ssl_object") is not None else 0
        writer.transport.set_write_buffer_limits(high=limit, low=0)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while (asked := read_head(await reader.readuntil(b"\r\n\r\n"))) is not None:
                if not await self._exchange(asked, reader, writer):
                    break
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _exchange(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; says whether the connection goes on."""
        number = next(self._numbers)
        faults = self._book.choose(asked)
        # A gzip bomb takes seconds to make.
        reply = await asyncio.to_thread(answer, asked, self._find, faults, number)
        kinds = [fault.kind for fault in faults]
        said = {"method": asked.method, "path": asked.path, "headers": dict(asked.headers)}
        self._note({"id": number, **said, "status": reply.status, "faults": kinds})
        delivery = Delivery(asked, reply, reader, writer)
        try:
            await delivery.run()
        finally:
            self._note({"id": number, "sent": delivery.sent, "end": delivery.end})
        return delivery.end == "complete" and delivery.goes_on

    def _note(self, entry: Mapping[str, object]) -> None:
        with self._log.open("a") as log:
            log.write(json.dumps(entry) + "\n")

    def _find(self, path: str) -> Resource | None:
        """The file under a path, when it lies in the root."""
        try:
            place = self._root.joinpath(path.lstrip("/")).resolve()
            if not (place.is_relative_to(self._root) and place.is_file()):
                return None
        except (OSError, ValueError):
            return None
        facts = place.stat()
        etag = f'"{facts.st_size:x}-{facts.st_mtime_ns:x}-{facts.st_ino:x}"'
        modified = formatdate(int(facts.st_mtime), usegmt=True)
        return Resource((Slice(place, 0, facts.st_size),), etag, modified)


class Delivery:
    """One answer on its way; `sent` counts its body, `end` says how it ended."""

    def __init__(
        self, asked: Asked, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reply = reply
        self._reader = reader
        self._writer = writer
        wanted = asked.headers.get("connection", "").lower()
        self.goes_on = reply.ending == "keep" and wanted != "close"
        bodiless = asked.method == "HEAD" or reply.status in {204, 304}
        count = (1 << 62) if reply.after is None else reply.after
        self._content = () if bodiless or not reply.head else cut(reply.content, 0, count)
        self.sent = 0
        self.end = "gone"

    async def run(self) -> None:
        """Send head and body, and end as the reply says."""
        if self._reply.head:
            self._writer.write(self._head())
            await self._writer.drain()
        if self._reply.rate is not None:
            await self._drip(self._reply.rate)
        else:
            await self._stream()
        match self._reply.ending:
            case "keep":
                self.end = "complete"
            case "close":
                self.end = "closed"
            case "reset":
                await self._reset()
                self.end = "reset"
            case "stall":
                with contextlib.suppress(ConnectionError):
                    while await self._reader.read(LONGEST_HEAD):
                        pass
                self.end = "stalled"

    def _head(self) -> bytes:
        status = self._reply.status
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unheard Of"
        lines = [f"HTTP/1.1 {status} {phrase}", f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in self._reply.headers.items()]
        lines += [] if self.goes_on else ["Connection: close"]
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")

    async def _stream(self) -> None:
        loop = asyncio.get_running_loop()
        for piece in self._content:
            if self._writer.transport.is_closing():
                raise ConnectionResetError("the client went")
            if isinstance(piece, Slice):
                with piece.path.open("rb") as file:
                    try:
                        await loop.sendfile(self._writer.transport, file, piece.start, piece.length)
                    finally:
                        self.sent += max(file.tell() - piece.start, 0)
            else:
                for block in blocks((piece,)):
                    await self._put(block)

    async def _drip(self, rate: float) -> None:
        """Some bytes at a time; waiting is listening, so that a client's leaving is noticed."""
        size = max(int(rate / 20), 1)
        for block in blocks(self._content, size):
            await self._put(block)
            with contextlib.suppress(TimeoutError):
                if not await asyncio.wait_for(self._reader.read(1), len(block) / rate):
                    raise ConnectionResetError("the client went")

    async def _put(self, block: bytes) -> None:
        self._writer.write(block)
        await self._writer.drain()
        self.sent += len(block)

    async def _reset(self) -> None:
        """Break the connection off with a RST."""
        link = self._writer.get_extra_info("socket")
        # A reset throws away what the kernel has not delivered yet: the promised bytes have to be over there.
        unsent = struct.Struct("i")
        for _ in range(1000):
            if link.fileno() < 0:
                return  # the client was faster
            if unsent.unpack(fcntl.ioctl(link.fileno(), termios.TIOCOUTQ, bytes(4))) == (0,):
                break
            await asyncio.sleep(0.002)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def read_head(raw: bytes) -> Asked | None:
    """A request from its head, or nothing when it is none."""
    first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    match first.split(" "):
        case [method, target, version] if version.startswith("HTTP/1."):
            pairs = (line.partition(":") for line in lines)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            return Asked(method, unquote(urlsplit(target).path), headers)
    return None


async def run(server: Server, choices: argparse.Namespace) -> None:
    """Serve until the process is ended, or until its input is when that was asked for."""
    context = None
    if choices.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*choices.tls)
    listener = await asyncio.start_server(
        server.serve, "127.0.0.1", choices.port, ssl=context, limit=LONGEST_HEAD
    )
    host, port = listener.sockets[0].getsockname()[:2]
    print(f"listening on {host}:{port}", flush=True)  # noqa: T201 - the line that a test waits for
    over = asyncio.Event()
    if choices.until_eof:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    await over.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.mirror", description=__doc__)
    parser.add_argument("root")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--faults", help="a JSON file: path glob -> fault, or a list of faults")
    parser.add_argument("--log", help="where requests are noted; beside ROOT when not said")
    parser.add_argument("--until-eof", action="store_true", help="end when the standard input does")
    choices = parser.parse_args(arguments)
    root = Path(choices.root).resolve()
    log = Path(choices.log) if choices.log else root.parent / "requests.jsonl"
    server = Server(root, log, Path(choices.faults) if choices.faults else None)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(server, choices))


if __name__ == "__main__":
    main()
