"""Where iPXE is sent once it runs: to our own endpoint or to an external Matchbox. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address

from appliance.settings import MatchboxSettings


def boot_url(settings: MatchboxSettings, address: IPv4Address, port: int) -> str:
    """The script that the second DHCP answer names.

    `address` is ours on the network that the machine stands in; an external endpoint's base may carry a path
    (Matchbox chains to a relative `ipxe`, so a prefix works).
    """
    base = f"http://{address}:{port}" if settings.builtin else settings.endpoint.rstrip("/")
    return f"{base}/boot.ipxe"
