"""`init`: the first settings and an inventory to fill in."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from string import Template
from typing import Final

from appliance.errors import OperatorError, Refused, SurroundingsError
from appliance.grammar import parse_subnet
from appliance.paths import Paths
from appliance.settings_parse import parse_settings
from appliance.system.files import make_directory, write_atomic

_SETTINGS: Final = Template("""\
# Settings of pxe-appliance. `pxe-appliance check` validates them, `pxe-appliance config show --origin`
# prints what is in force, and `pxe-appliance sync` brings the wire in line with them.

[network.pxe]                     # one table for each PXE VLAN; "pxe" is a name of your choice
interface = "$interface"
subnet    = "$subnet"
address   = "$address"            # ours on it
mode      = "dhcp"                # "dhcp": we own addressing here; "proxy": another server gives addresses
# other_servers = "tell"          # serve refuses to start beside another DHCP server unless this is written
lease     = "1h"                  # 120s at least; it is also how long a removed machine may keep its address
# mtu     = 1500                  # sent to machines as option 26
# ntp     = ["$address"]          # time servers, sent as option 42
# mac     = "52:54:00:aa:00:ff"   # of the interface: when another NIC has got its name, it is not served
# default_route = "allow"         # serve although the default route leaves by it: one network for everything
# forwarding = "allow"            # this host is the machines' router; otherwise it forwards nothing for them
# vlan    = 110                   # its number as the network team knows it, for export switchports
# relayed = [{ subnet = "192.0.2.0/24", router = "192.0.2.1" }]   # VLANs behind DHCP relays

[http]
port = 8080                       # boot scripts, images and the status page, on the address above

[matchbox]
endpoint = "builtin"              # or the base URL of an external one: "http://matchbox.example.com:8080"
# data   = "/etc/pxe-appliance/matchbox"   # Matchbox data of your own: groups profiles ignition generic cloud
# keyring = "signing.pgp"         # in keys.d/: an OpenPGP secret key, for /ipxe.sig, /ignition.asc and so on

# [log]
# format = "text"                 # "text", "json", "journal"; default: journal under systemd, else text
# level  = "info"                 # "debug", "info", "warning", "error"

# [webhook.pager]                 # who is told what happens, by a signed POST; docs/monitoring.md
# url    = "https://alerts.example.com/hooks/pxe"
# secret = "pager"                # a file in secrets.d/, 24 bytes or more; the URL's path is never shown
# events = ["stuck", "held", "rogue-server", "stray-flood", "rollback", "problem"]

# Where images come from. What is not set here is the project's own servers and keys.
# [images.flatcar]                # likewise fedora-coreos, container-linux, ipxe
# mirror = "https://mirror.example.com/flatcar"   # {channel} may stand in it
# keys   = ["flatcar.asc"]        # in keys.d/
# arch   = ["amd64"]              # amd64, arm64
""")

_INVENTORY: Final = Template("""\
# The inventory: machines and what they boot. Every file in this folder counts (.toml .yaml .json .csv), and
# all of them together are one inventory. `pxe-appliance check` names every mistake with file and line.
# Uncomment what follows and make it yours.

# [profile.worker]
# image    = "flatcar/stable"     # os/stream[@version]; or a kernel and initrd of your own:
# # kernel = "http://$address:8080/assets/my/vmlinuz"
# # initrd = ["http://$address:8080/assets/my/initrd.img"]
# args     = ["console=ttyS0"]    # one argument each
# # ignition = "worker.bu"        # in ignition.d/: Butane or Ignition
# boot     = "install-once"       # "install-once", "always" or "disk"

# [machine.node1]
# mac     = "52:54:00:aa:00:01"   # its NIC on the PXE VLAN; macs = ["…", "…"] when any of several may boot
# ip      = "$example"
# profile = "worker"
# labels  = { rack = "r1", role = "worker" }
# port    = "leaf1 Ethernet1/1"   # where it is plugged in: for export switchports
#
# [machine.node1.nic.eno2]        # its other NICs: known, and never given an address here
# mac = "52:54:00:aa:00:02"
# [machine.node1.nic.eno3]
# mac = "52:54:00:aa:00:03"
#
# [machine.node1.bond.bond0]      # what the installed machine shall have
# members = ["eno2", "eno3"]
# mode    = "802.3ad"
# vlans   = { control = { id = 100, address = "10.0.100.21/24", gateway = "10.0.100.1" } }
""")


def init(paths: Paths, interface: str, subnet: str, address: str | None = None) -> None:
    """Write commented settings and an example inventory, and make the operator's folders.

    Raises:
        OperatorError: the interface, subnet or address cannot be used.
        Refused: there are settings or an inventory already.
        SurroundingsError: the files cannot be written.
    """
    settings, inventory = Path(paths.settings), Path(paths.inventory) / "machines.toml"
    words = _words(interface, subnet, address)
    text = _SETTINGS.substitute(words)
    parse_settings(text, str(settings))
    for path in (settings, inventory):
        if path.exists() or path.is_symlink():
            raise Refused(f"cannot write {path}: it is there already", hint="move it away, or edit it")
    folders = (paths.inventory, paths.ignition, paths.matchbox, paths.keys, paths.dnsmasq_extra)
    try:
        for folder in folders:
            make_directory(Path(folder))
        make_directory(Path(paths.secrets), 0o700)
    except OSError as error:
        raise SurroundingsError(f"cannot make {error.filename}: {error.strerror}") from error
    write_atomic(inventory, _INVENTORY.substitute(words).encode())
    write_atomic(settings, text.encode())
    sys.stdout.write(
        f"wrote {settings}\nwrote {inventory}\nNext: put machines into it, then pxe-appliance check\n"
    )


def _words(interface: str, raw_subnet: str, raw_address: str | None) -> dict[str, str]:
    try:
        subnet: IPv4Network = parse_subnet(raw_subnet)
        address = IPv4Address(raw_address) if raw_address else subnet.network_address + 1
    except ValueError as error:
        raise OperatorError(f"cannot write settings: {error}") from error
    # A backslash or a quote would end the string that it is written into.
    if not interface.isprintable() or set(interface) & set("\\\"'"):
        raise OperatorError(f"cannot write settings: {interface!r} is not an interface name")
    spare = [ip for ip in _candidates(subnet) if ip != address]
    return {"interface": interface, "subnet": str(subnet), "address": str(address), "example": str(spare[0])}


def _candidates(subnet: IPv4Network) -> list[IPv4Address]:
    """Addresses for an example machine, the likeliest first."""
    offsets = [21, 2, 1] if subnet.num_addresses > 32 else [2, 1]
    return [subnet.network_address + offset for offset in offsets]
