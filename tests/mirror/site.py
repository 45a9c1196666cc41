"""A site with an image store and the mirror that it fetches from: the installed command on one side, a folder
of signed releases on the other."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pytest

from appliance.cli.main import main
from appliance.images.lock import parse_lock
from appliance.paths import Paths
from tests.fakes import releases
from tests.fakes.mirror import Mirror, mirror
from tests.fakes.signing import Signer

COMMAND: Final = str(Path(sys.executable).parent / "pxe-appliance")
STREAM: Final = "flatcar/stable"
OLD, NEW = "4593.2.5", "4593.2.6"
OLD_AT, NEW_AT = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)
ENDS: Final = datetime(2024, 3, 15, tzinfo=UTC)  # when the ending key stops to sign: between the two releases
KERNEL: Final = "flatcar_production_pxe.vmlinuz"
INITRD: Final = "flatcar_production_pxe_image.cpio.gz"
SIZES: Final = {KERNEL: 3_000_000, INITRD: 700_000}
PATIENT: Final = ("--patience", "0.5", "--deadline", "20")
_SETTINGS: Final = '[network.pxe]\ninterface = "pxe0"\nsubnet = "172.0.1.0/24"\n'
_OURS: Final = ("NO_COLOR", "FORCE_COLOR", "PXE_APPLIANCE_ROOT")
_PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and what it printed."""

    rc: int
    out: str
    err: str

    def json(self) -> Any:
        """Its standard output as what it has to be."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Signers:
    """Who signs: the site believes `good` and `ending`; `foreign` is somebody with the same name."""

    good: Signer
    ending: Signer
    foreign: Signer
    certificates: Mapping[str, bytes]

    @classmethod
    def of(cls, good: Signer, ending: Signer, foreign: Signer) -> Signers:
        """The three, and the certificates that the site knows."""
        return cls(good, ending, foreign, {"good.asc": good.cert(), "ending.asc": ending.cert()})


@dataclass(frozen=True, slots=True)
class Site:
    """A root that the command works on, and what its mirror serves."""

    root: Path
    tree: Path
    mirror: Mirror
    signers: Signers

    @property
    def paths(self) -> Paths:
        """The places below the root."""
        return Paths(PurePosixPath(self.root))

    @property
    def images(self) -> Path:
        """What is served."""
        return Path(self.paths.images)

    @property
    def incoming(self) -> Path:
        """What is on its way."""
        return Path(self.paths.incoming)

    def configure(self, **sources: str) -> None:
        """Settings with a table for each source (Flatcar's where none is named); `{url}` is the mirror."""
        sources = sources or {"flatcar": 'mirror = "{url}/{channel}"\nkeys = ["good.asc", "ending.asc"]'}
        tables = [
            f"[images.{name.replace('_', '-')}]\n{text.replace('{url}', self.mirror.url)}\n"
            for name, text in sources.items()
        ]
        write(Path(self.paths.settings), "\n".join([_SETTINGS, *tables]).encode())

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The command's environment: nothing of the tester's own taste or proxies."""
        kept = {k: v for k, v in os.environ.items() if k not in _OURS and k.lower() not in _PROXIES}
        return {**kept, **(extra or {})}

    def run(self, *args: str, env: Mapping[str, str] | None = None, timeout: float = 60) -> Said:
        """`pxe-appliance --root ROOT ARGS`, to its end."""
        done = subprocess.run(
            [COMMAND, "--root", str(self.root), *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=self.environment(env),
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def call(self, *args: str, env: Mapping[str, str] | None = None) -> Said:
        """The same in this process, where a start costs nothing."""
        out, err = io.BytesIO(), io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [COMMAND, "--root", str(self.root), *args])
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, "utf-8", write_through=True))
            for name in set(os.environ) - set(self.environment()):
                patch.delenv(name)
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
            return Said(int(ended.value.code or 0), out.getvalue().decode(), err.getvalue().decode())

    def fetch(self, *args: str, env: Mapping[str, str] | None = None) -> Said:
        """Fetch with the installed command, as impatient as a test is; the default image if none is named."""
        return self.run("images", "fetch", *PATIENT, *_named(args), env=env)

    def fetch_here(self, *args: str) -> Said:
        """Fetch in this process."""
        return self.call("images", "fetch", *PATIENT, *_named(args))

    def rows(self) -> dict[str, dict[str, Any]]:
        """What `images` lists, by image, version and architecture: `flatcar/stable@4593.2.5`."""
        said = self.call("images", "-o", "json")
        assert said.rc == 0, said.err
        return {_row_name(row): row for row in said.json()}

    def states(self) -> dict[str, str]:
        """The state of each release."""
        return {name: str(row["state"]) for name, row in self.rows().items()}

    def current(self) -> list[str]:
        """What is current."""
        return [name for name, row in self.rows().items() if row["current"]]

    def gets(self, name: str) -> list[dict[str, object]]:
        """The finished GET requests for the files of that name, in order."""
        found = self.mirror.requests(settled=True)
        return [r for r in found if r["method"] == "GET" and str(r["path"]).endswith(f"/{name}")]

    def path(self, name: str, version: str = OLD) -> Path:
        """A file of a release in the store."""
        return self.images / STREAM / version / name

    def assert_nothing_unproven(self) -> None:
        """Every file that is served has the bytes that images.lock pins."""
        text = Path(self.paths.image_lock).read_text()
        lock, problems = parse_lock(text, "images.lock")
        assert not problems
        pins = {
            Path(r.stream.folder, r.version, name): pin
            for r in lock.releases
            for name, pin in r.files.items()
        }
        for file in self.served():
            if file.name == "release.json":
                continue
            pin = pins.get(file.relative_to(self.images))
            assert pin is not None, f"{file} is served, and not pinned"
            assert hashlib.sha512(file.read_bytes()).hexdigest() == pin.sha512, file

    def served(self) -> list[Path]:
        """Every regular file below images/, by whatever name."""
        return sorted(p for p in self.images.rglob("*") if p.is_file() and not p.is_symlink())

    def assert_old_is_whole(self, *also: str) -> None:
        """The old release is current and verifies; so does what else the store holds, which is `also`."""
        said = self.call("images", "verify", "-o", "json")
        assert said.rc == 0, said.out + said.err
        rows = {_row_name(row): row for row in said.json()}
        assert set(rows) == {f"{STREAM}@{OLD}", *also}
        assert {row["state"] for row in rows.values()} == {"ok"}
        of_stream = [name for name in rows if name.startswith(f"{STREAM}@")]
        assert [name for name in of_stream if rows[name]["current"]] == [f"{STREAM}@{OLD}"]
        self.assert_nothing_unproven()


def _named(args: Sequence[str]) -> Sequence[str]:
    return args if any("/" in a for a in args) else (STREAM, *args)


def _row_name(row: Mapping[str, Any]) -> str:
    arch = "" if row["arch"] == "amd64" else f"/{row['arch']}"
    return f"{row['image']}{arch}@{row['version']}"


@contextmanager
def opened(folder: Path, signers: Signers, *, tls: tuple[Path, Path] | None = None) -> Iterator[Site]:
    """A site whose root and tree lie in `folder`, with the mirror running."""
    root, tree = folder / "root", folder / "tree"
    for place in (root / "etc/pxe-appliance/keys.d", tree):
        place.mkdir(parents=True, exist_ok=True)
    with mirror(tree, tls=tls) as running:
        site = Site(root, tree, running, signers)
        for name, certificate in signers.certificates.items():
            write(Path(site.paths.keys / name), certificate)
        site.configure()
        yield site


@contextmanager
def copied(
    template: Path, folder: Path, signers: Signers, *, tls: tuple[Path, Path] | None = None
) -> Iterator[Site]:
    """A site that begins where another one stopped."""
    shutil.copytree(template, folder, symlinks=True, dirs_exist_ok=True)
    with opened(folder, signers, tls=tls) as site:
        yield site


def write(path: Path, content: bytes) -> None:
    """A file, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def noise(name: str, size: int) -> bytes:
    """Bytes that no other name has, the same in every run."""
    return random.Random(name).randbytes(size)


def release(
    tree: Path,
    signer: Signer,
    version: str,
    at: datetime,
    *,
    channel: str = "stable",
    sizes: Mapping[str, int] = SIZES,
    current: bool | str = True,
    arch: str = "amd64",
    digests: bool = True,
) -> Path:
    """Publish a Flatcar release whose bytes are its version's own; its folder."""
    kernel, initrd = (noise(f"{channel} {version} {arch} {name}", size) for name, size in sizes.items())
    return releases.flatcar(
        tree,
        signer,
        version=version,
        channel=channel,
        arch=arch,
        kernel=kernel,
        initrd=initrd,
        at=at,
        digests=digests,
        current=current,
    )
