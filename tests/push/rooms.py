"""An appliance's side of a push: its keys, its settings, and a run of the hand-off."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from appliance.matchbox.external import Report, hand_over
from appliance.matchbox.model import MachineBoot
from appliance.paths import Paths
from appliance.settings import MatchboxSettings, Push
from tests.fakes.certificates import Authority, authority
from tests.fakes.matchbox_grpc import Matchbox


@dataclass(frozen=True)
class Keys:
    """An authority for both sides, the server's certificate, and the client's."""

    authority: Authority
    server: tuple[Path, Path]
    client: tuple[Path, Path]


def made_keys(folder: Path) -> Keys:
    """New ones. The server is called localhost."""
    own = authority(folder)
    return Keys(own, own.server("localhost"), own.server("appliance"))


@dataclass(frozen=True)
class Side:
    """An appliance below `root`."""

    root: Path
    settings: MatchboxSettings

    @property
    def paths(self) -> Paths:
        """Its places."""
        return Paths(PurePosixPath(self.root))

    def key_file(self, name: str) -> Path:
        """A file in its keys.d/."""
        return Path(self.paths.keys) / name

    def hand_over(self, *machines: MachineBoot, within: float = 600.0) -> Report:
        """Hand these over, to the end."""
        return asyncio.run(hand_over(self.settings, self.paths, machines, within=within))


def by_grpc(root: Path, keys: Keys, matchbox: Matchbox, *, address: str = "") -> Side:
    """An appliance that pushes by gRPC, with the default names for its files."""
    settings = MatchboxSettings(matchbox.url, push=Push.GRPC, grpc=address or matchbox.grpc)
    side = Side(root, settings)
    Path(side.paths.keys).mkdir(parents=True)
    shutil.copy(keys.authority.cert, side.key_file("matchbox-ca.crt"))
    shutil.copy(keys.client[0], side.key_file("matchbox-client.crt"))
    shutil.copy(keys.client[1], side.key_file("matchbox-client.key"))
    return side


def by_directory(root: Path, url: str, data: Path) -> Side:
    """An appliance that writes into the data directory."""
    return Side(root, MatchboxSettings(url, data=str(data), push=Push.DIRECTORY))


def tree(data: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def written(folder: Path, files: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """Put files there; what is there then."""
    for name, content in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return tree(folder)
