"""Where things live on a host. Pure: it only joins names.

`--root DIR` (or PXE_APPLIANCE_ROOT) puts every one of these under DIR, so that the whole appliance runs
unprivileged, twice on one host, or in a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

_OURS: Final = ("/etc/pxe-appliance", "/var/lib/pxe-appliance", "/run/pxe-appliance")


@dataclass(frozen=True, slots=True)
class Paths:
    """Every place the appliance reads or writes, below one root (absolute)."""

    root: PurePosixPath = PurePosixPath("/")

    # the operator's
    @property
    def etc(self) -> PurePosixPath:
        return self.root / "etc/pxe-appliance"

    @property
    def settings(self) -> PurePosixPath:
        return self.etc / "appliance.toml"

    @property
    def inventory(self) -> PurePosixPath:
        return self.etc / "inventory.d"

    @property
    def ignition(self) -> PurePosixPath:
        return self.etc / "ignition.d"

    @property
    def matchbox(self) -> PurePosixPath:
        return self.etc / "matchbox"

    @property
    def keys(self) -> PurePosixPath:
        return self.etc / "keys.d"

    @property
    def secrets(self) -> PurePosixPath:
        """What webhooks are signed with; nobody but root and the service may read it."""
        return self.etc / "secrets.d"

    @property
    def image_lock(self) -> PurePosixPath:
        """Root's, not the service's: whoever takes over the daemon cannot pin other images."""
        return self.etc / "images.lock"

    @property
    def dnsmasq_extra(self) -> PurePosixPath:
        return self.etc / "dnsmasq.d"

    # ours
    @property
    def state(self) -> PurePosixPath:
        return self.root / "var/lib/pxe-appliance"

    @property
    def generations(self) -> PurePosixPath:
        return self.state / "generations"

    @property
    def current(self) -> PurePosixPath:
        return self.state / "current"

    @property
    def images(self) -> PurePosixPath:
        return self.state / "images"

    @property
    def incoming(self) -> PurePosixPath:
        """What is being fetched: never below what is served."""
        return self.state / "incoming"

    @property
    def image_pointers(self) -> PurePosixPath:
        return self.state / "image-pointers.json"

    @property
    def image_seals(self) -> PurePosixPath:
        return self.state / "image-seals.json"

    @property
    def fetched_keys(self) -> PurePosixPath:
        """Certificates that projects publish, as fetched; the operator's own are in keys.d/."""
        return self.state / "keys"

    @property
    def tftp(self) -> PurePosixPath:
        return self.state / "tftp"

    @property
    def history(self) -> PurePosixPath:
        return self.state / "history.db"

    @property
    def run(self) -> PurePosixPath:
        return self.root / "run/pxe-appliance"

    @property
    def control(self) -> PurePosixPath:
        return self.run / "control.sock"

    @property
    def served_lately(self) -> PurePosixPath:
        """Which networks a daemon on this root served a moment ago."""
        return self.run / "served-lately.json"

    @property
    def daemon_lock(self) -> PurePosixPath:
        return self.run / "daemon.lock"

    @property
    def lock(self) -> PurePosixPath:
        return self.run / "lock"

    @property
    def journal(self) -> PurePosixPath:
        """Where journald listens (systemd-journald.service(8))."""
        return self.root / "run/systemd/journal/socket"

    def in_secrets(self, raw: str) -> PurePosixPath:
        """A secret's file as written in the settings: relative ones are relative to secrets.d/."""
        return self.settle(raw) if PurePosixPath(raw).is_absolute() else self.secrets / raw

    def keyring(self, raw: str) -> PurePosixPath:
        """The file that `[matchbox] keyring` names: relative ones are relative to keys.d/."""
        return self.in_keys(raw)

    def in_keys(self, raw: str) -> PurePosixPath:
        """A key or certificate as written in the settings: relative ones are relative to keys.d/."""
        return self.settle(raw) if PurePosixPath(raw).is_absolute() else self.keys / raw

    def settle(self, raw: str) -> PurePosixPath:
        """A path as an operator wrote it in the settings, turned absolute.

        Relative ones are relative to /etc/pxe-appliance; our own three folders follow the root; any other
        absolute path is meant as it stands.
        """
        path = PurePosixPath(raw)
        if not path.is_absolute():
            return self.etc / path
        if any(path.is_relative_to(ours) for ours in _OURS):
            return self.root / path.relative_to("/")
        return path
