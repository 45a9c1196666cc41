"""A mirror and a place for what comes from it, driven through the transport alone: no key, no store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from appliance.images.fetch import http_transport
from appliance.images.model import Artefact
from appliance.images.trust import Measured
from appliance.images.wishes import Limits
from tests.fakes.mirror import Mirror
from tests.unit.images.rooms import sha512

CONTENT = bytes(range(256)) * 16_000  # 4 MB: more than what waits in buffers
SIZE, BROKEN = len(CONTENT), 3_500_000
WHOLE = Measured(SIZE, sha512(CONTENT))
QUICK = Limits(patience=0.3, tries=3, first_wait=0.02, longest_wait=0.1)
ONCE = {"times": 1, "method": "GET"}
BREAKS_ONCE = {"kind": "reset", "after": BROKEN, **ONCE}


@dataclass
class Notes:
    """A watcher who writes everything down."""

    began: list[tuple[str, int | None, int]] = field(default_factory=list)
    came: int = 0
    said: list[str] = field(default_factory=list)

    def begins(self, name: str, total: int | None, done: int) -> None:
        self.began.append((name, total, done))

    def advances(self, name: str, count: int) -> None:
        assert name == "kernel"
        self.came += count

    def says(self, words: str) -> None:
        self.said.append(words)

    def ends(self, name: str, words: str) -> None:
        self.said.append(f"{name}: {words}")


@dataclass(frozen=True)
class Bench:
    """A mirror, and a place for what comes from it."""

    mirror: Mirror
    folder: Path
    notes: Notes
    artefact: Artefact

    @property
    def part(self) -> Path:
        return self.folder / "kernel.part"

    def fault(self, *faults: Mapping[str, object], path: str = "/kernel") -> None:
        self.mirror.faults({path: list(faults)})

    def download(self, limits: Limits = QUICK, artefact: Artefact | None = None) -> Measured:
        """Bring the kernel here; the mirror's log begins anew."""

        async def bring() -> Measured:
            async with http_transport(self.notes, limits) as transport:
                intake = await transport.download(artefact or self.artefact, self.part, None)
                try:
                    return intake.finish()
                finally:
                    intake.close()

        self.mirror.forget()
        return asyncio.run(bring())

    def document(self, cap: int = 10_000_000, limits: Limits = QUICK) -> bytes | None:
        """The kernel, as if it were a small file."""

        async def bring() -> bytes | None:
            async with http_transport(self.notes, limits) as transport:
                return await transport.document(self.artefact.url, cap)

        self.mirror.forget()
        return asyncio.run(bring())

    def size(self) -> int | None:
        """What the mirror says of the kernel's size."""

        async def ask() -> int | None:
            async with http_transport(self.notes, QUICK) as transport:
                return await transport.size(self.artefact.url)

        return asyncio.run(ask())

    def asked(self) -> list[str]:
        """The ranges that were asked for, one a request."""
        found = []
        for request in self.mirror.requests(settled=True):
            headers = request["headers"]
            assert isinstance(headers, dict)
            found.append(str(headers.get("range", "all")))
        return found
