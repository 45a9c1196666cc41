"""The texts that machines load: boot scripts, metadata, and the variables of templates. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from appliance.matchbox.labels import Query
from appliance.matchbox.model import Boot
from appliance.matchbox.template_values import StringMap, show

HOME: Final = "matchbox\n"

# A relative `ipxe`, so that the endpoint works behind any prefix; `${mac:hexhyp}` is the MAC with dashes.
BOOT_SCRIPT: Final = (
    "#!ipxe\n"
    "chain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}"
    "&serial=${serial}&arch=${buildarch:uristring}\n"
)


# Labels of a machine of ours, by the NIC that it booted from; the last four are known to iPXE 2.0 alone (its
# LLDP settings: prefix, TLV type, index, offset, length) and empty elsewhere: the switch's name and chassis,
# the port, and the port's untagged VLAN (IEEE 802.1, OUI 00-80-C2, subtype 1).
_ASKS: Final = {
    "uuid": "${uuid}",
    "mac": "${netX/mac:hexhyp}",
    "domain": "${domain:uristring}",
    "hostname": "${hostname:uristring}",
    "serial": "${serial:uristring}",
    "arch": "${buildarch:uristring}",
    "platform": "${platform:uristring}",
    "switch": "${netX.lldp/5.0.0.0:uristring}",
    "chassis": "${netX.lldp/1.0.1.0:hexhyp}",
    "port": "${netX.lldp/2.0.1.0:uristring}",
    "vlan": "${netX.lldp/0.128.194.1.127.0.4.2:uint16}",
}
TRY: Final = "try"  # the label that tells a further try from the next boot
_TO_DISK: Final = "to-disk"  # a setting by which one script tells another that failing is what it wants
_TRIES: Final = 10
_PAUSE: Final = 5  # seconds
_LONGEST_ECHO: Final = 200
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9 .,:/@=_()\[\]+-]", re.ASCII)


def ipxe_script(boot: Boot) -> str:
    """What iPXE runs for a profile. Nothing in it is a template, as in Matchbox."""
    kernel = " ".join((boot.kernel, *boot.args))
    initrd = "".join(f"initrd {image}\n" for image in boot.initrd)
    return f"#!ipxe\nkernel {kernel}\n{initrd}boot\n"


def grub_script(boot: Boot) -> str:
    """The same for GRUB: an entry for EFI, and one for BIOS to fall back to."""
    arguments = "".join(f" {argument}" for argument in boot.args)
    initrd = "".join(f' "{image}"' for image in boot.initrd)
    entries = (
        f'menuentry "CoreOS ({name})" {{\n'
        f'echo "Loading kernel"\nlinux{suffix} "{boot.kernel}"{arguments}\n'
        f'echo "Loading initrd"\ninitrd{suffix} {initrd}\n}}\n'
        for name, suffix in (("EFI", "efi"), ("BIOS", ""))
    )
    return f"default=0\nfallback=1\ntimeout=1\n{''.join(entries)}"


def chain_script(appliance: str, base: str = "") -> str:
    """What a machine of ours runs first: it asks what to boot until it is told, and says so on its screen.

    A switch port that has just come up drops packets for half a minute (spanning tree), and only a script
    that is loaded already can try again (measured: iPXE itself gives up at the first 404, 503 or cut).

    Args:
        appliance: who speaks: our address.
        base: where `ipxe` is asked for; empty: where this script came from.
    """
    who = f"pxe-appliance {appliance}"
    where = base or "this appliance"
    query = "&".join(f"{key}={value}" for key, value in _ASKS.items())
    lines = (
        "#!ipxe",
        "set try:int32 0",
        ":ask",
        "inc try",
        f"echo {who}: asking what ${{netX/mac}} at ${{netX/ip}} boots, try ${{try}} of {_TRIES}",
        f"chain {base}ipxe?{query}&{TRY}=${{try}} && exit 0 ||",
        f"isset ${{{_TO_DISK}}} && exit 1 ||",
        f"iseq ${{try}} {_TRIES} && goto over ||",
        f"echo {who}: nothing to boot from {where} yet, DHCP again in {_PAUSE} seconds",
        f"sleep {_PAUSE}",
        "imgfree",
        f"dhcp netX || echo {who}: no answer to DHCP, is the switch port an edge port (portfast)?",
        "goto ask",
        ":over",
        f"echo {who}: giving up after {_TRIES} tries, on to the next boot device",
        f"sleep {_PAUSE}",
        "exit 1",
    )
    return "\n".join(lines) + "\n"


def hold_script(appliance: str, machine: str, reason: str, remedy: str) -> str:
    """What a held machine shows; it asks again every minute, and goes on when it is released."""
    who = f"pxe-appliance {appliance}"
    lines = (
        "#!ipxe",
        f"echo {who}: {plain(machine)} is held: {plain(reason)}",
        f"echo {who}: to let it go: {plain(remedy)}",
        ":wait",
        "sleep 60",
        "chain --replace boot.ipxe || goto wait",
    )
    return "\n".join(lines) + "\n"


def grub_message(appliance: str, *lines: str) -> str:
    """What GRUB shows before it gives back to the firmware, which goes on to its next boot device."""
    shown = "".join(f'echo "pxe-appliance {appliance}: {plain(line)}"\n' for line in lines)
    return f"{shown}sleep {_PAUSE}\nexit 1\n"


def refusal_script(appliance: str, reason: str) -> str:
    """What iPXE shows in place of "No such file or directory", which is all that it says of a 404."""
    who = f"pxe-appliance {appliance}"
    return f"#!ipxe\necho {who} refuses to boot ${{netX/mac}}: {plain(reason)}\nsleep {_PAUSE}\nexit 1\n"


def plain(text: str) -> str:
    """Text that iPXE's `echo` shows as it is: nothing that expands, separates commands or ends a line."""
    return _NOT_PLAIN.sub(" ", text)[:_LONGEST_ECHO]


