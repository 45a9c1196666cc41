"""The signing key that the settings name, taken up again whenever its file or the setting changes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from appliance.daemon.status import problem
from appliance.matchbox.signing import KeyringError, Signatures, given_passphrase, load_key
from appliance.paths import Paths
from appliance.settings import Settings
from appliance.system.credentials import given

_OFF = "signatures are off: the settings name no keyring"
_Look = tuple[str, tuple[int, ...]]
_log = logging.getLogger("pxe-appliance")


class Keyring:
    """What signs at this moment, or why nothing does. One task refreshes it."""

    def __init__(self, paths: Paths, environ: Mapping[str, str] = os.environ) -> None:
        self._paths = paths
        self._environ = environ
        self._seen: _Look | None = None
        self.signatures: Signatures | str = _OFF
        self.problems: tuple[dict[str, str], ...] = ()

    async def refresh(self, settings: Settings) -> None:
        """Look at the setting and the file, and read the key again when one of them looks different."""
        name = settings.matchbox.keyring if settings.matchbox.builtin else ""
        file = given(Path(self._paths.keyring(name)), Path(self._paths.secrets))
        seen = (name, _looks(file) if name else ())
        if seen == self._seen:
            return
        self._seen = seen
        self.problems = ()
        if not name:
            self.signatures = _OFF
            return
        try:
            key = await asyncio.to_thread(lambda: load_key(file, given_passphrase(self._environ)))
        except KeyringError as error:
            self.signatures = f"nothing is signed: {file} {error.message}"
            self.problems = (problem("keyring", "error", self.signatures, error.hint),)
            _log.error("%s (%s)", self.signatures, error.hint)
        else:
            self.signatures = Signatures(key)
            _log.info("signing with the key %s", key.fingerprint)


def _looks(file: Path) -> tuple[int, ...]:
    """What changes when the file does, its rights included; empty when there is none to be seen."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode
