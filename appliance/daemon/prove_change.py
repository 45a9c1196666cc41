"""What a sync proves of its change: real offers, boot files, boot scripts; and what is the change's fault.

A sync that fails is taken back, so it fails for what it brought about: an operator's server that is down, an
address that somebody on the wire has put out of service, an image that was damaged long before are told, and
stop nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from appliance.boot.client_words import firmware_words, ipxe_words
from appliance.boot.firmware import CLASSES, ClientClass, Transport
from appliance.daemon import signals as s
from appliance.daemon.known import State
from appliance.daemon.proof import Answer, Fault, Step
from appliance.daemon.proof_http import first_stage_step
from appliance.daemon.prove import Prover
from appliance.daemon.prove_taken import counted, taken
from appliance.daemon.prove_walk import Walker
from appliance.daemon.served import Served
from appliance.daemon.status import problem
from appliance.errors import NotProven
from appliance.inventory.model import Machine
from appliance.settings import NetworkMode, NetworkSettings
from appliance.sync.plan import Action, Plan
from appliance.system.clock import monotonic
from appliance.system.network import interface_state
from appliance.system.safety import judge
from appliance.tree import Activation

_ASKED: Final = 24  # changed machines that are really asked for; the hosts file was read back whole already
_ADOPTED_LOOKS: Final = 100
_LISTENING_SECONDS: Final = 5.0
_LOOK: Final = 0.05
_NAMED: Final = 5


@dataclass(slots=True)
class _Found:
    """What a sync's questions came to."""

    failed: dict[str, Fault] = field(default_factory=dict)  # by machine, or by file
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ChangeProver:
    """Proves one change at a time on the children of the daemon that owns it."""

    prover: Prover
    report: Callable[[s.Signal], None]
    state: Callable[[], State]
    _unseen: tuple[str, str] | None = None  # what nobody has answered at all, with the id of its fault

    @property
    def problems(self) -> tuple[dict[str, str], ...]:
        """What keeps from its proof what is served and was asked for, in the public shape of `status`."""
        served = self.state().served
        if self._unseen is None or served.proven:
            return ()
        words = f"generation {served.id} is not proven: {self._unseen[1]}"
        return (problem(self._unseen[0], "warning", words, "pxe-appliance doctor"),)

    async def ask(self, plan: Plan, adopt: s.Adopted, before: Served) -> tuple[list[str], bool]:
        """Ask for changed machines and one unchanged; every one must be offered what it should.

        `before` is what was served before the change: where dnsmasq's configuration is not what was proven of
        that, one address of each network is also taken, and given back.

        Returns what was seen, and whether every network that has machines could be asked on.

        They could not, either, where not one first stage or not one boot script was to be had.

        Raises:
            NotProven: with the reason; it is the change's fault.
            OSError: an interface went away in the middle of it.
        """
        served, told, everywhere = adopt.served, [], True
        doubted = not before.proven or before.id != plan.base or not plan.activations
        async with self.prover.walker(served, as_it_runs=True) as walker:
            await self._taken_over(adopt)
            self._unseen = None
            asked: list[Machine] = []
            for network in served.settings.networks.values():
                machines = _worth_asking(plan, network, served.inventory.machines)
                if not machines:
                    continue
                if network.mode is not NetworkMode.DHCP:
                    told.append(f"{network.name}: no exchange was tried, another server gives addresses")
                elif not self._usable(network) or network.name not in walker.questions:
                    why = f"{network.interface} is not there, not up, without {network.address} or not safe"
                    told.append(f"{network.name}: no exchange was tried, {why}")
                    everywhere = False
                    continue
                else:
                    anew = doubted or plan.activations.get(f"dhcp:{network.name}") is Activation.RESTART
                    told.append(await self._offers(walker, plan, network, machines, anew=anew))
                asked += machines
            if asked:
                told += await self._boot_files(walker, plan, asked)
                told += await self._scripts(walker, plan, asked)
        return told, everywhere and self._unseen is None

    async def _taken_over(self, adopt: s.Adopted) -> None:
        """Wait until the endpoint answers for this generation."""
        for _ in range(_ADOPTED_LOOKS):
            if self.state().served.id == adopt.served.id:
                return
            await asyncio.sleep(_LOOK)

    def _usable(self, network: NetworkSettings) -> bool:
        """Look at the interface now: the regular look may be a second old, or not have come yet."""
        seen = interface_state(network.interface)
        self.report(s.InterfaceSeen(network.name, seen))
        return seen.present and seen.up and seen.holds(network.address) and judge(network, seen) is None

    # ---- DHCP ----

    async def _offers(
        self, walker: Walker, plan: Plan, network: NetworkSettings, machines: list[Machine], *, anew: bool
    ) -> str:
        """A DISCOVER of every class and of iPXE for each, and one REQUEST if all is `anew`: the evidence."""
        classes = _classes(walker)
        found = _Found()
        changed = _changed(plan)
        # Not a task group: what ends it (an interface that goes away) must come as it is.
        await asyncio.gather(*(_offered(walker, m, classes, found, str(m.name) in changed) for m in machines))
        await walker.questions[network.name].settle()
        if found.failed:
            raise _not_offered(found.failed, machines)
        given = await taken(walker, network, {str(m.name) for m in machines}, classes[0]) if anew else ""
        given = f"; {given}" if given else ""
        quiet = f"; {'; '.join(found.notes[:_NAMED])}" if found.notes else ""
        words = ", ".join(str(client.arch) for client in classes)
        count = len(machines)
        return (
            f"{network.name}: {count} machine{'s' if count > 1 else ''} asked for, "
            f"{'every changed one' if found.notes else 'each'} was offered its address and the boot file "
            f"of its class ({words}){given}{quiet}"
        )

    # ---- TFTP and HTTP ----

    async def _boot_files(self, walker: Walker, plan: Plan, asked: list[Machine]) -> list[str]:
        """Every first stage by TFTP, held against the digest with which it was published."""
        served = walker.served
        network = served.settings.networks[asked[0].network]
        files: dict[str, ClientClass] = {}
        for client in _classes(walker):
            if client.transport is Transport.PXE and client.arch in served.first_stages:
                files.setdefault(served.first_stages[client.arch], client)
        good, notes = [], []
        for file, client in files.items():
            fetched = await walker.fetcher.first_stage(network.address, file)
            step = first_stage_step(fetched, 0, file, served.digests.get(file, ""), client)
            if step.fault is None:
                good.append(file)
            elif fetched.silent and "tftp" not in plan.activations and plan.base is not None:
                notes.append(f"not proven: {step.fault.message}")  # a rack that boots takes all its slots
            else:
                raise NotProven(step.fault.message, hint=step.fault.remedy)
        if good:
            notes.insert(0, f"TFTP: {', '.join(good)} fetched, as published")
        elif notes:
            self._unseen = "prove-first-stage", notes[0].removeprefix("not proven: ")
        return notes

    async def _scripts(self, walker: Walker, plan: Plan, asked: list[Machine]) -> list[str]:
        """The boot scripts of the machines that were asked for, and of those whose profile changed."""
        changed = _changed(plan)
        profiles = {c.name for c in plan.changes if c.kind == "profile" and c.action is not Action.REMOVE}
        served = walker.served
        again = [m for m in served.inventory.machines if m.profile in profiles and m not in asked]
        machines = [*asked, *[m for m in again if m.network in walker.questions][:_ASKED]]
        mine = {m.name for m in machines if str(m.name) in changed or m.profile in profiles}
        found = _Found()
        firmware = next((c for c in _classes(walker) if c.arch in served.first_stages), CLASSES[0])
        at_once = asyncio.Semaphore(4)
        silent: list[str] = []

        async def one(machine: Machine) -> None:
            async with at_once:
                step = await _script(walker, machine, firmware)
            if step.fault is None:
                return
            if step.fault.id == "prove-endpoint" or not (
                self._for_it(plan) if step.fault.id == "prove-http" else machine.name in mine
            ):
                found.notes.append(f"not proven: {machine.name}: {step.fault.message}")
                if step.fault.id == "prove-http":
                    silent.append(step.fault.message)
            else:
                found.failed[str(machine.name)] = step.fault

        await asyncio.gather(*(one(machine) for machine in machines))
        if found.failed:
            name, fault = next(iter(found.failed.items()))
            more = f" (and {len(found.failed) - 1} more)" if len(found.failed) > 1 else ""
            raise NotProven(f"{name}{more} does not get its boot script: {fault.message}", hint=fault.remedy)
        if len(silent) == len(machines):
            self._unseen = "prove-http", silent[0]
        good = len(machines) - len(found.notes)
        some = found.notes[:_NAMED]
        if len(found.notes) > _NAMED:
            some.append(f"not proven: the scripts of {len(found.notes) - _NAMED} more machines")
        return [*([f"HTTP: {good} boot script{'s' if good != 1 else ''} as expected"] if good else []), *some]

    def _for_it(self, plan: Plan) -> bool:
        """Whether it may be the change's doing that nobody answers HTTP."""
        return plan.base is None or any(
            c.kind == "network" or (c.kind == "settings" and c.name == "http") for c in plan.changes
        )


