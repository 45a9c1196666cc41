"""What clients of each class say in DHCP, as this appliance says it in their place. Pure.

After recorded packets of SeaBIOS, EDK II and iPXE. Left out is option 97, the UUID of a board: nothing is
answered by it, and whoever listens would take ours for a machine's.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from appliance.addresses import Mac
from appliance.boot.dhcp_packet import Option
from appliance.boot.firmware import ClientClass, Transport

# Of what firmware asks for, what is judged: netmask, router, DNS, name, vendor's own, lease, server, file.
_ASKED_FOR: Final = bytes([1, 3, 6, 12, 43, 51, 54, 60, 66, 67])
_NDI: Final = b"\x01\x03\x00"
# iPXE's features (its option 175): it speaks HTTP, and this DHCP is its own.
_IPXE_FEATURES: Final = b"\x13\x01\x01\x22\x01\x01"
_ETHERNET: Final = b"\x01"
# What iPXE is when a firmware of the class has loaded it: HTTP boot runs the same EFI program as PXE.
_IPXE_ARCH: Final[Mapping[int, int]] = {16: 7, 19: 11}
_BUILD: Final[Mapping[int, str]] = {0: "i386", 6: "i386", 7: "x86_64", 9: "x86_64", 11: "arm64"}


def firmware_words(client: ClientClass) -> dict[int, bytes]:
    """The options of a firmware's DISCOVER and REQUEST."""
    return {
        Option.PARAMETERS: _ASKED_FOR,
        Option.MAX_SIZE: struct.pack("!H", 1472),
        Option.CLIENT_ARCH: struct.pack("!H", client.arch),
        Option.CLIENT_NDI: _NDI,
        Option.VENDOR_CLASS: f"{client.transport.value}:Arch:{client.arch:05}:UNDI:003000".encode(),
    }


def ipxe_words(client: ClientClass, mac: Mac) -> dict[int, bytes]:
    """The options of the iPXE that a firmware of the class has loaded."""
    arch = _IPXE_ARCH.get(client.arch, client.arch)
    return {
        Option.PARAMETERS: bytes([*_ASKED_FOR, Option.IPXE]),
        Option.MAX_SIZE: struct.pack("!H", 1472),
        Option.CLIENT_ARCH: struct.pack("!H", arch),
        Option.CLIENT_NDI: _NDI,
        Option.VENDOR_CLASS: f"{Transport.PXE.value}:Arch:{arch:05}:UNDI:003010".encode(),
        Option.USER_CLASS: b"iPXE",
        Option.IPXE: _IPXE_FEATURES,
        Option.CLIENT_ID: _ETHERNET + mac.octets,
    }


def ipxe_settings(client: ClientClass, mac: Mac) -> dict[str, str]:
    """iPXE's settings that boot scripts ask for, by name; every other one is empty."""
    arch = _IPXE_ARCH.get(client.arch, client.arch)
    return {
        "mac": mac.text,
        "net0/mac": mac.text,
        "netX/mac": mac.text,
        "buildarch": _BUILD.get(arch, ""),
        "platform": "pcbios" if arch == 0 else "efi",
        "try": "1",
    }
