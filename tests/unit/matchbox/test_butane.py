"""Our translator beside the butane program: what it makes of the same files, and what it refuses."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from appliance.matchbox.butane import translate_as_butane, variant_of
from appliance.matchbox.butane_mounts import unit_escape
from appliance.matchbox.errors import IgnitionError
from appliance.matchbox.ignition import finish
from appliance.matchbox.ignition_values import decode_data_url
from tests.fakes.butane import CORPUS

MADE = sorted(path.stem for path in CORPUS.glob("*.ign"))
REFUSED = {
    "refused-clevis": (7, "storage.luks[0].clevis"),
    "refused-discard": (7, "storage.luks[0].discard"),
    "refused-kernel-arguments": (3, "kernel_arguments"),
    "refused-kind": (6, "storage.files[0].mode"),
    "refused-mountpoint": (42, "storage.filesystems[1].path"),
    "refused-not-yaml": (5, ""),
    "refused-relative": (5, "storage.files[0].path"),
    "refused-several": (5, "storage.files[0].path"),
    "refused-trees": (4, "storage.trees"),
    "refused-twice": (7, "storage.files[0].mode"),
    "refused-unknown-key": (3, "bogus"),
    "refused-version": (1, "version"),
}


def meant(value: object) -> object:
    """A document by what it means: what data URLs stand for, units without comments."""
    if isinstance(value, list):
        return [meant(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: meant(item) for key, item in value.items()}
    source, unit = found.get("source"), found.get("contents")
    if isinstance(source, str) and source.startswith("data:"):
        content = decode_data_url(source)
        found["source"] = gzip.decompress(content) if found.get("compression") == "gzip" else content
        found["compression"] = ""
    if isinstance(unit, str):
        lines = [line for line in unit.splitlines() if not line.startswith("#")]
        found["contents"] = "\n".join(lines).strip()
    return found


@pytest.mark.parametrize("name", MADE)
def test_what_butane_makes_is_made_here(name: str) -> None:
    ours = json.loads(finish("x.bu", (CORPUS / f"{name}.bu").read_bytes()))
    theirs = json.loads((CORPUS / f"{name}.ign").read_bytes())
    assert meant(ours) == meant(theirs)


def test_every_refusal_of_butane_is_listed() -> None:
    assert {path.stem for path in CORPUS.glob("*.err")} == REFUSED.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_what_butane_refuses_is_refused_here_with_its_line(name: str) -> None:
    with pytest.raises(IgnitionError) as caught:
        finish("x.bu", (CORPUS / f"{name}.bu").read_bytes())
    assert (caught.value.line, caught.value.path) == REFUSED[name]


def test_all_problems_at_once() -> None:
    with pytest.raises(IgnitionError) as caught:
        finish("x.bu", (CORPUS / "refused-several.bu").read_bytes())
    assert [flaw.line for flaw in caught.value.flaws] == [5, 8, 10]
    assert "inline" in caught.value.flaws[2].hint


def test_flaws_of_the_result_stand_at_the_line_of_the_butane() -> None:
    butane = b"""variant: fcos
version: 1.5.0
systemd:
  units:
    - name: a.service
      enabled: true
      contents: |
        [Unit]
    - name: b
passwd:
  users:
    - name: core
      ssh_authorized_keys:
        - k
        - k
"""
    with pytest.raises(IgnitionError) as caught:
        finish("x.bu", butane)
    assert [(f.line, f.path) for f in sorted(caught.value.flaws, key=lambda f: f.line)] == [
        (6, "systemd.units[0].enabled"),
        (9, "systemd.units[1].name"),
        (15, "passwd.users[0].ssh_authorized_keys[1]"),
    ]


@pytest.mark.parametrize(
    ("head", "spec"),
    [
        *(
            (f"fcos\nversion: 1.{minor}.0", f"3.{spec}.0")
            for minor, spec in enumerate((0, 1, 2, 2, 3, 4, 5, 6))
        ),
        ("flatcar\nversion: 1.0.0", "3.3.0"),
        ("flatcar\nversion: 1.1.0", "3.4.0"),
    ],
)
def test_the_spec_of_each_version(head: str, spec: str) -> None:
    made = json.loads(translate_as_butane(f"variant: {head}\n".encode()))
    assert made == {"ignition": {"version": spec}}


@pytest.mark.parametrize(
    ("content", "variant"),
    [(b"variant: flatcar\n", "flatcar"), (b"a: 1\nvariant: 'fcos'\n", "fcos"), (b"a: 1", ""), (b"[", "")],
)
def test_the_variant(content: bytes, variant: str) -> None:
    assert variant_of(content) == variant


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "-"),
        ("/var/lib/docker", "var-lib-docker"),
        ("/srv/a-b c", r"srv-a\x2db\x20c"),
        ("/.x/é", r"\x2ex-\xc3\xa9"),
        ("//dev//sda1/", "dev-sda1"),
    ],
)
def test_paths_in_unit_names(path: str, name: str) -> None:
    """As `systemd-escape --path` prints them."""
    assert unit_escape(path) == name


@pytest.mark.parametrize(
    ("filesystem", "message"),
    [
        ("{device: /dev/a, with_mount_unit: true, format: ext4}", "path is missing"),
        ("{device: /dev/a, with_mount_unit: true, path: /var/a}", "format is missing"),
        ("{device: /dev/a, with_mount_unit: true, path: /var/a, format: none}", "nothing to mount"),
    ],
)
def test_mount_units_need_something_to_mount(filesystem: str, message: str) -> None:
    with pytest.raises(IgnitionError, match=message):
        finish("x.bu", f"variant: fcos\nversion: 1.5.0\nstorage: {{filesystems: [{filesystem}]}}".encode())


def test_the_corpus_is_of_files_that_end_in_a_newline() -> None:
    """The real program was asked with exactly these octets."""
    assert all(Path(path).read_bytes().endswith(b"\n") for path in CORPUS.glob("*.bu"))
