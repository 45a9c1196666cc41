"""What no Ignition would apply, and what it would drop: each with its place, and beside Ignition's own words."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import copy
import json
import subprocess
from typing import Any

import pytest

from appliance.matchbox.errors import Flaw, IgnitionError
from appliance.matchbox.ignition import Spec, check_ignition, examine, finish, judge

H512 = f"sha512-{'0' * 128}"
SOUND: dict[str, Any] = {
    "ignition": {
        "version": "3.3.0",
        "config": {"merge": [{"source": "https://a.example.com/b", "verification": {"hash": H512}}]},
        "security": {"tls": {"certificateAuthorities": [{"source": "data:,x"}]}},
        "proxy": {"httpProxy": "http://p.example.com", "noProxy": ["a"]},
        "timeouts": {"httpTotal": 3},
    },
    "kernelArguments": {"shouldExist": ["a"], "shouldNotExist": ["b"]},
    "passwd": {
        "users": [{"name": "core", "sshAuthorizedKeys": ["k"], "uid": 500}, {"name": "b"}],
        "groups": [{"name": "g", "gid": 3}],
    },
    "storage": {
        "directories": [{"path": "/d", "mode": 493, "user": {"name": "x"}}],
        "files": [
            {
                "path": "/f",
                "mode": 420,
                "overwrite": True,
                "contents": {"source": "data:,a%20b", "compression": "", "verification": {"hash": H512}},
            },
            {"path": "/g/h", "append": [{"source": "https://x.example.com/y", "httpHeaders": [{"name": "A"}]}]},
        ],
        "links": [{"path": "/l", "target": "/f", "hard": False}],
        "disks": [
            {
                "device": "/dev/sda",
                "partitions": [
                    {"number": 1, "label": "a", "startMiB": 1, "sizeMiB": 10},
                    {"number": 2, "label": "b", "startMiB": 20, "sizeMiB": 0},
                ],
            }
        ],
        "raid": [{"name": "r", "level": "raid1", "devices": ["/dev/sdb", "/dev/sdc"]}],
        "filesystems": [{"device": "/dev/sda1", "format": "ext4", "path": "/var", "label": "v"}],
        "luks": [{"name": "n", "device": "/dev/sdd", "clevis": {"tpm2": True}}],
    },
    "systemd": {
        "units": [
            {
                "name": "a.service",
                "enabled": True,
                "contents": "# c\n[Unit]\nA=b \\\n c\n\n[Install]\nWantedBy=x\n",
                "dropins": [{"name": "x.conf", "contents": "[Unit]\nA=b\n"}],
            },
            {"name": "b@1.service", "enabled": True},
            {"name": "b@.service", "contents": "[Install]\nWantedBy=a\n"},
        ]
    },
}  # fmt: skip
GONE = object()
# Where, what stands there instead, and what is said about which place (the same one unless given).
FATAL: list[tuple[str, object, str, str]] = [
    ("ignition.config.merge.0.source", "", "a source is missing", ""),
    ("ignition.config.merge.0.verification.hash", "sha512-00", "sha512 has 128", ""),
    ("ignition.config.merge.0.verification.hash", f"md5-{'0' * 32}", "no hash function", ""),
    ("ignition.config.merge.0.verification.hash", "x", "is no hash", ""),
    ("ignition.config.merge.0.verification.hash", f"sha512-{'x' * 128}", "sha512 has 128", ""),
    ("ignition.security.tls.certificateAuthorities.0.source", "ftp://x/y", "begins with none of", ""),
    ("ignition.proxy.httpProxy", "socks://x", "no http or https", ""),
    ("ignition.timeouts.httpTotal", "3", "must be a whole number", ""),
    ("ignition.timeouts.httpTotal", True, "must be a whole number", ""),
    ("kernelArguments.shouldExist", ["a", "a"], "stands twice", "kernelArguments.shouldExist.1"),
    ("kernelArguments.shouldNotExist", ["a"], "wanted by shouldExist", "kernelArguments.shouldNotExist.0"),
    ("passwd.users.1.name", "core", "stands twice", ""),
    ("passwd.users.1.name", "", "a name is missing", ""),
    ("passwd.users.1.name", "a b", "cannot be the name", ""),
    ("passwd.users.0.sshAuthorizedKeys", ["k", "k"], "stands twice", "passwd.users.0.sshAuthorizedKeys.1"),
    ("passwd.users.0.uid", "500", "must be a whole number", ""),
    ("passwd.groups.0.name", "a:b", "cannot be the name", ""),
    ("storage.directories.0.path", "rel", "not an absolute path", ""),
    ("storage.directories.0.path", "/a/../b", "shortest form: '/b'", ""),
    ("storage.directories.0.path", "/f", "stands twice", "storage.files.0.path"),
    ("storage.directories.0.mode", 4096, "no file mode", ""),
    ("storage.directories.0.user", {"id": 3, "name": "x"}, "both an id and a name", ""),
    ("storage.files.0.contents.source", "data:,%zz", "hexadecimal", ""),
    ("storage.files.0.contents.source", "data:;base64,a", "not base64", ""),
    ("storage.files.0.contents.source", "data:foo/bar,x", "is expected", ""),
    ("storage.files.0.contents.source", "data:,é", "%-escapes", ""),
    ("storage.files.0.contents.source", "http://a b/", "is no URL", ""),
    ("storage.files.0.contents.source", "http://", "names no host", ""),
    ("storage.files.0.contents.source", "http://[::1", "is no URL", ""),
    ("storage.files.0.contents.compression", "xz", "no compression", ""),
    ("storage.files.0.contents.compression", "gzip", "not compressed", "storage.files.0.contents.source"),
    ("storage.files.0.contents", {}, "overwrites a file with nothing", "storage.files.0.overwrite"),
    ("storage.files.0.contents.source", GONE, "without a source", "storage.files.0.contents.verification.hash"),
    ("storage.files.1.append.0.source", "data:,x", "http and https only", "storage.files.1.append.0.httpHeaders"),
    ("storage.files.1.append.0.httpHeaders.0.name", "", "name is missing", ""),
    ("storage.files.0.path", "/etc/systemd/system/a.service", "makes the same file", ""),
    ("storage.files.0.path", "/etc/systemd/system/a.service.d/x.conf", "makes the same file", ""),
    ("storage.files.0.path", "/l/below", "lies below '/l'", ""),
    ("storage.links.0.target", "", "a target is missing", ""),
    ("storage.links.0", {"path": "/l", "target": "/d", "hard": True}, "is a directory", "storage.links.0.target"),
    ("storage.disks.0.device", "sda", "not an absolute path", ""),
    ("storage.disks.0.partitions.1.number", 1, "stands twice", ""),
    ("storage.disks.0.partitions.1.label", "a", "another partition", ""),
    ("storage.disks.0.partitions.1.label", "x" * 37, "longer than 36", ""),
    ("storage.disks.0.partitions.1.label", "a:b", "colon", ""),
    ("storage.disks.0.partitions.1.startMiB", 5, "overlaps", "storage.disks.0.partitions.1"),
    ("storage.disks.0.partitions.1", {"sizeMiB": 3}, "neither a number nor a label", ""),
    ("storage.disks.0.partitions.1", {"number": 2, "label": "b", "shouldExist": False}, "shall not exist", ""),
    ("storage.disks.0.partitions.1.typeGuid", "x", "no GUID", ""),
    ("storage.raid.0.level", "raid9", "no RAID level", ""),
    ("storage.raid.0.devices", [], "devices are missing", ""),
    ("storage.raid.0", {"name": "r", "level": "raid0", "devices": ["/a"], "spares": 1}, "no spares", "storage.raid.0.spares"),
    ("storage.filesystems.0.format", "zfs", "is no format", ""),
    ("storage.filesystems.0.format", GONE, "is missing beside", "storage.filesystems.0.format"),
    ("storage.filesystems.0.label", "x" * 17, "longer than 16", ""),
    ("storage.filesystems.0.path", "var", "not an absolute path", ""),
    ("storage.luks.0.name", "a/b", "no name of a volume", ""),
    ("storage.luks.0.device", GONE, "a path is missing", "storage.luks.0.device"),
    ("storage.luks.0.clevis", {"tang": [{"url": "x", "thumbprint": "y"}]}, "no http", "storage.luks.0.clevis.tang.0.url"),
    ("storage.luks.0.clevis", {"custom": {"pin": "tpm2"}}, "is missing", "storage.luks.0.clevis.custom.config"),
    ("systemd.units.0.name", "a", "no name of a unit", ""),
    ("systemd.units.0.contents", "[Unit]\nfoo\n", "line 2 of the unit", ""),
    ("systemd.units.0.contents", "[Unit\nA=b", "no [Section]", ""),
    ("systemd.units.0.dropins.0.name", "x.cfg", "drop-in", ""),
    ("systemd.units.1.name", "b@.service", "stands twice", "systemd.units.2.name"),
    ("systemd.units", {}, "must be a list", ""),
    ("systemd.units.0.enabled", "yes", "true or false", ""),
    ("storage", [], "must be an object", ""),
]  # fmt: skip
DROPPED: list[tuple[str, object, str, str]] = [
    ("networkd", {"units": []}, "drop without a word", ""),
    ("storage.files.0.modee", 1, "drop without a word", ""),
    ("storage.files.0.mode", 644 | 0o1000, "sticky", ""),
    ("systemd.units.0.contents", "[Unit]\nA=b\n", "no [Install]", "systemd.units.0.enabled"),
    ("systemd.units.0.contents", "A=b\n", "before any [Section]", ""),
    ("storage.links.0", {"path": "/l", "target": "/f", "hard": True, "user": {"id": 1}}, "do nothing", ""),
    ("storage.filesystems.0.device", "/dev/sda", "overwrite the partitions", ""),
]  # fmt: skip


def changed(where: str, value: object) -> tuple[bytes, Any]:
    """The sound document with one thing else, a value a line; and the whole as plain Python."""
    document = copy.deepcopy(SOUND)
    *above, last = [int(step) if step.isdecimal() else step for step in where.split(".")]
    there: Any = document
    for step in above:
        there = there[step]
    if value is GONE:
        del there[last]
    else:
        there[last] = value
    return json.dumps(document, indent=1, ensure_ascii=False).encode(), document


def flaws_at(content: bytes, where: str) -> list[Flaw]:
    keys = tuple(int(step) if step.isdecimal() else step for step in where.split("."))
    return [flaw for flaw in examine(content)[1] if flaw.keys == keys]


def says(content: bytes) -> tuple[int, str]:
    """What Ignition's own validator says: its exit code, and its words."""
    done = subprocess.run(
        ["ignition-validate", "-"], input=content, capture_output=True, timeout=30, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode().strip()


def test_a_sound_document_has_no_flaw_here_and_none_there() -> None:
    content = json.dumps(SOUND).encode()
    assert judge(content) == Spec(3, 3)
    assert says(content) == (0, "")


@pytest.mark.parametrize(("where", "value", "message", "place"), FATAL, ids=lambda v: str(v)[:40])
def test_what_ignition_would_refuse(where: str, value: object, message: str, place: str) -> None:
    content, _ = changed(where, value)
    found = [flaw for flaw in flaws_at(content, place or where) if message in flaw.message]
    assert found, examine(content)[1]
    assert all(flaw.fatal for flaw in found)
    with pytest.raises(IgnitionError):
        check_ignition(content)
    line = content.decode().splitlines()[found[0].line - 1]
    last = (place or where).rpartition(".")[2]
    if value is not GONE and not last.isdecimal() and (place or where) == where:
        assert line.lstrip().startswith(f'"{last}"')


# Refused here although the validator of 2.14 finds it in order: later ones refuse it, or the machine does.
STRICTER = {
    "makes the same file",
    "cannot be the name", "a name is missing", "not compressed", "names no host", "sha512 has 128",
    "wanted by shouldExist", "is no URL", "is missing beside",
}  # fmt: skip


@pytest.mark.parametrize(("where", "value", "message", "place"), FATAL, ids=lambda v: str(v)[:40])
def test_ignition_s_own_validator_agrees(where: str, value: object, message: str, place: str) -> None:
    content, _ = changed(where, value)
    if message not in STRICTER:
        assert says(content)[0] != 0


@pytest.mark.parametrize(("where", "value", "message", "place"), DROPPED, ids=lambda v: str(v)[:40])
def test_what_ignition_would_drop(where: str, value: object, message: str, place: str) -> None:
    content, _ = changed(where, value)
    found = [flaw for flaw in flaws_at(content, place or where) if message in flaw.message]
    assert found, examine(content)[1]
    assert not any(flaw.fatal for flaw in found)
    check_ignition(content)  # as with Matchbox, an operator's own data may have it
    with pytest.raises(IgnitionError, match=r"."):
        finish("worker.ign", content)


def test_a_networkd_section_is_named_with_its_line_and_what_to_do() -> None:
    content = b'{\n "ignition": {"version": "3.3.0"},\n "networkd": {"units": []}\n}'
    with pytest.raises(IgnitionError) as caught:
        finish("worker.ign", content)
    (flaw,) = caught.value.flaws
    assert (flaw.line, flaw.path) == (3, "networkd")
    assert "/etc/systemd/network" in flaw.hint


@pytest.mark.parametrize(
    ("where", "value", "since"),
    [
        ("storage.luks.0.discard", True, "3.4.0"),
        ("storage.luks.0.cex", {"enabled": False}, "3.5.0"),
        (
            "storage.luks.0.clevis.tang",
            [{"url": "http://t", "thumbprint": "x", "advertisement": "{}"}],
            "3.4.0",
        ),
    ],
)
def test_a_key_of_a_later_spec_is_named_with_that_spec(where: str, value: object, since: str) -> None:
    content, _ = changed(where, value)
    assert any(since in flaw.hint for flaw in examine(content)[1])


@pytest.mark.parametrize("spec", ["3.0.0", "3.1.0", "3.2.0"])
def test_older_specs_know_less(spec: str) -> None:
    content, _ = changed("ignition.version", spec)
    places = {flaw.path for flaw in examine(content)[1]}
    assert "kernelArguments" in places
    assert ("storage.luks" in places) == (spec < "3.2.0")
    assert ("ignition.proxy" in places) == (spec < "3.1.0")


def test_an_experimental_spec_may_have_what_nobody_knows_yet() -> None:
    content, _ = changed("ignition.version", "3.7.0-experimental")
    judge(content.replace(b'"kernelArguments"', b'"future": {}, "kernelArguments"'))


@pytest.mark.parametrize("version", ["2.5.0", "3.7.0", "3.10.0", "1.0.0", "3.3", "3.3.1"])
def test_versions_that_nobody_knows(version: str) -> None:
    with pytest.raises(IgnitionError, match=r"version|known") as caught:
        judge(b'{\n"ignition": {\n"version": "%s"}}' % version.encode())
    assert (caught.value.path, caught.value.line) == ("ignition.version", 3)


def test_a_key_twice_is_refused_with_its_line() -> None:
    with pytest.raises(IgnitionError, match="twice") as caught:
        judge(b'{"ignition": {"version": "3.3.0"},\n"storage": {},\n"storage": {}}')
    assert caught.value.line == 3


def test_all_of_it_at_once_in_the_order_of_the_lines() -> None:
    content, _ = changed("storage.directories.0.path", "rel")
    content = content.replace(b'"a.service"', b'"a"').replace(b'"/g/h"', b'"h"')
    lines = [flaw.line for flaw in examine(content)[1]]
    assert len(lines) == 3
    assert lines == sorted(lines)


# ---- spec 2 ----

TWO: dict[str, Any] = {
    "ignition": {"version": "2.3.0"},
    "networkd": {"units": [{"name": "a.network", "contents": "[Match]\nName=a\n"}]},
    "passwd": {"users": [{"name": "core"}]},
    "storage": {
        "files": [{"filesystem": "root", "path": "/a", "mode": 420, "contents": {"source": "data:,x"}}],
        "directories": [{"filesystem": "root", "path": "/d"}],
    },
    "systemd": {"units": [{"name": "a.service", "enable": True}]},
}


def test_spec_two_has_networkd() -> None:
    assert judge(json.dumps(TWO).encode()) == Spec(2, 3)


@pytest.mark.parametrize(
    ("where", "value", "path"),
    [
        (("storage", "files", 0, "path"), "rel", "storage.files[0].path"),
        (("storage", "files", 0, "filesystem"), "", "storage.files[0].filesystem"),
        (("storage", "files", 0, "mode"), "0644", "storage.files[0].mode"),
        (("storage", "files", 0, "contents"), {"source": "data:,%z"}, "storage.files[0].contents.source"),
        (("storage", "files"), {}, "storage.files"),
        (("networkd", "units", 0, "name"), "a.service", "networkd.units[0].name"),
        (("systemd", "units", 0, "name"), "a", "systemd.units[0].name"),
        (("systemd", "units", 0, "contents"), "[Unit", "systemd.units[0].contents"),
        (("passwd", "users", 0, "name"), "", "passwd.users[0].name"),
        (("systemd",), [], "systemd"),
        (("storag",), {}, "storag"),
    ],
)
def test_what_is_wrong_in_spec_two(where: tuple[Any, ...], value: object, path: str) -> None:
    document = copy.deepcopy(TWO)
    there: Any = document
    for step in where[:-1]:
        there = there[step]
    there[where[-1]] = value
    with pytest.raises(IgnitionError) as caught:
        judge(json.dumps(document).encode())
    assert caught.value.path == path
