"""What every switch port has to be, for the network team: one row per NIC. Pure.

The NIC that boots is a host port: PXE ROMs know no tags and no LACP, and their patience for DHCP is shorter
than the half minute for which a port without an edge setting listens and learns (IEEE 802.1D). Whether the
switch has to bundle the members of a bond is the bond mode's affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from appliance.addresses import Mac
from appliance.inventory.bond_modes import Bundle, mode_of, options_of
from appliance.inventory.links import link_mtu, pxe_names
from appliance.inventory.model import USUAL_MTU, Bond, Inventory, Machine, Nic
from appliance.settings import NetworkSettings

_EDGE: Final = "edge (portfast)"
_EDGE_TRUNK: Final = "edge trunk (portfast trunk)"
_NO_NATIVE: Final = "none"
# Ethernet's header and checksum, and an 802.1Q tag: what a frame has around its IP.
_AROUND_IP: Final = 18
_TAG: Final = 4


class PortMode(StrEnum):
    """What a port is."""

    HOST = "host"  # one VLAN, without a tag (access)
    TRUNK = "trunk"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """One port, in words that may stand in a work order; empty where there is nothing to say.

    `port` is what the inventory says of where the NIC is plugged in; `untagged` is the access or native VLAN,
    `tagged` the allowed ones as switches take them; `lag` is the bundle. `mtu` is in bytes of IP.
    """

    machine: str
    nic: str
    mac: Mac
    port: str
    mode: PortMode
    untagged: str
    tagged: str
    lag: str
    spanning_tree: str
    mtu: int | None
    remarks: str

    def as_json(self) -> dict[str, object]:
        """The public shape; null where there is nothing to say."""
        return {
            "machine": self.machine,
            "nic": self.nic,
            "mac": str(self.mac),
            "port": self.port or None,
            "mode": self.mode.value,
            "untagged": self.untagged or None,
            "tagged": self.tagged or None,
            "lag": self.lag or None,
            "spanning_tree": self.spanning_tree or None,
            "mtu": self.mtu,
            "remarks": self.remarks or None,
        }


def switch_ports(
    inventory: Inventory, networks: Mapping[str, NetworkSettings] = MappingProxyType({})
) -> tuple[SwitchPort, ...]:
    """Every port that a NIC of the inventory is plugged into, machine by machine; `networks` by name."""
    return tuple(
        port for machine in inventory.machines for port in _ports(machine, networks.get(machine.network))
    )


def compressed(ids: Iterable[int]) -> str:
    """VLAN ids as switches take them: `100,200-203`."""
    runs: list[list[int]] = []
    for number in sorted(set(ids)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _ports(machine: Machine, network: NetworkSettings | None) -> Iterator[SwitchPort]:
    for name, mac in zip(pxe_names(machine.macs), machine.macs, strict=True):
        yield _pxe(machine, name, mac, network)
    bonds = {member: bond for bond in machine.bonds for member in bond.members}
    for nic in machine.nics:
        bond = bonds.get(nic.name)
        if bond is not None:
            yield _carrying(machine, nic, bond, _lag(machine, bond), _bundle_remarks(machine, bond))
        elif nic.layer3 or nic.vlans:
            yield _carrying(machine, nic, nic, "none", ())
        else:
            yield _unused(machine, nic)


def _pxe(machine: Machine, name: str, mac: Mac, network: NetworkSettings | None) -> SwitchPort:
    remarks = ["PXE: no tags, no LAG; it must be an edge port, or DHCP comes too late"]
    if len(machine.macs) > 1:
        remarks.append("any of the PXE NICs of this machine may boot, one at a time")
    mtu = network.mtu if network is not None and network.mtu else USUAL_MTU
    remarks += _size(mtu, tagged=False)
    return SwitchPort(
        machine=str(machine.name),
        nic=name,
        mac=mac,
        port=machine.port if mac == machine.mac else "",
        mode=PortMode.HOST,
        untagged=_pxe_vlan(machine, network),
        tagged="",
        lag="none",
        spanning_tree=_EDGE,
        mtu=mtu,
        remarks="; ".join(remarks),
    )


def _pxe_vlan(machine: Machine, network: NetworkSettings | None) -> str:
    """The number where the settings know it; behind a DHCP relay the VLAN is another one."""
    if network is None:
        return machine.network
    if machine.ip in network.subnet:
        return f"{network.vlan} ({network.name})" if network.vlan else network.name
    for relayed in network.relayed:
        if machine.ip in relayed.subnet:
            place = f"{network.name}, behind the relay {relayed.router}"
            return f"{relayed.vlan} ({place})" if relayed.vlan else place
    return network.name


def _carrying(machine: Machine, nic: Nic, link: Bond | Nic, lag: str, remarks: Iterable[str]) -> SwitchPort:
    """A port of a NIC that carries something, by itself or as a member of the bond `link`."""
    trunk = bool(link.vlans)
    native = _NO_NATIVE if trunk else ""
    if link.layer3.address:
        native = f"the VLAN of {link.layer3.address.network}"
    mtu = link_mtu(link)
    return SwitchPort(
        machine=str(machine.name),
        nic=nic.name,
        mac=nic.mac,
        port=nic.port,
        mode=PortMode.TRUNK if trunk else PortMode.HOST,
        untagged=native,
        tagged=compressed(vlan.id for vlan in link.vlans),
        lag=lag,
        spanning_tree=_EDGE_TRUNK if trunk else _EDGE,
        mtu=max(mtu, USUAL_MTU),  # no switch is set to less, whatever its neighbour sends
        remarks="; ".join((*remarks, *_size(mtu, tagged=trunk))),
    )


def _unused(machine: Machine, nic: Nic) -> SwitchPort:
    return SwitchPort(
        machine=str(machine.name),
        nic=nic.name,
        mac=nic.mac,
        port=nic.port,
        mode=PortMode.UNUSED,
        untagged="",
        tagged="",
        lag="",
        spanning_tree="",
        mtu=None,
        remarks="carries nothing: shut it, and keep it out of the PXE VLAN",
    )


def _size(mtu: int, *, tagged: bool) -> list[str]:
    """Switches count more than IP, each vendor's its own way: the frame is what all of them mean."""
    if mtu <= USUAL_MTU:
        return []
    return [f"jumbo: frames of {mtu + _AROUND_IP + (_TAG if tagged else 0)} bytes have to pass"]


def _lag(machine: Machine, bond: Bond) -> str:
    channel = f"channel {machine.name}-{bond.name}"
    match mode_of(bond).bundle:
        case Bundle.LACP:
            return f"LACP active, rate {options_of(bond).lacp_rate}, {channel}"
        case Bundle.STATIC:
            return f"static (mode on, no LACP), {channel}"
        case Bundle.NONE:
            return "none"


def _bundle_remarks(machine: Machine, bond: Bond) -> Iterator[str]:
    others = ", ".join(bond.members)
    bundle = mode_of(bond).bundle
    if bundle is Bundle.NONE:
        yield f"{bond.name} ({bond.mode}): {others} must NOT be in a LAG, and MACs move between them"
        if bond.primary:
            yield f"{bond.primary} is used while it is up"
        return
    yield f"{bond.name} ({bond.mode}) of {others}"
    if bundle is Bundle.LACP:
        yield "no LACP fallback needed: PXE has its own port"
    nics = {nic.name: nic for nic in machine.nics}
    switches = sorted({nics[m].port.split()[0] for m in bond.members if nics[m].port})
    if len(switches) > 1:
        yield f"spans {' and '.join(switches)}: they need MLAG (vPC, MC-LAG) to be one partner"
