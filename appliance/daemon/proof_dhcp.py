"""What DHCP should answer a client, and whether it did. Pure.

Expectations come from the generation that is served and from where the machine is in its life, never from
what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Final

from appliance.boot.dhcp_packet import MessageType
from appliance.boot.firmware import DISK_FILE, ClientClass, Transport
from appliance.daemon.proof import Answer, Fault, Silence, Wanted
from appliance.daemon.served import Served
from appliance.inventory.model import Machine
from appliance.matchbox.handoff import boot_url
from appliance.settings import NetworkMode, NetworkSettings

_NOWHERE: Final = IPv4Address(0)
_ROUTER, _DNS, _VENDOR_SPECIFIC = 3, 6, 43
_MENU, _CHOICE = 9, 71  # in option 43
_OWN_LINES: Final = "\n# From the operator's dnsmasq.d/.\n"  # what `render` puts before them
_OPTION: Final = re.compile(r"^\s*dhcp-option(?:-force)?\s*=\s*(?P<rest>.+)$", re.MULTILINE)
_NAMES: Final[Mapping[str, int]] = {"router": 3, "dns-server": 6}
_LOOK: Final = "pxe-appliance events -n 50"
_OWN: Final = "lines of your own in /etc/pxe-appliance/dnsmasq.d/; then pxe-appliance sync"
_OVERRIDE: Final = f"look for dhcp-boot and pxe-service {_OWN}"
_OVERRIDE_IGNORE: Final = f"look for dhcp-ignore {_OWN}"


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: a machine with a firmware of a class. `to_disk`: DHCP gives it its address alone."""

    machine: Machine
    network: NetworkSettings
    firmware: ClientClass
    to_disk: bool = False

    @property
    def relay(self) -> IPv4Address:
        """The relay that it speaks through; 0.0.0.0 when it is on the network itself."""
        for relayed in self.network.relayed:
            if self.machine.ip in relayed.subnet:
                return relayed.router
        return _NOWHERE


def firmware_wanted(client: Client, served: Served, free: frozenset[int] = frozenset()) -> Wanted:
    """What its first DISCOVER should be answered."""
    base = _base(client, free)
    http = client.firmware.transport is Transport.HTTP
    assets = f"http://{client.network.address}:{served.settings.http.port}/assets/ipxe/"
    if client.to_disk:
        if http:
            return replace(base, boot_file=assets + DISK_FILE, vendor_class=Transport.HTTP.value)
        return replace(base, vendor_class=Transport.PXE.value, menu=True)
    file = served.first_stages.get(client.firmware.arch, "")
    if http:
        return replace(base, boot_file=assets + file if file else "", vendor_class=Transport.HTTP.value)
    return replace(base, boot_file=file)


def ipxe_wanted(client: Client, served: Served, free: frozenset[int] = frozenset()) -> Wanted:
    """What the DISCOVER of its iPXE should be answered."""
    base = _base(client, free)
    if client.to_disk:
        return replace(base, vendor_class=Transport.PXE.value, menu=True)
    return replace(base, boot_file=boot_url(client.network.address, served.settings.http.port), quick=True)


def menu_choice(answer: Answer) -> bytes:
    """Option 43 of a BIOS that takes the first item of a proxy's menu; empty when there is no menu.

    PXE 2.1: the menu (9) lists items by type (two bytes), length and text; the choice (71) is a type and a
    layer. Only then is the boot file named.
    """
    raw = answer.menu
    while len(raw) > 2 and raw[0] != 255:
        code, length = raw[0], raw[1]
        if code == _MENU and length >= 2:
            return bytes([_CHOICE, 4, *raw[2:4], 0, 0, 255])
        raw = raw[2 + length :]
    return b""


def own_options(configuration: str) -> frozenset[int]:
    """Which of the options that we would not send (router, DNS) an operator's own lines set."""
    _, _, own = configuration.partition(_OWN_LINES)
    found = set()
    for match in _OPTION.finditer(own):
        for word in match["rest"].split(","):
            word = word.strip().removeprefix("option:")
            if word.startswith(("tag:", "encap:", "vendor:")):
                continue
            if number := _NAMES.get(word, int(word) if word.isdecimal() and len(word) < 4 else 0):
                found.add(number)
            break
    return frozenset(found)


def why_not_heard(silence: Silence, client: Client) -> Fault:
    """The fault of a question that got no answer."""
    who = f"{client.machine.mac} as {client.firmware.words}"
    said = f": {'; '.join(silence.said)}" if silence.said else ""
    if silence.ignored:
        return Fault("prove-ignored", f"dnsmasq heard {who} and does not answer it{said}", _OVERRIDE_IGNORE)
    if silence.refused:
        return Fault("prove-no-address", f"dnsmasq heard {who} and has no address for it{said}", _LOOK)
    name = client.network.name
    return Fault(
        "prove-dhcp-silent",
        f"nothing answered {who} on {client.network.interface}: is dhcp:{name} well?",
        "pxe-appliance status",
    )


