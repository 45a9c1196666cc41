"""Releases as Flatcar's build server makes them: kernel, initrd, their signatures, signed lists of digests.

    stable/amd64-usr/VERSION/{version.txt,flatcar_production_pxe.vmlinuz,flatcar_production_pxe_image.cpio.gz}

The key is made for one lab and its secret half stays in memory. Nothing in here touches a disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Self

import pysequoia

from appliance.images.model import Stream
from appliance.tree import RenderedFile, Tree

STREAM: Final = Stream("flatcar", "stable")
BOARD: Final = "stable/amd64-usr"
KERNEL: Final = "flatcar_production_pxe.vmlinuz"
INITRD: Final = "flatcar_production_pxe_image.cpio.gz"
_WHO: Final = "The lab's build server <lab@example.com>"


@dataclass(frozen=True, slots=True)
class BuildServer:
    """Whoever holds the secret key."""

    secret: pysequoia.Tsk

    @classmethod
    def make(cls) -> Self:
        """One with a key of its own."""
        return cls(pysequoia.Tsk.generate(_WHO))

    @property
    def key(self) -> bytes:
        """The public key, armored."""
        return str(self.secret.extract_certificate()).encode()

    def release(self, version: str, *, kernel: bytes, initrd: bytes) -> Tree:
        """The files of a release, without the folder of its version; signed now."""
        facts = f"FLATCAR_VERSION={version}\nFLATCAR_BOARD=amd64-usr\n".encode()
        return Tree.of(
            *self._with_signature("version.txt", facts),
            *self._with_proofs(KERNEL, kernel),
            *self._with_proofs(INITRD, initrd),
        )

    def _with_signature(self, name: str, content: bytes) -> tuple[RenderedFile, ...]:
        mode = pysequoia.SignatureMode.DETACHED
        signature = pysequoia.sign(self.secret.signer(), content, mode=mode, armor=False)
        return RenderedFile(name, content), RenderedFile(f"{name}.sig", signature)

    def _with_proofs(self, name: str, content: bytes) -> tuple[RenderedFile, ...]:
        listed = f"# SHA512 HASH\n{hashlib.sha512(content).hexdigest()}  {name}\n".encode()
        signed = pysequoia.sign(self.secret.signer(), listed, mode=pysequoia.SignatureMode.CLEAR)
        return *self._with_signature(name, content), RenderedFile(f"{name}.DIGESTS.asc", signed)
