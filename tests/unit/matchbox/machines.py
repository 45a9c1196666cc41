"""Machines as an external Matchbox is to know them, for the tests of the push and of the asking."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from appliance.addresses import Mac
from appliance.matchbox.model import Boot, MachineBoot, Profile

BOOT = Boot("http://172.0.1.1:8080/assets/k", ("http://172.0.1.1:8080/assets/i.gz",), ("initrd=i.gz", "a=1"))


def document(version: str = "3.4.0", content: str = "node", **more: Any) -> bytes:
    """An Ignition document with one file."""
    file = {"path": "/etc/hostname", "mode": 420, "contents": {"source": f"data:,{content}"}}
    return json.dumps({"ignition": {"version": version}, "storage": {"files": [file]}, **more}).encode()


def machine(
    name: str = "node1",
    *macs: str,
    boot: Boot | None = BOOT,
    ignition: bytes | Callable[[str], bytes] | None = None,
    metadata: Mapping[str, object] | None = None,
) -> MachineBoot:
    """A machine with a profile; `node1` has the MAC that ends in 01."""
    number = int("".join(filter(str.isdigit, name)) or 0)
    given = macs or (f"52:54:00:aa:{number >> 8:02x}:{number & 255:02x}",)
    return MachineBoot(
        name,
        tuple(map(Mac.parse, given)),
        Profile("worker", "worker", boot, "worker.ign"),
        metadata or {"rack": "r1"},
        ignition if callable(ignition) else None if ignition is None else lambda _: ignition,
    )
