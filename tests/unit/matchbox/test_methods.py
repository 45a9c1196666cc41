"""Any method is answered, however its octets arrive; what is none is refused."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.fakes.matchbox_endpoint import DEADLINE, Served, read_reply, serving

REST = b" / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


def exchanged(served: Served, *pieces: bytes) -> bytes:
    """Everything that comes back for `pieces`, each sent after the one before has arrived."""
    with socket.create_connection(("127.0.0.1", served.port), DEADLINE) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            link.sendall(piece)
        received = bytearray()
        while chunk := link.recv(65536):
            received += chunk
    return bytes(received)


@pytest.mark.parametrize(
    "method", [b"GET", b"POST", b"FOO", b"PROPFIND", b"M-SEARCH", b"X" * 32, b"!#$%&'*+-.^_`|~"]
)
def test_a_method_is_a_method(served: Served, method: bytes) -> None:
    reply = read_reply(exchanged(served, method + REST))
    assert (reply.status, reply.body) == (200, b"matchbox\n")
    assert served.records[-1].method == method.decode()


@pytest.mark.parametrize("method", [b"GET", b"FOO"])
def test_octet_by_octet(served: Served, method: bytes) -> None:
    pieces = [bytes([octet]) for octet in method + REST]
    assert read_reply(exchanged(served, *pieces)).body == b"matchbox\n"


def test_a_connection_goes_on_after_an_unusual_method_with_a_body(served: Served) -> None:
    first = b"FOO / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /"
    both = exchanged(served, first, b"GET" + REST)
    assert both.count(b"HTTP/1.1 200 OK") == 2
    assert [record.method for record in served.records[-2:]] == ["FOO", "GET"]


@pytest.mark.parametrize("method", [b"F\x00O", b"F\xe9O", b"F(O", b"X" * 33, b"", b"\x16\x03\x01"])
def test_what_is_no_method_is_refused(served: Served, method: bytes) -> None:
    before = len(served.records)
    assert read_reply(exchanged(served, method + REST)).status == 400
    assert len(served.records) == before


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
    ],
)
def test_what_is_no_http_fills_no_log(
    served: Served, request_line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_reply(exchanged(served, request_line)).status == 400
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
