"""The endpoint over real sockets and a real file system with traps in it."""

from __future__ import annotations

import hashlib
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.addresses import Mac
from appliance.boot.events import Refusal
from appliance.matchbox.assets import AssetRoot
from appliance.matchbox.model import Boot, MachineBoot, Profile
from appliance.matchbox.request import BootRequest, Deny, LocalBoot, RequestKind
from tests.fakes.matchbox_endpoint import Served, ask, serving

MAC = Mac.parse("52:54:00:aa:00:01")
SECRET = b"top-secret-content"
IGNITION = b'{"ignition":{"version":"3.4.0"}}'
MACHINE = MachineBoot(
    "node1",
    (MAC, Mac.parse("52:54:00:aa:00:02")),
    Profile("worker", boot=Boot("/assets/k", ("/assets/i",), ("a=1",))),
    {"rack": "r1"},
    lambda _token: IGNITION,
)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    assets = root / "assets"
    (assets / "dir").mkdir(parents=True)
    (assets / "dir/file.txt").write_bytes(b"0123456789")
    (assets / "big").write_bytes(os.urandom(9 << 20))
    (assets / "both").write_bytes(b"assets")
    (assets / "a:b").mkdir()
    (root / "secret").write_bytes(SECRET)
    (root / "outside").mkdir()
    (root / "outside/secret").write_bytes(SECRET)
    (root / "assets-sibling").mkdir()
    (root / "assets-sibling/secret").write_bytes(SECRET)
    (assets / "link-in").symlink_to("dir/file.txt")
    (assets / "link-file").symlink_to(root / "secret")
    (assets / "link-relative").symlink_to("../secret")
    (assets / "link-dir").symlink_to("../outside")
    (assets / "link-sibling").symlink_to("../assets-sibling")
    (assets / "link-loop").symlink_to("link-loop")
    (assets / "link-twice").symlink_to("link-dir/secret")
    (assets / "link-proc").symlink_to("/proc/self/environ")
    (assets / "dir/up").symlink_to("../..")
    os.mkfifo(assets / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(assets, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    images, tftp = root / "images", root / "tftp"
    images.mkdir()
    tftp.mkdir()
    (images / "both").write_bytes(b"images")
    (images / "vmlinuz").write_bytes(b"\x1f\x8b\x08kernel")
    (tftp / "snponly.efi").write_bytes(b"MZ\0")
    (tftp / "link-out").symlink_to(root / "secret")
    return root


@pytest.fixture(scope="module")
def served(room: Path) -> Iterator[Served]:
    roots = [AssetRoot(room / "assets"), AssetRoot(room / "images"), AssetRoot(room / "tftp", "ipxe")]
    with serving(room, roots, [MACHINE]) as running:
        yield running


def test_a_machine_of_the_inventory(served: Served) -> None:
    script = ask(served.port, f"/ipxe?mac={MAC.dashed}")
    assert script.body == b"#!ipxe\nkernel /assets/k a=1\ninitrd /assets/i\nboot\n"
    record = served.records[-1]
    assert (record.kind, record.machine, record.client, record.status) == (
        RequestKind.SCRIPT,
        "node1",
        "127.0.0.1",
        200,
    )
    assert record.labels == {"mac": str(MAC)}
    assert record.sent == len(script.body)
    assert ask(served.port, "/ignition?mac=52:54:00:aa:00:02").body == IGNITION
    metadata = ask(served.port, f"/metadata?mac={MAC}").body
    assert b"RACK=r1\n" in metadata
    assert f"MAC={MAC}\n".encode() in metadata
    assert ask(served.port, f"/generic?mac={MAC}").status == 404
    assert served.records[-1].reason == "the profile names no generic file"


def test_strangers_get_nothing_and_the_reason_stays_inside(served: Served) -> None:
    for path in ("/ipxe", "/ignition", "/metadata", "/generic", "/cloud", "/grub"):
        for query in ("", "?mac=52:54:00:aa:00:99", "?mac=zz"):
            reply = ask(served.port, path + query)
            assert (reply.status, reply.body) == (404, b"404 page not found\n")
            assert reply.header("X-Content-Type-Options") == "nosniff"
            assert served.records[-1].reason == "no group matches"
            assert served.records[-1].code == Refusal.NO_PROFILE


def test_resolve_decides_before_groups(room: Path) -> None:
    asked: list[BootRequest] = []

    def resolve(request: BootRequest) -> LocalBoot | Deny | None:
        asked.append(request)
        if request.machine is None:
            return Deny("not armed")
        return LocalBoot(uefi=True)

    with serving(room, machines=[MACHINE], resolve=resolve) as running:
        assert ask(running.port, f"/ipxe?mac={MAC}").body.endswith(b"exit 1\n")
        assert ask(running.port, f"/ignition?mac={MAC}").status == 200
        assert ask(running.port, "/ignition?mac=52:54:00:aa:00:99").status == 404
        assert running.records[-1].reason == "not armed"
    assert [(request.kind, request.machine) for request in asked] == [
        (RequestKind.SCRIPT, "node1"),
        (RequestKind.IGNITION, "node1"),
        (RequestKind.IGNITION, None),
    ]


def test_machines_and_data_can_be_replaced_while_serving(room: Path) -> None:
    with serving(room) as running:
        assert ask(running.port, f"/ipxe?mac={MAC}").status == 404
        running.call(lambda: running.endpoint.use_machines([MACHINE]))
        assert ask(running.port, f"/ipxe?mac={MAC}").status == 200


def test_roots_in_order_and_under_a_prefix(served: Served) -> None:
    assert ask(served.port, "/assets/both").body == b"assets"
    kernel = ask(served.port, "/assets/vmlinuz")
    assert kernel.body == b"\x1f\x8b\x08kernel"
    assert kernel.header("Content-Type") == "application/x-gzip"
    assert ask(served.port, "/assets/ipxe/snponly.efi").body == b"MZ\0"
    assert ask(served.port, "/assets/snponly.efi").status == 404
    assert b"both" in ask(served.port, "/assets/").body
    assert b"vmlinuz" in ask(served.port, "/assets/").body
    assert ask(served.port, "/assets/a:b").header("Location") == "./a:b/"


def test_large_files_whole_and_in_parts(served: Served, room: Path) -> None:
    content = (room / "assets/big").read_bytes()
    whole = ask(served.port, "/assets/big")
    assert hashlib.sha256(whole.body).digest() == hashlib.sha256(content).digest()
    assert (served.records[-1].sent, served.records[-1].complete) == (len(content), True)
    part = ask(served.port, "/assets/big", headers={"Range": "bytes=4194000-8500000"})
    assert part.status == 206
    assert part.body == content[4194000:8500001]
    head = ask(served.port, "/assets/big", method="HEAD")
    assert (head.status, head.body, head.header("Content-Length")) == (200, b"", str(len(content)))


def test_the_begin_and_the_end_of_a_large_file_are_told(room: Path) -> None:
    told: list[tuple[str, str, int]] = []
    with serving(room, [AssetRoot(room / "assets")]) as running:
        running.endpoint.on_begun(lambda *facts: told.append(facts))
        size = len(ask(running.port, "/assets/big").body)
        ask(running.port, "/assets/both")
        ask(running.port, "/assets/big", method="HEAD")
    assert [facts[1:] for facts in told] == [("/assets/big", size), ("/assets/big", 0)]


def test_entity_tags_guard_resumed_downloads(served: Served, room: Path) -> None:
    path = room / "assets/versioned"
    path.write_bytes(b"first version")
    tag = ask(served.port, "/assets/versioned").header("ETag")
    assert tag
    assert not tag.startswith("W/")
    assert ask(served.port, "/assets/versioned", headers={"If-None-Match": tag}).status == 304
    resume = {"Range": "bytes=6-", "If-Range": tag}
    assert ask(served.port, "/assets/versioned", headers=resume).body == b"version"
    replacement = room / "assets/.new"
    replacement.write_bytes(b"other version")
    os.utime(replacement, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    replacement.replace(path)
    again = ask(served.port, "/assets/versioned", headers=resume)
    assert (again.status, again.body) == (200, b"other version"), "a part of another version must not be sent"
    assert ask(served.port, "/assets/versioned", headers={"If-None-Match": tag}).status == 200


def test_a_client_that_leaves_is_recorded(served: Served, room: Path) -> None:
    (room / "assets/huge").touch()
    os.truncate(room / "assets/huge", 1 << 30)
    before = len(served.records)
    with socket.create_connection(("127.0.0.1", served.port), 10) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        link.sendall(b"GET /assets/huge HTTP/1.1\r\nHost: x\r\n\r\n")
        assert link.recv(1000)
    for _ in range(500):
        if any(record.path == "/assets/huge" for record in served.records[before:]):
            break
        ask(served.port, "/")
    record = next(record for record in served.records[before:] if record.path == "/assets/huge")
    assert not record.complete
    assert record.reason == "the client stalled or went away"
    assert record.sent < 1 << 30


def _spellings() -> list[bytes]:
    """Ways to write "one directory up", alone and mixed."""
    dots = [
        b"..",
        b"%2e%2e",
        b".%2e",
        b"%2E.",
        b"%252e%252e",
        b"..;",
        b"%c0%ae%c0%ae",
        b"%uff0e%uff0e",
        b"...",
        b". .",
    ]
    slashes = [b"/", b"%2f", b"%5c", b"\\", b"//", b"/./", b"%252f", b"%c0%af"]
    found = []
    for dot, slash in itertools.product(dots, slashes):
        for depth in (1, 2, 6):
            up = (dot + slash) * depth
            found += [b"/assets/" + up + b"secret", b"/assets/dir/" + up + b"secret"]
    return found


TARGETS = [
    *_spellings(),
    b"/assets/link-file",
    b"/assets/link-relative",
    b"/assets/link-dir/secret",
    b"/assets/link-dir/",
    b"/assets/link-dir",
    b"/assets/link-sibling/secret",
    b"/assets/link-twice",
    b"/assets/link-loop",
    b"/assets/link-proc",
    b"/assets/dir/up/secret",
    b"/assets/dir/up/outside/secret",
    b"/assets/dir/up/assets/dir/up/secret",
    b"/assets/ipxe/link-out",
    b"/assets/ipxe/../secret",
    b"/assets/fifo",
    b"/assets/socket",
    b"/assets/secret%00",
    b"/assets/dir/file.txt%00.html",
    b"/assets/%00",
    b"/assets/..%00/secret",
    b"/assets/" + b"a" * 5000,
    b"/assets/" + b"a/" * 3000,
    b"/assets//etc/passwd",
    b"/assets/%2fetc%2fpasswd",
    b"/assets/%2e%2e%2fassets-sibling%2fsecret",
    b"/assets/~root/.profile",
    b"/assets\\..\\secret",
    b"/assets/file:///etc/passwd",
    b"/assets/%zz",
    b"/assets/dir/%",
    b"http://x/assets/../secret",
    b"http://x/assets/link-file",
    b"/assets/?/../secret",
    b"/assets/#/../secret",
    b"/assets;/../secret",
    b"/assets/.%00./secret",
    b"/assets/\xff\xfe/secret",
    b"/../secret",
    b"/%2e%2e/secret",
    b"/assets/dir/file.txt/../../../secret",
]


def test_nothing_outside_leaks(served: Served) -> None:
    assert len(TARGETS) >= 200
    for target in TARGETS:
        before = len(served.records)
        reply = ask(served.port, target)
        assert SECRET not in reply.body, target
        assert b"root:" not in reply.body, target
        assert reply.status in {301, 400, 404} or (reply.status == 200 and b"<pre>" in reply.body), target
        for record in served.records[before:]:
            assert record.status == 301 or record.status == 200 or record.reason, target
        location = reply.header("Location")
        if reply.status == 301:
            assert location
            assert not location.startswith("//")
            assert "\n" not in location


def test_redirects_are_followed_to_nothing(served: Served) -> None:
    for target in TARGETS:
        reply = ask(served.port, target)
        for _ in range(4):
            location = reply.header("Location")
            if reply.status != 301 or not location or not location.startswith("/"):
                break
            reply = ask(served.port, location)
        assert SECRET not in reply.body, target


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/assets/link-file", "a symbolic link leads out"),
        ("/assets/fifo", "neither a regular file"),
        ("/assets/dir/file.txt%00", "not clean"),
        ("/assets/nothing", "no such asset"),
    ],
)
def test_refusals_have_reasons(served: Served, target: str, reason: str) -> None:
    assert ask(served.port, target).status == 404
    assert reason in (served.records[-1].reason or "")


def test_a_link_that_stays_inside_is_followed(served: Served) -> None:
    assert ask(served.port, "/assets/link-in").body == b"0123456789"


def test_many_requests_on_one_connection(served: Served) -> None:
    request = b"GET /assets/dir/file.txt HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), 10) as link:
        link.sendall(request * 5 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = b""
        while chunk := link.recv(65536):
            received += chunk
    assert received.count(b"0123456789") == 6
    assert received.count(b"HTTP/1.1 200") == 6
