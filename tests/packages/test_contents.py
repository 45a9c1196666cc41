"""What is in the package: root's, the same in every build, and nothing of the host that built it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import subprocess
import time
from pathlib import Path

import pytest

from appliance import __version__
from tests.figures import Figures
from tests.packages.conftest import CHECKOUT, HOME, Package, build

pytestmark = pytest.mark.timeout(600)  # the first one builds, too
OVERRIDES = CHECKOUT / "debian/pxe-appliance.lintian-overrides"


def test_lintian_has_nothing_to_say(package: Package) -> None:
    argv = ["lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"]
    done = subprocess.run([*argv, str(package.changes)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert not re.search(r"^[EW]:", done.stdout, re.MULTILINE), done.stdout


def test_what_lintian_is_told_to_overlook_has_its_reason() -> None:
    paragraphs = OVERRIDES.read_text().strip().split("\n\n")
    assert paragraphs
    for paragraph in paragraphs:
        lines = paragraph.splitlines()
        assert lines[0].startswith("# "), paragraph
        assert any(line.startswith("pxe-appliance: ") for line in lines), paragraph


def test_two_builds_are_the_same_bytes(package: Package, tmp_path: Path, figures: Figures) -> None:
    began = time.monotonic()
    again = build(
        tmp_path / "elsewhere", "env", "TZ=Asia/Kathmandu", "LC_ALL=C", "HOME=/nonexistent", "PXE=1"
    )
    figures.tell("package", "build, without lintian", f"{time.monotonic() - began:.0f} s")
    figures.tell("package", "size", f"{package.path.stat().st_size / 1e6:.1f} MB")
    one, other = (hashlib.sha256(p.path.read_bytes()).hexdigest() for p in (package, again))
    if one != other:
        pairs = zip(package.members(), again.members(), strict=True)
        differ = [a[0].name for a, b in pairs if a[1] != b[1] or a[0].get_info() != b[0].get_info()]
        pytest.fail(f"not the same: {differ[:20]}")
    figures.tell("package", "two builds, in two places", "same bytes", "same bytes")


def test_everything_is_roots_and_nobody_else_may_write(package: Package) -> None:
    for member, _ in package.members():
        assert (member.uid, member.gid) == (0, 0), member.name
        assert member.issym() or not member.mode & 0o6022, f"{member.name}: {member.mode:o}"
        assert member.isreg() or member.isdir() or member.issym(), member.name
        assert "__pycache__" not in member.name, member.name


def test_it_stays_where_a_package_belongs(package: Package) -> None:
    allowed = re.compile(
        r"\./(etc/default/pxe-appliance"
        r"|lib/systemd/system/pxe-appliance(-images)?\.(service|timer)"
        rf"|{HOME}/.*"
        r"|usr/bin/pxe-appliance"
        r"|usr/lib/(sysusers|tmpfiles)\.d/pxe-appliance\.conf"
        r"|usr/share/(doc/pxe-appliance|lintian/overrides|python3/runtime\.d)/.*"
        r"|usr/share/man/man[15]/pxe-appliance[a-z-]*\.[15]\.gz"
        r"|usr/share/(bash-completion/completions|fish/vendor_completions\.d|zsh/vendor-completions)/.*)"
    )
    for member, _ in package.members():
        assert member.isdir() or allowed.fullmatch(member.name), member.name


def test_nothing_of_the_building_host_travels(package: Package) -> None:
    places = [str(CHECKOUT).encode(), str(package.stage).encode(), b"/ro" + b"ot/"]
    for member, content in package.members():
        for place in places[:2]:
            assert place not in content, f"{member.name} holds {place.decode()}"
        if f"{HOME}/lib" not in member.name:
            assert places[2] not in content, member.name


def test_every_module_is_byte_for_byte_what_was_published(package: Package) -> None:
    """RECORD (PEP 376) has the digest of each file; nothing is beside what the records name."""
    files = {m.name.partition("site-packages/")[2]: content for m, content in package.members() if m.isreg()}
    named: set[str] = set()
    for record in [name for name in files if name.endswith(".dist-info/RECORD")]:
        named.add(record)
        for name, digest, _ in csv.reader(io.StringIO(files[record].decode())):
            named.add(name)
            if not digest or name not in files:  # programs and byte code are left out
                assert name not in files or name.endswith("RECORD"), name
                continue
            kind, _, wanted = digest.partition("=")
            found = base64.urlsafe_b64encode(hashlib.new(kind, files[name]).digest()).rstrip(b"=").decode()
            assert found == wanted, name
    assert {name for name in files if name} <= named


def test_the_version_is_the_programs_and_the_changelogs(package: Package) -> None:
    version = package.field("Version")
    newest = re.search(r"^## (\S+) — (\S+)", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == __version__
    assert version.partition("~")[0] == __version__
    assert ("~" in version) == (newest[2] == "unreleased")


def test_it_asks_for_what_it_runs(package: Package) -> None:
    depends = package.field("Depends")
    assert re.search(r"\bdnsmasq-base \(>= 2\.90-4~deb12u2\)", depends)
    for name in ("ipxe", "python3.11", "libc6"):
        assert re.search(rf"(^|, ){re.escape(name)}\b", depends), f"{name}: {depends}"
    assert not re.search(r"\bdnsmasq\b(?!-)", depends), "Debian's service would answer DNS and DHCP beside us"
