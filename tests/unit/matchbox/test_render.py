from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from appliance.matchbox.handoff import boot_url
from appliance.matchbox.labels import parse_query
from appliance.matchbox.model import Boot
from appliance.matchbox.render import grub_script, ipxe_script, local_boot_script, metadata_text, variables

AGAIN = ["echo Starting again, from the disk", "sleep 3", "reboot || exit 1"]


def test_ipxe_script() -> None:
    boot = Boot("k", ("--name main /i1", "/i2"), ("a=1", 'q="a b"'))
    assert ipxe_script(boot) == '#!ipxe\nkernel k a=1 q="a b"\ninitrd --name main /i1\ninitrd /i2\nboot\n'
    assert ipxe_script(Boot()) == "#!ipxe\nkernel \nboot\n"


def test_grub_quotes_files_and_not_arguments() -> None:
    script = grub_script(Boot("k", ("i",), ("a=1",)))
    assert 'linuxefi "k" a=1\n' in script
    assert 'initrdefi  "i"\n' in script


@pytest.mark.parametrize(
    ("uefi", "lines"),
    [
        (True, AGAIN),
        (False, ["sanboot --no-describe --drive 0x80 || exit 1"]),
        (
            None,
            [
                "iseq ${platform} efi && goto efi ||",
                "sanboot --no-describe --drive 0x80 || exit 1",
                ":efi",
                *AGAIN,
            ],
        ),
    ],
)
def test_local_boot(uefi: bool | None, lines: list[str]) -> None:
    head = ["#!ipxe", "echo Booting from the local disk", "set to-disk 1"]
    assert local_boot_script(uefi).splitlines() == [*head, *lines]


def test_selectors_cover_metadata_and_the_request_covers_both() -> None:
    query = parse_query("mac=52-54-00-AA-00-01&x=%zz")
    found = variables({"a": 1.0, "request": "lost", "b": "old"}, {"B": "new"}, query)
    assert found == {
        "a": 1.0,
        "b": "new",
        "request": {"query": {"mac": "52:54:00:aa:00:01"}, "raw_query": "mac=52-54-00-AA-00-01&x=%zz"},
    }


def test_metadata_lines() -> None:
    values = {
        "s": "a b",
        "t": True,
        "n": 1e6,
        "nul": None,
        "l": ["x"],
        "m": {"A": "b", "deep": {"n": 1.0}},
        "ß": "é",
    }
    assert metadata_text(values) == "M_A=b\nM_DEEP_N=1\nN=1e+06\nS=a b\nT=true\nß=é\n"


def test_the_second_dhcp_answer_names_our_script_whoever_the_endpoint_is() -> None:
    assert boot_url(IPv4Address("172.0.1.1"), 8080) == "http://172.0.1.1:8080/boot.ipxe"
