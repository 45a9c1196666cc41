"""The inventory in Matchbox's words: what each machine boots. Pure.

An operator writes what a profile is; what every boot loader and every kernel needs besides is put in here:
UEFI kernels find their initrd by `initrd=` only (systemd's and the kernel's EFI stub read no other way), and
Ignition has to be told where its configuration is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from appliance.addresses import Mac
from appliance.image_ref import ImageRef
from appliance.images.catalogue import LAYOUTS
from appliance.images.model import Stream
from appliance.inventory.model import Inventory, KernelRef, Machine, Profile
from appliance.matchbox.errors import IgnitionError
from appliance.matchbox.model import Boot, MachineBoot
from appliance.matchbox.model import Profile as BootProfile
from appliance.settings import NetworkSettings, Settings
from appliance.sync.documents import has_ignition, ignition_of, machine_document

IGNITION_URL: Final = "ignition.config.url"
TOKEN: Final = "token"  # noqa: S105 - the name of it
IPXE_MAC: Final = "${mac:hexhyp}"


def machine_boots(
    settings: Settings, inventory: Inventory, ignition: Mapping[str, bytes]
) -> tuple[MachineBoot, ...]:
    """Every machine of the inventory as the endpoint knows it; `ignition` holds finished documents."""
    return tuple(
        _machine_boot(settings.networks[m.network], settings, m, _profile(inventory, m), ignition)
        for m in inventory.machines
    )


def machine_url(settings: Settings, network: NetworkSettings) -> str:
    """The base of the endpoint that machines of `network` speak to."""
    matchbox = settings.matchbox
    return f"http://{network.address}:{settings.http.port}" if matchbox.builtin else matchbox.endpoint


def boot_of(
    profile: Profile, url: str, arch: str | None = None, version: str | None = None, *, made: bool = False
) -> Boot | None:
    """What a profile loads, from the endpoint at `url`; None when it names nothing to load.

    `arch` is the machine's (None: amd64). `version` is what the image store has for it now: with it, every
    path names one release, so that a machine ends its boot with the release it began with, whatever becomes
    current meanwhile. A profile's own `@version` always counts. `made`: the machine has Ignition although its
    profile names none (see `documents.makes_ignition`).
    """
    match profile.source:
        case KernelRef(kernel, initrd):
            needed: tuple[str, ...] = ()
        case ImageRef() as image:
            layout = LAYOUTS[image.os]
            release = image.version or version
            base = f"/assets/{Stream.of(image, arch).folder}" + (f"/{release}" if release else "")
            kernel = f"{base}/{layout.kernel}"
            initrd = tuple(f"{base}/{name}" for name in layout.initrd)
            needed = layout.args
            if layout.rootfs:
                needed = (*needed, f"{layout.rootfs_argument}={url}{base}/{layout.rootfs}")
        case None:
            return None
    args = [*needed, *profile.args]
    args += _missing(args, [f"initrd={name.rpartition('/')[2]}" for name in initrd])
    if profile.ignition or made:
        args += _missing(args, [f"{IGNITION_URL}={url}/ignition?mac={IPXE_MAC}"])
    return Boot(kernel, initrd, tuple(args))


def armed(boot: Boot, url: str, mac: Mac, token: str = "") -> Boot:
    """The boot with its own MAC and this boot's token in every URL of our Ignition.

    An operator's own argument counts too: coreos-installer takes `coreos.inst.ignition_url`. The MAC is the
    one that asked: with several NICs, what iPXE takes for `${mac}` need not be the one that it booted from.
    """
    dashed = mac.text.replace(":", "-")
    place = f"{url}/ignition"

    def with_token(arg: str) -> str:
        arg = arg.replace(IPXE_MAC, dashed)
        head, found, tail = arg.partition(place)
        if not token or not found or tail[:1] not in {"", "?"}:
            return arg
        query = f"{tail}&" if len(tail) > 1 else f"?mac={dashed}&"
        return f"{head}{place}{query}{TOKEN}={token}"

    return Boot(boot.kernel, boot.initrd, tuple(with_token(arg) for arg in boot.args))


def pushed_boot(settings: Settings, network: NetworkSettings, boot: Boot) -> Boot:
    """A boot from our image store for an external Matchbox: files are ours, the Ignition is theirs."""
    ours = f"http://{network.address}:{settings.http.port}"
    theirs = settings.matchbox.endpoint

    def whole(path: str) -> str:
        return f"{ours}{path}" if path.startswith("/assets/") else path

    args = (arg.replace(f"{ours}/ignition", f"{theirs}/ignition") for arg in boot.args)
    return Boot(whole(boot.kernel), tuple(whole(path) for path in boot.initrd), tuple(args))


def for_grub(boot: Boot) -> Boot:
    """The boot as GRUB has to read it: an `&` of its own would end the command."""
    return Boot(boot.kernel, boot.initrd, tuple(arg.replace("&", "\\&") for arg in boot.args))


def _machine_boot(
    network: NetworkSettings,
    settings: Settings,
    machine: Machine,
    profile: Profile | None,
    ignition: Mapping[str, bytes],
) -> MachineBoot:
    metadata: dict[str, object] = {
        **dict(machine.labels),
        "name": str(machine.name),  # a label of such a name must not speak for the machine
        "hostname": str(machine.hostname),
        "ip": str(machine.ip),
        "network": machine.network,
    }
    if profile is None:
        return MachineBoot(str(machine.name), machine.macs, None, MappingProxyType(metadata))
    has = has_ignition(machine, profile, ignition)
    made = has and profile.ignition is None
    boot = boot_of(profile, machine_url(settings, network), machine.arch, made=made)
    return MachineBoot(
        str(machine.name),
        machine.macs,
        BootProfile(profile.name, profile.name, boot, profile.ignition or ""),
        MappingProxyType(metadata),
        partial(_finished, settings, machine, profile, ignition) if has else None,
    )


def _finished(
    settings: Settings, machine: Machine, profile: Profile, ignition: Mapping[str, bytes], token: str
) -> bytes:
    content = ignition_of(machine, profile, ignition)
    if content is None:
        raise IgnitionError(f"the Ignition of {machine.name} cannot be read: the generation is damaged")
    return machine_document(settings, machine, profile, content).for_boot(token)


def _profile(inventory: Inventory, machine: Machine) -> Profile | None:
    return inventory.profiles.get(machine.profile) if machine.profile else None


def _missing(args: list[str], wanted: list[str]) -> list[str]:
    """Those of `wanted` whose key no argument has yet: an operator's own always wins."""
    keys = {arg.partition("=")[0] for arg in args}
    return [arg for arg in wanted if arg.partition("=")[0] not in keys]