async def _offered(
    walker: Walker, machine: Machine, classes: Iterable[ClientClass], found: _Found, changed: bool
) -> None:
    """Ask as every client of one machine; its first fault counts, if it is one that counts."""
    for number, firmware in enumerate(classes):
        client, mac = walker.client(machine, firmware), walker.mac(machine)
        wanted = walker.firmware_wanted(client)
        step, answer = await walker.offered(client, wanted, firmware_words(firmware), mac)
        fault = await counted(walker, client, step, answer)
        if fault is None and step.fault is None and number == 0:
            words = ipxe_words(firmware, mac)
            step, answer = await walker.offered(client, walker.ipxe_wanted(client), words, mac)
            own = isinstance(answer, Answer) and bool(answer.boot_file)
            fault = None if own and step.fault and step.fault.id == "prove-boot-file" else step.fault
            fault = None if fault and fault.id == "prove-options" else fault
        if fault is not None and fault.id == "prove-no-address" and not changed:
            # Anybody on the wire can have an unchanged machine's address disabled by a forged DECLINE.
            found.notes.append(f"not so, unchanged, {machine.name} ({machine.ip})")
            return
        if fault is not None:
            found.failed[str(machine.name)] = fault
            return
        if step.fault is not None:
            found.notes.append(f"{machine.name}: {step.fault.message}")


