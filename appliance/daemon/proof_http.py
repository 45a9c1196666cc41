"""Whether what came by TFTP and HTTP is what the machine needs: steps made from what was fetched. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit

from appliance.boot.events import EventKind
from appliance.boot.firmware import ClientClass
from appliance.boot.policy import Given
from appliance.daemon.proof import Fault, Step, failed, passed, skipped
from appliance.daemon.proof_files import ignition_fault, ignition_version, initrd_looks, kernel_looks
from appliance.daemon.proof_script import Loads as Loads
from appliance.daemon.proof_script import can_be_fetched as can_be_fetched
from appliance.daemon.proof_script import chained, goes_to, loads
from appliance.matchbox.ask import not_a_script

_SYNC: Final = "pxe-appliance sync"
_DOCTOR: Final = "pxe-appliance doctor"
_GOES: Final = {
    Given.DISK: "to its disk",
    Given.NOTHING: "nowhere, it is held",
    Given.IMAGE: "on to its image",
}


class Found(Protocol):
    """What was fetched (see `prove_fetch.Fetched`)."""

    @property
    def body(self) -> bytes: ...
    @property
    def size(self) -> int | None: ...
    @property
    def silent(self) -> bool: ...
    @property
    def digest(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def fine(self) -> bool: ...
    @property
    def why_not(self) -> str: ...


def first_stage_step(found: Found, ms: float, file: str, digest: str, firmware: ClientClass) -> Step:
    """The boot file, against the digest with which it was published."""
    rung = EventKind.BOOTFILE
    if not found.fine:
        words = f"{file}, the boot file of {firmware.words}, cannot be fetched: {found.why_not}"
        return failed(rung, ms, Fault("prove-first-stage", words, _SYNC))
    if digest and found.digest != digest:
        words = (
            f"{file} is not what was published: it has SHA-256 {found.digest[:16]}… and should have "
            f"{digest[:16]}…"
        )
        return failed(rung, ms, Fault("prove-first-stage", words, _SYNC))
    return passed(rung, ms, f"{file}, {found.size} bytes, SHA-256 {found.digest[:16]}…")


def first_script(
    found: Found, url: str, settings: Mapping[str, str], wanted: Given
) -> tuple[Step | None, str]:
    """What /boot.ipxe came to, and the URL that it goes on to; empty when the machine's way ends there."""
    rung = EventKind.SCRIPT
    if not found.fine:
        if found.silent:
            fault = Fault("prove-http", f"{url} does not answer: {found.why_not}", "pxe-appliance status")
            return failed(rung, 0, fault), ""
        return failed(rung, 0, Fault("prove-script", f"{url}: {found.why_not}", _DOCTOR)), ""
    text = found.body.decode("utf-8", "replace")
    to = goes_to(text)
    if to is None:
        words = f"{url} answers {not_a_script('', found.body)}, no script of iPXE's"
        return failed(rung, 0, Fault("prove-script", words, _DOCTOR)), ""
    if to is not wanted:
        words = f"{url} sends it {_GOES[to]}, it should go {_GOES[wanted]}"
        return failed(rung, 0, Fault("prove-script", words, "pxe-appliance machines")), ""
    if to is not Given.IMAGE:
        return passed(rung, 0, f"sends it {_GOES[to]}"), ""
    onward = chained(text, url, settings)
    if not onward:
        return failed(rung, 0, Fault("prove-script", f"{url} asks nobody what to boot", _DOCTOR)), ""
    return None, onward


def second_script(
    found: Found, url: str, settings: Mapping[str, str], *, loads_nothing: bool, ours: bool
) -> tuple[Step, Loads | None]:
    """What the machine's own script came to, and what it loads.

    `loads_nothing`: the inventory gives it nothing to load; then an operator's group may, or nobody.
    """
    rung, where = EventKind.SCRIPT, _place(url)
    if not found.fine:
        if found.status == 404 and loads_nothing:
            return skipped(rung, "nothing to boot: it has an address only"), None
        if ours:
            kind = "prove-http" if found.silent else "prove-script"
            fault = Fault(kind, f"{where}: {found.why_not}", _remedy(found.why_not))
        else:
            words = f"the Matchbox endpoint does not answer for it: {where}: {found.why_not}"
            fault = Fault("prove-endpoint", words, f"curl -v '{where}'")
        return failed(rung, 0, fault), None
    to_load = loads(found.body.decode("utf-8", "replace"), url, settings)
    if to_load is None:
        kind = "prove-script" if ours else "prove-endpoint"
        words = f"{where} answers {not_a_script('', found.body)}, no boot script with a kernel"
        return failed(rung, 0, Fault(kind, words, f"curl -v '{where}'")), None
    return passed(rung, 0, f"loads {_place(to_load.kernel)}"), to_load


def file_step(rung: EventKind, found: Found, ms: float, url: str, arch: str | None) -> Step:
    """A kernel's or an initrd's first bytes; `arch` is what the inventory says of the machine."""
    place = _place(url)
    kernel = rung is EventKind.KERNEL
    kind = "prove-kernel" if kernel else "prove-initrd"
    if not found.fine:
        return failed(rung, ms, Fault(kind, f"{place}: {found.why_not}", _where_to_put(url, found.why_not)))
    looks = kernel_looks(found.body) if kernel else initrd_looks(found.body)
    bad = looks.bad
    if not bad and arch and looks.arch and looks.arch != arch:
        bad = f"it is for {looks.arch}, and the machine is {arch}"
    if not bad and found.size is not None and found.size < looks.least:
        bad = f"it has {found.size} bytes and by its own header at least {looks.least}: it is cut off"
    if bad:
        return failed(rung, ms, Fault(kind, f"{place}: {bad}", f"curl -r 0-511 '{place}' | file -"))
    size = "" if found.size is None else f", {found.size} bytes"
    return passed(rung, ms, f"{place}: {looks.said}{size}")


def ignition_step(found: Found, ms: float, url: str) -> Step:
    """The document that the machine is configured by."""
    rung, place = EventKind.IGNITION, _place(url)
    if not found.fine:
        return failed(rung, ms, Fault("prove-ignition", f"{place}: {found.why_not}", _remedy(found.why_not)))
    if why := ignition_fault(found.body):
        return failed(rung, ms, Fault("prove-ignition", f"{place}: {why}", "pxe-appliance check"))
    return passed(rung, ms, f"Ignition {ignition_version(found.body)}, {len(found.body)} bytes")


def _place(url: str) -> str:
    """A URL without its query, which may hold a token."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0]
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _where_to_put(url: str, why: str) -> str:
    """What to do about a file that cannot be fetched: an operator's asset, an image, somebody's URL."""
    try:
        asset = urlsplit(url).path.removeprefix("/")
    except ValueError:
        asset = ""
    if "no such asset" in why:
        return f"put it below the Matchbox data directory as {asset}, or correct the profile and sync"
    return _remedy(why) if asset.startswith("assets/") else f"curl -v '{_place(url)}'"


def _remedy(why: str) -> str:
    if "image" in why or "pinned" in why:
        return "pxe-appliance images"
    return _DOCTOR
