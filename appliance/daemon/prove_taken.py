"""Whether an offered address is also given: the one REQUEST of a sync's proof on a network.

One machine stands for all of its network: what takes an offer back is in the network's configuration, not in
a reservation. Its address is taken for the NIC that holds it or would, and given back by whoever opened the
walker.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from appliance.boot.client_words import firmware_words
from appliance.boot.firmware import ClientClass
from appliance.boot.ladder import Ladder
from appliance.daemon.known import State
from appliance.daemon.leases import live
from appliance.daemon.proof import Answer, Fault, Silence, Step
from appliance.daemon.proof_dhcp import Client
from appliance.daemon.prove_walk import Walker
from appliance.errors import NotProven
from appliance.inventory.model import Machine
from appliance.settings import NetworkSettings
from appliance.system.clock import now

_CANDIDATES: Final = 3
_TRIES: Final = 2  # what failed may have been a moment's: a rack that boots, a child that was just mended
_QUIET: Final = timedelta(minutes=5)  # without a word of a machine, after which it does not boot
_NO_ADDRESS: Final = "prove-no-address"


async def taken(walker: Walker, network: NetworkSettings, asked: set[str], firmware: ClientClass) -> str:
    """Ask for an offered address, as a client that takes it; the evidence, empty where nobody can.

    Args:
        walker: asks, and gives back.
        network: one of mode dhcp that can be asked on.
        asked: machines that were offered their address a moment ago.
        firmware: the class of client that asks.

    Raises:
        NotProven: it is not given, or by another server than ours.
        OSError: the interface went away.
    """
    machines = (m for m in walker.served.inventory.machines if m.network == network.name)
    for machine in candidates(network, machines, walker.state(), asked, now()):
        fault = None
        for _ in range(_TRIES):
            fault = await _fault(walker, machine, firmware)
            if fault is None:
                return f"{machine.name} asked for its address and was given it"
        if fault is not None and fault.id != _NO_ADDRESS:
            words = f"dnsmasq does not give {machine.name} ({machine.mac}) the {machine.ip} that it offers"
            raise NotProven(f"{words}: {fault.message}", hint=fault.remedy)
        # Anybody on the wire can have an address disabled by a forged DECLINE: another one shows as much.
    return ""


def candidates(
    network: NetworkSettings, machines: Iterable[Machine], state: State, asked: set[str], at: datetime
) -> list[Machine]:
    """Whose address is best taken: who does not boot just now, holds none, and was offered it before.

    Nobody behind a relay: its answer goes there, and only an offer's log tells of it.
    """
    holders = {lease.machine for lease in live(state.leases, at)}

    def harm(machine: Machine) -> tuple[bool, bool, bool]:
        name = str(machine.name)
        last = state.ladders.get(name, Ladder()).last
        return last is not None and at - last < _QUIET, name in holders, name not in asked

    direct = (m for m in machines if not any(m.ip in relayed.subnet for relayed in network.relayed))
    return heapq.nsmallest(_CANDIDATES, direct, key=harm)


async def _fault(walker: Walker, machine: Machine, firmware: ClientClass) -> Fault | None:
    """What keeps a machine from its address, if anything does."""
    client, mac, words = walker.client(machine, firmware), walker.mac(machine), firmware_words(firmware)
    wanted = walker.firmware_wanted(client)
    step, offer = await walker.offered(client, wanted, words, mac)
    fault = await counted(walker, client, step, offer)
    if fault is not None or not isinstance(offer, Answer):
        return fault
    step, answer = await walker.taken(client, wanted, words, mac, offer)
    return await counted(walker, client, step, answer)


async def counted(walker: Walker, client: Client, step: Step, answer: Answer | Silence) -> Fault | None:
    """The fault of an answer if a sync has to fail for it: an operator's own lines may do as they please."""
    if step.fault is None or step.fault.id == "prove-options":
        return None
    if step.fault.id != "prove-boot-file" or not isinstance(answer, Answer) or not answer.boot_file:
        return step.fault
    if answer.boot_file in walker.served.boot_files or client.to_disk:
        return step.fault  # that of another class
    if "://" in answer.boot_file or answer.next_server != client.network.address:
        return None
    there = await walker.fetcher.first_stage(client.network.address, answer.boot_file)
    if there.fine:
        return None
    return dataclasses.replace(step.fault, message=f"{step.fault.message}; {there.why_not}")
