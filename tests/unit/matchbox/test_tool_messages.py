"""The words of the butane program and of ignition-validate, as they were recorded."""

from __future__ import annotations

import subprocess

import pytest

from appliance.matchbox.tool_messages import flaws_of
from tests.fakes.butane import CORPUS

SAID = {
    "refused-clevis": [(7, "storage.luks[0].clevis", "clevis is not supported in this spec version")],
    "refused-discard": [(7, "storage.luks[0].discard", "unused key discard")],
    "refused-kernel-arguments": [(3, "kernel_arguments", "unused key kernel_arguments")],
    "refused-kind": [(6, "", "not YAML: cannot unmarshal !!seq into int")],
    "refused-not-yaml": [(4, "", "not YAML: did not find expected node content")],
    "refused-relative": [
        (5, "storage.files[0].path", "path not absolute"),
        (6, "storage.files[1].path", "path not absolute"),
    ],
    "refused-twice": [(7, "", 'not YAML: mapping key "mode" already defined at line 6')],
    "refused-version": [(0, "", "No translator exists for variant fcos with version 9.5.0")],
}


@pytest.mark.parametrize("name", SAID)
def test_butane_as_it_draws(name: str) -> None:
    said = (CORPUS / f"{name}.err").read_text()
    assert [(f.line, f.path, f.message) for f in flaws_of(said)] == SAID[name]


def test_several_at_once() -> None:
    found = flaws_of((CORPUS / "refused-several.err").read_text())
    assert [f.line for f in found] == [8, 6, 10]
    assert found[2].keys == ("storage", "files", 1, "contents", "local")


def test_butane_as_it_wrote_before() -> None:
    said = (
        "warning at $.storage.files.1.bogus, line 8 col 7: unused key bogus\n"
        "error at $.storage.files.0.path, line 5 col 11: path not absolute\n"
        "error at $.systemd: no line\n"
        "Error translating config: config generated was invalid\n"
    )
    assert [(f.line, f.path, f.message) for f in flaws_of(said)] == [
        (8, "storage.files[1].bogus", "unused key bogus"),
        (5, "storage.files[0].path", "path not absolute"),
        (0, "systemd", "no line"),
    ]


def test_a_source_line_that_looks_like_a_message_is_none() -> None:
    said = (
        "error[$.storage.files.0.path]:\n  --> <stdin>:5:11\n   |\n"
        " 4 | #   | ^^^ not this\n 5 |   - path: a\n"
        "   |           ^ path not absolute\n   |\n"
    )
    assert [(f.line, f.message) for f in flaws_of(said)] == [(5, "path not absolute")]


@pytest.mark.parametrize("said", ["", "\n\n", "panic: oh\ngoroutine 1", "x" * 10_000])
def test_words_without_a_place_are_one_flaw(said: str) -> None:
    (flaw,) = flaws_of(said)
    assert flaw.message
    assert len(flaw.message) <= 400


def test_ignition_validate_itself() -> None:
    document = b"""{"ignition": {"version": "3.3.0"},
 "networkd": {"units": []},
 "storage": {"files": [{"path": "rel"}, {"path": "/a"}, {"path": "/a", "bogus": 1}]}
}"""
    done = subprocess.run(
        ["ignition-validate", "-"], input=document, capture_output=True, timeout=30, check=False
    )
    found = flaws_of((done.stdout + done.stderr).decode())
    assert {(f.line, f.path) for f in found} == {
        (3, "storage.files[0].path"),
        (3, "storage.files[2]"),
        (2, "networkd"),
        (3, "storage.files[2].bogus"),
    }
