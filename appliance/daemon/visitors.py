"""Which browsers may read: ours. Pure.

A page of somebody else's can make a browser ask us: under a name that it lets point here (DNS rebinding), or
from a frame or a script across sites. Machines, loaders, scrapers send none of these headers. What machines
ask for is not looked at, but when this host asks for it: an operator's own groups are read from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from appliance.settings import Settings

MISDIRECTED: Final = 421  # RFC 9110, 15.5.20: not a server for this name
_GUARDED: Final = ("/ui", "/v1", "/metrics")
_OF_MACHINES: Final = "/v1/report"
_HEALTH: Final = "/healthz"  # says nothing to anybody
_OWN_SITE: Final = frozenset({"same-origin", "none"})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})  # where `ssh -L` ends


def refusal(
    path: str, headers: Mapping[str, str], settings: Settings, *, here: bool = False
) -> tuple[int, str] | None:
    """The status and the reason with which a request is refused; None for nearly all.

    `here`: this host asks. A tunnel ends here, and so does the browser at its other end: all is looked at.
    """
    if not (guarded(path) or (here and path != _HEALTH)):
        return None
    host = headers.get("Host", "")
    if host and not is_ours(host, settings):
        return MISDIRECTED, "this host name is not one of ours: add it to hosts in [http] of appliance.toml"
    origin = headers.get("Origin")
    if origin is not None and origin.lower() not in {f"http://{host.lower()}", f"https://{host.lower()}"}:
        return 403, "asked by a page of another site"
    site = headers.get("Sec-Fetch-Site", "none")
    if site not in _OWN_SITE and not _followed_a_link(headers):
        return 403, "asked by a page of another site"
    return None


def guarded(path: str) -> bool:
    """Whether a path is for people and their programs; what machines ask for is not looked at here."""
    return path != _OF_MACHINES and any(path == p or path.startswith(f"{p}/") for p in _GUARDED)


def is_ours(host: str, settings: Settings) -> bool:
    """Whether a Host header names this appliance: an address of ours, loopback, a name in the settings.

    The port is not looked at: a tunnel ends at any.
    """
    name = _without_port(host.lower())
    if name in _LOOPBACK or name in {h.lower() for h in settings.http.hosts}:
        return True
    return any(name == str(n.address) for n in settings.networks.values())


def _without_port(host: str) -> str:
    if host.startswith("["):
        inside, bracket, _ = host.partition("]")
        try:
            return f"[{IPv6Address(inside[1:])}]" if bracket else host
        except AddressValueError:
            return host
    name = host.rpartition(":")[0] if ":" in host else host
    try:
        return str(IPv4Address(name))
    except AddressValueError:
        return name.removesuffix(".")


def _followed_a_link(headers: Mapping[str, str]) -> bool:
    """A person who follows a link in a wiki comes from another site, too, and sees the page itself."""
    return headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
