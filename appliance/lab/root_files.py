"""What an operator of the lab's appliance would have written: settings, inventory, Ignition, assets. Pure."""

from __future__ import annotations

import json
from typing import Final

from appliance.lab.rack import HTTP_PORT, INTERFACE, SERVER, SUBNET, LabMachine, Rack
from appliance.tree import RenderedFile, Tree

_ETC: Final = "etc/pxe-appliance"
_ASSETS: Final = f"{_ETC}/matchbox/assets/lab"
_KERNEL: Final = "vmlinuz"
_INITRD: Final = "initrd.gz"


def files(rack: Rack, *, kernel: bytes, initrd: bytes) -> Tree:
    """The tree below `--root` that makes an appliance serve `rack`."""
    return Tree.of(
        _text("appliance.toml", _settings()),
        _text("inventory.d/rack.toml", "\n".join(_machine(m) for m in rack.machines)),
        *(_text(f"ignition.d/{m.name}.ign", ignition(m)) for m in rack.machines),
        RenderedFile(f"{_ASSETS}/{_KERNEL}", kernel),
        RenderedFile(f"{_ASSETS}/{_INITRD}", initrd),
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


def _machine(machine: LabMachine) -> str:
    """A machine with a profile of its own, because each one's Ignition differs."""
    name = machine.name
    url = f"http://{SERVER}:{HTTP_PORT}/ignition?mac={machine.mac.dashed}"
    # An EFI kernel of iPXE's 2019 vintage finds its initrd by this name only.
    args = [f"initrd={_INITRD}", "console=ttyS0", "quiet", f"ignition.config.url={url}"]
    other = f'\n[machine.{name}.nic.eth1]\nmac = "{machine.other}"\n' if machine.other else ""
    return (
        f"[profile.{name}]\n"
        f'kernel = "/assets/lab/{_KERNEL}"\n'
        f'initrd = ["/assets/lab/{_INITRD}"]\n'
        f"args = {json.dumps(args)}\n"
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
