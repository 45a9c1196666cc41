"""The machines' lives, as the decider keeps them: what an event or an operator makes of one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from immutables import Map

from appliance.addresses import Mac
from appliance.boot.events import TO_NOTHING, Event, EventKind
from appliance.boot.ladder import Ladder
from appliance.boot.policy import BootPolicy, Cue, Life, loop_reason, way_out
from appliance.daemon.served import Served
from appliance.inventory.model import Machine

_NO_FACTS = frozenset({"stage", "message"})

Lives = Map[str, Life]


def policy_of(served: Served, machine: Machine) -> BootPolicy | None:
    """The boot policy of a machine's profile; None without a profile."""
    profile = served.inventory.profiles.get(machine.profile or "")
    return profile.boot if profile else None


def boot_began(ladder: Ladder | None, now: datetime) -> datetime:
    """What tells one boot of a machine from another: when it began; `now` when that was not seen."""
    if ladder is None or not ladder.rungs:
        return now
    began = next(iter(ladder.rungs.values()))
    return began.replace(microsecond=began.microsecond // 1000 * 1000)  # as precise as it is kept


def counted_boot(life: Life, boot: datetime, *, again: bool) -> datetime:
    """The boot that an installer counts for: a further try of the same script is none of its own.

    It asks DHCP anew, and when its kernel had arrived and its initrd had not, that looks like the next boot.
    """
    return life.installs[-1] if again and life.installs else boot


def after_event(life: Life, event: Event, policy: BootPolicy | None, ladder: Ladder) -> Life:
    """A machine's life after an event of it, and after what the event made of its ladder.

    Whatever it asked for in another's name is no part of it.
    """
    if "claims" in event.detail:
        return life
    match event.kind:
        case EventKind.SCRIPT if policy is BootPolicy.INSTALL_ONCE:
            to = event.detail.get("to")
            if to == TO_NOTHING and not life.held:
                return life.after(Cue.HOLD, event.at, reason=loop_reason(), by="install-loop")
            if not to and "reason" not in event.detail:  # else it was not known to be the machine that asked
                boot = counted_boot(life, boot_began(ladder, event.at), again="again" in event.detail)
                return life.after(Cue.SERVED, event.at, boot=boot)
        case EventKind.DONE:
            cue = Cue.INSTALLED if event.detail.get("stage") == "installed" else Cue.DONE
            return life.after(cue, event.at).reported(_facts(event))
        case EventKind.REPORT:
            return life.reported(_facts(event))
    if ladder.held and not life.held and ladder.verdict is not None:
        return life.after(Cue.HOLD, event.at, reason=ladder.verdict.message, by="boot-loop")
    return life


def turn(machine: Machine, before: Life, after: Life, at: datetime) -> list[Event]:
    """The event that a change in a machine's life is; none when it is where it was."""
    if after.state is before.state:
        return []
    said = {"from": before.state.value, "to": after.state.value}
    kind = EventKind.LIFECYCLE
    if after.held:
        kind = EventKind.HELD
        said |= {"by": after.by, "reason": after.reason, "remedy": way_out(str(machine.name))}
    detail = MappingProxyType({key: value for key, value in said.items() if value})
    return [Event(at, kind, str(machine.name), machine.mac, None, machine.network, detail)]


def marked(served: Served, lives: Mapping[str, Life]) -> Mapping[str, frozenset[Mac]]:
    """By DHCP child: the MACs that get their address alone."""
    found: dict[str, set[Mac]] = {f"dhcp:{name}": set() for name in served.settings.networks}
    for name, machine in served.machines.items():
        if _to_disk(served, machine, lives.get(name)):
            found[f"dhcp:{machine.network}"].update(machine.macs)
    return MappingProxyType({child: frozenset(macs) for child, macs in found.items()})


def marked_with(
    before: Mapping[str, frozenset[Mac]], served: Served, machine: Machine, life: Life
) -> Mapping[str, frozenset[Mac]]:
    """`marked`, after one machine's life has changed."""
    child = f"dhcp:{machine.network}"
    now, mine = before.get(child, frozenset()), frozenset(machine.macs)
    after = now | mine if _to_disk(served, machine, life) else now - mine
    return before if after == now else MappingProxyType({**before, child: after})


def of(machine: Machine, life: Life) -> Life:
    """The life with the machine's NICs in it, as it is kept."""
    return replace(life, macs=_macs(machine))


def renamed(lives: Lives, before: Served, served: Served) -> dict[str, Life]:
    """What becomes of lives whose machines have another name now: the same NIC is the same machine.

    By name, what to keep: the lives under their new names, and an empty one under a name that is gone. Else a
    change of a name, or two machines that swap theirs, would have a running server installed over. A name
    with a NIC that nobody had before keeps its life: that was a repair.
    """
    owners: dict[str, str] = {}  # by NIC, whose life it was, where that name has none of its NICs any more
    for name, life in lives.items():
        known, machine = before.machines.get(name), served.machines.get(name)
        macs = life.macs or (_macs(known) if known else ())
        if life != Life() and (machine is None or not set(_macs(machine)).intersection(macs)):
            owners.update(dict.fromkeys(macs, name))
    moved: dict[str, Life] = {}
    taken = set()
    for name, machine in served.machines.items() if owners else ():
        old = next((owners[mac] for mac in _macs(machine) if mac in owners), None)
        if old is not None and (name in owners.values() or lives.get(name, Life()) == Life()):
            moved[name] = of(machine, lives[old])
            taken.add(old)
    for old in set(owners.values()) - moved.keys():
        machine = served.machines.get(old)
        if machine is not None:
            moved[old] = of(machine, lives[old])
        elif old in taken:
            moved[old] = Life()
    return moved


def _macs(machine: Machine) -> tuple[str, ...]:
    return tuple(mac.text for mac in machine.macs)


def assumed_installed(lives: Lives, names: Iterable[str], at: datetime) -> Lives:
    """The lives, where nobody knows any more who is installed: disks come first."""
    unknown = [name for name in names if name not in lives]
    return lives.update({name: Life().after(Cue.INSTALLED, at) for name in unknown})


def _to_disk(served: Served, machine: Machine, life: Life | None) -> bool:
    return (life or Life()).goes_to_disk(policy_of(served, machine))


def _facts(event: Event) -> Mapping[str, str]:
    return {key: value for key, value in event.detail.items() if key not in _NO_FACTS}
