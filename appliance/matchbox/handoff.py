"""Where iPXE is sent once it runs. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address


def boot_url(address: IPv4Address, port: int) -> str:
    """The script that the second DHCP answer names; `address` is ours on the network of the machine.

    It is ours for an external Matchbox, too: it asks there again and again, and says on the machine's screen
    what it waits for, which Matchbox's own script does not.
    """
    return f"http://{address}:{port}/boot.ipxe"
