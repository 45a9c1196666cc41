"""What the first bytes of kernels, initrds and Ignition documents can and cannot be."""

from __future__ import annotations

import struct

import pytest

from appliance.boot.events import EventKind
from appliance.boot.firmware import BY_ARCH
from appliance.boot.policy import Given
from appliance.daemon.proof import Outcome, Step
from appliance.daemon.proof_files import HEAD, ignition_fault, initrd_looks, kernel_looks
from appliance.daemon.proof_http import (
    file_step,
    first_script,
    first_stage_step,
    ignition_step,
    second_script,
)
from appliance.daemon.prove_fetch import Fetched
from appliance.matchbox.model import Boot
from appliance.matchbox.render import chain_script, hold_script, ipxe_script, local_boot_script

SETTINGS = {"netX/mac": "52:54:00:aa:00:01", "mac": "52:54:00:aa:00:01", "buildarch": "x86_64"}
BASE = "http://172.0.1.1:8080"


def bzimage(*, sectors: int = 4, size: int = 0, machine: int = 0x8664) -> bytes:
    head = bytearray(HEAD)
    head[:2], head[0x1F1] = b"MZ", sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<I", head, 0x1F4, size)
    struct.pack_into("<I", head, 0x3C, 0x80)
    head[0x80:0x84] = b"PE\0\0"
    struct.pack_into("<H", head, 0x84, machine)
    return bytes(head)


def arm64() -> bytes:
    head = bytearray(HEAD)
    head[:2], head[0x38:0x3C] = b"MZ", b"ARM\x64"
    return bytes(head)


@pytest.mark.parametrize(
    ("head", "said", "arch"),
    [
        (bzimage(), "bzImage", "amd64"),
        (bzimage(machine=0), "bzImage", ""),
        (arm64(), "arm64", "arm64"),
        (b"MZ" + bytes(100), "an EFI program", ""),
        (b"\x7fELF" + bytes(100), "an ELF program", ""),
        (b"#!ipxe\nboot\n", "an iPXE script", ""),
        (b"\xfa\xeb\x1c" + bytes(100), "not known here", ""),
    ],
)
def test_kernels(head: bytes, said: str, arch: str) -> None:
    looks = kernel_looks(head)
    assert (looks.bad, looks.arch) == ("", arch)
    assert said in looks.said


