"""A boot script and an Ignition document that came, held against the ones that should have come."""

from __future__ import annotations

import base64
import gzip
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.matchbox.ask import (
    Finding,
    FindingKind,
    compare_script,
    not_a_script,
    parse_script,
    summed_up,
    told,
)
from appliance.matchbox.ask_ignition import compare_ignition
from appliance.matchbox.model import Boot
from appliance.matchbox.render import ipxe_script
from tests.unit.matchbox.machines import document

BASE = "http://matchbox.example.com:8080/ipxe"
BOOT = Boot("/assets/k", ("/assets/a.gz", "/assets/b.gz"), ("initrd=a.gz", "console=ttyS0", "quiet"))


def differences(text: str, boot: Boot = BOOT) -> tuple[str, ...]:
    script = parse_script(text)
    assert script is not None
    return compare_script(boot, script, BASE)


def test_what_matchbox_renders_is_what_is_expected() -> None:
    assert differences(ipxe_script(BOOT)) == ()


def test_order_of_arguments_and_the_spelling_of_urls_are_no_difference() -> None:
    script = (
        "#!ipxe\nkernel http://matchbox.example.com:8080/assets/k quiet console=ttyS0 initrd=a.gz\n"
        "initrd http://matchbox.example.com:8080/assets/a.gz\ninitrd /assets/b.gz\nboot\n"
    )
    assert differences(script) == ()


def test_an_image_with_a_name_is_found_under_it() -> None:
    script = (
        "#!ipxe\nkernel /assets/k initrd=main console=ttyS0 quiet\n"
        "initrd --name main /assets/a.gz\ninitrd /assets/b.gz\nboot\n"
    )
    assert differences(script) == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("/assets/k ", "/assets/old ", "the kernel is /assets/old, not /assets/k"),
        ("/assets/k ", "", "the kernel is initrd=a.gz, not /assets/k"),
        ("console=ttyS0", "console=ttyS1", "the argument console is ttyS1, not ttyS0"),
        ("console=ttyS0", "console=", "the argument console is empty, not ttyS0"),
        ("console=ttyS0 ", "", "the argument console=ttyS0 is missing"),
        ("quiet", "quiet quiet", "the argument quiet is not expected"),
        ("quiet", "debug", "the argument quiet is missing"),
        ("quiet", "debug", "the argument debug is not expected"),
        ("quiet", "x=\x1b[31m", "the argument x=\\x1b[31m is not expected"),
        ("initrd /assets/b.gz\n", "", "the initrd /assets/b.gz is missing"),
        ("initrd /assets/b.gz\n", "initrd /c.gz\n", "the initrd /c.gz is not expected"),
        ("boot\n", "chain http://elsewhere/\n", "it says more: chain http://elsewhere/"),
    ],
)
def test_what_is_different_is_named(old: str, new: str, expected: str) -> None:
    script = ipxe_script(BOOT)
    assert old in script
    assert expected in differences(script.replace(old, new, 1))


def test_initrds_in_another_order_are_another_root() -> None:
    script = (
        "#!ipxe\nkernel /assets/k initrd=a.gz console=ttyS0 quiet\ninitrd /assets/b.gz\ninitrd /assets/a.gz\n"
    )
    assert differences(script) == ("the initrds come in another order",)


def test_values_that_look_like_secrets_are_not_repeated() -> None:
    boot = Boot("/k", (), ("rd.password=hunter2", "api_token=one"))
    found = " ".join(differences("#!ipxe\nkernel /k rd.password=other passphrase=x\nboot\n", boot))
    assert "the argument rd.password has another value" in found
    assert "the argument api_token=… is missing" in found
    assert "the argument passphrase=… is not expected" in found
    assert not {"hunter2", "other", "one"} & set(found.split())


@pytest.mark.parametrize("text", ["", "<html>", "kernel /k\n", "\n#!ipxe\n"])
def test_what_ipxe_would_not_run_is_no_script(text: str) -> None:
    assert parse_script(text) is None


@given(st.text())
def test_any_answer_is_read_or_refused(text: str) -> None:
    script = parse_script("#!ipxe\n" + text)
    assert script is not None
    said = "".join(compare_script(BOOT, script, BASE))
    assert not {unicodedata.category(c) for c in said} & {"Cc", "Cf", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/html", b"<!DOCTYPE html>", "a web page: is there a proxy or a login in front of it?"),
        ("", b"\n <HTML>", "a web page: is there a proxy or a login in front of it?"),
        ("text/plain", b"", "nothing"),
        ("", b"\x00\xffabc\ndef", "something that begins with '\\\\x00�abc'"),
        ("text/plain", b"  \n", "text/plain that begins with ''"),
    ],
)
def test_what_came_instead_is_said(content_type: str, body: bytes, expected: str) -> None:
    assert not_a_script(content_type, body) == expected


