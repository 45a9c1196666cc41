"""Settings and machines to the text of dnsmasq's files. Pure: templates arrive as text.

Two kinds of file, never mixed. The configuration is made from the shipped templates and the settings; the
hosts file is made from the inventory, line by line, without a template. In the main configuration a newline
inside a value becomes a directive, and a directive can run programs as root, so what goes in there is
checked once more right here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from jinja2 import Environment, StrictUndefined

from appliance.addresses import Mac
from appliance.boot.firmware import BIOS, CLASSES, DISK_FILE, DISK_TAG, OTHER_TAG, ClientClass, Transport
from appliance.errors import OperatorError
from appliance.inventory.model import Machine
from appliance.settings import NetworkMode, NetworkSettings

# Which templates make which process's configuration, in this order.
TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "dhcp": (
        "10-listen.conf.j2",
        "20-dhcp.conf.j2",
        "22-options.conf.j2",
        "25-relayed.conf.j2",
        "30-classes.conf.j2",
        "35-boot.conf.j2",
    ),
    "proxy": ("10-listen.conf.j2", "30-classes.conf.j2", "50-proxy.conf.j2"),
    "tftp": ("10-listen.conf.j2", "40-tftp.conf.j2"),
}
# Above this many machines the interface's tag on each line pays: dnsmasq then finds a host on its first walk.
TAGGED_ABOVE: Final = 1000
# A DECLINE, which anybody can forge, takes an address out of service for ten minutes; but only when dnsmasq
# finds the reservation by it. With this tag, which a DECLINE alone gets, it finds none (measured on 2.90).
DECLINED_TAG: Final = "declined"
# dnsmasq reads a hosts file in pieces of 1,024 bytes and takes each piece for a host of its own.
LONGEST_LINE: Final = 1000

# Printable ASCII without what dnsmasq's reader treats specially: comma, quotes, backslash, comment sign.
_PLAIN: Final = re.compile(r"[!$-&(-+\--\[\]-~]+", re.ASCII)
# PXE 2.1, vendor options: discovery control (6): no broadcast, no multicast, else the boot file; menu (9):
# type 0, five letters; prompt (10): no seconds.
_LOCAL_BOOT: Final = (b"\x06\x01\x0b\x09\x08\0\0\x05Local\x0a\x02\0L\xff").hex(":")

_INTERFACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}", re.ASCII)


def render_dhcp(
    network: NetworkSettings,
    *,
    templates: Mapping[str, str],
    boot_url: str,
    http_port: int,
    hosts_path: str,
    log_path: str,
    boot_files: Mapping[int, str],
    extra: str = "",
) -> str:
    """The configuration of the DHCP process of one network, owned or proxy.

    Args:
        network: its settings.
        templates: text by file name, everything of `conf.d/`.
        boot_url: the script that iPXE loads, on our endpoint or an external one.
        http_port: of our HTTP side, which has the first stage for HTTP boot below /assets/ipxe/.
        hosts_path: the hosts file, which a reload reads again.
        log_path: the log file of this process.
        boot_files: published file name by option-93 value; a class that is absent is refused.
        extra: an operator's own lines, put last, where they win.

    Raises:
        OperatorError: when a value cannot stand in a configuration line.
    """
    context: dict[str, object] = {
        **_listen([network.interface], log_path),
        "subnet": {"network": network.subnet.network_address, "netmask": network.subnet.netmask},
        "lease": network.lease,
        "address": network.address,
        "mtu": network.mtu,
        "ntp": network.ntp,
        "relayed": _relayed(network),
        "hosts_path": _plain("the path of the hosts file", hosts_path),
        "boot_url": _plain("the boot script's URL", boot_url),
        "asset_url": f"http://{network.address}:{http_port:d}/assets/ipxe",
        "classes": [_class_context(client, boot_files) for client in CLASSES],
        "others": _other_classes(),
        "declined_tag": DECLINED_TAG,
        "disk_tag": DISK_TAG,
        "disk_file": DISK_FILE,
        "local_boot": _LOCAL_BOOT,
        "other_tag": OTHER_TAG,
        "bios_tag": BIOS.tag,
        "bios_arch": BIOS.arch,
    }
    kind = "dhcp" if network.mode is NetworkMode.DHCP else "proxy"
    return _fill(kind, templates, context) + _extra(extra)


def render_tftp(
    networks: Iterable[NetworkSettings],
    *,
    templates: Mapping[str, str],
    tftp_root: str,
    log_path: str,
    extra: str = "",
) -> str:
    """The configuration of the one TFTP process, which serves every network.

    Raises:
        OperatorError: when a value cannot stand in a configuration line.
    """
    interfaces = sorted({network.interface for network in networks})
    context = _listen(interfaces, log_path)
    context["tftp_root"] = _plain("the path of the TFTP root", tftp_root)
    return _fill("tftp", templates, context) + _extra(extra)


def render_hosts(machines: Iterable[Machine], network: NetworkSettings) -> str:
    """The hosts file of one network: a line per machine, then a line per NIC that must stay silent.

    In proxy mode the other NICs are left out: dnsmasq takes `MAC,ignore` for a known client there, and
    answers (measured on 2.90); not being listed keeps them silent.

    Raises:
        OperatorError: when a machine has more MACs than one line can hold.
    """
    ours = sorted((m for m in machines if m.network == network.name), key=lambda m: (m.ip, m.name))
    prefix = f"tag:{_interface(network.interface)}," if len(ours) > TAGGED_ABOVE else ""
    held = f"{prefix}tag:!{DECLINED_TAG}," if network.mode is NetworkMode.DHCP else prefix
    lines = [_reservation(held, machine) for machine in ours]
    if network.mode is NetworkMode.DHCP:
        silent = sorted({nic.mac for machine in ours for nic in machine.nics})
        lines += [f"{prefix}{mac},ignore" for mac in silent]
    return "".join(f"{line}\n" for line in lines)


def render_marks(macs: Iterable[Mac]) -> str:
    """What marks the machines that get their address and nothing to boot.

    Not in the hosts file: 2.90 aborts at the reload after a lease when a tag is set there (measured).
    """
    return "".join(f"dhcp-mac=set:{DISK_TAG},{mac}\n" for mac in sorted(macs))


def _reservation(prefix: str, machine: Machine) -> str:
    line = prefix + ",".join([*(mac.text for mac in machine.macs), str(machine.ip), machine.hostname.text])
    if len(line) > LONGEST_LINE:
        raise OperatorError(
            f"cannot write the reservation of {machine.name}: {len(machine.macs)} MAC addresses make a line "
            f"of {len(line)} bytes, dnsmasq reads {LONGEST_LINE}",
            hint="list only the NICs that can boot",
        )
    return line


def _fill(kind: str, templates: Mapping[str, str], context: Mapping[str, object]) -> str:
    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  a configuration file, not HTML; values are checked above
    )
    parts = [environment.from_string(templates[name]).render(context) for name in TEMPLATES[kind]]
    return "# Generated by pxe-appliance; the next sync writes it again.\n" + "\n".join(p for p in parts if p)


def _listen(interfaces: Sequence[str], log_path: str) -> dict[str, object]:
    return {
        "interfaces": [_interface(name) for name in interfaces],
        "log_path": _plain("the path of the log file", log_path),
    }


def _relayed(network: NetworkSettings) -> list[dict[str, object]]:
    return [
        {
            "tag": f"s-{number}",
            "network": far.subnet.network_address,
            "netmask": far.subnet.netmask,
            "router": far.router,
        }
        for number, far in enumerate(network.relayed, start=1)
    ]


def _class_context(client: ClientClass, boot_files: Mapping[int, str]) -> dict[str, object]:
    file = boot_files.get(client.arch)
    return {
        "arch": client.arch,
        "tag": client.tag,
        "transport": _transport_tag(client.transport),
        "file": None if file is None else _plain("the name of a boot file", file),
    }


def _transport_tag(transport: Transport) -> str:
    return "pxe" if transport is Transport.PXE else "http"


def _other_classes() -> list[str]:
    """The tags of a firmware that is in no class of ours, for each transport."""
    lines = []
    for transport in Transport:
        tags = [_transport_tag(transport)]
        if transport is Transport.PXE:  # without option 93 it counts as a BIOS
            tags.append("arch")
        tags += [f"!a-{client.arch}" for client in CLASSES if client.transport is transport]
        lines.append(",".join(f"tag:{tag}" for tag in [*tags, "!ipxe"]))
    return lines


def _extra(text: str) -> str:
    if not text.strip():
        return ""
    return f"\n# From the operator's dnsmasq.d/.\n{text.rstrip()}\n"


def _plain(what: str, value: str) -> str:
    if not _PLAIN.fullmatch(value):
        raise OperatorError(
            f"cannot write {what} into dnsmasq's configuration: {value!r}",
            hint="use letters, digits and plain signs; no blanks, commas, quotes, backslashes or #",
        )
    return value


def _interface(name: str) -> str:
    if not _INTERFACE.fullmatch(name):
        raise OperatorError(
            f"cannot write the interface {name!r} into dnsmasq's configuration",
            hint="an interface name has up to 15 letters, digits, dots, colons, @, dashes or underscores",
        )
    return name