def local_boot_script(uefi: bool | None = None) -> str:
    """What sends a machine to its disk; without knowing the firmware, the script finds out.

    UEFI firmware takes the next boot entry only when the loader fails, and iPXE does not fail with its
    script: it ends cleanly, and EDK II opens its menu and waits (measured). So it starts anew: by then DHCP
    gives this machine no boot file, and its firmware goes on by itself. BIOS calls the disk (INT 13h drive
    0x80), for after `exit` some of them try PXE again.
    """
    again = "echo Starting again, from the disk\nsleep 3\nreboot || exit 1\n"
    head = f"#!ipxe\necho Booting from the local disk\nset {_TO_DISK} 1\n"
    if uefi is True:
        return head + again
    disk = "sanboot --no-describe --drive 0x80 || exit 1\n"
    if uefi is False:
        return head + disk
    return f"{head}iseq ${{platform}} efi && goto efi ||\n{disk}:efi\n{again}"


def variables(metadata: Mapping[str, object], selector: Mapping[str, str], query: Query) -> dict[str, object]:
    """What templates and /metadata see: metadata, the selectors over it, the request over both."""
    found = dict(metadata)
    found.update((key.lower(), value) for key, value in selector.items())
    found["request"] = {"query": StringMap(query.labels), "raw_query": query.raw}
    return found


def metadata_text(values: Mapping[str, object]) -> str:
    """`KEY=value` lines. Lists and nulls are left out, as in Matchbox, whose order is random; ours is not."""
    return "".join(f"{key}={value}\n" for key, value in sorted(_flat(values, "")))


def _flat(values: Mapping[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = prefix + _upper(key)
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}_")
        elif isinstance(value, bool | int | float | str):
            yield name, show(value)


def _upper(text: str) -> str:
    """Go's strings.ToUpper, which maps character to character: `ß` stays."""
    return "".join(up if len(up := char.upper()) == 1 else char for char in text)
