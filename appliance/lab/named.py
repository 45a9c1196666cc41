"""How the appliance's answers name a cause: the right words about the right thing, with a remedy. Pure.

Each function takes a command's parsed JSON and gives what an operator reads there; None while that is not
there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from appliance.addresses import Mac


@dataclass(frozen=True, slots=True)
class Told:
    """What is wrong, and what to do about it."""

    message: str
    remedy: str


def kernel_missing(answer: object) -> Told | None:
    """`why`: the kernel could not be loaded."""
    return _verdict(answer, "kernel")


def mistyped(mac: Mac) -> Callable[[object], Told | None]:
    """`why`: nothing was heard of the machine, and `mac` asks in its place."""

    def told(answer: object) -> Told | None:
        return _verdict(answer, str(mac), "replace-mac")

    return told


def other_nic(mac: Mac, machine: str) -> Callable[[object], Told | None]:
    """`strays`: `mac` is known to be `machine`'s, and should not be there."""

    def told(answer: object) -> Told | None:
        for row in _rows(answer):
            owner = str(row.get("owner") or "")
            if row.get("mac") == str(mac) and machine in owner and row.get("remedy"):
                return Told(f"{mac}: {owner}", str(row["remedy"]))
        return None

    return told


def rogue(ip: IPv4Address, mac: str) -> Callable[[object], Told | None]:
    """`status`: another DHCP server, by its address and its MAC."""

    def told(answer: object) -> Told | None:
        problems = _rows(answer.get("problems")) if isinstance(answer, Mapping) else iter(())
        for row in problems:
            message = str(row.get("message"))
            if row.get("id") == "rogue-server" and str(ip) in message and mac in message and row.get("fix"):
                return Told(message, str(row["fix"]))
        return None

    return told


def endpoint_in_doctor(endpoint: str) -> Callable[[object], Told | None]:
    """`doctor`: an error that names the endpoint, and how to see for oneself."""

    def told(answer: object) -> Told | None:
        for row in _rows(answer):
            message = str(row.get("message"))
            if row.get("verdict") == "error" and endpoint in message and row.get("fix"):
                return Told(f"{row.get('id')}: {message}", str(row["fix"]))
        return None

    return told


def endpoint_in_why(endpoint: str) -> Callable[[object], Told | None]:
    """`why`: the machine waits for the endpoint."""

    def told(answer: object) -> Told | None:
        return _verdict(answer, endpoint)

    return told


def _verdict(answer: object, *words: str) -> Told | None:
    verdict = answer.get("verdict") if isinstance(answer, Mapping) else None
    if not isinstance(verdict, Mapping):
        return None
    told = Told(str(verdict.get("message")), str(verdict.get("remedy") or ""))
    said = f"{told.message} {told.remedy}"
    return told if told.remedy and all(word in said for word in words) else None


def _rows(answer: object) -> Iterator[Mapping[str, object]]:
    yield from (row for row in (answer if isinstance(answer, list) else ()) if isinstance(row, Mapping))
