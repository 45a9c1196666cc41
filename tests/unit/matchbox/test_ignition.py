from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.matchbox.butane import translate
from appliance.matchbox.butane_tables import data_url
from appliance.matchbox.errors import IgnitionError
from appliance.matchbox.ignition import check_ignition, finish

EVERYTHING = """\
variant: flatcar
version: 1.1.0
passwd:
  users:
    - name: core
      ssh_authorized_keys: [k1, k2]
      uid: 0x1F5
      groups: [sudo, docker]
      no_create_home: yes
  groups:
    - {name: ops, gid: 2000}
storage:
  directories:
    - path: /opt/bin
      mode: 0755
      user: {name: core}
  files:
    - path: /etc/hostname
      mode: 0o644
      overwrite: true
      contents: {inline: "node1\\n"}
    - path: /opt/bin/kubelet
      mode: 493
      contents:
        source: https://example.com/kubelet
        verification: {hash: sha512-DIGEST}
      append:
        - inline: more
  links:
    - {path: /etc/localtime, target: ../usr/share/zoneinfo/UTC, hard: false}
systemd:
  units:
    - name: a.service
      enabled: true
      mask: false
      contents: |
        [Service]
        ExecStart=/bin/true
      dropins:
        - {name: 10.conf, contents: "[Unit]"}
kernel_arguments:
  should_exist: [mitigations=auto]
""".replace("DIGEST", "0" * 128)


def test_every_section_that_is_covered() -> None:
    document = json.loads(translate(EVERYTHING.encode()))
    assert document["ignition"]["version"] == "3.4.0"
    assert document["passwd"] == {
        "users": [
            {
                "name": "core",
                "sshAuthorizedKeys": ["k1", "k2"],
                "uid": 501,
                "groups": ["sudo", "docker"],
                "noCreateHome": True,
            }
        ],
        "groups": [{"name": "ops", "gid": 2000}],
    }
    directory, (hostname, kubelet), link = (
        document["storage"][key] for key in ("directories", "files", "links")
    )
    assert directory == [{"path": "/opt/bin", "mode": 0o755, "user": {"name": "core"}, "group": {}}]
    assert hostname == {
        "path": "/etc/hostname",
        "mode": 0o644,
        "overwrite": True,
        "user": {},
        "group": {},
        "contents": {"source": "data:,node1%0A", "compression": "", "verification": {}},
    }
    assert kubelet["mode"] == 0o755
    assert kubelet["contents"] == {
        "source": "https://example.com/kubelet",
        "verification": {"hash": f"sha512-{'0' * 128}"},
    }
    assert kubelet["append"][0]["source"] == "data:,more"
    assert link[0]["target"] == "../usr/share/zoneinfo/UTC"
    assert document["systemd"]["units"][0]["dropins"] == [{"name": "10.conf", "contents": "[Unit]"}]
    assert document["kernelArguments"] == {"shouldExist": ["mitigations=auto"]}
    check_ignition(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("head", "version"), [("fcos\nversion: 1.0.0", "3.4.0"), ("fcos\nversion: 1.6.0", "3.5.0")]
)
def test_versions(head: str, version: str) -> None:
    assert json.loads(translate(f"variant: {head}\n".encode()))["ignition"]["version"] == version


