"""What a machine is given by HTTP, and who may have it: the answer to every question of the endpoint.

The table of lives decides what (its image, its disk, nothing); admission and arming decide who.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import datetime
from ipaddress import IPv4Address
from typing import Protocol

from appliance.addresses import Mac
from appliance.boot.events import TO_DISK, TO_NOTHING, Refusal
from appliance.boot.ladder import Ladder
from appliance.boot.policy import Given, Life, loop_reason, way_out
from appliance.daemon.admission import Asker, another_named, asker_at, why_not_itself
from appliance.daemon.arming import Arming
from appliance.daemon.images import Images
from appliance.daemon.leases import Lease
from appliance.daemon.lives import boot_began, counted_boot, policy_of
from appliance.daemon.requests_seen import asks_again, client_address
from appliance.daemon.served import Served
from appliance.inventory.model import Machine
from appliance.matchbox.model import Boot
from appliance.matchbox.render import chain_script, grub_message, hold_script, refusal_script
from appliance.matchbox.request import BootRequest, Deny, Instead, LocalBoot, RequestKind, Script
from appliance.settings import Access
from appliance.sync.documents import makes_ignition
from appliance.sync.handover import TOKEN, armed, boot_of, for_grub, machine_url
from appliance.system.clock import now
from appliance.system.network import neighbour

# Documents of an operator's own groups: whoever has no place on the network has no place here either.
_DOCUMENTS = frozenset({RequestKind.IGNITION, RequestKind.GENERIC, RequestKind.CLOUD, RequestKind.METADATA})
_SCRIPTS = frozenset({RequestKind.SCRIPT, RequestKind.GRUB})
PROOF_TOKEN = "proof"  # noqa: S105 - stands where a boot's token would; it opens nothing
Override = LocalBoot | Instead | Script | Deny | None


class Known(Protocol):
    """What the decider knows."""

    def served(self) -> Served: ...
    def life(self, machine: str) -> Life: ...
    def ladder(self, machine: str) -> Ladder | None: ...
    def lease(self, address: IPv4Address) -> Lease | None: ...
    def strangers(self) -> Container[Mac]: ...


class Giving:
    """Answers for one endpoint."""

    def __init__(
        self,
        known: Known,
        images: Images,
        arming: Arming,
        clock: Callable[[], datetime] = now,
        look: Callable[[IPv4Address, str], str | None] = neighbour,
    ) -> None:
        self._known = known
        self._images = images
        self._arming = arming
        self._clock = clock
        self._look = look

    def resolve(self, request: BootRequest) -> Override:
        """The endpoint's question before it looks at groups (see `matchbox.request.Resolve`)."""
        served = self._known.served()
        asker = self.asker(request.client)
        claimed = served.machines.get(request.machine) if request.machine else None
        if request.kind is RequestKind.CHAIN:
            return self._chain(asker, served)
        if request.kind in _SCRIPTS:
            return self._script(request, asker, claimed, served) if claimed else None
        if request.kind in _DOCUMENTS:
            reason = self._why_not_document(request, asker, claimed, served)
            return Deny(reason) if reason else None
        return None

    def as_to(self, machine: Machine, request: BootRequest) -> Override:
        """The answer that the machine itself would get, for a proof: no token is minted, nothing counts."""
        served = self._known.served()
        asker = Asker(
            machine.ip, machine=machine, network=served.settings.networks[machine.network], proof=True
        )
        if request.kind is RequestKind.CHAIN:
            return self._chain(asker, served)
        if request.machine != str(machine.name):
            return None
        if request.kind in _SCRIPTS:
            return self._script(request, asker, machine, served)
        held = request.kind is RequestKind.IGNITION and self._known.life(str(machine.name)).held
        return Deny("it is held") if held else None

    def tell(self, client: str, reason: str) -> str | None:
        """What iPXE shows of a refusal; a stranger learns no more than that it is one."""
        asker = self.asker(client)
        if asker.network is None:
            return None
        shown = reason if asker.machine else "it is not known here"
        return refusal_script(str(asker.network.address), shown)

    def asker(self, client: str) -> Asker:
        """Who is at a peer's address."""
        served, address = self._known.served(), client_address(client)
        network = served.settings.network_of(address) if address else None
        seen = None
        if address is not None and network is not None and address in network.subnet:
            raw = self._look(address, network.interface)
            seen = Mac.parse(raw) if raw else None
        return asker_at(address, served, seen)

    def why_not_itself(self, asker: Asker, machine: Machine) -> str:
        """Why `asker` is not taken for `machine`; empty when it is."""
        lease = self._known.lease(asker.address) if asker.address else None
        known = self._known
        return why_not_itself(asker, machine, known.served(), lease, known.strangers(), self._clock())

    def why_not_report(self, client: str, machine: Machine, token: str) -> str:
        """Why a report from `client` is not believed to be the machine's; empty when it is."""
        settings = self._known.served().settings
        if settings.matchbox.ignition is Access.OPEN:
            return ""
        if reason := self.why_not_itself(self.asker(client), machine):
            return reason
        boot = self.boots(machine) if settings.matchbox.builtin else None
        if isinstance(boot, Boot) and self._reads(boot, machine):
            return self._arming.why_not_report(str(machine.name), token)
        return ""  # no token was ever given to it: its script names no Ignition of ours

    def _reads(self, boot: Boot, machine: Machine) -> bool:
        """Whether a boot fetches its Ignition from us."""
        return any(f"{self._url(machine)}/ignition" in arg for arg in boot.args)

    def given(self, machine: Machine, *, again: bool = False) -> Given:
        """What a machine's present boot gets. `again`: its script was given to it before in this boot."""
        name, at = str(machine.name), self._clock()
        life = self._known.life(name)
        policy = policy_of(self._known.served(), machine)
        boot = counted_boot(life, boot_began(self._known.ladder(name), at), again=again)
        return life.given(policy, boot, at)

    def boots(self, machine: Machine) -> Boot | str | None:
        """What a machine would load now, whatever its life; why it cannot, or None when it has no profile."""
        served = self._known.served()
        profile = served.inventory.profiles.get(machine.profile or "")
        if profile is None:
            return None
        settings = served.settings
        found = self._images.boot(settings, machine, profile) if settings.matchbox.builtin else None
        made = makes_ignition(machine, profile)
        return found or boot_of(profile, self._url(machine), machine.arch, made=made)

    def _chain(self, asker: Asker, served: Served) -> Override:
        """A machine's first script: it asks on until it is told; others get Matchbox's own."""
        if asker.machine is None or asker.network is None:
            return None
        address = str(asker.network.address)
        match self.given(asker.machine):
            case Given.DISK:
                return LocalBoot()
            case Given.NOTHING:
                return self._held(asker.machine, address)
        matchbox = served.settings.matchbox
        return Script(chain_script(address, "" if matchbox.builtin else f"{matchbox.endpoint}/"))

    def _script(self, request: BootRequest, asker: Asker, machine: Machine, served: Served) -> Override:
        itself = asker.machine is not None and asker.machine.name == machine.name
        address = str(served.settings.networks[machine.network].address)
        grub = request.kind is RequestKind.GRUB
        match self.given(machine, again=asks_again(request.labels)):
            case Given.DISK:
                shown = grub_message(address, "booting from the disk")
                return Script(shown, TO_DISK) if grub else LocalBoot()
            case Given.NOTHING:
                return self._held(machine, address, grub=grub)
        if not served.settings.matchbox.builtin or machine.profile is None:
            return None
        boot = self.boots(machine)
        if not isinstance(boot, Boot):
            return Deny(boot, Refusal.IMAGE) if boot else None
        mac = next((m for m in machine.macs if m.text == request.labels.get("mac")), machine.mac)
        token, reason = "", ""
        if itself and served.settings.matchbox.ignition is not Access.OPEN:
            if asker.proof:
                token = PROOF_TOKEN if self._reads(boot, machine) else ""
            elif not self._reads(boot, machine):
                reason = self.why_not_itself(asker, machine)
                if not reason:
                    self._arming.forget(str(machine.name))  # its reports can carry none
            elif not (reason := self._why_not_arm(machine, asker)):
                token = self._arm(machine, asker)
            elif request.boots:
                code = Refusal.NOT_ITSELF if self.why_not_itself(asker, machine) else ""
                return Deny(reason, code)  # better now than by an Ignition that does not come
        boot = armed(boot, self._url(machine), mac, token)
        return Instead(for_grub(boot) if grub else boot, f"without a token: {reason}" if reason else "")

    def _why_not_arm(self, machine: Machine, asker: Asker) -> str:
        name = str(machine.name)
        at = self._clock()
        boot = boot_began(self._known.ladder(name), at)
        seen = str(asker.neighbour or "")
        return self.why_not_itself(asker, machine) or self._arming.why_not_arm(name, boot, at, seen)

    def _arm(self, machine: Machine, asker: Asker) -> str:
        assert asker.address is not None, "a machine is known by its address"
        name, at = str(machine.name), self._clock()
        boot, seen = boot_began(self._known.ladder(name), at), str(asker.neighbour or "")
        return self._arming.arm(name, boot, at, asker.address, seen)

    def _held(self, machine: Machine, address: str, *, grub: bool = False) -> Script:
        name = str(machine.name)
        reason = self._known.life(name).reason or loop_reason()
        if grub:
            shown = f"{name} is held: {reason}", f"to let it go: {way_out(name)}"
            return Script(grub_message(address, *shown), TO_NOTHING, reason)
        return Script(hold_script(address, name, reason, way_out(name)), TO_NOTHING, reason)

    def _why_not_document(
        self, request: BootRequest, asker: Asker, claimed: Machine | None, served: Served
    ) -> str:
        """Why an Ignition, or what else may hold secrets, is not handed out; empty when it is."""
        if served.settings.matchbox.ignition is Access.OPEN:
            return ""
        if claimed is None:
            # An operator's own groups: anybody on this host, and machines that have their place here.
            if asker.local:
                return ""
            if asker.machine is None:
                return f"{asker.address} is no machine's address"
            return self.why_not_itself(asker, asker.machine) or another_named(
                request.labels, asker.machine, served
            )
        if request.kind is RequestKind.METADATA and asker.local:
            return ""
        reason = self.why_not_itself(asker, claimed)
        if reason or claimed.profile is None or request.kind is not RequestKind.IGNITION:
            return reason
        if self._known.life(str(claimed.name)).held:
            return "it is held"
        token = request.labels.get(TOKEN, "")
        return self._arming.why_not_read(str(claimed.name), token, asker.address, self._clock())

    def _url(self, machine: Machine) -> str:
        served = self._known.served()
        return machine_url(served.settings, served.settings.networks[machine.network])
