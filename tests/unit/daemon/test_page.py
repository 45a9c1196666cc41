"""The page over HTTP: its headers, its files, its stream, and who is turned away; no browser."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.settings import HttpSettings
from appliance.system.shipped import shipped_page
from tests.browser.racks import boot, generations, rack
from tests.browser.site import Site, running, with_ladder

POLICY = [
    *(f"{kind}-src 'self'" for kind in ("script", "style", "connect", "img")),
    *(f"{kind} 'none'" for kind in ("default-src", "base-uri", "form-action", "frame-ancestors")),
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running(tmp_path, rack(200)) as site:
        yield site


def ask(
    site: Site, path: str, method: str = "GET", source: str = "127.0.0.1", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Asked from where it listens, this host asks; from anywhere else, somebody does."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10, source_address=(source, 0))
    try:
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["", *sorted(shipped_page())])
def test_every_file_has_the_policy_and_its_kind(site: Site, name: str) -> None:
    answer, body = ask(site, f"/ui/{name}")
    assert answer.status == 200
    assert body == shipped_page()[name or "index.html"]
    policy = answer.headers["Content-Security-Policy"]
    for part in POLICY:
        assert part in policy.split("; ")
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-cache"
    kind = {
        "": "text/html",
        "html": "text/html",
        "css": "text/css",
        "js": "text/javascript",
        "svg": "image/svg+xml",
    }
    assert answer.headers["Content-Type"].startswith(kind[name.rpartition(".")[2]])


@pytest.mark.parametrize("name", sorted(shipped_page()))
def test_no_file_asks_elsewhere_or_makes_markup_of_strings(name: str) -> None:
    text = shipped_page()[name].decode()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "//cdn",
        "@import",
    ):
        assert word not in text
    assert not [
        part for part in text.split('"') if part.startswith(("http://", "https://")) and "w3.org" not in part
    ]
    if name.endswith(".html"):
        assert " style=" not in text
        assert " onclick" not in text
        assert "<script>" not in text


def test_a_file_that_is_known_already_is_not_sent_again(site: Site) -> None:
    answer, _ = ask(site, "/ui/app.js")
    again, body = ask(site, "/ui/app.js", If_None_Match=answer.headers["ETag"])
    assert (again.status, body) == (304, b"")


def test_files_and_large_listings_are_packed_for_who_can_unpack(site: Site) -> None:
    for path in ("/ui/board.js", "/v1/machines", "/v1/networks"):
        plain, body = ask(site, path)
        packed, small = ask(site, path, Accept_Encoding="gzip")
        assert plain.headers["Content-Encoding"] is None
        assert packed.headers["Content-Encoding"] == "gzip"
        assert len(small) < len(body) / 2
        assert len(gzip.decompress(small)) == pytest.approx(len(body), rel=0.02)


def test_the_slash_is_added(site: Site) -> None:
    answer, _ = ask(site, "/ui")
    assert (answer.status, answer.headers["Location"]) == (308, "/ui/")


@pytest.mark.parametrize(
    "path", ["/ui/nothing.js", "/ui/../v1/status", "/ui/a/b", "/ui/%2e%2e/x", "/ui/app.js/", "/ui/.hidden"]
)
def test_what_is_not_there_is_404_and_no_machine_s_trouble(site: Site, path: str) -> None:
    answer, _ = ask(site, path)
    assert answer.status == 404
    assert answer.headers["Content-Security-Policy"] or path == "/ui/../v1/status"
    _, events = ask(site, "/v1/events")
    assert b"http-error" not in events


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path", ["/ui/", "/ui/app.js", "/ui/stream", "/v1/networks", "/v1/generations", "/v1/board"]
)
def test_nothing_can_be_written(site: Site, method: str, path: str) -> None:
    assert ask(site, path, method)[0].status in {404, 405}


@pytest.mark.parametrize("path", ["/ui/", "/ui/stream", "/v1/status", "/v1/machines", "/v1/board"])
def test_foreign_pages_are_turned_away(site: Site, path: str) -> None:
    for headers, status in (
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
    ):
        answer, body = ask(site, path, **headers)
        assert answer.status == status, headers
        assert set(json.loads(body)) == {"error"}
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_machine_s_paths_do_not_look_at_names(site: Site) -> None:
    odd = {"Host": "whatever.example", "Origin": "http://evil.example"}
    for path, status in (("/boot.ipxe", 200), ("/healthz", 200), ("/assets/none", 404)):
        assert ask(site, path, source="127.0.0.2", **odd)[0].status == status
    assert ask(site, "/v1/report", "POST", "127.0.0.2", Host="x.example")[0].status in {400, 403, 404, 503}


def test_but_a_browser_on_this_host_reads_none_of_them_for_another_site(site: Site) -> None:
    """The browser at the other end of a tunnel is this host, and may read the operator's own groups."""
    for path in ("/ignition", "/generic", "/cloud", "/metadata", "/boot.ipxe", "/ipxe", "/assets/none", "/x"):
        rebound = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}
        assert ask(site, path, **rebound)[0].status == 421
        assert ask(site, path, Origin="http://evil.example")[0].status == 403
        assert ask(site, path)[0].status in {200, 404}, "curl"
    assert ask(site, "/healthz", Host="whatever.example")[0].status == 200


