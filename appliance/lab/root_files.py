"""What an operator of the lab's appliance would have written: settings, inventory, Ignition, assets. Pure.

Machines boot from assets that lie there, or from the image store.
"""

from __future__ import annotations

import json
from typing import Final

from appliance.lab.rack import HTTP_PORT, INTERFACE, MIRROR_PORT, SERVER, SUBNET, LabMachine, Rack
from appliance.tree import RenderedFile, Tree

_ETC: Final = "etc/pxe-appliance"
_ASSETS: Final = f"{_ETC}/matchbox/assets/lab"
_KERNEL: Final = "vmlinuz"
_INITRD: Final = "initrd.gz"
_KEY: Final = "lab.asc"
_CONSOLE: Final = ("console=ttyS0", "quiet")


def files(rack: Rack, *, kernel: bytes, initrd: bytes) -> Tree:
    """The tree below `--root` that makes an appliance serve `rack` from assets."""
    return Tree.of(
        _text("appliance.toml", _settings()),
        _text("inventory.d/rack.toml", "\n".join(_machine(m, _from_assets(m)) for m in rack.machines)),
        *(_text(f"ignition.d/{m.name}.ign", ignition(m)) for m in rack.machines),
        RenderedFile(f"{_ASSETS}/{_KERNEL}", kernel),
        RenderedFile(f"{_ASSETS}/{_INITRD}", initrd),
    )


def files_with_mirror(rack: Rack, image: str, *, key: bytes) -> Tree:
    """The tree below `--root` that makes an appliance serve `rack` from `image`, which the lab's mirror has.

    `key` is the public key of whoever signs what is there.
    """
    source = f'image = "{image}"\nargs = {json.dumps(_CONSOLE)}\n'
    mirror = f'mirror = "http://127.0.0.1:{MIRROR_PORT}/{{channel}}"\nkeys = ["{_KEY}"]\n'
    return Tree.of(
        _text("appliance.toml", f"{_settings()}\n[images.{image.partition('/')[0]}]\n{mirror}"),
        _text("inventory.d/rack.toml", "\n".join(_machine(m, source) for m in rack.machines)),
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


def _settings() -> str:
    return (
        "[network.pxe]\n"
        f'interface = "{INTERFACE}"\n'
        f'subnet = "{SUBNET}"\n'
        f'address = "{SERVER}"\n'
        "\n[http]\n"
        f"port = {HTTP_PORT}\n"
    )


def _from_assets(machine: LabMachine) -> str:
    url = f"http://{SERVER}:{HTTP_PORT}/ignition?mac={machine.mac.dashed}"
    # An EFI kernel of iPXE's 2019 vintage finds its initrd by this name only.
    args = [f"initrd={_INITRD}", *_CONSOLE, f"ignition.config.url={url}"]
    return (
        f'kernel = "/assets/lab/{_KERNEL}"\ninitrd = ["/assets/lab/{_INITRD}"]\nargs = {json.dumps(args)}\n'
    )


def _machine(machine: LabMachine, source: str) -> str:
    """A machine with a profile of its own, because each one's Ignition differs."""
    name = machine.name
    other = f'\n[machine.{name}.nic.eth1]\nmac = "{machine.other}"\n' if machine.other else ""
    return (
        f"[profile.{name}]\n"
        f"{source}"
        f'ignition = "{name}.ign"\n'
        'boot = "always"\n'
        f"\n[machine.{name}]\n"
        f'mac = "{machine.mac}"\n'
        f'ip = "{machine.ip}"\n'
        f'serial = "{machine.serial}"\n'
        f'profile = "{name}"\n'
        f'labels = {{ firmware = "{machine.firmware}" }}\n'
        f"{other}"
    )


def _text(path: str, content: str) -> RenderedFile:
    return RenderedFile(f"{_ETC}/{path}", content.encode())
