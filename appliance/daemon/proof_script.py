"""Reading boot scripts as iPXE would, as far as a proof needs it. Pure.

Not an interpreter: the first `chain` of our own script, the `kernel` and `initrd` lines of the one that it
leads to, and the variables in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from appliance.boot.policy import Given
from appliance.matchbox.ask import joined, parse_script

_VARIABLE: Final = re.compile(r"\$\{([^{}:]*)(?::([a-z0-9]+))?\}")
_IGNITION_KEYS: Final = ("ignition.config.url", "coreos.inst.ignition_url", "coreos.config.url")
HTTP: Final = ("http", "https")


@dataclass(frozen=True, slots=True)
class Loads:
    """What a script has a machine load, as whole URLs. `ignition` empty: it boots without."""

    kernel: str
    initrds: tuple[str, ...]
    ignition: str = ""


def expanded(text: str, settings: Mapping[str, str]) -> str:
    """The text with iPXE's variables put in; those that are not set are empty."""

    def value(match: re.Match[str]) -> str:
        found = settings.get(match[1], "")
        match match[2]:
            case "hexhyp":
                return found.replace(":", "-")
            case "hexraw":
                return found.replace(":", "")
            case "uristring":
                return quote(found, safe="")
        return found

    return _VARIABLE.sub(value, text)


def chained(text: str, base: str, settings: Mapping[str, str]) -> str:
    """The URL that a first script goes on to; empty when it goes nowhere."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["chain"]:
            target = next((word for word in words[1:] if not word.startswith("-")), "")
            return joined(base, expanded(target, settings)) if target else ""
    return ""


def loads(text: str, base: str, settings: Mapping[str, str]) -> Loads | None:
    """What a boot script loads; None when it is no script or names no kernel."""
    script = parse_script(text)
    if script is None or not script.kernel:
        return None
    args = [expanded(arg, settings) for arg in script.args]
    pairs = dict(arg.partition("=")[::2] for arg in args)
    ignition = next((pairs[key] for key in _IGNITION_KEYS if pairs.get(key)), "")
    return Loads(
        joined(base, expanded(script.kernel, settings)),
        tuple(joined(base, expanded(uri, settings)) for uri in script.initrd),
        ignition,
    )


def goes_to(text: str) -> Given | None:
    """Where a first script of ours sends its machine; None when it is no script of iPXE's."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("#!ipxe"):
        return None
    if any(line.startswith("echo Booting from the local disk") for line in lines):
        return Given.DISK
    if any(line.startswith("echo ") and " is held: " in line for line in lines):
        return Given.NOTHING
    return Given.IMAGE


def can_be_fetched(url: str) -> bool:
    """Whether a URL is one that a proof can ask; iPXE also knows TFTP, NFS and disks."""
    try:
        return urlsplit(url).scheme in HTTP
    except ValueError:
        return False
