"""The inventory in Matchbox's words: what each machine boots. Pure.

An operator writes what a profile is; what every boot loader and every kernel needs besides is put in here:
UEFI kernels find their initrd by `initrd=` only (systemd's and the kernel's EFI stub read no other way), and
Ignition has to be told where its configuration is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from appliance.image_ref import ImageRef
from appliance.images.catalogue import LAYOUTS
from appliance.images.model import Stream
from appliance.inventory.model import Inventory, KernelRef, Machine, Profile
from appliance.matchbox.model import Boot, MachineBoot
from appliance.matchbox.model import Profile as BootProfile
from appliance.settings import NetworkSettings, Settings

IGNITION_URL: Final = "ignition.config.url"


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


def boot_of(profile: Profile, url: str, arch: str | None = None, version: str | None = None) -> Boot | None:
    """What a profile loads, from the endpoint at `url`; None when it names nothing to load.

    `arch` is the machine's (None: amd64). `version` is what the image store has for it now: with it, every
    path names one release, so that a machine ends its boot with the release it began with, whatever becomes
    current meanwhile. A profile's own `@version` always counts.
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
    if profile.ignition:
        args += _missing(args, [f"{IGNITION_URL}={url}/ignition?mac=${{mac:hexhyp}}"])
    return Boot(kernel, initrd, tuple(args))


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
    boot = boot_of(profile, machine_url(settings, network), machine.arch)
    return MachineBoot(
        str(machine.name),
        machine.macs,
        BootProfile(profile.name, profile.name, boot, profile.ignition or ""),
        MappingProxyType(metadata),
        ignition.get(profile.ignition) if profile.ignition else None,
    )


def _profile(inventory: Inventory, machine: Machine) -> Profile | None:
    return inventory.profiles.get(machine.profile) if machine.profile else None


def _missing(args: list[str], wanted: list[str]) -> list[str]:
    """Those of `wanted` whose key no argument has yet: an operator's own always wins."""
    keys = {arg.partition("=")[0] for arg in args}
    return [arg for arg in wanted if arg.partition("=")[0] not in keys]
