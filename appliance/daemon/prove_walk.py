"""One client's way, rung by rung: asks, fetches, and has the pure files judge what came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from appliance.addresses import Mac
from appliance.boot.client_words import firmware_words, ipxe_settings, ipxe_words
from appliance.boot.dhcp_packet import DhcpPacket, Option, discover, request
from appliance.boot.events import EventKind
from appliance.boot.firmware import ClientClass, Transport
from appliance.boot.policy import Given
from appliance.daemon import proof_dhcp as dhcp
from appliance.daemon import proof_http as http
from appliance.daemon.known import State
from appliance.daemon.proof import (
    Answer,
    Fault,
    Outcome,
    Silence,
    Step,
    Walk,
    Wanted,
    failed,
    passed,
    skipped,
)
from appliance.daemon.proof_dhcp import Client
from appliance.daemon.prove_dhcp import Questions
from appliance.daemon.prove_fetch import Fetcher, timed
from appliance.daemon.served import Served
from appliance.inventory.model import Machine
from appliance.settings import NetworkMode, NetworkSettings
from appliance.system.clock import monotonic

_NOWHERE: Final = IPv4Address(0)
_BY_RELAY: Final = "through a relay only the offer can be seen, in the log"
_PROXIED: Final = "another server gives the addresses"


@dataclass(slots=True)
class Walker:
    """Walks for one run, on one generation. `given` tells what a machine's present boot gets."""

    served: Served
    state: Callable[[], State]
    given: Callable[[Machine], Given]
    fetcher: Fetcher
    questions: Mapping[str, Questions]
    unusable: Mapping[str, Fault]  # networks that nothing can be asked on, and why
    free: Mapping[str, frozenset[int]] = field(default_factory=dict)  # by network: `Wanted.free`
    as_it_runs: bool = False  # who goes to the disk by what DHCP runs with now, not by what it should
    acknowledged: dict[str, Mac] = field(default_factory=dict)  # machines whose address was taken

    def client(self, machine: Machine, firmware: ClientClass) -> Client:
        """Who asks."""
        state = self.state()
        marks = state.marked if self.as_it_runs else state.to_disk
        marked = marks.get(f"dhcp:{machine.network}", frozenset())
        network = self.served.settings.networks[machine.network]
        return Client(machine, network, firmware, machine.mac in marked)

    def mac(self, machine: Machine) -> Mac:
        """The NIC that asks: the one that holds the address now, so that no lease changes hands."""
        lease = self.state().leases.get(str(machine.ip))
        return lease.mac if lease is not None and lease.mac in machine.macs else machine.mac

    async def walk(self, machine: Machine, firmware: ClientClass) -> Walk:
        """The whole way of one client."""
        way = Walk(str(machine.name), self.mac(machine), machine.ip, machine.network, firmware.arch)
        steps: list[Step] = []
        if why := self._why_not(machine, firmware):
            steps.append(failed(EventKind.OFFER, 0, why))
        elif self._unanswered(machine, firmware):
            steps.append(skipped(EventKind.OFFER, "UEFI HTTP boot knows no ProxyDHCP"))
        else:
            client = self.client(machine, firmware)
            try:
                for stage in (self._firmware, self._first_stage, self._ipxe, self._files):
                    steps += await stage(client, way.mac)
                    if steps[-1].fault is not None:
                        break
            except OSError as error:
                steps.append(failed(EventKind.OFFER, 0, dhcp.cannot_speak(client.network, error)))
        return Walk(way.machine, way.mac, way.ip, way.network, way.arch, tuple(steps))

    async def offered(
        self, client: Client, wanted: Wanted, words: Mapping[int, bytes], mac: Mac
    ) -> tuple[Step, Answer | Silence]:
        """A DISCOVER, and what it was answered."""
        asked = self.questions[client.network.name]
        relay = client.relay
        say = partial(_discover, mac, words, relay, client.network)
        answer, ms = await timed(asked.ask(say, elsewhere=relay != _NOWHERE))
        if wanted.proxied and isinstance(answer, Answer) and (choice := dhcp.menu_choice(answer)):
            chosen = {**words, Option.VENDOR_SPECIFIC: choice}
            answer, more = await timed(asked.ask(partial(_choose, mac, chosen, client.network)))
            ms += more
        return _judged(EventKind.OFFER, answer, ms, wanted, client), answer

    async def taken(
        self, client: Client, wanted: Wanted, words: Mapping[int, bytes], mac: Mac, offer: Answer
    ) -> tuple[Step, Answer | Silence]:
        """A REQUEST for what was offered, to whoever offered it, and what it was answered."""
        self.acknowledged[str(client.machine.name)] = mac
        say = partial(_request, mac, words, client, offer.server or client.network.address)
        answer, ms = await timed(self.questions[client.network.name].ask(say))
        return _judged(EventKind.ACK, answer, ms, wanted, client), answer

    def firmware_wanted(self, client: Client) -> Wanted:
        """What a firmware should be answered."""
        return self._ours(client, dhcp.firmware_wanted(client, self.served, self._free(client)))

    def ipxe_wanted(self, client: Client) -> Wanted:
        """What its iPXE should be answered."""
        return self._ours(client, dhcp.ipxe_wanted(client, self.served, self._free(client)))

    def _why_not(self, machine: Machine, firmware: ClientClass) -> Fault | None:
        if fault := self.unusable.get(machine.network):
            return fault
        reason = self.served.refused_classes.get(firmware.arch)
        if reason is None:
            return None
        what, _, remedy = reason.partition("; ")
        return Fault("prove-class", f"{firmware.words} is refused: {what}", remedy)

    def _unanswered(self, machine: Machine, firmware: ClientClass) -> bool:
        proxied = self.served.settings.networks[machine.network].mode is NetworkMode.PROXY
        return proxied and firmware.transport is Transport.HTTP

    def _ours(self, client: Client, wanted: Wanted) -> Wanted:
        """A change is not to blame for an interface whose first address is not the network's: that works."""
        asked = self.questions.get(client.network.name) if self.as_it_runs else None
        return replace(wanted, as_well=asked.ours) if asked is not None else wanted

    def _free(self, client: Client) -> frozenset[int]:
        return self.free.get(client.network.name, frozenset())

    async def _firmware(self, client: Client, mac: Mac) -> list[Step]:
        return await self._exchange(
            client, mac, firmware_words(client.firmware), self.firmware_wanted(client)
        )

    async def _ipxe(self, client: Client, mac: Mac) -> list[Step]:
        steps = await self._exchange(client, mac, ipxe_words(client.firmware, mac), self.ipxe_wanted(client))
        fault = next((step.fault for step in steps if step.fault), None)
        ms = sum(step.ms for step in steps)
        return [Step(EventKind.IPXE, Outcome.FAILED if fault else steps[0].outcome, ms, steps[0].said, fault)]

    async def _exchange(
        self, client: Client, mac: Mac, words: Mapping[int, bytes], wanted: Wanted
    ) -> list[Step]:
        """DISCOVER, OFFER, REQUEST, ACK; what cannot be tried is said."""
        if wanted.proxied and client.to_disk:
            return [skipped(EventKind.OFFER, "it goes to its disk, and a proxy says nothing about that")]
        offer, said = await self.offered(client, wanted, words, mac)
        if offer.fault is not None or not isinstance(said, Answer):
            return [offer]
        if wanted.proxied or client.relay != _NOWHERE:
            return [offer, skipped(EventKind.ACK, _PROXIED if wanted.proxied else _BY_RELAY)]
        ack, _ = await self.taken(client, wanted, words, mac, said)
        return [offer, ack]

    async def _first_stage(self, client: Client, _mac: Mac) -> list[Step]:
        if client.to_disk:
            return [skipped(EventKind.BOOTFILE, "it goes to its disk")]
        file = self.served.first_stages.get(client.firmware.arch, "")
        if not file:
            return [
                skipped(EventKind.BOOTFILE, "the generation does not say which file; sync writes it anew")
            ]
        here, name = self.here(client.network), str(client.machine.name)
        if client.firmware.transport is Transport.HTTP:
            url = f"http://{here}/assets/ipxe/{file}"
            found, ms = await timed(self.fetcher.whole(url, here, name, shared=True))
        else:
            found, ms = await timed(self.fetcher.first_stage(client.network.address, file))
        return [http.first_stage_step(found, ms, file, self.served.digests.get(file, ""), client.firmware)]

    async def _files(self, client: Client, mac: Mac) -> list[Step]:
        """Script, kernel, initrds, Ignition."""
        script, loads = await self.script(client, mac)
        steps = [script]
        if loads is None:
            return steps
        here, machine = self.here(client.network), client.machine
        files = [(EventKind.KERNEL, loads.kernel), *((EventKind.INITRD, url) for url in loads.initrds)]
        for rung, url in files:
            if not http.can_be_fetched(url):
                steps.append(skipped(rung, f"{url}: only HTTP is tried"))
                continue
            found, ms = await timed(self.fetcher.head(url, here, str(machine.name)))
            steps.append(http.file_step(rung, found, ms, url, machine.arch))
            if steps[-1].fault is not None:
                return steps
        if not loads.ignition:
            return [*steps, skipped(EventKind.IGNITION, "it boots without Ignition")]
        if not http.can_be_fetched(loads.ignition):
            return [*steps, skipped(EventKind.IGNITION, "only HTTP is tried")]
        found, ms = await timed(self.fetcher.whole(loads.ignition, here, str(machine.name)))
        return [*steps, http.ignition_step(found, ms, loads.ignition)]

    async def script(self, client: Client, mac: Mac) -> tuple[Step, http.Loads | None]:
        """What the machine's iPXE is told, and what it would load; None when it loads nothing."""
        machine, here = client.machine, self.here(client.network)
        name, began = str(machine.name), monotonic()
        url = f"http://{here}/boot.ipxe"
        settings = ipxe_settings(client.firmware, mac)
        settings |= {"uuid": machine.uuid or "", "serial": machine.serial or ""}
        first = await self.fetcher.whole(url, here, name)
        wanted = self.given(machine)
        step, onward = http.first_script(first, url, settings, wanted)
        if onward:
            second = await self.fetcher.whole(onward, here, name)
            profile = self.served.inventory.profiles.get(machine.profile or "")
            loads_nothing = profile is None or profile.source is None
            ours = onward.startswith(f"http://{here}/")
            step, loads = http.second_script(second, onward, settings, loads_nothing=loads_nothing, ours=ours)
            return _with_time(step, began), loads
        assert step is not None, "a script that goes nowhere is a step"
        return _with_time(step, began), None

    def here(self, network: NetworkSettings) -> str:
        """Our HTTP side on a network."""
        return f"{network.address}:{self.served.settings.http.port}"