def test_many_differences_are_counted() -> None:
    assert told(["a"]) == "a"
    assert told("abcdef") == "a; b; c; d; and 2 more"
    findings = [Finding(FindingKind.MISSING, f"n{i}", f"no n{i}") for i in range(5)]
    findings.insert(1, Finding(FindingKind.SCRIPT, "x", "x differs"))
    assert list(summed_up(findings, 2)) == [
        "no n0",
        "x differs",
        "no n1",
        "the same (missing) for 3 more machines",
    ]


# ---- Ignition ----


def rendered(raw: bytes, **changed: Any) -> bytes:
    """As Matchbox 0.11 hands it out: another version, empty parts, contents written otherwise."""
    found = json.loads(raw)
    found["ignition"] |= {"version": "3.4.0", "config": {"replace": {"verification": {}}}, "proxy": {}}
    for file in found["storage"]["files"]:
        text = file["contents"]["source"].removeprefix("data:,").encode()
        packed = base64.b64encode(gzip.compress(text)).decode()
        file["contents"] = {"source": f"data:;base64,{packed}", "compression": "gzip", "verification": {}}
        file |= {"group": {}, "user": {}, "overwrite": None}
    return json.dumps({**found, "passwd": {}, "kernelArguments": {}, "systemd": {}, **changed}).encode()


UNITS = {"units": [{"name": "a.service", "enabled": True, "contents": "[Unit]"}, {"name": "b.service"}]}


def test_a_document_that_was_rendered_anew_is_the_same() -> None:
    ours = document("3.1.0", systemd=UNITS)
    assert compare_ignition(ours, ours) == ()
    turned = {"units": list(reversed(UNITS["units"]))}
    assert compare_ignition(ours, rendered(ours, systemd=turned)) == ()


def test_what_a_machine_would_do_otherwise_is_named_by_its_place() -> None:
    ours = document(systemd=UNITS)
    other = json.loads(document(content="secret", systemd=UNITS))
    other["storage"]["files"][0]["mode"] = 511
    other["storage"]["files"].append({"path": "/etc/x"})
    other["systemd"]["units"][0]["enabled"] = False
    other["systemd"]["units"].pop()
    found = compare_ignition(ours, json.dumps(other).encode())
    assert found == (
        "storage.files./etc/hostname.contents.source differs",
        "storage.files./etc/hostname.mode differs",
        "storage.files./etc/x is not expected",
        "systemd.units.a.service.enabled differs",
        "systemd.units.b.service is missing",
    )
    assert "secret" not in " ".join(found)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"ignition":{"version":""},"storage":{}}', "it is an empty configuration"),
        (b'{"ignition":{}}', "it is an empty configuration"),
        (b"{}", "it is no Ignition document"),
        (b"[]", "it is no Ignition document"),
        (b"<html>", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"", "it is not JSON"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"ignition":{"version":"3.4.0"},"x":' + b"[" * 900 + b"]" * 900 + b"}", "it is nested too deeply"),
    ],
)
def test_what_is_no_document_is_said(body: bytes, expected: str) -> None:
    (found,) = compare_ignition(document(), body)[:1]
    assert found.startswith(expected)


@pytest.mark.parametrize("source", ["data:", "data:;base64,###", "data:;base64,AAAA", "data:,%1f%8b"])
def test_contents_that_cannot_be_unpacked_are_different_and_no_more(source: str) -> None:
    other = json.loads(document())
    other["storage"]["files"][0]["contents"] = {"source": source, "compression": "gzip"}
    assert "storage.files./etc/hostname.contents.source differs" in compare_ignition(
        document(), json.dumps(other).encode()
    )


def test_a_bomb_is_not_unpacked_to_its_end() -> None:
    bomb = base64.b64encode(gzip.compress(bytes(200 << 20), 9)).decode()
    other = json.loads(document())
    other["storage"]["files"][0]["contents"] = {"source": f"data:;base64,{bomb}", "compression": "gzip"}
    assert compare_ignition(document(), json.dumps(other).encode())