def why_not_given(silence: Silence, client: Client) -> Fault:
    """The fault of a request for what was offered that got no answer."""
    if silence.refused:
        return why_not_heard(silence, client)
    who = f"{client.machine.mac} as {client.firmware.words}"
    words = f"{who} asked for the address that it was offered, and got no answer"
    return Fault("prove-dhcp-silent", words, _OVERRIDE_IGNORE)


def cannot_speak(network: NetworkSettings, error: OSError) -> Fault:
    """The fault of a network that no packet can be sent on."""
    words = f"nothing can be asked on network {network.name}: {error.strerror or error}"
    return Fault("prove-interface", words, f"ip -brief address show dev {network.interface}")


def judge(answer: Answer, wanted: Wanted, client: Client) -> Fault | None:
    """What is wrong with an OFFER or an ACK; None when it is as it should be."""
    if answer.kind is MessageType.NAK:
        why = f": {answer.message}" if answer.message else ""
        words = f"{client.machine.mac} asked for the address it was offered, and was refused{why}"
        return Fault("prove-nak", words, _LOOK)
    checks = (_address_fault, _server_fault, _file_fault, _options_fault)
    return next((fault for check in checks if (fault := check(answer, wanted, client))), None)


def words(answer: Answer, wanted: Wanted) -> str:
    """A good answer in a line."""
    address = "another server gives its address" if wanted.proxied else str(answer.address)
    if wanted.menu:
        return f"{address}, to its disk"
    return f"{address}, {answer.boot_file}" if answer.boot_file else address


def _base(client: Client, free: frozenset[int]) -> Wanted:
    network, machine = client.network, client.machine
    subnet = network.subnet_of(machine.ip) or network.subnet
    relay = client.relay
    return Wanted(
        machine.ip,
        network.address,
        subnet.netmask,
        router=relay if relay != _NOWHERE else None,
        free=free,
        proxied=network.mode is NetworkMode.PROXY,
    )


def _address_fault(answer: Answer, wanted: Wanted, client: Client) -> Fault | None:
    if wanted.proxied or answer.address == wanted.address:
        return None
    return Fault(
        "prove-address",
        f"{client.machine.mac} is offered {answer.address}, its reservation is {wanted.address}",
        f"look for dhcp-host and dhcp-range {_OWN}",
    )


def _server_fault(answer: Answer, wanted: Wanted, client: Client) -> Fault | None:
    only_logged = answer.options is None
    if answer.server in {wanted.server, *wanted.as_well} or (answer.server is None and only_logged):
        return None
    named = answer.server or "nobody, or several,"  # a forced one stands beside ours
    addresses = f"ip -brief address show dev {client.network.interface}"
    return Fault(
        "prove-server",
        f"the answer to {client.machine.mac} names {named} as its server (option 54), not {wanted.server}",
        f"look for dhcp-option-force {_OWN}" if wanted.as_well else addresses,
    )


def _file_fault(answer: Answer, wanted: Wanted, client: Client) -> Fault | None:
    found, should = answer.boot_file, wanted.boot_file
    who = client.firmware.words
    if wanted.menu:
        if not found:
            return None
        return Fault("prove-boot-file", f"{who} should go to its disk and is offered {found}", _OVERRIDE)
    if not should:
        return None  # of an earlier version: the generation does not say
    if found != should and not (wanted.proxied and found.removesuffix(".0") == should):
        offered = f"is offered {found}" if found else "is offered no boot file"
        return Fault("prove-boot-file", f"{who} {offered}, it should be {should}", _OVERRIDE)
    if "://" not in should and answer.next_server not in {None, wanted.server}:
        words = f"{who} is told to fetch {found} from {answer.next_server}, it should be {wanted.server}"
        return Fault("prove-boot-file", words, _OVERRIDE)
    return None


def _options_fault(answer: Answer, wanted: Wanted, client: Client) -> Fault | None:
    if answer.options is None:
        return None  # only the log was read
    reasons = [why for why in _odd_options(answer, wanted, answer.options) if why]
    if not reasons:
        return None
    return Fault(
        "prove-options", f"{client.firmware.words}: {'; '.join(reasons)}", f"look for dhcp-option {_OWN}"
    )


def _odd_options(answer: Answer, wanted: Wanted, there: frozenset[int]) -> list[str]:
    found = []
    if answer.vendor_class != wanted.vendor_class and not (wanted.proxied and not wanted.vendor_class):
        should = f"it should be {wanted.vendor_class}" if wanted.vendor_class else "it should not be there"
        found.append(f"option 60 is {answer.vendor_class or 'missing'}, {should}")
    if wanted.menu and _VENDOR_SPECIFIC not in there:
        found.append("option 43, which sends it to its disk, is missing")
    if wanted.proxied:
        return found
    if answer.netmask not in {None, wanted.netmask}:
        found.append(f"the netmask is {answer.netmask}, it should be {wanted.netmask}")
    if _ROUTER not in wanted.free and answer.router != wanted.router:
        should = f"it should be {wanted.router}" if wanted.router else "none is configured"
        found.append(f"the router (option 3) is {answer.router or 'missing'}, {should}")
    if _DNS in there and _DNS not in wanted.free:
        found.append("DNS servers (option 6) are sent, none are configured")
    if wanted.quick and not answer.quick:
        found.append("option 175.176, without which iPXE waits seconds for another server, is missing")
    return found