def _discover(
    mac: Mac, words: Mapping[int, bytes], relay: IPv4Address, network: NetworkSettings, xid: int
) -> DhcpPacket:
    if network.mode is NetworkMode.PROXY:
        return _ask_boot_server(mac, words, xid)
    return discover(mac, xid, options=words, giaddr=relay)


def _choose(mac: Mac, words: Mapping[int, bytes], network: NetworkSettings, xid: int) -> DhcpPacket:
    """A menu's item is given to a client that has an address already, and sent there: to ours."""
    return replace(_ask_boot_server(mac, words, xid), ciaddr=network.address)


def _ask_boot_server(mac: Mac, words: Mapping[int, bytes], xid: int) -> DhcpPacket:
    """A request to the boot server's port, where no DHCP server listens (PXE 2.1): it asks for no address."""
    packet = request(mac, xid, address=_NOWHERE, options=words)
    options = {code: raw for code, raw in packet.options.items() if code != Option.REQUESTED_ADDRESS}
    return replace(packet, options=options)


def _request(
    mac: Mac, words: Mapping[int, bytes], client: Client, server: IPv4Address, xid: int
) -> DhcpPacket:
    return request(mac, xid, address=client.machine.ip, server=server, options=words)


def _judged(rung: EventKind, answer: Answer | Silence, ms: float, wanted: Wanted, client: Client) -> Step:
    if isinstance(answer, Silence):
        why = dhcp.why_not_given if rung is EventKind.ACK else dhcp.why_not_heard
        return failed(rung, ms, why(answer, client))
    fault = dhcp.judge(answer, wanted, client)
    return failed(rung, ms, fault) if fault else passed(rung, ms, dhcp.words(answer, wanted))


def _with_time(step: Step, began: float) -> Step:
    return Step(step.rung, step.outcome, (monotonic() - began) * 1000, step.said, step.fault)
