"""A mirror that fails or lies, in 24 ways: whatever it does, the old image stays, whole and current, and
nothing that is not proven is ever below the served root."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.fakes import releases
from tests.fakes.certificates import authority
from tests.mirror.site import (
    INITRD,
    KERNEL,
    NEW,
    NEW_AT,
    OLD,
    OLD_AT,
    SIZES,
    STREAM,
    Signers,
    Site,
    copied,
    noise,
    release,
    write,
)

BROKEN: Final = 2_600_000  # bytes after which a connection breaks
ONCE: Final = {"times": 1, "method": "GET"}
BREAKS_ONCE: Final = {"kind": "reset", "after": BROKEN, **ONCE}
RESUMED: Final = re.compile(r"bytes=([1-9][0-9]*)-")
BETA: Final = "flatcar/beta@4757.1.0"


@dataclass(frozen=True)
class Lie:
    """What the mirror does with the new release, and how the fetch has to end.

    `faults` are for the kernel where no other file is named; `said` has to be in the error's words. `whole`
    tells that the kernel has to come once more from its first byte, `resumed` that only its rest does.
    """

    name: str
    rc: int
    said: str = ""
    faults: object = ()
    more_faults: Mapping[str, object] = field(default_factory=dict)
    prepare: Callable[[Site], None] | None = None
    also: tuple[str, ...] = ()
    whole: bool = False
    resumed: bool = False
    at_least: float = 0.0
    certificate: str | None = None
    tries: int = 2


def signed_by_another(site: Site) -> None:
    release(site.tree, site.signers.foreign, NEW, NEW_AT)


def signed_by_another_but_the_version(site: Site) -> None:
    signed_by_another(site)
    folder = site.tree / "stable/amd64-usr" / NEW
    write(
        folder / "version.txt.sig", site.signers.good.sign((folder / "version.txt").read_bytes(), at=NEW_AT)
    )


def signed_after_the_end(site: Site) -> None:
    release(site.tree, site.signers.ending, NEW, NEW_AT)


def current_is_older(site: Site) -> None:
    release(site.tree, site.signers.good, "4593.2.4", OLD_AT - timedelta(days=30))


def old_bytes_with_a_new_number(site: Site) -> None:
    """Every byte is as the project signed it, the version alone is the mirror's (it has no signature)."""
    board = site.tree / "stable/amd64-usr"
    for name in (KERNEL, INITRD):
        for suffix in ("", ".sig", ".DIGESTS.asc"):
            write(board / NEW / f"{name}{suffix}", (board / OLD / f"{name}{suffix}").read_bytes())
    (board / NEW / "version.txt.sig").unlink()


def older_bytes_with_a_new_number(site: Site) -> None:
    """As above, with bytes that this site never had."""
    elder = release(site.tree, site.signers.good, "4593.2.3", OLD_AT - timedelta(days=30), current=False)
    for name in (KERNEL, INITRD):
        for suffix in ("", ".sig", ".DIGESTS.asc"):
            write(elder.with_name(NEW) / f"{name}{suffix}", (elder / f"{name}{suffix}").read_bytes())


def bytes_of_beta(site: Site) -> None:
    beta = release(site.tree, site.signers.good, BETA.partition("@")[2], NEW_AT, channel="beta")
    assert site.fetch("flatcar/beta").rc == 0
    for name in (KERNEL, INITRD):
        for suffix in ("", ".sig", ".DIGESTS.asc"):
            copy = site.tree / "stable/amd64-usr" / NEW / f"{name}{suffix}"
            write(copy, (beta / f"{name}{suffix}").read_bytes())


def two_builds(site: Site) -> None:
    """The kernel of a rebuild weeks later."""
    kernel = noise("rebuilt", SIZES[KERNEL])
    build = releases.Build(site.signers.good, NEW_AT + timedelta(days=20), digests=True)
    build.put(site.tree / "stable/amd64-usr" / NEW / KERNEL, kernel)


def truncated_at_the_source(site: Site) -> None:
    kernel = site.tree / "stable/amd64-usr" / NEW / KERNEL
    kernel.write_bytes(kernel.read_bytes()[:-1000])


