"""The HTTP side on every PXE address: Matchbox's paths, the call home, health, and read-only listings.

The sockets are bound with IP_FREEBIND, so that an interface may come late, lose its address and get it back
without anybody noticing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Middleware

from appliance.addresses import Mac
from appliance.boot.events import TO_NOTHING, Event, EventKind
from appliance.boot.ladder import Ladder
from appliance.boot.policy import Life
from appliance.daemon import signals as s
from appliance.daemon.admission import NO_LEASE
from appliance.daemon.arming import Arming
from appliance.daemon.control import Readings, add_readings, errors_as_json
from appliance.daemon.diagnosis import Outside
from appliance.daemon.door import Door, tcp_listener
from appliance.daemon.gate import Admitted, Crowd, Gate, Peer
from appliance.daemon.giving import Giving
from appliance.daemon.guests import Reception, guests_of
from appliance.daemon.handed_over import Guest, Listener
from appliance.daemon.images import Images
from appliance.daemon.keyring import Keyring
from appliance.daemon.known import State
from appliance.daemon.leases import Lease
from appliance.daemon.page import ANY_PATH, BoardStream, Page, only_for_us
from appliance.daemon.passes import REASON, Passes
from appliance.daemon.report import LIMIT, Accepted, Rejected, read_report
from appliance.daemon.requests_seen import client_address, event_of
from appliance.daemon.served import Served
from appliance.daemon.status import problem
from appliance.daemon.turns import Turns, in_turn, note_answered
from appliance.inventory.model import Machine
from appliance.matchbox.assets import AssetRoot
from appliance.matchbox.request import RequestRecord
from appliance.matchbox.server import Endpoint, hide_server
from appliance.matchbox.snapshot import Snapshot, default_group_hazard
from appliance.matchbox.store import DataDirectory, follow
from appliance.paths import Paths
from appliance.settings import Settings
from appliance.sync.handover import machine_boots
from appliance.system.clock import now

_EVERY = 1.0  # seconds between looks at the data directory and at what has to be bound
_BODY_SECONDS = 10.0  # for a report, of a few kilobytes; until then its sender holds one of his connections
_FOLLOWERS = 32  # streams of events that strangers may hold open
_AFTER_DHCP = frozenset(
    {"/boot.ipxe", "/boot.ipxe.0", "/ipxe", "/grub", "/ignition", "/generic", "/cloud", "/metadata"}
)
_log = logging.getLogger("pxe-appliance")


class Owner(Readings, Protocol):
    """The daemon, as seen from here."""

    def known(self) -> State: ...
    def served(self) -> Served: ...
    def life(self, machine: str) -> Life: ...
    def ladder(self, machine: str) -> Ladder | None: ...
    @property
    def page(self) -> Page: ...
    def lease(self, address: IPv4Address) -> Lease | None: ...
    def strangers(self) -> Container[Mac]: ...
    async def caught_up(self, client: str) -> None: ...
    async def kept(self) -> bool: ...
    def booting(self, client: str) -> str: ...
    def report(self, signal: s.Signal) -> None: ...


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to listen."""

    address: str
    port: int


