"""Which networks a daemon on this root served a moment ago: a note in the run directory.

A daemon that comes back after a crash must not stay away because a thief with a DHCP server is on the wire:
it takes up what was its own, at once, and raises the alarm. So must one that is restarted, by an update or by
its operator: the note stays after a clean stop too, and only its age decides. An appliance that was away for
longer than that, or whose host was, looks first: others may have been given its work.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError
from appliance.settings import NetworkSettings
from appliance.system.clock import since_boot
from appliance.system.files import read_regular, write_atomic

FRESH: Final = 300.0  # seconds
_LIMIT: Final = 1 << 20
# Read where it can be (our service sees no /proc/sys): a root outside /run keeps its note past a reboot.
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class ServedLately:
    """The note at `path`. What cannot be read or written counts as none: then a start looks first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at: dict[str, float] = {}

    def note(self, networks: Iterable[NetworkSettings]) -> None:
        """These are served now."""
        now = since_boot()
        self._at = {key: at for key, at in (self._at or self._read()).items() if 0 <= now - at < FRESH}
        self._at |= {_key(network): now for network in networks}
        content = json.dumps({"boot": _boot_id(), "networks": self._at})
        with contextlib.suppress(ApplianceError):
            write_atomic(self._path, content.encode(), 0o640)

    def has(self, network: NetworkSettings) -> bool:
        """Whether this network, on this interface, was served within the last minutes."""
        at = self._read().get(_key(network))
        return at is not None and 0 <= since_boot() - at < FRESH

    def _read(self) -> dict[str, float]:
        with contextlib.suppress(OSError, ApplianceError, ValueError, RecursionError):
            raw = json.loads(read_regular(self._path, _LIMIT))
            if isinstance(raw, dict) and raw.get("boot") == _boot_id():
                networks = raw.get("networks")
                if isinstance(networks, dict):
                    return {str(k): float(v) for k, v in networks.items() if isinstance(v, int | float)}
        return {}


def _key(network: NetworkSettings) -> str:
    return f"{network.name} {network.interface} {network.subnet}"


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii", errors="replace").strip()
    return ""
