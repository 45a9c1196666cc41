"""What an operator of the lab's appliance would have written: settings, inventory, Ignition, assets. Pure.

Machines boot from assets that lie there, or from the image store. A machine with a `Duty` has more to do than
to call home.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from appliance.lab.rack import HTTP_PORT, INTERFACE, MIRROR_PORT, SERVER, SUBNET, LabMachine, Rack
from appliance.tree import RenderedFile, Tree

_ETC: Final = "etc/pxe-appliance"
_ASSETS: Final = f"{_ETC}/matchbox/assets/lab"
_KERNEL: Final = "vmlinuz"
_INITRD: Final = "initrd.gz"
_DISK: Final = "disk.img"
_KEY: Final = "lab.asc"
_CONSOLE: Final = ("console=ttyS0", "quiet")


@dataclass(frozen=True, slots=True)
class Duty:
    """What a machine is there for.

    `boot` is its boot policy, `args` are words for the payload, `bond` is what becomes of its other NICs: a
    name, a VLAN, an address on that. `kernel` and `mac` are what the operator wrote by mistake instead.
    """

    boot: str = "always"
    args: tuple[str, ...] = ()
    bond: tuple[str, int, str] | None = None
    kernel: str = ""
    mac: str = ""


_HOME: Final = Duty()


def files(
    rack: Rack,
    *,
    kernel: bytes,
    initrd: bytes,
    disk: bytes = b"",
    duties: Mapping[str, Duty] = MappingProxyType({}),
) -> Tree:
    """The tree below `--root` that makes an appliance serve `rack` from assets.

    Args:
        rack: the machines.
        kernel: what they boot.
        initrd: likewise.
        disk: what an installer writes; none is there when it is empty.
        duties: by machine; one that is not named boots always and calls home.
    """
    machines = [(machine, duties.get(machine.name, _HOME)) for machine in rack.machines]
    inventory = "\n".join(_machine(m, _from_assets(m, duty), duty) for m, duty in machines)
    return Tree.of(
        _text("appliance.toml", appliance_toml()),
        _text("inventory.d/rack.toml", inventory),
        *(_text(f"ignition.d/{m.name}.ign", ignition(m)) for m in rack.machines),
        RenderedFile(f"{_ASSETS}/{_KERNEL}", kernel),
        RenderedFile(f"{_ASSETS}/{_INITRD}", initrd),
        *([RenderedFile(f"{_ASSETS}/{_DISK}", disk)] if disk else ()),
    )


def files_with_mirror(rack: Rack, image: str, *, key: bytes) -> Tree:
    """The tree below `--root` that makes an appliance serve `rack` from `image`, which the lab's mirror has.

    `key` is the public key of whoever signs what is there.
    """
    source = f'image = "{image}"\nargs = {json.dumps(_CONSOLE)}\n'
    mirror = f'mirror = "http://127.0.0.1:{MIRROR_PORT}/{{channel}}"\nkeys = ["{_KEY}"]\n'
    return Tree.of(
        _text("appliance.toml", f"{appliance_toml()}\n[images.{image.partition('/')[0]}]\n{mirror}"),
        _text("inventory.d/rack.toml", "\n".join(_machine(m, source, _HOME) for m in rack.machines)),
        *(_text(f"ignition.d/{m.name}.ign", ignition(m)) for m in rack.machines),
        RenderedFile(f"{_ETC}/keys.d/{_KEY}", key),
    )


def ignition(machine: LabMachine) -> str:
    """An Ignition that is this machine's and nobody else's: it names the machine and its MAC."""
    written = {"/etc/hostname": machine.name, "/etc/pxe-lab-mac": str(machine.mac)}
    return json.dumps(
        {
            "ignition": {"version": "3.3.0"},
            "storage": {
                "files": [
                    {"path": path, "mode": 0o644, "contents": {"source": f"data:,{content}"}}
                    for path, content in written.items()
                ]
            },
        },
        separators=(",", ":"),
    )


def appliance_toml() -> str:
    """The lab's settings."""
    return (
        "[network.pxe]\n"
        f'interface = "{INTERFACE}"\n'
        f'subnet = "{SUBNET}"\n'
        f'address = "{SERVER}"\n'
        "\n[http]\n"
        f"port = {HTTP_PORT}\n"
    )


def _from_assets(machine: LabMachine, duty: Duty) -> str:
    url = f"http://{SERVER}:{HTTP_PORT}/ignition?mac={machine.mac.dashed}"
    # An EFI kernel of iPXE's 2019 vintage finds its initrd by this name only.
    args = [f"initrd={_INITRD}", *_CONSOLE, f"ignition.config.url={url}", *duty.args]
    kernel, initrd = duty.kernel or f"/assets/lab/{_KERNEL}", f"/assets/lab/{_INITRD}"
    return f'kernel = "{kernel}"\ninitrd = ["{initrd}"]\nargs = {json.dumps(args)}\n'


def _machine(machine: LabMachine, source: str, duty: Duty) -> str:
    """A machine with a profile of its own, because each one's Ignition differs."""
    name = machine.name
    netconf = 'netconf = "networkd"\n' if duty.bond else ""
    others = "".join(
        f'\n[machine.{name}.nic.eth{position}]\nmac = "{mac}"\n'
        for position, mac in enumerate(machine.others, start=1)
    )
    return (
        f"[profile.{name}]\n"
        f"{source}"
        f'ignition = "{name}.ign"\n'
        f'boot = "{duty.boot}"\n'
        f"{netconf}"
        f"\n[machine.{name}]\n"
        f'mac = "{duty.mac or machine.mac}"\n'
        f'ip = "{machine.ip}"\n'
        f'serial = "{machine.serial}"\n'
        f'profile = "{name}"\n'
        f'labels = {{ firmware = "{machine.firmware}" }}\n'
        f"{others}{_bond(machine, duty.bond) if duty.bond else ''}"
    )


def _bond(machine: LabMachine, bond: tuple[str, int, str]) -> str:
    """Its other NICs as an 802.3ad bond with one VLAN on it."""
    name, vlan, address = bond
    members = [f"eth{position}" for position, _ in enumerate(machine.others, start=1)]
    return (
        f"\n[machine.{machine.name}.bond.{name}]\n"
        f"members = {json.dumps(members)}\n"
        'mode = "802.3ad"\n'
        f'vlans = {{ control = {{ id = {vlan}, address = "{address}" }} }}\n'
    )


def _text(path: str, content: str) -> RenderedFile:
    return RenderedFile(f"{_ETC}/{path}", content.encode())
