"""Looks at interfaces and routes: ioctl by way of `system.network`, and /sys/class/net."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, ip_interface

from appliance.doctor.forwarding import Kernel
from appliance.doctor.interface import Beneath, Link, Route
from appliance.doctor.reach import Reach, names
from appliance.system.network import interface_state

_IFF_UP = 0x1
_RTF_UP = 0x1


def look_at_links(reach: Reach) -> list[Link]:
    """Every interface of this network namespace."""
    return [_link(reach, name) for _, name in socket.if_nameindex()]


def _link(reach: Reach, name: str) -> Link:
    state = interface_state(name)
    here = reach.sys / "class/net" / name
    master = _linked(reach, name, "master")
    kind = next(
        (line[8:] for line in reach.text(here / "uevent").splitlines() if line.startswith("DEVTYPE=")), ""
    )
    below = [n[6:] for n in names(here) if n.startswith("lower_")]
    below = below or list(names(here / "brif"))
    return Link(
        name=name,
        present=state.present,
        up=_is_up(reach, name),
        carrier=_has_carrier(reach, name),
        mac=state.mac,
        mtu=state.mtu,
        addresses=tuple(str(ip_interface(a)) for a in state.addresses),
        kind=kind,
        master=master,
        master_kind=_kind_of_master(reach, master),
        beneath=tuple(
            Beneath(b, _is_up(reach, b), _has_carrier(reach, b), _mtu(reach, b, state.mtu)) for b in below
        ),
    )


def _is_up(reach: Reach, name: str) -> bool:
    text = reach.text(reach.sys / "class/net" / name / "flags").strip()
    return bool(int(text, 16) & _IFF_UP) if text.startswith("0x") else interface_state(name).up


def _has_carrier(reach: Reach, name: str) -> bool:
    # The file cannot be read while the interface is down; its flags say that already.
    told = reach.number(reach.sys / "class/net" / name / "carrier")
    return told == 1 if told is not None else interface_state(name).up


def _mtu(reach: Reach, name: str, default: int) -> int:
    return reach.number(reach.sys / "class/net" / name / "mtu") or default


def _linked(reach: Reach, name: str, what: str) -> str:
    try:
        return (reach.sys / "class/net" / name / what).readlink().name
    except OSError:
        return ""


def _kind_of_master(reach: Reach, master: str) -> str:
    if not master:
        return ""
    here = reach.sys / "class/net" / master
    return "bridge" if (here / "bridge").is_dir() else "bond" if (here / "bonding").is_dir() else ""


def look_at_routes(reach: Reach) -> list[Route]:
    """The main table: /proc/net/route, whose addresses are in the byte order of this host (little-endian)."""
    found = []
    for line in reach.text(reach.proc / "net/route").splitlines()[1:]:
        words = line.split()
        if len(words) >= 8 and int(words[3], 16) & _RTF_UP:
            to, gateway, mask = (_address(words[i]) for i in (1, 2, 7))
            via = gateway if int(gateway) else None
            found.append(Route(IPv4Network(f"{to}/{mask}", strict=False), words[0], via))
    return found


def _address(word: str) -> IPv4Address:
    return IPv4Address(int.from_bytes(bytes.fromhex(word), "little"))


def look_at_kernel(reach: Reach) -> Kernel:
    """Forwarding, reverse-path filter and bridges."""
    conf = reach.proc / "sys/net/ipv4/conf"
    interfaces = names(conf)
    return Kernel(
        ip_forward=reach.sysctl("net/ipv4/ip_forward") == 1,
        forwarding={n: reach.number(conf / n / "forwarding") == 1 for n in interfaces},
        rp_filter={n: reach.number(conf / n / "rp_filter") or 0 for n in interfaces},
        bridge_calls=reach.sysctl("net/bridge/bridge-nf-call-iptables") == 1,
    )
