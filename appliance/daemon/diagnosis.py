"""Why each machine's boot stands where it stands: the decider's state as evidence, judged. Pure.

What all machines share (networks, children, other servers, strays) is worked out once for a whole listing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from appliance.boot.events import EventKind
from appliance.boot.evidence import Course, Evidence, Place, Suspect
from appliance.boot.ladder import BootState, Ladder
from appliance.boot.policy import Life
from appliance.boot.verdicts import Judged, judge
from appliance.daemon.discreet import masked_url
from appliance.daemon.known import State
from appliance.daemon.ledger import Stray
from appliance.daemon.outages import endpoint_down_since, interface_is_down
from appliance.daemon.strays import clues_of
from appliance.dnsmasq.lifecycle import Phase
from appliance.image_ref import ImageRef
from appliance.inventory.model import Machine, Profile
from appliance.settings import NetworkMode, NetworkSettings, Push, Settings
from appliance.sync.documents import makes_ignition
from appliance.sync.handover import boot_of, machine_url

_RECENT: Final = timedelta(hours=1)
_ROWS: Final = 128  # strays that are looked at, the newest
_STRONG: Final = frozenset({"uuid", "typo"})  # clues that say whose a stray is
_PASSING: Final = frozenset({Phase.STARTING, Phase.RESTARTING})
_NAMED: Final = 3
_NOBODY: Final = Ladder()
_NO_LIFE: Final = Life()
_IDLE: Final = Judged(BootState.IDLE)
_BOOTED: Final = Judged(BootState.BOOTED)


@dataclass(frozen=True, slots=True)
class Outside:
    """What the decider cannot know: on which of our addresses HTTP does not listen, and why."""

    deaf: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class Diagnosis:
    """Verdicts of one moment. Build it anew for each listing."""

    def __init__(self, state: State, now: datetime, outside: Outside | None = None) -> None:
        self._state = state
        self._now = now
        self._suspects: dict[str, list[Suspect]] = {}
        self._strangers: dict[str, list[str]] = {}
        self._look_at_strays()
        deaf = (outside or Outside()).deaf
        networks = state.served.settings.networks.values()
        self._places = {n.name: self._place(n, deaf) for n in networks}
        self._courses: dict[tuple[str, str, str | None, bool], Course] = {}

    def of(self, machine: Machine, *, asked: bool = False, nothing: str = "") -> Judged:
        """Where a machine stands. `asked`: about this one alone; `nothing`: why it has nothing to boot."""
        name = str(machine.name)
        ladder = self._state.ladders.get(name, _NOBODY)
        life = self._state.lives.get(name, _NO_LIFE)
        suspects = self._suspects.get(name)
        if not (asked or suspects or life.held) and _is_quiet(ladder):
            return _BOOTED if ladder.finished else _IDLE
        return judge(self._evidence(machine, ladder, life, asked=asked, nothing=nothing))

    def _evidence(
        self, machine: Machine, ladder: Ladder, life: Life, *, asked: bool, nothing: str
    ) -> Evidence:
        served = self._state.served
        profile = served.inventory.profiles.get(machine.profile or "")
        return Evidence(
            machine=str(machine.name),
            ladder=ladder,
            now=self._now,
            ip=str(machine.ip),
            macs=tuple(mac.text for mac in machine.macs),
            profile=machine.profile or "",
            policy=profile.boot if profile else None,
            life=life,
            place=self._places[machine.network],
            course=self._course(machine, profile) if profile else Course(),
            suspects=tuple(self._suspects.get(str(machine.name), ())),
            nothing=nothing,
            asked=asked,
        )

    def _course(self, machine: Machine, profile: Profile) -> Course:
        made = makes_ignition(machine, profile)
        key = (profile.name, machine.network, machine.arch, made)
        if key not in self._courses:
            self._courses[key] = course(self._state.served.settings, machine, profile, made=made)
        return self._courses[key]

    def _place(self, network: NetworkSettings, deaf: Mapping[str, str]) -> Place:
        state = self._state
        matchbox, address = state.served.settings.matchbox, str(network.address)
        # What a client says of a server, anybody can forge.
        servers = [
            rogue
            for rogue in state.rogue_servers.known.values()
            if rogue.network == network.name and rogue.how != "request"
        ]
        return Place(
            network=network.name,
            interface=network.interface,
            address=address,
            proxy=network.mode is NetworkMode.PROXY,
            port=state.served.settings.http.port,
            down=why_down(state, network) if interface_is_down(state, network.name, self._now) else "",
            up_again=up_again(state, network),
            dhcp_down=self._child(f"dhcp:{network.name}"),
            tftp_down=self._child("tftp"),
            http_down=f"HTTP does not listen on {address}: {deaf[address]}" if address in deaf else "",
            endpoint="" if matchbox.builtin else matchbox.endpoint,
            endpoint_since=endpoint_down_since(state, self._now),
            servers=tuple(
                f"{s.address} ({s.mac})" if s.mac else str(s.address) for s in servers if s.address
            ),
            strangers=tuple(self._strangers.get(network.name, ())[:_NAMED]),
            boot_files=state.served.boot_files,
        )

    def _child(self, name: str) -> str:
        child = self._state.children.get(name)
        if child is None or child.phase is Phase.SERVING:
            return ""
        if child.phase in _PASSING and not child.failures:
            return ""  # it reads a new configuration
        said = self._state.last_words.get(name, "")
        return f"{name} is {child.phase.value}" + (f": {said}" if said else "")

    def _look_at_strays(self) -> None:
        since = self._now - _RECENT
        rows = [row for row in self._state.strays.rows.values() if row.last >= since and row.note is None]
        if not rows:
            return
        clues = clues_of(self._state)
        for row in sorted(rows, key=lambda row: row.last, reverse=True)[:_ROWS]:
            best = next(iter(clues.of(row)), None)
            if best is not None and best.kind in _STRONG and best.machine is not None:
                suspect = Suspect(row.mac.text, row.first, row.last, best.text, best.old)
                self._suspects.setdefault(best.machine, []).append(suspect)
            elif _is_firmware_of_nobody(row):
                self._strangers.setdefault(row.network or "", []).append(row.mac.text)


def course(settings: Settings, machine: Machine, profile: Profile, *, made: bool) -> Course:
    """What a machine's boot loads, and how much of that comes from us; `made` as for `boot_of`."""
    url = machine_url(settings, settings.networks[machine.network])
    boot = boot_of(profile, url, machine.arch, made=made)
    if boot is None:
        return Course(origin=str(profile.origin))
    builtin, pushed = settings.matchbox.builtin, settings.matchbox.push is not Push.NONE
    ignition = any(f"{url}/ignition" in arg for arg in boot.args)
    ours = boot.kernel.startswith((f"{url}/", "/assets/")) or "://" not in boot.kernel
    return Course(
        kernel=masked_url(boot.kernel),
        initrd=tuple(masked_url(initrd) for initrd in boot.initrd),
        here=ours if builtin else pushed and isinstance(profile.source, ImageRef),
        ignition=ignition and builtin,
        calls_home=ignition and profile.call_home and (builtin or pushed),
        origin=str(profile.origin),
    )


