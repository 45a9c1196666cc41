"""What proving a download costs: 1 GB from a server on this host, by us and by what operators use otherwise.

Run: python -m bench.fetch [--megabytes 1000] [--rounds 3]. Wants curl, wget, aria2c, gpgv and nginx; what is
not installed is left out. Everything runs in turn within one run, and the ratios are what matters: the
megabytes a second are this machine's. Ours is the whole command, from its start to a published release:
signed list and detached signature checked, SHA-512 taken, pinned, fsynced, renamed. TMPDIR says where; on a
disk the peers are flattered, because none of them waits for it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.fakes import releases
from tests.fakes.mirror import mirror
from tests.fakes.signing import Signer

KERNEL = "flatcar_production_pxe.vmlinuz"
INITRD = "flatcar_production_pxe_image.cpio.gz"
VERSION = "4593.2.5"


@dataclass(frozen=True)
class Way:
    """One way to get the file; `proven` tells what it checks."""

    name: str
    proven: str
    run: Callable[[], object]


@dataclass(frozen=True)
class Site:
    """A mirror with one large release, and a place for what is fetched."""

    work: Path
    url: str  # of the version's directory
    base: str  # of the mirror
    key: Path  # binary keyring

    @property
    def out(self) -> Path:
        """Where other programs put the file."""
        return self.work / "out" / INITRD

    def fresh(self) -> None:
        """As if nothing had been fetched before."""
        shutil.rmtree(self.work / "out", ignore_errors=True)
        (self.work / "out").mkdir()
        shutil.rmtree(self.work / "root/var", ignore_errors=True)
        (self.work / "root/etc/pxe-appliance/images.lock").unlink(missing_ok=True)


def ways(site: Site) -> Iterator[Way]:
    """Ours, then each peer: alone, with the digest checked, with the signature checked."""
    yield Way("pxe-appliance", "signature and digest", lambda: ours(site))
    peers: dict[str, list[str]] = {
        "curl": ["curl", "-sf", "-o", str(site.out), f"{site.url}/{INITRD}"],
        "wget": ["wget", "-q", "-O", str(site.out), f"{site.url}/{INITRD}"],
        "aria2c": ["aria2c", "-q", "-x4", "-d", str(site.out.parent), f"{site.url}/{INITRD}"],
    }
    for name, argv in peers.items():
        if shutil.which(name) is None:
            sys.stdout.write(f"{name} is not installed: left out\n")
            continue
        yield Way(name, "nothing", partial(calls, argv))
        yield Way(f"{name}, sha512sum", "digest", partial(calls, argv, ["sha512sum", str(site.out)]))
        if shutil.which("gpgv"):
            signature = str(site.out.with_name(f"{INITRD}.sig"))
            fetched = ["curl", "-sf", "-o", signature, f"{site.url}/{INITRD}.sig"]
            checked = ["gpgv", "--keyring", str(site.key), signature, str(site.out)]
            yield Way(f"{name}, gpgv", "signature", partial(calls, argv, fetched, checked))


def ours(site: Site) -> None:
    """The command as an operator runs it."""
    program = str(Path(sys.executable).with_name("pxe-appliance"))
    calls([program, "--root", str(site.work / "root"), "images", "fetch", "flatcar/stable"])


def calls(*commands: list[str]) -> None:
    """Run each to a good end."""
    for argv in commands:
        subprocess.run(
            argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )


@contextmanager
def site_of(megabytes: int) -> Iterator[Site]:
    """A signed release on a server: nginx where it is installed, else the tests' own mirror."""
    work = Path(tempfile.mkdtemp(prefix="pxe-bench-"))
    tree = work / "tree"
    tree.mkdir()
    block = hashlib.shake_256(b"bench").digest(2**20)
    try:
        with Signer.make() as signer:
            content = block * megabytes
            place = releases.flatcar(tree, signer, version=VERSION, kernel=block, initrd=content)
            del content
            etc = work / "root/etc/pxe-appliance"
            (etc / "keys.d").mkdir(parents=True)
            (etc / "keys.d/bench.asc").write_bytes(signer.cert())
            (work / "key.gpg").write_bytes(signer.cert(armor=False))
            with server(work, tree) as url:
                (etc / "appliance.toml").write_text(
                    '[network.pxe]\ninterface = "bench0"\nsubnet = "172.0.1.0/24"\n'
                    f'[images.flatcar]\nmirror = "{url}/{{channel}}"\nkeys = ["bench.asc"]\n'
                )
                yield Site(work, f"{url}/{place.relative_to(tree)}", url, work / "key.gpg")
    finally:
        shutil.rmtree(work)


@contextmanager
def server(work: Path, tree: Path) -> Iterator[str]:
    """Something that serves files fast."""
    if shutil.which("nginx") is None:
        with mirror(tree) as running:
            yield running.url
        return
    port = 18080 + os.getpid() % 1000
    conf = work / "nginx.conf"
    conf.write_text(
        f"daemon off; pid {work}/nginx.pid; error_log {work}/error.log; worker_processes 1; user root;\n"
        "events {}\nhttp { access_log off; sendfile on; "
        f"server {{ listen 127.0.0.1:{port}; root {tree}; }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-p", str(work), "-c", str(conf)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while (
            subprocess.run(
                ["curl", "-sf", "-o", os.devnull, f"http://127.0.0.1:{port}/"], check=False
            ).returncode
            == 7
        ):
            if time.monotonic() > deadline:
                raise RuntimeError("nginx does not answer")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Fetch and prove, side by side.")
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    write = sys.stdout.write
    with site_of(chosen.megabytes) as site:
        candidates = list(ways(site))
        seconds: dict[str, list[float]] = {way.name: [] for way in candidates}
        for _ in range(chosen.rounds):
            for way in candidates:
                site.fresh()
                began = time.monotonic()
                way.run()
                seconds[way.name].append(time.monotonic() - began)
    own = statistics.median(seconds["pxe-appliance"])
    write(f"{'':<20} {'checks':<22} {'seconds':>8} {'MB/s':>6} {'ours is':>8}\n")
    for way in candidates:
        median = statistics.median(seconds[way.name])
        rate = chosen.megabytes * 2**20 / 1e6 / median
        write(f"{way.name:<20} {way.proven:<22} {median:>8.2f} {rate:>6.0f} {median / own:>7.2f}x\n")


if __name__ == "__main__":
    main()