class WebSide:
    """Everything that answers HTTP on the PXE VLANs."""

    def __init__(self, paths: Paths, owner: Owner, measure: Middleware) -> None:
        """`measure` sees every request."""
        self._paths = paths
        self._owner = owner
        self._measure = measure
        self._doors: dict[_Place, Door] = {}
        self._found: dict[_Place, socket.socket] = {}  # listening already, by the program before us
        self._guests: tuple[Guest, ...] = ()  # that program's, still to be admitted
        self._reception: Reception | None = None
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused: dict[_Place, str] = {}
        self._crowd, self._turns = Crowd(), Turns()
        self._endpoint: Endpoint | None = None
        self._data: Path | None = None
        self._following: asyncio.Task[None] | None = None
        self._snapshot = Snapshot()
        self._wake = asyncio.Event()
        self.listening = asyncio.Event()
        self._served: Served | None = None
        self._keyring = Keyring(paths)
        self.images = Images(paths, owner.booting)
        self.arming = Arming(owner.report)
        self.giving = Giving(owner, self.images, self.arming)
        self.passes = Passes()

    @property
    def problems(self) -> list[dict[str, str]]:
        """What is wrong with the addresses, the operator's Matchbox data, and the images."""
        hazard = default_group_hazard(self._snapshot)
        data = [str(each) for each in self._snapshot.problems] + ([hazard] if hazard else [])
        found = (*self.images.tftp.findings, *self.images.findings)
        return [
            *(
                problem("http", "error", f"cannot listen on {p.address}:{p.port}: {why}", "ss -ltnp")
                for p, why in self._refused.items()
            ),
            *(problem("matchbox-data", "warning", why, "") for why in data),
            *self._keyring.problems,
            *self._crowd.problems(),
            *self._turns.problems(),
            *(problem(f.id, f.severity, f.message, f.fix) for f in found),
        ]

    def application(self) -> web.Application:
        """Every path that we answer."""
        app = web.Application(
            client_max_size=LIMIT,
            middlewares=[
                self._measure, in_turn(self._turns, self._peer), only_for_us(self._settings), errors_as_json,
            ],
        )  # fmt: skip
        app.on_response_prepare.extend((hide_server, note_answered))
        app.router.add_get("/healthz", self._healthz)
        app.router.add_post("/v1/report", self._report)
        add_readings(app, self._owner, followers=_FOLLOWERS, most_events=1000, to_anybody=True)
        app.router.add_get("/ui/stream", BoardStream(self._owner.feed, _FOLLOWERS).answer)
        self._owner.page.add_to(app)
        app.router.add_route("*", ANY_PATH, self._matchbox)
        return app

    @property
    def outside(self) -> Outside:
        """On which addresses nobody can be answered, for verdicts."""
        return Outside({place.address: why for place, why in self._refused.items()})

    async def serve(self) -> None:
        """Listen where the current generation says, for ever."""
        self._runner = runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            while True:
                self.refresh()
                await self._take_key()
                if not self._turns.leaving:
                    await self._listen(runner)
                if self._following is not None and self._following.done():
                    self._following.result()  # it follows for ever, or has failed
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _EVERY)
                self._wake.clear()
        finally:
            if self._following is not None:
                self._following.cancel()
            for door in self._doors.values():
                door.close()
            for task in self._tasks:
                task.cancel()
            await runner.cleanup()

    # ---- when another program takes our place ----

    def expect(self, listeners: Iterable[Listener], guests: Iterable[Guest]) -> None:
        """Go on with what the program before us had, once a generation is served; before `serve`."""
        for one in listeners:
            self._found[_Place(str(one.address), one.port)] = socket.socket(fileno=one.fd)
        self._guests = tuple(guests)

    def pause(self) -> None:
        """Take no new connection; who comes waits in the kernel's queue."""
        self._turns.leave(True)
        for door in self._doors.values():
            door.pause()

    async def resume(self) -> None:
        """Take connections again."""
        self._turns.leave(False)
        for place, door in list(self._doors.items()):
            try:
                await door.open()
            except OSError as error:  # it is closed now; the next look makes it anew
                del self._doors[place]
                self._refused[place] = error.strerror or str(error)

    @property
    def server(self) -> web.Server | None:
        """Who has the connections; None before `serve`."""
        return self._runner.server if self._runner is not None else None

    def listeners(self) -> tuple[Listener, ...]:
        """The listening sockets."""
        return tuple(Listener(IPv4Address(p.address), p.port, d.fd) for p, d in self._doors.items())

    def guests(self) -> tuple[Guest, ...]:
        """The connections that can be handed on at this moment."""
        here = guests_of(self.server) if self.server is not None else ()
        return (*here, *self._reception.guests()) if self._reception is not None else here

    def _admit(self, server: web.Server) -> None:
        admitted = partial(Admitted, server, self._owner.served, self._crowd)
        reception = self._reception = self._reception or Reception(
            server, self._begun, self._observe, admitted
        )
        guests, self._guests = self._guests, ()
        for guest in guests:
            task = asyncio.create_task(reception.admit(guest), name="guest")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        for listener in self._found.values():  # where the new program does not listen
            listener.close()
        self._found.clear()

    def refresh(self) -> None:
        """Follow the current generation; its machines are answered for from now on."""
        served = self._owner.served()
        data = Path(self._paths.settle(served.settings.matchbox.data))
        if self._endpoint is None or data != self._data:
            self._open_data(data)
        assert self._endpoint is not None
        if served is not self._served:
            self._served = served
            self._wake.set()
            self._endpoint.use_machines(machine_boots(served.settings, served.inventory, served.ignition))

    async def _take_key(self) -> None:
        await self._keyring.refresh(self._settings())
        assert self._endpoint is not None
        self._endpoint.use_signatures(self._keyring.signatures)

    def _open_data(self, data: Path) -> None:
        roots = [
            AssetRoot(data / "assets"),
            AssetRoot(Path(self._paths.tftp), "ipxe"),
        ]
        self._endpoint = Endpoint(
            roots=roots,
            observer=self._observe,
            resolve=self.giving.resolve,
            tell=self.giving.tell,
            vault=self.images.open,
        )
        self._endpoint.on_begun(self._begun)
        self._data, self._served = data, None
        if self._following is not None:
            self._following.cancel()
        self._following = asyncio.create_task(follow(DataDirectory(data), self._use), name="matchbox data")

    def _use(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        if self._endpoint is not None:
            self._endpoint.use_snapshot(snapshot)

    async def _listen(self, runner: web.AppRunner) -> None:
        assert runner.server is not None, "the runner is set up"
        settings = self._owner.served().settings
        withheld = self._owner.known().dangers
        served = [n for n in settings.networks.values() if n.name not in withheld]
        wanted = {_Place(str(n.address), settings.http.port) for n in served}
        for place in self._doors.keys() - wanted:
            self._doors.pop(place).close()
        for place in wanted - self._doors.keys():
            try:
                listener = self._found.pop(place, None) or tcp_listener(place.address, place.port)
                door = Door(listener, partial(Gate, runner.server, self._owner.served, self._crowd))
                await door.open()
            except OSError as error:
                if place not in self._refused:
                    _log.error("cannot listen on %s:%d: %s", place.address, place.port, error)
                self._refused[place] = error.strerror or str(error)
                continue
            self._refused.pop(place, None)
            self._doors[place] = door
            if self._turns.leaving:
                door.pause()
        self._refused = {p: why for p, why in self._refused.items() if p in wanted}
        if wanted:
            self._admit(runner.server)
            self.listening.set()

    def _peer(self, transport: asyncio.BaseTransport) -> Peer:
        return self._crowd.peer_of(transport, self._owner.served())

    def _settings(self) -> Settings:
        return self._owner.served().settings

    async def _matchbox(self, request: web.Request) -> web.StreamResponse:
        if self._endpoint is None:
            return web.Response(status=503, text="not ready\n")
        if request.path in _AFTER_DHCP:
            # A machine asks milliseconds after its address was acknowledged: the log has that already.
            await self._owner.caught_up(request.remote or "")
        machine = self.passes.machine(request.remote or "", request.headers, self._owner.served())
        if machine is not None:
            return await self._prove(self._endpoint, request, machine)
        response = await self._endpoint.handle(request)
        if self.arming.unkept:
            # The machine may show its token after a power cut of ours: it is on disk before it leaves.
            self.arming.unkept = False
            await self._owner.kept()
        return response

    async def _prove(self, endpoint: Endpoint, request: web.Request, machine: Machine) -> web.StreamResponse:
        """Answer a proof: as to the machine, with the reason of a refusal; it is no event of anybody."""
        reasons: list[str] = []
        asked = endpoint.for_another(
            observer=lambda record: reasons.append(record.reason or ""),
            resolve=partial(self.giving.as_to, machine),
        )
        response = await asked.handle(request)
        if reasons and reasons[-1] and not response.prepared:
            response.headers[REASON] = quote(reasons[-1][:300])
        return response

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _report(self, request: web.Request) -> web.Response:
        client = request.remote or ""
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await request.read()
        except TimeoutError:
            response = web.json_response({"error": "the report did not come to its end"}, status=408)
            response.force_close()
            return response
        verdict = read_report(body, client, self._owner.served(), now())
        if isinstance(verdict, Accepted) and (why := self._why_not(verdict, request)):
            verdict = Rejected(503 if why.startswith(NO_LEASE) else 403, why)
        if isinstance(verdict, Rejected):
            self._owner.report(s.Happened(_refused_report(client, verdict, self._owner.served())))
            return web.json_response({"error": verdict.reason}, status=verdict.status)
        self._owner.report(s.Happened(verdict.event))
        if verdict.installed and not await self._owner.kept():
            # Whoever is told "ok" may reboot into its disk: it must still be known after a power cut.
            return web.json_response({"error": "known, but cannot be kept now: report again"}, status=503)
        return web.json_response({"ok": True})

    def _why_not(self, report: Accepted, request: web.Request) -> str:
        """Why a report is not believed to be its machine's; empty when it is."""
        header = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        token = report.token or request.query.get("token", "") or header
        machine = self._owner.served().machines[report.event.machine or ""]
        return self.giving.why_not_report(request.remote or "", machine, token)

    def _begun(self, client: str, path: str, size: int) -> None:
        """Note that a file begins to be sent, or with no size, that this is over."""
        address = client_address(client)
        machine = self._owner.served().by_ip.get(address) if address else None
        if machine is not None:
            self._owner.report(s.Loading(str(machine.name), path, size))

    def _observe(self, record: RequestRecord) -> None:
        image = self.images.release_of(record.kernel) if record.kernel and record.status == 200 else ""
        event = event_of(record, self._owner.served(), now(), image=image)
        if event is None:
            return
        if record.to == TO_NOTHING and event.machine and self._owner.life(event.machine).held:
            return  # a held machine asks again every minute: told once
        if event.kind is EventKind.STRAY and event.mac is None:
            # Who has no address of ours is known by the MAC behind the one it took.
            asker = self.giving.asker(record.client)
            network = asker.network.name if asker.network else None
            event = replace(event, mac=asker.neighbour, network=network)
        self._owner.report(s.Happened(event))


def _refused_report(client: str, verdict: Rejected, served: Served) -> Event:
    detail = {"path": "/v1/report", "status": str(verdict.status), "reason": verdict.reason}
    address = client_address(client)
    machine = served.by_ip.get(address) if address else None
    name, mac = (str(machine.name), machine.mac) if machine else (None, None)
    return Event(now(), EventKind.HTTP_ERROR, name, mac, address, detail=detail)