def test_a_name_in_the_settings_is_ours(tmp_path: Path) -> None:
    state = rack(2)
    settings = replace(state.served.settings, http=HttpSettings(hosts=("pxe.example.com",)))
    with running(tmp_path, replace(state, served=replace(state.served, settings=settings))) as site:
        assert ask(site, "/ui/", Host="pxe.example.com:8443")[0].status == 200
        assert ask(site, "/ui/", Host="other.example.com")[0].status == 421


def test_generations_are_told_with_what_they_changed(tmp_path: Path) -> None:
    state = rack(4)
    generations(tmp_path, state)
    with running(tmp_path, state) as site:
        listed: Any = json.loads(ask(site, "/v1/generations")[1])
        assert [(row["id"], row["who"], row["current"]) for row in listed] == [
            (1, "root", False),
            (2, "ada", True),
        ]
        second: Any = json.loads(ask(site, "/v1/generations/2")[1])
        assert second["base"] == 1
        assert [c["line"] for c in second["changes"]] == [
            "~ profile worker",
            "~ machine node1",
            "+ machine node4: 52:54:00:aa:00:04 at 172.0.1.23, profile worker",
        ]  # fmt: skip
        assert b"hunter2" not in ask(site, "/v1/generations/2")[1]
        assert json.loads(ask(site, "/v1/generations/1")[1])["base"] is None
        assert ask(site, "/v1/generations/9")[0].status == 409
        assert ask(site, "/v1/generations/x")[0].status == 400


# ---- the stream ----


class Reader:
    """One that follows, message by message."""

    def __init__(self, site: Site, source: str = "127.0.0.1") -> None:
        address = ("127.0.0.1", site.port)
        self.connection = http.client.HTTPConnection(*address, timeout=10, source_address=(source, 0))
        self.connection.request("GET", "/ui/stream")
        self.answer = self.connection.getresponse()

    def message(self) -> tuple[str, Any]:
        event = self.answer.readline().decode().removeprefix("event: ").strip()
        data = json.loads(self.answer.readline().decode().removeprefix("data: "))
        assert self.answer.readline() == b"\n"
        return event, data

    def until(self, event: str) -> Any:
        while True:
            name, data = self.message()
            if name == event:
                return data

    def close(self) -> None:
        self.connection.close()


def test_the_stream_tells_all_and_then_what_changes(site: Site) -> None:
    reader = Reader(site)
    assert reader.answer.headers["Content-Type"] == "text/event-stream"
    assert reader.answer.headers["Cache-Control"] == "no-store"
    assert reader.until("hello")["machines"] == 200
    assert reader.until("ready")["rows"] == 200
    site.change(with_ladder("node8", boot(3, 0)))
    told = reader.until("rows")
    assert [row["name"] for row in told["rows"]] == ["node8"]
    assert told["rows"][0]["cells"] == "rrrce------"
    reader.close()


def test_no_more_may_follow_than_there_is_room_for(site: Site) -> None:
    readers = [Reader(site) for _ in range(32)]
    for reader in readers:
        reader.until("ready")
    assert Reader(site).answer.status == 503
    for reader in readers:
        reader.close()
    deadline = time.monotonic() + 15
    while True:  # a closed connection is noticed when something is written to it
        late = Reader(site)
        if late.answer.status == 200:
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    late.close()


def test_strangers_cannot_keep_an_operator_from_looking(site: Site) -> None:
    strangers = [Reader(site, f"127.0.0.{9 + number // 8}") for number in range(33)]
    assert [s.answer.status for s in strangers] == [200] * 32 + [503]
    operator = Reader(site)
    assert operator.until("ready")["rows"] == 200
    for reader in (operator, *strangers):
        reader.close()


def test_one_stranger_keeps_no_other_from_looking(site: Site) -> None:
    stranger = [Reader(site, "127.0.0.9") for _ in range(9)]
    assert [s.answer.status for s in stranger] == [200] * 8 + [503]
    stranger.pop().close()
    another = Reader(site, "127.0.0.10")
    assert another.answer.status == 200
    for reader in (another, *stranger):
        reader.close()


def test_who_does_not_read_costs_nobody_anything(tmp_path: Path) -> None:
    with running(tmp_path, rack(3000)) as site:
        idle = socket.create_connection(("127.0.0.1", site.port))
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.sendall(b"GET /ui/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reader = Reader(site)
        assert reader.until("ready")["rows"] == 3000
        for height in range(8):
            site.change(with_ladder("node8", boot(height, 0)))
            begun = time.monotonic()
            assert reader.until("rows")["rows"][0]["name"] == "node8"
            assert time.monotonic() - begun < 5
        reader.close()
        idle.close()
