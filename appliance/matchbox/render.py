"""The texts that machines load: boot scripts, metadata, and the variables of templates. Pure."""

from __future__ import annotations

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


def local_boot_script(uefi: bool | None = None) -> str:
    """What sends a machine to its disk; without knowing the firmware, the script finds out.

    UEFI firmware takes the next boot entry only when the loader fails: after a clean exit EDK II opens its
    menu and waits. BIOS calls the disk (INT 13h drive 0x80), for after `exit` some of them try PXE again.
    """
    head = "#!ipxe\necho Booting from the local disk\n"
    if uefi is True:
        return f"{head}exit 1\n"
    ask = "" if uefi is False else "iseq ${platform} efi && exit 1 ||\n"
    return f"{head}{ask}sanboot --no-describe --drive 0x80 || exit 1\n"


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