async def _script(walker: Walker, machine: Machine, firmware: ClientClass) -> Step:
    """A machine's script, as soon as somebody listens."""
    until = monotonic() + _LISTENING_SECONDS
    client, mac = walker.client(machine, firmware), walker.mac(machine)
    while True:
        step, _ = await walker.script(client, mac)
        if step.fault is None or step.fault.id != "prove-http" or monotonic() > until:
            return step
        walker.fetcher.forget()
        await asyncio.sleep(_LOOK)


def _not_offered(failed: dict[str, Fault], machines: list[Machine]) -> NotProven:
    named = [f"{m.name} ({m.mac}, {m.ip})" for m in machines if str(m.name) in failed]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    reasons = list(dict.fromkeys(fault.message for fault in failed.values()))[:3]
    hint = next(iter(failed.values())).remedy
    return NotProven(
        f"dnsmasq does not offer what it should to {', '.join(named[:_NAMED])}{more}: {'; '.join(reasons)}",
        hint=hint,
    )


def _classes(walker: Walker) -> list[ClientClass]:
    refused = walker.served.refused_classes
    return [client for client in CLASSES if client.arch not in refused]


def _worth_asking(plan: Plan, network: NetworkSettings, machines: Iterable[Machine]) -> list[Machine]:
    changed = _changed(plan)
    ours = [m for m in machines if m.network == network.name]
    moved = [m for m in ours if str(m.name) in changed][:_ASKED]
    return moved + [m for m in ours if str(m.name) not in changed][:1]


def _changed(plan: Plan) -> set[str]:
    return {c.name for c in plan.changes if c.kind == "machine" and c.action is not Action.REMOVE}
