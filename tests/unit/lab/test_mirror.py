"""The lab's mirror as a program: what a download that goes on after a break asks of it."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two releases, of which one is current, and a link that leads out of the mirror."""
    made = tmp_path / "mirror"
    for version in ("1.0", "2.0"):
        (made / version).mkdir(parents=True)
        (made / version / "file.gz").write_bytes(f"bytes of {version}".encode())
    (made / "current").symlink_to("1.0")
    (tmp_path / "secret").write_text("none of yours")
    (made / "out").symlink_to("../secret")
    return made


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    """Where it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    command = [sys.executable, "-I", "-m", "appliance.lab.mirror", str(folder), str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as mirror:
        assert mirror.stdout is not None
        assert mirror.stdout.readline() == b"ready\n"
        yield number
        mirror.terminate()


def get(
    port: int, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    link.request("GET", path, headers=dict(headers or {}))
    answer = link.getresponse()
    return answer.status, answer.read(), answer.headers


def test_a_download_goes_on_where_it_broke_off(port: int) -> None:
    status, whole, headers = get(port, "/1.0/file.gz")
    assert (status, whole) == (200, b"bytes of 1.0")
    assert "Content-Encoding" not in headers
    rest = {"Range": "bytes=9-", "If-Range": headers["ETag"]}
    status, part, again = get(port, "/1.0/file.gz", rest)
    assert (status, part, again["Content-Range"]) == (206, b"1.0", "bytes 9-11/12")


def test_current_moves_with_its_link(port: int, folder: Path) -> None:
    assert get(port, "/current/file.gz")[1] == b"bytes of 1.0"
    (folder / "current").unlink()
    (folder / "current").symlink_to("2.0")
    assert get(port, "/current/file.gz")[1] == b"bytes of 2.0"


@pytest.mark.parametrize("path", ["/out", "/../secret", "/absent", "/1.0"])
def test_nothing_else_is_there(port: int, path: str) -> None:
    assert get(port, path)[0] in {403, 404}