LIES: Final = (
    Lie("404", 5, "the server says 404", {"kind": "status", "code": 404}),
    Lie("500", 5, "the server says 500", {"kind": "status", "code": 500}),
    Lie("503+Retry-After", 0, "", {"kind": "status", "code": 503, "retry_after": 1, **ONCE}, at_least=1.0),
    Lie("reset mid-body", 0, "the connection broke", BREAKS_ONCE, resumed=True),
    Lie("stall forever", 5, "only 100 bytes came in 0.5 s", {"kind": "stall", "after": 100}, tries=1),
    Lie("1 B/s", 5, "bytes came in 0.5 s", {"kind": "drip", "bytes_per_second": 1}, tries=1),
    Lie("truncated", 0, "the connection broke", {"kind": "cut", "after": BROKEN, **ONCE}, resumed=True),
    Lie("truncated at the source", 4, "[bad-signature]", prepare=truncated_at_the_source),
    Lie("longer than size", 4, "[bad-signature]", {"kind": "longer", "bytes": 100}),
    Lie("endless", 4, "[too-large]", {"kind": "endless"}),
    Lie("wrong Content-Length", 5, "the connection broke", {"kind": "wrong_length", "by": 100}, tries=1),
    Lie("wrong hash", 4, "[bad-signature]", {"kind": "flip", "offset": 150_000}),
    Lie(
        "wrong hash, signed in a list only", 4, "[wrong-digest]", {"kind": "flip", "offset": 150_000},
        {f"*/{KERNEL}.sig": {"kind": "status", "code": 404}},
    ),
    Lie("wrong sig", 4, "[bad-signature]", more_faults={f"*/{KERNEL}.sig": {"kind": "flip", "offset": 90}}),
    Lie("sig by other key", 4, "[foreign-key]", prepare=signed_by_another),
    Lie("sig by other key, files", 4, "[foreign-key]", prepare=signed_by_another_but_the_version),
    Lie("expired key", 4, "[expired-key]", prepare=signed_after_the_end),
    Lie("old-but-signed version", 4, "[downgrade]", prepare=current_is_older),
    Lie("old-but-signed version, pinned bytes", 4, "[replayed]", prepare=old_bytes_with_a_new_number),
    Lie("old-but-signed version, older bytes", 4, "[old-signature]", prepare=older_bytes_with_a_new_number),
    Lie("other channel's signed file", 4, "[wrong-channel]", prepare=bytes_of_beta, also=(BETA,)),
    Lie("two builds mixed", 4, "[mixed-release]", prepare=two_builds),
    Lie(
        "sig of other file", 4, "[bad-signature]",
        more_faults={f"*/{KERNEL}.sig": {"kind": "swap", "with": f"/stable/amd64-usr/{NEW}/{INITRD}.sig"}},
    ),
    Lie(
        "ETag change mid-resume", 0, "changed on the server", [BREAKS_ONCE, {"kind": "etag_changes"}],
        whole=True,
    ),
    Lie("200 to Range", 0, "changed on the server", [BREAKS_ONCE, {"kind": "ignore_range"}], whole=True),
    Lie(
        "206 wrong range", 0, "another part than was asked for",
        [BREAKS_ONCE, {"kind": "wrong_range", "of": "both", "if": {"Range": "*"}}], whole=True,
    ),
    Lie(
        "206 wrong range, bytes", 0, "",
        [BREAKS_ONCE, {"kind": "wrong_range", "of": "bytes", "if": {"Range": "*"}}], whole=True,
    ),
    Lie(
        "redirect http", 4, "[redirected]", {"kind": "redirect", "to": "http://127.0.0.1:9/"},
        certificate="127.0.0.1",
    ),
    Lie("redirect file://", 4, "[redirected]", {"kind": "redirect", "to": "file:///etc/hostname"}),
    Lie("gzip bomb as Content-Encoding", 4, "[encoded]", {"kind": "gzip", "bomb": 1 << 26}),
    Lie("TLS wrong host", 5, "cannot trust the server", certificate="mirror.example"),
)  # fmt: skip
# The faults that every fetch has to survive, by their names in the threat table.
NAMES: Final = (
    "404", "500", "503+Retry-After", "reset mid-body", "stall forever", "1 B/s", "truncated",
    "longer than size", "endless", "wrong Content-Length", "wrong hash", "wrong sig", "sig by other key",
    "expired key", "old-but-signed version", "other channel's signed file", "sig of other file",
    "ETag change mid-resume", "200 to Range", "206 wrong range", "redirect http", "redirect file://",
    "gzip bomb as Content-Encoding", "TLS wrong host",
)  # fmt: skip


def test_all_the_known_cases_are_here() -> None:
    assert {lie.name for lie in LIES} >= set(NAMES)
    assert len(set(NAMES)) == 24


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_the_old_image_survives(lie: Lie, with_old: Path, signers: Signers, tmp_path: Path) -> None:
    tls, trusted = None, {}
    if lie.certificate is not None:
        trusts = authority(tmp_path)
        tls, trusted = trusts.server(lie.certificate), {"SSL_CERT_FILE": str(trusts.cert)}
    with copied(with_old, tmp_path / "site", signers, tls=tls) as site:
        if lie.prepare is not None:
            lie.prepare(site)
        site.mirror.faults({f"*/{NEW}/{KERNEL}": lie.faults, **lie.more_faults})
        site.mirror.forget()

        began = time.monotonic()
        said = site.fetch("--tries", str(lie.tries), env=trusted)

        assert said.rc == lie.rc, said.out + said.err
        assert lie.said in said.err
        assert time.monotonic() - began >= lie.at_least
        new = () if lie.rc else (f"{STREAM}@{NEW}",)
        site.assert_old_is_whole(*lie.also, *new)
        if lie.rc == 4:
            assert not list(site.incoming.rglob(f"{KERNEL}.part*")), "what was refused does not stay"
        assert_kernel_came(site, lie)
        if lie.rc and lie.prepare is None and lie.certificate is None:
            # Once the mirror is honest again, nothing is left that would stand in the way.
            site.mirror.faults({})
            assert site.fetch_here().rc == 0
            site.assert_old_is_whole(f"{STREAM}@{NEW}")


def assert_kernel_came(site: Site, lie: Lie) -> None:
    """By as many bytes as the case allows."""
    gets = site.gets(KERNEL)
    if lie.whole:
        assert gets[-1]["status"] == 200
        assert gets[-1]["sent"] == SIZES[KERNEL]
    if lie.resumed:
        headers = gets[-1]["headers"]
        assert isinstance(headers, dict)
        asked = RESUMED.fullmatch(headers["range"])
        assert asked
        assert gets[-1]["status"] == 206
        assert gets[-1]["sent"] == SIZES[KERNEL] - int(asked[1])