NO_FILES = [
    (b"", "empty"),
    (b"  <!doctype HTML><title>Login</title>", "web page"),
    (b'<?xml version="1.0"?><Error/>', "web page"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    (bytes(200), "all zeros"),
    (b"404 page not found\n", "404 page not found"),
    (b'{"error":"nothing"}', "error"),
]


@pytest.mark.parametrize(("head", "why"), [*NO_FILES, (b"\x1f\x8b" + bytes(50), "gzip"), (b"070701", "cpio")])
def test_what_is_no_kernel(head: bytes, why: str) -> None:
    assert why in kernel_looks(head).bad


@pytest.mark.parametrize(
    "head",
    [b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"070701AB", b"\x02\x21\x4c\x18", b"\x80\x01"],
)
def test_initrds(head: bytes) -> None:
    assert not initrd_looks(head).bad


@pytest.mark.parametrize(("head", "why"), [*NO_FILES, (bzimage(), "kernel in place")])
def test_what_is_no_initrd(head: bytes, why: str) -> None:
    assert why in initrd_looks(head).bad


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"ignition":{"version":"3.4.0"}}', ""),
        (b'{"ignition":{"version":""}}', "no version"),
        (b'{"ignition":{}}', "no version"),
        (b'{"ignition":3}', "no object"),
        (b"[]", "no object"),
        (b"{", "not JSON"),
        (b"", "empty"),
        (b"<html>", "web page"),
        (b"[" * 100_000, "nested"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_ignition(body: bytes, why: str) -> None:
    found = ignition_fault(body)
    assert why in found
    assert bool(found) is bool(why)


# ---- steps ----


def fault(step: Step | None) -> tuple[str, str]:
    assert step is not None
    return (step.fault.id, step.fault.message) if step.fault else ("", step.said)


def got(body: bytes, status: int = 200, size: int | None = None, digest: str = "") -> Fetched:
    return Fetched(status, body, len(body) if size is None else size, digest=digest)


def test_a_first_stage_is_what_was_published() -> None:
    client = BY_ARCH[0]
    assert fault(first_stage_step(got(b"x", digest="ab" * 32), 1, "f", "ab" * 32, client))[0] == ""
    assert (
        "not what was published" in fault(first_stage_step(got(b"x", digest="cd"), 1, "f", "ab", client))[1]
    )
    silent = Fetched(failure="the TFTP server does not answer", silent=True)
    assert "does not answer" in fault(first_stage_step(silent, 1, "f", "ab", client))[1]


def test_files_are_held_against_the_inventory_and_their_own_header() -> None:
    url = f"{BASE}/assets/k?token=secret"
    kernel, initrd = EventKind.KERNEL, EventKind.INITRD
    assert file_step(kernel, got(bzimage()), 1, url, "amd64").outcome is Outcome.PASSED
    identity, message = fault(file_step(kernel, got(bzimage()), 1, url, "arm64"))
    assert (identity, "it is for amd64" in message) == ("prove-kernel", True)
    assert "secret" not in message
    assert "cut off" in fault(file_step(kernel, got(bzimage(size=1 << 20), size=4096), 1, url, None))[1]
    assert file_step(kernel, got(bzimage(size=10), size=2720), 1, url, None).outcome is Outcome.PASSED
    missing = Fetched(404, b"404 page not found\n", reason="no file lab/k")
    assert fault(file_step(initrd, missing, 1, url, None)) == (
        "prove-initrd",
        f"{BASE}/assets/k: HTTP status 404: no file lab/k",
    )
    assert fault(ignition_step(got(b"{"), 1, url))[0] == "prove-ignition"
    assert ignition_step(got(b'{"ignition":{"version":"3.4.0"}}'), 1, url).said.startswith("Ignition 3.4.0")


def test_the_first_script_sends_the_machine_where_it_should_go() -> None:
    url = f"{BASE}/boot.ipxe"
    chain = got(chain_script("172.0.1.1").encode())
    step, onward = first_script(chain, url, SETTINGS, Given.IMAGE)
    assert step is None
    assert onward.startswith(f"{BASE}/ipxe?uuid=&mac=52-54-00-aa-00-01&")
    assert "&arch=x86_64&" in onward
    assert "$" not in onward
    external = got(chain_script("172.0.1.1", "http://10.0.0.9:8080/").encode())
    assert first_script(external, url, SETTINGS, Given.IMAGE)[1].startswith("http://10.0.0.9:8080/ipxe?")
    disk, held = got(local_boot_script().encode()), got(hold_script("a", "n", "why", "way").encode())
    assert fault(first_script(disk, url, SETTINGS, Given.DISK)[0]) == ("", "sends it to its disk")
    assert fault(first_script(held, url, SETTINGS, Given.NOTHING)[0])[0] == ""
    assert "should go to its disk" in fault(first_script(chain, url, SETTINGS, Given.DISK)[0])[1]
    assert "it is held" in fault(first_script(held, url, SETTINGS, Given.IMAGE)[0])[1]
    for answer, identity in (
        (Fetched(failure="cannot connect", silent=True), "prove-http"),
        (got(b"<html>"), "prove-script"),
        (got(b"busy", 503), "prove-script"),
    ):
        assert fault(first_script(answer, url, SETTINGS, Given.IMAGE)[0])[0] == identity


def test_the_second_script_says_what_is_loaded() -> None:
    url = f"{BASE}/ipxe?mac=52-54-00-aa-00-01"
    boot = Boot(
        "/assets/k",
        ("/assets/i", "http://far/i2"),
        ("ignition.config.url=http://x/ignition?mac=${mac:hexhyp}",),
    )
    script = got(ipxe_script(boot).encode())
    step, loads = second_script(script, url, SETTINGS, loads_nothing=False, ours=True)
    assert step.outcome is Outcome.PASSED
    assert loads is not None
    assert (loads.kernel, loads.initrds) == (f"{BASE}/assets/k", (f"{BASE}/assets/i", "http://far/i2"))
    assert loads.ignition == "http://x/ignition?mac=52-54-00-aa-00-01"
    nothing = Fetched(404, b"", reason="image is not in the store")
    for loads_nothing, ours, outcome in (
        (True, True, ""), (False, True, "prove-script"), (False, False, "prove-endpoint")
    ):  # fmt: skip
        step, loads = second_script(nothing, url, SETTINGS, loads_nothing=loads_nothing, ours=ours)
        assert (fault(step)[0], loads) == (outcome, None)
    kernelless = second_script(got(b"#!ipxe\nexit\n"), url, SETTINGS, loads_nothing=False, ours=True)
    assert fault(kernelless[0])[0] == "prove-script"
