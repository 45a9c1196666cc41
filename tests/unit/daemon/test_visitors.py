"""Whose pages may read: ours, by our names; machines are not looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.daemon.visitors import refusal
from appliance.settings import HttpSettings, Settings
from tests.unit.daemon.rooms import LAB, PXE

SETTINGS = replace(
    Settings({PXE.name: PXE, LAB.name: LAB}), http=HttpSettings(hosts=("pxe.example.com", "Rack"))
)
OURS = [
    "172.0.1.1", "172.0.1.1:8080", "172.0.9.1:8080", "localhost", "localhost:9999", "LOCALHOST:80",
    "127.0.0.1:8080", "[::1]:8080", "[::1]", "[0:0:0:0:0:0:0:1]:1", "pxe.example.com",
    "PXE.example.com:8443", "pxe.example.com.:80", "rack:8080",
]  # fmt: skip
FOREIGN = [
    "evil.example", "evil.example:8080", "172.0.1.2:8080", "172.0.1.1.evil.example", "localhost.evil.example",
    "127.0.0.2", "2130706433", "0x7f.1", "[::2]:8080", "[::1", "[evil]:80",
    "pxe.example.com@evil.example", "a:b:c", "xpxe.example.com", "172.0.1.01", ":8080",
]  # fmt: skip
PATHS = ["/ui/", "/ui", "/ui/stream", "/v1/status", "/v1/machines/node1", "/v1/board", "/metrics"]
MACHINES = ["/", "/boot.ipxe", "/ipxe", "/ignition", "/assets/x", "/v1/report", "/healthz", "/uix", "/v10"]


@pytest.mark.parametrize("host", OURS)
@pytest.mark.parametrize("path", PATHS)
def test_our_names_are_answered(host: str, path: str) -> None:
    assert refusal(path, {"Host": host}, SETTINGS) is None


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", PATHS)
def test_a_name_that_somebody_lets_point_here_is_not(host: str, path: str) -> None:
    refused = refusal(path, {"Host": host}, SETTINGS)
    assert refused is not None
    assert refused[0] == 421
    assert "hosts in [http]" in refused[1]


@pytest.mark.parametrize("path", MACHINES)
def test_what_machines_ask_for_is_not_looked_at(path: str) -> None:
    headers = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert refusal(path, headers, SETTINGS) is None


@pytest.mark.parametrize("path", [p for p in MACHINES if p != "/healthz"])
def test_but_when_this_host_asks(path: str) -> None:
    """Where a tunnel ends, a browser is this host: it reads the operator's own groups."""

    def told(**headers: str) -> int:
        refused = refusal(path, {k.replace("_", "-"): v for k, v in headers.items()}, SETTINGS, here=True)
        return refused[0] if refused else 200

    assert told(Host="evil.example:8080", Origin="http://evil.example:8080") == 421
    assert told(Host="127.0.0.1:8080", Origin="http://evil.example") == 403
    assert told(Host="localhost:8080", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors") == 403
    assert {told(), told(Host="172.0.1.1:8080"), told(Host="localhost:9999")} == {200}, "curl on this host"
    assert {told(Host=host) for host in OURS} == {200}


def test_whether_we_live_may_be_asked_by_any_name() -> None:
    assert refusal("/healthz", {"Host": "evil.example"}, SETTINGS, here=True) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://172.0.1.1"},
        {"Origin": "https://172.0.1.1:8080.evil.example"},
        {"Origin": "ftp://172.0.1.1:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "something new"},
    ],
)
@pytest.mark.parametrize("path", ["/ui/stream", "/v1/machines"])
def test_another_sites_page_reads_nothing(path: str, headers: dict[str, str]) -> None:
    refused = refusal(path, {"Host": "172.0.1.1:8080", **headers}, SETTINGS)
    assert refused is not None
    assert refused[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://172.0.1.1:8080", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://172.0.1.1:8080"},  # a proxy of the operator's in front of us
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
def test_our_own_page_a_program_and_a_followed_link_are_answered(headers: dict[str, str]) -> None:
    assert refusal("/ui/", {"Host": "172.0.1.1:8080", **headers}, SETTINGS) is None


def test_a_program_that_names_no_host_is_answered() -> None:
    assert refusal("/v1/status", {}, SETTINGS) is None