def why_down(state: State, network: NetworkSettings) -> str:
    """Why a network's interface cannot be used; empty when it can."""
    if state.usable(network.name):
        return ""
    if network.name in state.dangers:
        return state.dangers[network.name].message
    seen = state.interfaces.get(network.name)
    if seen is None or not seen.present:
        return f"interface {network.interface} does not exist"
    if not seen.up:
        return f"interface {network.interface} is down"
    return f"interface {network.interface} does not hold {network.address}"


def up_again(state: State, network: NetworkSettings) -> str:
    """The command that makes a network's interface usable."""
    if network.name in state.dangers:
        return state.dangers[network.name].fix
    seen = state.interfaces.get(network.name)
    interface = network.interface
    if seen is None or not seen.present:
        return f"ip link show; name the interface that is there, or bring {interface} up"
    up = f"ip link set {interface} up"
    if seen.holds(network.address):
        return up
    return f"ip addr add {network.address}/{network.subnet.prefixlen} dev {interface} && {up}"


def _is_quiet(ladder: Ladder) -> bool:
    """Whether nothing is known that any rule would look at: the usual machine, off or up."""
    if ladder.rung is not None and not ladder.finished:
        return False
    odd = any(sign.kind is EventKind.IGNORED for sign in ladder.signs)
    return not odd and ladder.verdict is None and len(ladder.to_disk) < 2


def _is_firmware_of_nobody(row: Stray) -> bool:
    return row.machine is None and bool(row.arch)
