"""Judges what was fetched for real: first stages over TFTP and HTTP, health, the first script. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from appliance.doctor.finding import Finding, fine, wrong


@dataclass(frozen=True, slots=True)
class Fetched:
    """One fetch: from where, what came (None: nothing whole), and why not."""

    url: str
    content: bytes | None = None
    status: int = 200
    failure: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 in hex; empty when nothing came."""
        return hashlib.sha256(self.content).hexdigest() if self.content is not None else ""

    def __str__(self) -> str:
        if self.content is None:
            return f"{self.url}: {self.failure}"
        return f"{self.url}: {len(self.content)} bytes, sha256 {self.digest[:16]}…"


@dataclass(frozen=True, slots=True)
class Taken:
    """All that was fetched from one network's address."""

    interface: str
    tftp: Sequence[tuple[str, Fetched]] = ()  # by file name
    http: Sequence[tuple[str, Fetched]] = ()
    health: Fetched | None = None
    script: Fetched | None = None


def judge_fetching(taken: Sequence[Taken], digests: Mapping[str, str]) -> Iterator[Finding]:
    """Whether what came is whole and right; `digests` is the SHA-256 that each file should have."""
    for one in taken:
        if one.tftp:
            yield _judge_files("tftp-fetch", one.interface, one.tftp, digests)
        if one.health is not None:
            yield _judge_health(one)
        if one.script is not None:
            yield _judge_script(one)
        if one.http:
            yield _judge_files("http-fetch", one.interface, one.http, digests)


def _judge_files(
    identity: str, interface: str, fetched: Sequence[tuple[str, Fetched]], digests: Mapping[str, str]
) -> Finding:
    seen = tuple(str(f) for _, f in fetched)
    missing = [(name, f) for name, f in fetched if f.content is None]
    other = [(name, f) for name, f in fetched if f.content is not None and f.digest != digests.get(name)]
    if missing:
        name, f = missing[0]
        words = f"{name} does not come on {interface}: {f.failure}"
        return wrong(identity, words, "pxe-appliance status; systemctl restart pxe-appliance", *seen)
    if other:
        name, f = other[0]
        words = f"{name} comes on {interface} and is not what should be served"
        wanted = f"{name}: sha256 {digests.get(name, '')[:16]}… is expected"
        return wrong(identity, words, "pxe-appliance sync", *seen, wanted)
    return fine(identity, f"{len(fetched)} first stages come whole and right on {interface}", *seen)


def _judge_health(one: Taken) -> Finding:
    health = one.health
    assert health is not None
    if health.content is not None and health.status == 200:
        return fine("http-health", f"HTTP answers on {one.interface}", str(health))
    why = health.failure or f"status {health.status}"
    fix = "pxe-appliance status; journalctl -u pxe-appliance; systemctl restart pxe-appliance"
    return wrong("http-health", f"{health.url} does not answer: {why}", fix, str(health))


def _judge_script(one: Taken) -> Finding:
    script = one.script
    assert script is not None
    if script.content is not None and script.status == 200 and script.content.startswith(b"#!ipxe"):
        return fine("http-script", f"iPXE gets its script on {one.interface}", str(script))
    why = script.failure or (f"status {script.status}" if script.status != 200 else "it is no iPXE script")
    return wrong(
        "http-script", f"{script.url} gives iPXE no script: {why}", f"curl -i {script.url}", str(script)
    )
