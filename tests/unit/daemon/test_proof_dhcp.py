"""What DHCP should answer each client, and every way in which an answer can be wrong."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from types import MappingProxyType

import pytest

from appliance.boot.client_words import firmware_words, ipxe_words
from appliance.boot.dhcp_packet import MessageType, Option, discover, encode, parse
from appliance.boot.firmware import BY_ARCH
from appliance.daemon.proof import Answer, Silence, Wanted
from appliance.daemon.proof_dhcp import (
    Client,
    firmware_wanted,
    ipxe_wanted,
    judge,
    menu_choice,
    own_options,
    why_not_heard,
    words,
)
from appliance.settings import NetworkMode
from tests.unit.daemon.rooms import MAC, PXE, rack, served
from tests.unit.dnsmasq.rooms import machine, network

STAGES = MappingProxyType({0: "undionly.kpxe", 7: "snponly.efi", 16: "ipxe.efi"})
SERVED = replace(served(), first_stages=STAGES)
US = IPv4Address("172.0.1.1")
NODE1 = rack()[0]
BIOS, UEFI, HTTP = (Client(NODE1, PXE, BY_ARCH[arch]) for arch in (0, 7, 16))
ASSETS = "http://172.0.1.1:8080/assets/ipxe/"


def good(wanted: Wanted) -> Answer:
    """An answer that is all that is wanted."""
    options = {1, 51, 53, 54}
    options |= {60} if wanted.vendor_class else set()
    options |= {43} if wanted.menu else set()
    options |= {3} if wanted.router else set()
    return Answer(
        MessageType.OFFER,
        wanted.address,
        wanted.boot_file,
        wanted.server,
        wanted.server,
        wanted.netmask,
        wanted.router,
        wanted.vendor_class,
        quick=wanted.quick,
        options=frozenset(options),
    )


def fault(client: Client, wanted: Wanted, **wrong: object) -> tuple[str, str]:
    found = judge(replace(good(wanted), **wrong), wanted, client)  # type: ignore[arg-type]
    return (found.id, found.message) if found else ("", "")


def test_each_class_gets_its_own_file_by_its_own_transport() -> None:
    assert firmware_wanted(BIOS, SERVED).boot_file == "undionly.kpxe"
    assert firmware_wanted(BIOS, SERVED).vendor_class == ""
    wanted = firmware_wanted(HTTP, SERVED)
    assert (wanted.boot_file, wanted.vendor_class) == (ASSETS + "ipxe.efi", "HTTPClient")
    assert ipxe_wanted(UEFI, SERVED).boot_file == "http://172.0.1.1:8080/boot.ipxe"


def test_a_machine_that_goes_to_its_disk_is_told_so() -> None:
    wanted = firmware_wanted(replace(UEFI, to_disk=True), SERVED)
    assert (wanted.boot_file, wanted.vendor_class, wanted.menu) == ("", "PXEClient", True)
    http = firmware_wanted(replace(HTTP, to_disk=True), SERVED)
    assert (http.boot_file, http.vendor_class) == (ASSETS + "boot-from-the-disk", "HTTPClient")
    assert ipxe_wanted(replace(UEFI, to_disk=True), SERVED).menu


@pytest.mark.parametrize(
    "client", [BIOS, UEFI, HTTP, replace(UEFI, to_disk=True), replace(HTTP, to_disk=True)]
)
def test_what_is_wanted_passes(client: Client) -> None:
    for wanted in (firmware_wanted(client, SERVED), ipxe_wanted(client, SERVED)):
        assert judge(good(wanted), wanted, client) is None
        assert words(good(wanted), wanted).startswith("172.0.1.21")


@pytest.mark.parametrize(
    ("wrong", "identity", "said"),
    [
        ({"address": IPv4Address("172.0.1.99")}, "prove-address", "its reservation is 172.0.1.21"),
        ({"server": IPv4Address("172.0.1.2")}, "prove-server", "names 172.0.1.2 as its server"),
        ({"server": None}, "prove-server", "names nobody, or several, as its server (option 54)"),
        (
            {"boot_file": "undionly.kpxe"},
            "prove-boot-file",
            "is offered undionly.kpxe, it should be snponly.efi",
        ),
        ({"boot_file": ""}, "prove-boot-file", "is offered no boot file"),
        ({"next_server": IPv4Address("172.0.1.66")}, "prove-boot-file", "from 172.0.1.66"),
        ({"netmask": IPv4Address("255.255.0.0")}, "prove-options", "the netmask is 255.255.0.0"),
        ({"router": US}, "prove-options", "none is configured"),
        ({"options": frozenset({1, 6, 53})}, "prove-options", "DNS servers (option 6)"),
        ({"vendor_class": "PXEClient"}, "prove-options", "it should not be there"),
        ({"kind": MessageType.NAK, "message": "no leases left"}, "prove-nak", "no leases left"),
    ],
)
def test_each_thing_that_can_be_wrong_is_named(wrong: dict[str, object], identity: str, said: str) -> None:
    found, message = fault(UEFI, firmware_wanted(UEFI, SERVED), **wrong)
    assert found == identity
    assert said in message


def test_a_server_may_call_itself_by_an_address_of_its_own_where_that_is_allowed() -> None:
    another = IPv4Address("172.0.1.2")
    wanted = replace(firmware_wanted(UEFI, SERVED), as_well=frozenset({US, another}))
    assert judge(replace(good(wanted), server=another), wanted, UEFI) is None
    assert fault(UEFI, wanted, server=IPv4Address("9.9.9.9"))[0] == "prove-server"


def test_where_only_the_log_is_read_the_server_is_not_judged() -> None:
    wanted = firmware_wanted(UEFI, SERVED)
    assert judge(replace(good(wanted), server=None, options=None), wanted, UEFI) is None


def test_what_is_missing_is_named() -> None:
    assert "option 175.176" in fault(UEFI, ipxe_wanted(UEFI, SERVED), quick=False)[1]
    assert "it should be HTTPClient" in fault(HTTP, firmware_wanted(HTTP, SERVED), vendor_class="")[1]
    disk = replace(UEFI, to_disk=True)
    wanted = firmware_wanted(disk, SERVED)
    assert "option 43" in fault(disk, wanted, options=frozenset({53, 60}))[1]
    assert fault(disk, wanted, boot_file="snponly.efi")[0] == "prove-boot-file"


def test_the_operators_own_options_are_not_judged() -> None:
    wanted = firmware_wanted(UEFI, SERVED, frozenset({3, 6}))
    assert judge(replace(good(wanted), router=US, options=frozenset({3, 6, 53})), wanted, UEFI) is None


def test_a_relayed_machine_has_its_relay_as_router() -> None:
    relayed = network(relayed=(("172.0.2.0/24", "172.0.2.1"),))
    far = machine("far", str(MAC), "172.0.2.9")
    client = Client(far, relayed, BY_ARCH[7])
    assert client.relay == IPv4Address("172.0.2.1")
    wanted = firmware_wanted(client, SERVED)
    assert wanted.router == IPv4Address("172.0.2.1")
    assert judge(good(wanted), wanted, client) is None
    assert "the router (option 3) is missing" in fault(client, wanted, router=None)[1]
    # The log alone says less, and what it does not say is no fault.
    told = Answer(MessageType.OFFER, far.ip, wanted.boot_file, US)
    assert judge(told, wanted, client) is None


def test_a_proxy_gives_no_address_and_is_not_blamed_for_it() -> None:
    client = Client(NODE1, network(mode=NetworkMode.PROXY), BY_ARCH[0])
    wanted = firmware_wanted(client, SERVED)
    answer = Answer(MessageType.ACK, IPv4Address(0), "undionly.kpxe", US, US, vendor_class="PXEClient",
                    options=frozenset({53, 54, 60}))  # fmt: skip
    assert judge(answer, wanted, client) is None
    assert judge(replace(answer, boot_file="undionly.kpxe.0"), wanted, client) is None
    found = judge(replace(answer, boot_file="ipxe.efi"), wanted, client)
    assert found is not None
    assert found.id == "prove-boot-file"


def test_silence_has_three_names() -> None:
    assert why_not_heard(Silence(), UEFI).id == "prove-dhcp-silent"
    leased = Silence(("no address available", "172.0.1.21 cannot be used, it is leased to x"), refused=True)
    assert why_not_heard(leased, UEFI).id == "prove-no-address"
    assert "it is leased to x" in why_not_heard(leased, UEFI).message
    assert why_not_heard(Silence(("ignored",), refused=True, ignored=True), UEFI).id == "prove-ignored"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("dhcp-option=option:router,172.0.1.254", {3}),
        ("dhcp-option=3,172.0.1.254\ndhcp-option-force = tag:x, option:dns-server,1.1.1.1", {3, 6}),
        ("# dhcp-option=option:router\ndhcp-boot=x", set()),
        ("dhcp-option=vendor:PXEClient,6,2b", {6}),
        ("dhcp-option=option:router-discovery", set()),
    ],
)
def test_what_the_operators_own_lines_set(lines: str, found: set[int]) -> None:
    ours = "dhcp-option=option:router\ndhcp-option=option:dns-server\n"
    assert own_options(f"{ours}\n# From the operator's dnsmasq.d/.\n# 10.conf\n{lines}\n") == found
    assert own_options(ours) == frozenset()


def test_a_menus_first_item_is_chosen() -> None:
    # As 2.90 sends it: discovery control, the menu with one item, the prompt.
    item = b"\x80\x00\x0dpxe-appliance"
    raw = b"\x06\x01\x03" + bytes([9, len(item)]) + item + b"\x0a\x02\0P\xff"
    menu = Answer(MessageType.OFFER, IPv4Address(0), menu=raw)
    assert menu_choice(menu) == bytes([71, 4, 0x80, 0, 0, 0, 255])
    for broken in (b"", b"\xff", b"\x06", b"\x09\x01\x80", b"\x06\xff\x01"):
        assert menu_choice(replace(menu, menu=broken)) == b""


@pytest.mark.parametrize("arch", BY_ARCH)
def test_clients_say_who_they_are_and_no_uuid(arch: int) -> None:
    client = BY_ARCH[arch]
    firmware = parse(encode(discover(MAC, 1, options=firmware_words(client))))
    assert firmware.options[Option.VENDOR_CLASS].startswith(f"{client.transport}:Arch:{arch:05}".encode())
    assert int.from_bytes(firmware.options[Option.CLIENT_ARCH]) == arch
    assert Option.USER_CLASS not in firmware.options
    ipxe = parse(encode(discover(MAC, 1, options=ipxe_words(client, MAC))))
    assert ipxe.options[Option.USER_CLASS] == b"iPXE"
    assert ipxe.options[Option.VENDOR_CLASS].startswith(b"PXEClient:Arch:")
    assert Option.IPXE in ipxe.options
    assert not {Option.CLIENT_UUID} & (firmware.options.keys() | ipxe.options.keys())