@pytest.mark.parametrize(
    ("line", "message", "at"),
    [
        ("bogus: 1", "bogus is not supported here", 3),
        ("storage:\n  trees: []", "storage.trees is not supported here", 4),
        ("storage: {files: [{path: /a, contents: {local: foo}}]}", r"contents.local is not supported", 3),
        ("storage: {files: [{path: rel}]}", "absolute path", 3),
        ("storage:\n  files:\n    - mode: 0644", "storage.files[0].path is missing", 5),
        ("storage: {files: [{path: /a, mode: 99999}]}", "file mode", 3),
        ("storage: {files: [{path: /a, mode: '0644'}]}", "must be a number", 3),
        ("storage: {files: [{path: /a}, {path: /a}]}", "stands twice", 0),
        ("storage: {files: [{path: /a, path: /b}]}", "stands twice", 3),
        ("storage: {files: {path: /a}}", "must be a list", 3),
        ("storage: {files: [{path: /a, contents: {inline: x, source: y}}]}", "inline together", 3),
        ("passwd: {users: [{name: ''}]}", "must not be empty", 3),
        ("passwd: {users: [{name: [a]}]}", "must be a string", 3),
        ("systemd: {units: [{name: a.service, enabled: maybe}]}", "true or false", 3),
        ("systemd: []", "must be a mapping", 3),
        ("boot_device: {layout: x86_64}", "boot_device is not supported here", 3),
        ("{{.x}}", "not YAML", 4),
        ("a: [" * 100, "deep", 3),
        ("a: !!python/object:os.system x", "a is not supported here", 3),
        ("<<: {storage: {}}", "<< is not supported here", 3),
    ],
)
def test_what_is_not_covered_is_refused_by_name_and_line(line: str, message: str, at: int) -> None:
    with pytest.raises(IgnitionError) as caught:
        translate(f"variant: fcos\nversion: 1.5.0\n{line}\n".encode())
    assert message.replace("\\", "") in caught.value.message
    assert caught.value.line == at


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xff", "UTF-8"),
        (b"just text", "mapping"),
        (b"version: 1.0.0", "variant is missing"),
        (b"variant: r4e\nversion: 1.0.0", "r4e 1.0.0"),
        (b"variant: fcos\nversion: 9.9.9", "fcos 9.9.9"),
        (b"variant: fcos\n  version: [1", "not YAML"),
        (b"a: &a [x]\nb: [" + b"*a," * 300_000 + b"]", "too large"),
    ],
)
def test_what_is_no_butane(content: bytes, message: str) -> None:
    with pytest.raises(IgnitionError, match=message):
        translate(content)


@given(st.binary(max_size=300))
def test_data_urls_decode_to_what_went_in(content: bytes) -> None:
    url, compression = data_url(content)
    head, _, body = url.partition(",")
    assert head in {"data:", "data:;base64"}
    found = base64.b64decode(body) if head.endswith("base64") else _unquote(body)
    assert (gzip.decompress(found) if compression else found) == content


def _unquote(text: str) -> bytes:
    parts = text.split("%")
    return parts[0].encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in parts[1:])


def test_long_contents_are_packed() -> None:
    url, compression = data_url(b"the same again\n" * 200)
    assert compression == "gzip"
    assert len(url) < 200


@given(st.text(max_size=80))
def test_any_text_is_translated_or_refused(text: str) -> None:
    for content in (text, f"variant: fcos\nversion: 1.5.0\n{text}"):
        try:
            json.loads(translate(content.encode("utf-8", "replace")))
        except IgnitionError:
            continue


@pytest.mark.parametrize("version", ["2.1.0", "2.3.0", "3.0.0", "3.5.0", "3.7.0-experimental"])
def test_raw_ignition_is_passed_on_octet_by_octet(version: str) -> None:
    content = b' {\n "ignition": {"version": "%s"}, "storage": {}}\n' % version.encode()
    assert finish("worker.ign", content) == content


def test_everything_else_of_ours_is_butane() -> None:
    butane = b"variant: fcos\nversion: 1.5.0\n"
    assert finish("worker.bu", butane) == b'{"ignition":{"version":"3.4.0"}}'


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({}, "ignition.version"),
        ({"ignition": {"version": "9.9.0"}}, "ignition.version"),
        ({"ignition": {"version": 3}}, "ignition.version"),
        ({"ignition": []}, "ignition"),
        ({"storage": {"files": [{"path": "rel"}]}}, "storage.files[0].path"),
        ({"storage": {"files": [{"path": "/a", "mode": 99999}]}}, "storage.files[0].mode"),
        ({"storage": {"files": [{"path": "/a", "mode": True}]}}, "storage.files[0].mode"),
        ({"storage": {"files": [{"path": "/a"}], "links": [{"path": "/a"}]}}, "storage.links[0].path"),
        ({"storage": {"files": {}}}, "storage.files"),
        ({"systemd": {"units": [{}]}}, "systemd.units[0].name"),
        ({"systemd": {"units": [{"name": "a.path"}, {"name": "a.path"}]}}, "systemd.units[1].name"),
        ({"passwd": {"users": ["core"]}}, "passwd.users[0]"),
    ],
)
def test_what_no_machine_would_apply(document: dict[str, Any], path: str) -> None:
    with pytest.raises(IgnitionError) as caught:
        check_ignition(
            json.dumps({"ignition": {"version": "3.3.0"}, **document} if document else document).encode()
        )
    assert caught.value.path == path


@pytest.mark.parametrize("content", [b"", b" \n", b"{", b"\xff", b"[]", b"[" * 100_000, b"9" * 10_000])
def test_broken_files_are_refused(content: bytes) -> None:
    with pytest.raises(IgnitionError):
        check_ignition(content)
